"""Class names travel with weights: permuted, renamed and foreign classes, from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from tests.cli.test_bad_input import refused
from tests.tiny import ALONE, Onlooker, as_options, tiny_config
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_teacher import train_teacher

NUMBERS = tuple(map(str, range(1, 12)))
COLOURS = 11


def colours(root: Path, names: tuple[str, ...], train: int = 48, val: int = 4) -> Path:
    """A folder in which the k-th name has the k-th colour: learnt within a second."""
    random = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for k, name in enumerate(names):
            place = root / split / name
            place.mkdir(parents=True)
            base = np.array([255 * k / (COLOURS - 1), 255 - 255 * k / (COLOURS - 1), 255 * (k % 3) / 2])
            for i in range(count):
                pixels = base + random.normal(0, 8, (8, 8, 3))
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{i:03}.png")
    return root


OWN = (
    "aux.batch_size=88",
    "descendant.batch_size=88",
    "teacher.recipe.batch_size=88",
    "augmentation.crop_scale=null",
    "aux.allow_bad_teacher=false",
)


def options(*settings: str) -> tuple[str, ...]:
    return ("--preset", "digits", "--device", "cpu", *as_options(*OWN, *settings))


@pytest.fixture(scope="module")
def numbered(tmp_path_factory) -> tuple[Path, Path]:
    """Folders 1 to 11 and a teacher that has learnt them."""
    root = tmp_path_factory.mktemp("numbered")
    data = colours(root / "data", NUMBERS)
    recipe = ("teacher.recipe.epochs=10", "teacher.recipe.lr=0.02")
    train_teacher(tiny_config(*OWN, *recipe, data=str(data)), root / "t", ALONE, Onlooker())
    return data, root / "t" / "teacher.safetensors"


def with_names(file: Path, path: Path, names: tuple[str, ...] | None, order: list[int] | None = None) -> Path:
    """The same network under other names, its head's rows in another order."""
    from safetensors.torch import save_file

    with safe_open(file, "pt") as opened:
        card = json.loads(opened.metadata()["tleg"])
    weights = load_file(file)
    if order:
        weights |= {name: weights[name][order].contiguous() for name in ("fc.weight", "fc.bias")}
    card.pop("class_names")
    save_file(weights, path, metadata={"tleg": json.dumps(card | ({"class_names": list(names)} if names else {}))})
    return path


def top1(tleg, *arguments):
    done = tleg("evaluate", *arguments, "--device", "cpu", "--workers", 0, "--json")
    assert done.code == 0, done.err
    return done.json()["top1"], done.err


TORCHVISION = tuple(sorted(NUMBERS))
TO_TORCHVISION = [NUMBERS.index(name) for name in TORCHVISION]


def test_the_names_are_in_the_file_in_the_datas_order(numbered):
    with safe_open(numbered[1], "pt") as opened:
        assert tuple(json.loads(opened.metadata()["tleg"])["class_names"]) == NUMBERS


def test_evaluate_puts_another_order_in_order_and_says_so(tleg, numbered, tmp_path):
    data, teacher = numbered
    plain, silent = top1(tleg, teacher, "--data", data)
    assert plain > 60
    assert "order" not in silent
    other = with_names(teacher, tmp_path / "other.safetensors", TORCHVISION, TO_TORCHVISION)
    score, said = top1(tleg, other, "--data", data)
    assert score == plain
    assert "its class 1 is '10', the data's '2'" in said
    # the same weights without names: nothing can be seen, which is reported
    unnamed = with_names(teacher, tmp_path / "unnamed.safetensors", None, TO_TORCHVISION)
    score, said = top1(tleg, unnamed, "--data", data)
    assert score < plain / 2
    assert "does not name its classes" in said
    (tmp_path / "map.txt").write_text("\n".join(TORCHVISION))
    assert top1(tleg, unnamed, "--data", data, "--class-map", tmp_path / "map.txt")[0] == plain


def test_evaluate_refuses_other_names(tleg, numbered, tmp_path):
    renamed = colours(tmp_path / "renamed", tuple(f"k{k:02}" for k in range(11)), train=1, val=1)
    start = ("evaluate", numbered[1], "--data", renamed, "--device", "cpu")
    refused(tleg(*start), "class 0 is '1', not 'k00'", "--class-map")
    (tmp_path / "map.json").write_text(json.dumps({f"k{k:02}": k for k in range(11)}))
    assert top1(tleg, *start[1:4], "--class-map", tmp_path / "map.json")[0] > 60
    (tmp_path / "short.json").write_text(json.dumps(["a"]))
    refused(tleg(*start, "--class-map", tmp_path / "short.json"), "1 names, but the head has 11")


def test_weights_of_anyone_are_scored(tleg, numbered, tmp_path):
    """As timm's train.py saves them, with a moving average that is worthless."""
    data, teacher = numbered
    weights = load_file(teacher)
    average = {name: torch.zeros_like(value) for name, value in weights.items()}
    torch.save(
        {"state_dict": weights, "state_dict_ema": average, "arch": "resnet10t", "epoch": 1}, tmp_path / "x.pth.tar"
    )
    start = (tmp_path / "x.pth.tar", "--data", data)
    refused(tleg("evaluate", *start, "--device", "cpu"), "name it with --model")
    known = ("--model", "resnet10t", "--option", "channels=[8,8,8,8]")
    score, said = top1(tleg, *start, *known)
    assert score < 20
    assert "moving average" in said
    score, said = top1(tleg, *start, *known, "--weights", "raw")
    assert score > 20  # normalised as timm does it, not as it was trained
    refused(tleg("evaluate", *start, *known, "--weights", "mean", "--device", "cpu"), "'mean'")


def aux(tleg, data, teacher, out, *more):
    return tleg("train-aux", *options("aux.epochs=2"), "--data", data, "--teacher", teacher, "--out", out, *more)


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    content = torch.load(run / "learngene.pt", weights_only=True)
    return {**content["theta"], **content["shared"]}


def test_a_teacher_in_another_order_teaches_the_same(tleg, numbered, tmp_path):
    """Of a torchvision order, named or by a map: the learngene is that of the teacher in the data's order."""
    data, teacher = numbered
    plain = aux(tleg, data, teacher, tmp_path / "plain")
    assert plain.code == 0, plain.err
    assert "top-1" in next(line for line in plain.err.splitlines() if line.startswith("teacher "))
    named = with_names(teacher, tmp_path / "named.safetensors", TORCHVISION, TO_TORCHVISION)
    unnamed = with_names(teacher, tmp_path / "unnamed.safetensors", None, TO_TORCHVISION)
    (tmp_path / "map.txt").write_text("\n".join(TORCHVISION))
    one = aux(tleg, data, named, tmp_path / "one")
    other = aux(tleg, data, unnamed, tmp_path / "other", "--class-map", tmp_path / "map.txt")
    assert (one.code, other.code) == (0, 0), one.err + other.err
    assert "are put into the data's order" in one.err
    expected = weights_of(tmp_path / "plain")
    for run in ("one", "other"):
        assert all(
            torch.allclose(value, expected[name], atol=1e-5) for name, value in weights_of(tmp_path / run).items()
        )
    content = torch.load(tmp_path / "one" / "learngene.pt", weights_only=True)
    assert tuple(content["metadata"]["class_names"]) == NUMBERS


def test_a_teacher_that_guesses_stops_the_run(tleg, numbered, tmp_path):
    data, teacher = numbered
    wrong = [(output + 1) % 11 for output in range(11)]
    guessing = with_names(teacher, tmp_path / "guessing.safetensors", None, wrong)
    done = aux(tleg, data, guessing, tmp_path / "aux")
    assert done.code == 1
    last = done.err.strip().splitlines()[-1]
    for words in ("error: teacher", "on 44 validation images", "guessing gives 9.1 %", "--class-map"):
        assert words in last
    assert not (tmp_path / "aux" / "run.json").exists()
    done = aux(tleg, data, guessing, tmp_path / "aux", "--allow-bad-teacher")
    assert done.code == 0, done.err
    assert "--allow-bad-teacher" in done.err


@pytest.fixture(scope="module")
def gene(numbered, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("gene")
    config = tiny_config(*OWN, "aux.epochs=6", "aux.lr=0.01", data=str(numbered[0]), teacher=numbered[1])
    train_aux(config, out, ALONE, Onlooker())
    return out / "learngene.pt"


def descend(tleg, data, gene, out, *more):
    start = ("train-des", *options("descendant.epochs=1"), "--data", data, "--learngene", gene, "--depth", 3)
    return tleg(*start, "--out", out, *more, "--json")


def test_descendants_keep_the_head_of_their_classes(tleg, numbered, gene, tmp_path):
    data = numbered[0]
    plain = descend(tleg, data, gene, tmp_path / "plain").json()["descendants"][0]["zero_epoch_top1"]
    content = torch.load(gene, weights_only=True)
    content["metadata"]["class_names"] = list(TORCHVISION)
    content["shared"] |= {name: content["shared"][name][TO_TORCHVISION] for name in ("head.weight", "head.bias")}
    torch.save(content, tmp_path / "moved.pt")
    moved = descend(tleg, data, tmp_path / "moved.pt", tmp_path / "moved")
    assert moved.json()["descendants"][0]["zero_epoch_top1"] == plain
    assert "are put into the data's order" in moved.err
    with safe_open(tmp_path / "moved" / "depth-03" / "model.safetensors", "pt") as opened:
        assert tuple(json.loads(opened.metadata()["tleg"])["class_names"]) == NUMBERS
    content["metadata"]["class_names"] = [f"k{k}" for k in range(11)]
    torch.save(content, tmp_path / "others.pt")
    done = descend(tleg, data, tmp_path / "others.pt", tmp_path / "others")
    refused(done, "class 0 is 'k0', not '1'", "--class-map", "--fresh-head")
    fresh = descend(tleg, data, tmp_path / "others.pt", tmp_path / "others", "--fresh-head")
    assert fresh.code == 0, fresh.err
    assert "fresh head" in fresh.err
    (tmp_path / "map.txt").write_text("\n".join(TORCHVISION))
    mapped = descend(tleg, data, tmp_path / "others.pt", tmp_path / "mapped", "--class-map", tmp_path / "map.txt")
    assert mapped.json()["descendants"][0]["zero_epoch_top1"] == plain


def test_expand_keeps_the_names(tleg, gene, tmp_path):
    assert tleg("expand", gene, "--depth", 2, "--out", tmp_path / "x.safetensors").code == 0
    with safe_open(tmp_path / "x.safetensors", "pt") as opened:
        assert tuple(json.loads(opened.metadata()["tleg"])["class_names"]) == NUMBERS


@pytest.mark.parametrize("change", ["renamed", "removed", "relabelled", "fewer", "swapped"])
def test_a_resumed_run_notices_that_its_data_changed(tleg, numbered, gene, tmp_path, change):
    data = colours(tmp_path / "data", NUMBERS, train=10, val=1)
    assert descend(tleg, data, gene, tmp_path / "des").code == 0
    run = tmp_path / "des" / "depth-03"
    (run / "summary.json").unlink()  # as if it had been stopped after its last checkpoint
    assert descend(tleg, data, gene, tmp_path / "des").code == 0
    (run / "summary.json").unlink()
    for split in ("train", "val"):
        places = data / split
        if change == "renamed":
            (places / "3").rename(places / "33")
        elif change == "removed":
            for file in (places / "11").iterdir():
                file.unlink()
            (places / "11").rmdir()
        elif change == "relabelled" and split == "train":
            (places / "3" / "000.png").rename(places / "4" / "900.png")
        elif change == "fewer" and split == "train":
            (places / "3" / "000.png").unlink()
        elif change == "swapped" and split == "val":
            (places / "3" / "000.png").rename(places / "3" / "other.png")
    done = descend(tleg, data, gene, tmp_path / "des", *(["--fresh-head"] if change == "renamed" else []))
    assert done.code == 1, done.err
    last = done.err.strip().splitlines()[-1]
    words = {
        "renamed": "classes: class 2 is '4', not '3'",
        "removed": "classes: 11 -> 10",
        "relabelled": "images.train: other files or labels",
        "fewer": "images.train.images: 110 -> 109",
        "swapped": "images.val: other files or labels",
    }[change]
    assert words in last


def test_a_run_of_an_earlier_tleg_goes_on(tleg, numbered, gene, tmp_path):
    """Its record has neither classes nor images."""
    assert descend(tleg, numbered[0], gene, tmp_path / "des").code == 0
    run = tmp_path / "des" / "depth-03"
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(
        json.dumps({key: value for key, value in record.items() if key not in ("classes", "images")})
    )
    (run / "summary.json").unlink()
    done = descend(tleg, numbered[0], gene, tmp_path / "des")
    assert done.code == 0, done.err
    assert "resuming" in done.err


def test_a_descendant_of_another_image_size_can_teach(tleg, numbered, gene, tmp_path):
    tleg("expand", gene, "--depth", 2, "--out", tmp_path / "small.safetensors")
    start = (
        "train-aux",
        *options("aux.epochs=1", "aux.allow_bad_teacher=true", "data.image_size=12"),
        "--data",
        numbered[0],
    )
    backbone = "backbone.options={img_size: 12, patch_size: 2, embed_dim: 16, num_heads: 2}"
    done = tleg(*start, "--set", backbone, "--teacher", tmp_path / "small.safetensors", "--out", tmp_path / "aux")
    assert done.code == 0, done.err
    assert "can't take images of 16 pixels (teacher.image_size); it gets 8" in done.err
    planned = tleg(
        "plan", *start[1:3], *start[5:], "--set", backbone, "--teacher", tmp_path / "small.safetensors", "--json"
    )
    assert planned.code == 0, planned.err


def test_batch_normalisation_and_a_single_image_are_one_line(tleg, numbered, tmp_path):
    done = tleg(
        "train-teacher",
        *options("teacher.image_size=8", "teacher.recipe.batch_size=1"),
        "--data",
        numbered[0],
        "--out",
        tmp_path,
    )
    assert done.code == 1
    assert "batch normalisation needs more than one image" in done.err.strip().splitlines()[-1]
    assert "Traceback" not in done.err


def test_a_folder_or_a_timm_name_as_teacher_gets_advice(tleg, numbered, tmp_path):
    data, teacher = numbered
    start = ("train-aux", *options(), "--data", data, "--out", tmp_path)
    refused(tleg(*start, "--teacher", teacher.parent), f"--teacher {teacher}")
    refused(tleg(*start, "--teacher", tmp_path / "run" / "none"), "no teacher at")
    refused(tleg(*start, "--teacher", "resnet18"), "--set teacher.recipe=null")


def test_what_fit_made_can_be_trained_as_the_error_advises(tleg, numbered, tmp_path):
    import shlex

    import timm
    from safetensors.torch import save_file

    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 64, "num_heads": 1, "depth": 3, "num_classes": 11}
    save_file(timm.create_model("vit_tiny_patch16_224", **sizes).state_dict(), tmp_path / "x.safetensors")
    assert tleg("fit", tmp_path / "x.safetensors", tmp_path / "gene.pt").code == 0
    done = descend(tleg, numbered[0], tmp_path / "gene.pt", tmp_path / "des")
    assert done.code == 1
    assert "fitted to a checkpoint" in done.err
    advice = shlex.split(done.err.strip().rpartition("or add ")[2])
    done = descend(tleg, numbered[0], tmp_path / "gene.pt", tmp_path / "des", *advice, "--set", "data.image_size=16")
    assert done.code == 0, done.err
