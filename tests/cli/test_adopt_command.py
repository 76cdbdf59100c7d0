"""`tleg adopt`: from a trained network to a learngene for many depths, by the command line, stopped and resumed."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from tests.cli.conftest import in_its_own_process
from tests.tiny import as_options
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.models.model_file import read_card, read_weights, write_model

TRAINING = ("aux.allow_bad_teacher=true", "aux.epochs=3", "aux.batch_size=256", "aux.warmup_epochs=0", "data.workers=0")
OURS = [word for setting in TRAINING for word in ("--set", setting)]


@pytest.fixture(scope="session")
def network(made, tmp_path_factory):
    """A plain timm file of four blocks, trained for an epoch from the tiny learngene."""
    root = tmp_path_factory.mktemp("network")
    common = ["--preset", "digits", "--data", "digits", "--device", "cpu", *as_options("descendant.epochs=1")]
    done = in_its_own_process(
        "train-des", *common, "--learngene", made.learngene, "--depth", "4", "--out", root / "des"
    )
    assert done.code == 0, done.err
    return root / "des" / "depth-04" / "model.safetensors"


def adopt(tleg, network, out, *more):
    return tleg(
        "adopt", network, "--preset", "digits", "--data", "digits", "--device", "cpu", "--depths", "2-4", *OURS, *more,
        "--out", out,
    )  # fmt: skip


def test_a_network_becomes_a_family_and_its_own_depth_starts_where_it_was(tleg, network, tmp_path):
    own = tleg("evaluate", network, "--data", "digits", "--json", "--device", "cpu").json()
    done = adopt(tleg, network, tmp_path / "run", "--pick", "every-nth")
    assert done.code == 0, done.err
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["step"] == 0
    assert records[0]["top1"] == pytest.approx(own["top1"])
    assert set(records[-1]["top1_at"]) == {"2", "3"}
    assert [line.split()[0] for line in done.out.splitlines()[2:5]] == ["2", "3", "4"]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["zero_epoch_top1_at"] == records[0]["top1_at"]
    assert summary["top1_at"] == records[-1]["top1_at"]
    with Image.open(tmp_path / "run" / "adoption.png") as plot:
        assert plot.width > 800
    gene = read_learngene(tmp_path / "run" / "learngene.pt")
    assert (gene.basis.name, gene.metadata.depth, gene.expansion.step) == ("piecewise:4", (4,), "repeats")
    assert tleg("expand", tmp_path / "run" / "learngene.pt", "--depth", "3,8", "--out", tmp_path / "grown").code == 0
    again = adopt(tleg, network, tmp_path / "run", "--pick", "every-nth")
    assert again.code == 0
    assert "is finished already" in again.err


def test_stopped_and_started_again_it_ends_in_the_same_weights(tleg, network, tmp_path):
    assert adopt(tleg, network, tmp_path / "whole").code == 0
    assert adopt(tleg, network, tmp_path / "cut", "--set", "aux.checkpoint_every=2").code == 0
    checkpoints = sorted((tmp_path / "cut" / "checkpoints").glob("step-*"))
    for name in ("summary.json", "learngene.pt"):
        (tmp_path / "cut" / name).unlink()
    shutil.rmtree(checkpoints[-1])
    assert adopt(tleg, network, tmp_path / "cut", "--set", "aux.checkpoint_every=2").code == 0
    one, other = (read_learngene(tmp_path / name / "learngene.pt") for name in ("whole", "cut"))
    assert all(torch.equal(one.theta[name], other.theta[name]) for name in one.theta)


def test_other_classes_other_weights_and_no_data_are_one_line(tleg, network, made, tmp_path):
    for pick in ((), ("--pick", "importance"), ("--pick", "every-nth")):
        done = adopt(tleg, network, tmp_path / "run", "--set", "basis=linear", *pick)
        assert (done.code, "basis piecewise:4 and depth 4; the config has basis linear" in done.err) == (1, True)
    done = tleg("adopt", made.learngene, "--data", "digits")
    assert (done.code, "is a learngene already" in done.err) == (1, True)
    done = tleg("adopt", tmp_path / "none.safetensors", "--data", "digits")
    assert (done.code, "none.safetensors" in done.err) == (1, True)
    done = tleg("adopt", network, "--data", "synthetic/64x8x7", "--device", "cpu", "--out", tmp_path / "seven", *OURS)
    assert (done.code, "10 classes" in done.err, "--fresh-head" in done.err) == (1, True, True), done.err
    one = ("--data", "synthetic/64x8x1", "--device", "cpu", "--out", tmp_path / "one", "--fresh-head", *OURS)
    done = tleg("adopt", network, *one)
    assert (done.code, "synthetic/64x8x1 has one class" in done.err) == (1, True)
    assert not (tmp_path / "one").exists()


def test_for_other_classes_the_network_is_fine_tuned_with_a_fresh_head_first(tleg, network, tmp_path):
    def run(*more):
        return tleg(
            "adopt", network, "--preset", "digits", "--data", "synthetic/512x8x7", "--device", "cpu", "--depths", "2-4", *OURS,
            "--set", "descendant.epochs=1", "--set", "aux.epochs=1", "--fresh-head", "--out", tmp_path / "run", *more,
        )  # fmt: skip

    done = run()
    assert done.code == 0, done.err
    tuned = tmp_path / "run" / "fine-tuned" / "depth-04" / "model.safetensors"
    own = tleg("evaluate", tuned, "--data", "synthetic/512x8x7", "--json", "--device", "cpu").json()
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["top1"] == pytest.approx(own["top1"])  # stage 1 starts with the fine-tuned network
    gene = read_learngene(tmp_path / "run" / "learngene.pt")
    assert (gene.metadata.classes, gene.basis.name[:7]) == (7, "ranked:")
    before = tuned.stat().st_mtime_ns
    assert "is finished already" in run().err
    assert tuned.stat().st_mtime_ns == before
    start = tmp_path / "run" / "fine-tuned" / "start.pt"
    other = read_learngene(start)
    write_learngene(replace(other, theta={name: tensor + 1 for name, tensor in other.theta.items()}), start)
    done = run()
    assert (done.code, "start.pt holds another network" in done.err) == (1, True)
    refused = adopt(tleg, network, tmp_path / "none", "--fresh-head", "--unlabelled")
    assert (refused.code, "leave one of them out" in refused.err) == (1, True)


def test_blocks_picked_by_importance_start_exactly_and_a_second_start_keeps_the_ranking(tleg, network, tmp_path):
    done = adopt(tleg, network, tmp_path / "run", "--set", "aux.epochs=1")
    assert done.code == 0, done.err
    gene = read_learngene(tmp_path / "run" / "learngene.pt")
    order = gene.basis.name.removeprefix("ranked:").replace("-", ", ")
    assert f"blocks by importance, the most important first: {order}" in done.err
    own = tleg("evaluate", network, "--data", "digits", "--json", "--device", "cpu").json()
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert (first["step"], first["top1"]) == (0, pytest.approx(own["top1"]))
    again = adopt(tleg, network, tmp_path / "run", "--pick", "importance", "--set", "aux.epochs=1")
    assert (again.code, "is finished already" in again.err, "measuring" in again.err) == (0, True, False)
    refused = adopt(tleg, network, tmp_path / "run", "--pick", "first")
    assert (refused.code, "write every-nth or importance" in refused.err) == (1, True)


def test_fewer_thetas_are_trained_by_the_network_that_they_were_fitted_to(tleg, network, photos, tmp_path):
    random = torch.Generator().manual_seed(0)
    weights = {  # layers that are on no line
        name: tensor + 0.5 * torch.randn(tensor.shape, generator=random) * name.startswith("blocks.")
        for name, tensor in read_weights(network).items()
    }
    write_model(tmp_path / "net.safetensors", weights, read_card(network))

    def run(*more):
        settings = ("--basis", "linear", "--set", "aux.epochs=1", *more)
        return unlabelled(tleg, tmp_path / "net.safetensors", photos, tmp_path / "run", *settings)

    done = run("--align")
    assert done.code == 0, done.err
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["top1"] < 100  # the line is not the network, which teaches it
    gene = read_learngene(tmp_path / "run" / "learngene.pt")
    assert (gene.basis.name, gene.metadata.depth) == ("linear", (4,))
    assert (gene.expansion.positions, gene.expansion.step) == ("ends", "1")
    assert gene.metadata.provenance["adopted"]["aligned"] == "linear"
    assert all(tensor.shape[0] == 2 for tensor in gene.theta.values())
    other = run()  # without --align it is another start
    assert (other.code, "aligned" in other.err) == (1, True)
    refused = run("--pick", "importance")
    assert (refused.code, "leave one of them out" in refused.err) == (1, True)
    refused = adopt(tleg, network, tmp_path / "none", "--basis", "hat:9")
    assert (refused.code, "hat:9 has 9 thetas, but blocks has 4 blocks" in refused.err) == (1, True)
    assert not (tmp_path / "none" / "learngene.pt").exists()


def test_aligned_at_full_rank_the_network_is_still_itself(tleg, network, tmp_path):
    assert adopt(tleg, network, tmp_path / "run", "--align", "--set", "aux.epochs=1").code == 0
    own = tleg("evaluate", network, "--data", "digits", "--json", "--device", "cpu").json()
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert (first["step"], first["top1"]) == (0, pytest.approx(own["top1"]))
    gene = read_learngene(tmp_path / "run" / "learngene.pt")
    assert (gene.basis.name[:7], gene.metadata.provenance["adopted"]["aligned"]) == ("ranked:", "piecewise:4")


@pytest.mark.slow
def test_one_process_and_two_end_in_the_same_weights(network, tmp_path):
    """The fine-tuning of a fresh head and stage 1 after it; digits under other names are other classes."""
    plain = (  # eps: where student and teacher are the same network, the gradient is rounding, which AdamW would scale up
        "aux.allow_bad_teacher=true", "augmentation.crop_scale=null", "aux.epochs=1", "descendant.epochs=1", "data.workers=0",
        "aux.warmup_epochs=0", "aux.eps=1e-3", "descendant.eps=1e-3",
    )  # fmt: skip
    for name, batch, more in (("one", 128, ()), ("two", 64, ("--gpus", 2))):
        settings = (*plain, f"aux.batch_size={batch}", f"descendant.batch_size={batch}")
        done = in_its_own_process(
            "adopt", network, "--preset", "digits", "--data", "digits", "--device", "cpu", "--depths", "2-4", "--fresh-head",
            *[word for setting in settings for word in ("--set", setting)], "--out", tmp_path / name, *more,
        )  # fmt: skip
        assert done.code == 0, done.err
    one, two = (read_learngene(tmp_path / name / "learngene.pt") for name in ("one", "two"))
    for ours, theirs in ((one.theta, two.theta), (one.shared, two.shared)):
        assert max((ours[name] - theirs[name]).abs().max() for name in ours) < 1e-5


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Digits as files in one folder, without classes."""
    folder = tmp_path_factory.mktemp("photos")
    for number, pixels in enumerate(load_digits().images[:600]):
        Image.fromarray((pixels * 15).astype("uint8")).convert("RGB").save(folder / f"{number:04d}.png")
    return folder


def unlabelled(tleg, network, photos, out, *more):
    return tleg(
        "adopt", network, "--preset", "digits", "--data", photos, "--device", "cpu", "--depths", "2-4", "--unlabelled", *OURS,
        *more, "--out", out,
    )  # fmt: skip


def test_images_without_classes_are_enough(tleg, network, photos, tmp_path):
    done = unlabelled(tleg, network, photos, tmp_path / "run")
    assert done.code == 0, done.err
    assert "agreement with the teacher" in done.out
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["top1"] == 100  # at its own depth it is its teacher
    assert min(first["top1_at"].values()) < 100
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["scored"] == "agreement"
    gene = read_learngene(tmp_path / "run" / "learngene.pt")
    assert gene.metadata.class_names == tuple("0123456789")
    assert "is finished already" in unlabelled(tleg, network, photos, tmp_path / "run").err


def test_labels_that_are_not_there_are_refused_in_one_line(tleg, network, photos, made, tmp_path):
    done = unlabelled(tleg, network, photos, tmp_path / "run", "--set", "aux.distillation.alpha=0.5")
    assert (done.code, "without labels can only be trained with 1" in done.err) == (1, True)
    done = unlabelled(tleg, network, "digits", tmp_path / "run")
    assert (done.code, "digits is not a folder" in done.err) == (1, True)
    done = tleg(
        "train-aux", "--preset", "digits", "--data", photos, "--device", "cpu", "--set", "data.unlabelled=[a, b]",
        "--teacher", made.teacher,
    )  # fmt: skip
    assert (done.code, "data.unlabelled is for `tleg adopt`" in done.err) == (1, True)


def test_it_ends_early_when_no_depth_gains_and_again_after_a_resume(tleg, network, tmp_path):
    still = [
        "--set",
        "aux.lr=1e-9",
        "--set",
        "aux.min_lr=0",
        "--set",
        "aux.patience=1",
        "--set",
        "aux.checkpoint_every=1",
    ]
    done = adopt(tleg, network, tmp_path / "run", *still)
    assert done.code == 0, done.err
    assert "ended after epoch 1: mean top-1 over the depths" in done.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["ended_after"], len(summary["top1"])) == (1, 1)
    before = read_learngene(tmp_path / "run" / "learngene.pt")
    for name in ("summary.json", "learngene.pt"):
        (tmp_path / "run" / name).unlink()
    assert adopt(tleg, network, tmp_path / "run", *still).code == 0
    again = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert again["ended_after"] == 1
    after = read_learngene(tmp_path / "run" / "learngene.pt")
    assert all(torch.equal(before.theta[name], after.theta[name]) for name in before.theta)


def test_the_network_teaches_itself_whatever_its_normalisation_was(tleg, made, tmp_path):
    """A file without a card, whose normalisation the user states: teacher and learngene see the same images."""
    from safetensors.torch import load_file, save_file

    assert tleg("expand", made.learngene, "--depth", "3", "--out", tmp_path / "net.safetensors").code == 0
    save_file(load_file(tmp_path / "net.safetensors"), tmp_path / "plain.safetensors")
    words = ("--option", "num_heads=2", "--set", "data.mean=[0.1, 0.2, 0.3]", "--set", "data.std=[0.5, 0.6, 0.7]")
    done = tleg(
        "adopt", tmp_path / "plain.safetensors", "--preset", "digits", "--data", "digits", "--device", "cpu", *OURS, *words,
        "--depths", "3", "--set", "aux.epochs=1", "--set", "aux.score_depths=2", "--set", "aux.lr=1e-12", "--out", tmp_path / "run",
        "--set", "aux.warmup_lr=0", "--set", "aux.min_lr=0", "--set", "aux.weight_decay=0",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "it doesn't state how its images were normalised" in done.err
    gene = read_learngene(tmp_path / "run" / "learngene.pt")
    assert gene.metadata.input.mean == (0.1, 0.2, 0.3)
    assert gene.metadata.provenance["adopted"]["fitted_to"] == "plain.safetensors"
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert record["loss"] < 1e-6  # distance to itself
