"""`tleg plan`: figures that a second way of counting confirms, and nothing done."""

import contextlib
import os
import pty
import subprocess
import sys
import threading

import pytest

from tests.data.conftest import prepare, write_folder
from tests.tiny import as_options

TINY = ("--preset", "digits", "--data", "digits")


def test_the_papers_arithmetic_on_the_depths_that_are_asked_for(tleg):
    done = tleg("plan", "--preset", "small", "--gpus", 4, "--data", "/nowhere", "--json")
    plan, family = done.json(), done.json()["family"]
    # 1,281,167 images, rounded down to 256 by repeated augmentation, 4 x 128 a step
    assert plan["aux"]["steps_per_epoch"] == 1_281_167 // 256 * 256 // 512 == 2502
    assert plan["aux"]["steps"] == 150 * 2502
    assert (plan["aux"]["lr"], plan["aux"]["global_batch"]) == (5e-4, 512)
    assert [one["epochs"] for one in plan["descendants"]] == [35] * 8 + [45, 35]
    assert family["epochs"] == 150 + 9 * 35 + 45
    assert family["scratch_epochs"] == 1000
    assert family["times_fewer_epochs"] == pytest.approx(1000 / 510)
    assert plan["aux"]["parameters"] == pytest.approx(4.305e6, abs=500)
    assert family["times_fewer_parameters"] == pytest.approx(
        sum(one["parameters"] for one in plan["descendants"]) / plan["aux"]["parameters"]
    )
    assert family["times_less_pretraining"] == pytest.approx(1000 / 150)
    assert any("/nowhere" in line for line in plan["missing"])
    assert plan["data"]["kind"] == "assumed"


def test_one_depth_and_other_processes(tleg):
    one = tleg("plan", "--preset", "tiny", "--depth", 6, "--images", 10_000, "--classes", 7, "--json").json()
    assert [part["depth"] for part in one["descendants"]] == ["6"]
    assert one["aux"]["steps_per_epoch"] == 10_000 // 256 * 256 // 128
    four = tleg(
        "plan", "--preset", "tiny", "--depth", 6, "--images", 10_000, "--nodes", 2, "--gpus", 2, "--json",
        "--set", "aux.lr_batch=512", "--set", "aux.batch_size=64",
    ).json()  # fmt: skip
    assert four["processes"] == 4
    assert four["aux"]["lr"] == pytest.approx(5e-4 * 256 / 512)


def test_what_a_run_then_does_is_what_was_planned(tleg, made, tmp_path):
    settings = as_options("aux.epochs=1", "aux.ema_decay=0.9")
    plan = tleg("plan", *TINY, "--teacher", made.teacher, *settings, "--depth", "2", "--json").json()
    assert plan["missing"] == plan["problems"] == []
    options = ("--device", "cpu", "--teacher", made.teacher, *settings, "--out", tmp_path / "aux", "--json")
    ran = tleg("train-aux", *TINY, *options).json()
    assert ran["plan"]["steps_per_epoch"] == plan["aux"]["steps_per_epoch"]
    assert ran["plan"]["lr"] == plan["aux"]["lr"]
    assert ran["learngene_parameters"] == plan["aux"]["parameters"]
    files = sum((tmp_path / "aux" / name).stat().st_size for name in ("learngene.pt", "learngene_ema.pt"))
    assert plan["aux"]["file_bytes"] < files < plan["aux"]["file_bytes"] + 20_000
    written = max((tmp_path / "aux" / "checkpoints").iterdir())
    one_checkpoint = sum(file.stat().st_size for file in written.iterdir())
    assert one_checkpoint == pytest.approx(plan["aux"]["checkpoint_bytes"] / 3, abs=30_000)


def test_the_table_shows_everything(tleg):
    done = tleg("plan", *TINY, *as_options(), "--depth", "2,5")
    assert done.code == 0
    for words in ("1,297 images", "aux net 3", "descendant 5", "pre-training", "missing: the teacher"):
        assert words in done.out
    assert done.err == ""


def test_labels_alone_need_no_teacher_and_a_family_of_one_costs_more(tleg):
    alone = ("--set", "aux.distillation.alpha=0", "--depth", "2")
    done = tleg("plan", *TINY, *as_options(), *alone, "--scratch-epochs", 1)
    assert not [line for line in done.out.splitlines() if line.startswith(("teacher", "tleg train-teacher"))]
    assert "times as much as its 1 network trained separately" in done.out
    plan = tleg("plan", *TINY, *as_options(), *alone, "--json").json()
    assert (plan["teacher"], plan["missing"], plan["problems"]) == (None, [], [])
    assert plan["family"]["times_fewer_macs"] > 1
    assert plan["disk"]["trainings"] == 2
    taught = tleg("plan", *TINY, *as_options(), "--depth", "2", "--json").json()
    images = plan["aux"]["images"]
    assert taught["aux"]["training_macs"] - plan["aux"]["training_macs"] == images * taught["teacher"]["macs"]


def test_it_ends_with_the_commands_that_make_what_was_planned(tleg, made, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = tleg("plan", *TINY, "--depth", "2", "--set", "aux.depth=2,3", "--gpus", 2)
    assert done.out.splitlines()[-3:] == [
        "tleg train-teacher --preset digits --data digits --gpus 2 --set aux.depth=2,3",
        "tleg train-aux --preset digits --data digits --gpus 2 --set aux.depth=2,3 "
        "--teacher runs/digits-teacher/teacher.safetensors",
        "tleg train-des --preset digits --data digits --gpus 2 --set aux.depth=2,3 "
        "--learngene runs/digits-aux/learngene.pt --depth 2",
    ]
    later = tleg("plan", *TINY, *as_options(), "--learngene", made.learngene, "--json").json()["commands"]
    assert [line.split()[1] for line in later] == ["train-des"]
    (first, *_) = tleg("plan", "--preset", "digits", *as_options("data.path=null"), "--json").json()["commands"]
    assert first.startswith("tleg train-teacher --preset digits --data DATA --set")


def test_the_estimate_counts_timed_steps_and_scorings(tleg, made, tmp_path, monkeypatch):
    monkeypatch.setattr("tleg_cli.commands.plan._SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)
    words = ("--device", "cpu", "--measure", "--depth", "2,4", *as_options("aux.depth=2-3", "aux.batch_size=64"))
    plan = tleg("plan", *TINY, "--teacher", made.teacher, *words, "--json").json()
    found, aux = plan["estimate"], plan["aux"]
    assert found["images_per_second"] == pytest.approx(64 / found["seconds_per_step"])
    assert [one["network"] for one in found["trainings"]] == ["aux net 2-3", "descendant 2", "descendant 4"]
    assert found["hours"] == pytest.approx(sum(one["hours"] for one in found["trainings"]))
    steps = aux["images"] / found["images_per_second"] / 3600
    assert steps < found["trainings"][0]["hours"] < 3 * steps, "with the scoring of 500 images after each epoch"
    assert list(tmp_path.iterdir()) == []
    shown = tleg("plan", "--preset", "digits", "--data", "/nowhere", "--gpus", 2, *words)
    assert "of random images in memory, so without loading" in shown.out
    assert "shared by 2 processes without loss" in shown.out


def test_the_table_fits_the_terminal_and_names_what_it_leaves_out(tleg, monkeypatch):
    columns = 80
    monkeypatch.setattr("tleg_cli.report.output.terminal_width", lambda: columns)
    lines = tleg("plan", *TINY, "--depth", "2,5").out.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("network "))
    table = lines[start : lines.index("", start)]
    assert max(map(len, table)) <= columns
    left_out = " ".join(table[table.index(next(line for line in table if line.startswith("Left out"))) :])
    for column in ("parameters", "GMACs", "epochs", "memory", "lr", "images", "checkpoints"):
        assert (column in table[0]) != (f"{column}," in left_out or f"{column}." in left_out), column


def test_nothing_is_written(tleg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = tleg("plan", *TINY, *as_options(), "--learngene", "none.pt", "--teacher", "none.pth", "--json")
    missing = " ".join(done.json()["missing"])
    assert "no learngene at none.pt" in missing
    assert "no teacher at none.pth" in missing
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--depth", "12-3"), "runs backwards"),
        (("--images", 100), "fewer than one global batch"),
        (("--set", "aux.batch_size=2000"), "fewer than one global batch"),
    ],
)
def test_what_training_would_refuse_is_refused(tleg, options, words):
    done = tleg("plan", *TINY, *as_options(), *options)
    assert done.code == 1
    assert words in done.err
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1


def test_a_folder_and_its_betons_count_alike(tleg, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=2, train=140, val=2)
    plan = tleg("plan", *TINY[:2], "--data", folder, *as_options(), "--depth", 2, "--json").json()
    assert (plan["data"]["train"], plan["data"]["val"], plan["data"]["classes"]) == (280, 4, 2)
    assert "estimated" in plan["data"]["betons"]["what"]
    betons = prepare(folder, tmp_path / "betons", write_mode="jpg")
    written = tleg("plan", *TINY[:2], "--data", betons, *as_options(), "--depth", 2, "--json").json()["data"]
    assert (written["train"], written["val"], written["classes"]) == (280, 4, 2)
    sizes = [(betons / f"{split}.beton").stat().st_size for split in ("train", "val")]
    assert [written["betons"]["train_bytes"], written["betons"]["val_bytes"]] == sizes
    assert [plan["data"]["betons"]["train_bytes"], plan["data"]["betons"]["val_bytes"]] == pytest.approx(
        sizes, rel=0.01
    )


def test_without_data_the_presets_own_is_counted(tleg):
    data = tleg("plan", "--preset", "digits", *as_options(), "--depth", 2, "--json").json()["data"]
    assert (data["kind"], data["train"], data["val"], data["classes"]) == ("images", 1297, 500, 10)
    assert tleg("plan", "--preset", "digits", *as_options(), "--depth", 2).out.startswith("digits: 1,297 images")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "ImageNet-1k's size is assumed: 1,281,167 images to train, 50,000 to score, 1,000 classes"),
        (("--classes", 100), "ImageNet-1k's number of images is assumed; classes as given by --classes: 1,281,167"),
        (("--images", 9999), "ImageNet-1k's number of classes is assumed; images as given by --images: 9,999"),
        (("--images", 9999, "--classes", 2), "images as given by --images; classes as given by --classes: 9,999"),
    ],
)
def test_what_is_assumed_is_in_the_title(tleg, tmp_path, options, words):
    asked = ("plan", "--preset", "tiny", "--data", tmp_path / "not-here", "--depth", 2, *options)
    assert tleg(*asked).out.startswith(words)
    data = tleg(*asked, "--json").json()["data"]
    assert words.startswith(data["counted_as"])


def test_classes_under_other_names_are_a_problem_before_training(tleg, made, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=10, train=14, val=2)
    options = (*TINY[:2], "--data", folder, "--teacher", made.teacher, *as_options(), "--learngene", made.learngene)
    asked = (*options, "--set", "aux.batch_size=32", "--set", "descendant.batch_size=32")
    problems = tleg("plan", *asked, "--depth", 2, "--json").json()["problems"]
    for command in ("train-aux", "train-des"):
        planned = [line for line in problems if line.startswith(command) and "other classes" in line]
        assert len(planned) == 1, problems


def test_a_teacher_that_is_given_is_not_trained_again(tleg, made):
    plan = tleg("plan", *TINY, "--teacher", made.teacher, *as_options(), "--depth", 2, "--json").json()
    assert "steps" not in plan["teacher"]
    assert plan["disk"]["trainings"] == 2


def test_what_cannot_be_known_is_called_unknown(tleg, tmp_path):
    done = tleg("plan", *TINY, *as_options(), "--depth", 2)
    assert "train.beton  unknown" in done.out
    folder = tmp_path / "stamps"
    for split in ("train", "val"):
        write_stamps(folder / split / "only")
    plan = tleg("plan", *TINY[:2], "--data", folder, *as_options("aux.batch_size=2", "descendant.batch_size=2"),
                "--set", "teacher.recipe.batch_size=2", "--depth", 2, "--json").json()  # fmt: skip
    assert plan["data"]["betons"]["train_bytes"] is None
    assert "without compression" in plan["data"]["betons"]["what"]


def test_a_named_data_set_is_counted_without_a_download(tleg, tmp_path):
    plan = tleg("plan", "--preset", "digits", "--data", f"torch/cifar10:{tmp_path / 'nowhere'}", "--json").json()
    found = plan["data"]
    assert (found["kind"], found["classes"], found["train"], found["val"]) == ("named", 10, 50_000, 10_000)
    assert found["betons"]["train_bytes"] is None
    assert not any("nowhere" in line for line in plan["missing"])
    assert not (tmp_path / "nowhere").exists()


def write_stamps(folder):
    from PIL import Image

    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (9, 9)).save(folder / f"{number}.png")


def test_of_many_files_only_some_are_measured(monkeypatch, tmp_path):
    from tleg_cli.data.open_source import open_source
    from tleg_cli.plan import files as plan_files

    folder = write_folder(tmp_path, classes=2, train=20, val=3)
    train = open_source(str(folder)).train()
    everything = plan_files._files_bytes(train)
    assert everything == sum(file.stat().st_size for file in (folder / "train").rglob("*.jpg"))
    monkeypatch.setattr(plan_files, "_SAMPLED", 10)
    part = plan_files._files_bytes(train)
    assert part != everything
    assert part == pytest.approx(everything, rel=0.3)
    assert "from 1 in 4 files" in plan_files.find_data(str(folder))[1]["what"]


def test_the_sums_are_those_of_the_trainings(tleg):
    plan = tleg("plan", *TINY, *as_options(), "--depth", "2,5", "--json").json()
    trainings = [plan["teacher"], plan["aux"], *plan["descendants"]]
    assert plan["disk"]["trainings"] == 4
    assert plan["disk"]["results_bytes"] == sum(one["file_bytes"] for one in trainings)
    assert plan["disk"]["checkpoints_bytes"] == sum(one["checkpoint_bytes"] for one in trainings)
    assert plan["family"]["steps"] == sum(one["steps"] for one in trainings[1:])


def test_what_training_keeps_is_what_the_plan_says(tleg):
    from tleg_cli.training.checkpoint import KEEP

    done = tleg("plan", *TINY, *as_options("aux.epochs=1"), "--depth", "2", "--scratch-epochs", 1)
    assert f"up to {KEEP + 1} of each training are kept, the {KEEP} newest and the best" in done.out
    assert " 1 epoch against 1:" in done.out
    assert "; 1 process\n" in done.out


def test_training_only_the_coefficients_needs_less_memory_and_smaller_checkpoints(tleg):
    words = ("plan", "--preset", "small", "--classes", 1000, "--images", 1000, "--depth", 12, "--json")
    everything = tleg(*words).json()["descendants"][0]
    only = tleg(*words, "--set", "descendant.train=coefficients").json()["descendants"][0]
    saved = 4 * (3 * everything["parameters"])  # of five copies two are left, and the learngene's average
    assert everything["memory_bytes"] - only["memory_bytes"] == pytest.approx(saved, rel=0.2)
    assert only["checkpoint_bytes"] < everything["checkpoint_bytes"] / 5
    assert only["file_bytes"] == everything["file_bytes"]
    options = ("--set", "descendant.train=coefficients", "--set", "descendant.layer_decay=0.7")
    assert any("descendant.layer_decay" in line for line in tleg(*words, *options).json()["problems"])


def test_a_pretrained_teacher_of_other_classes_cant_work(tleg, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=2, train=140, val=2)
    line = "train-aux: teacher levit_384 knows 1000 classes, the data has 2; train one with `tleg train-teacher`"
    asked = ("plan", "--preset", "tiny", "--data", folder, "--depth", 3)
    done = tleg(*asked)
    assert done.code == 0
    assert f"\ncan't work: {line}\n" in done.out
    assert tleg(*asked, "--json").json()["problems"] == [line]
    assumed = ("plan", "--preset", "tiny", "--data", "/nowhere", "--depth", 3, "--json")
    assert tleg(*assumed).json()["problems"] == []
    assert "the data has 7;" in tleg(*assumed, "--classes", 7).json()["problems"][0]


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_teachers_file_that_does_not_fit_is_refused_with_the_message_of_training(tleg, made, tmp_path, suffix):
    file = made.teacher
    if suffix == "pth":  # as others write them: no card
        import torch

        from tleg_cli.models.model_file import read_weights

        file = tmp_path / "teacher.pth"
        torch.save({"model": read_weights(made.teacher)}, file)
    folder = write_folder(tmp_path / "photos", classes=2, train=140, val=2)
    options = (*TINY[:2], "--data", folder, "--teacher", file, *as_options())
    planned = tleg("plan", *options, "--depth", 2, "--json").json()["problems"]
    trained = tleg("train-aux", *options, "--device", "cpu", "--out", tmp_path / "aux")
    assert trained.code == 1
    assert [f"error: {line.removeprefix('train-aux: ')}\n" for line in planned] == [trained.err]
    fitting = tleg("plan", *TINY, "--teacher", file, *as_options(), "--depth", 2, "--json").json()
    assert fitting["problems"] == fitting["missing"] == []


@pytest.mark.parametrize(
    "setting",
    [
        "backbone.options={img_size: 8, patch_size: 2, embed_dim: 32, num_heads: 2}",
        "backbone={name: deit3, options: {img_size: 8, patch_size: 2, embed_dim: 16, num_heads: 2}}",
        "data.mean=[0.5, 0.5, 0.5]",
        "descendant.optimizer=adamx",
        "augmentation.auto_augment=original",
    ],
)
def test_what_stage_2_would_refuse_has_its_message(tleg, made, tmp_path, setting):
    options = (*TINY, *as_options(setting), "--learngene", made.learngene, "--depth", 2)
    planned = tleg("plan", *options, "--teacher", made.teacher, "--json").json()["problems"]
    trained = tleg("train-des", *options, "--device", "cpu", "--out", tmp_path / "des")
    assert trained.code == 1
    refusal = trained.err.splitlines()[-1].removeprefix("error: ")
    assert f"train-des: {refusal}" in planned


def test_a_file_that_is_not_a_learngene_cant_work(tleg, made):
    options = (*TINY, *as_options(), "--learngene", made.teacher, "--teacher", made.teacher, "--depth", 2, "--json")
    assert "is not a learngene file" in " ".join(tleg("plan", *options).json()["problems"])


def test_an_image_size_that_stage_1_refuses_is_planned_with_a_problem(tleg):
    plan = tleg("plan", *TINY, *as_options(), "--set", "data.image_size=16", "--depth", 2, "--json").json()
    assert plan["problems"] == [
        "train-aux: data.image_size is 16, but backbone.options.img_size is 8; set both to the same"
    ]


def read_screen(screen, shown):
    with contextlib.suppress(OSError):  # the other side is closed
        while part := os.read(screen, 10_000):
            shown.append(part)


def test_at_a_terminal_the_plan_shows_what_it_is_counting():
    screen, theirs = pty.openpty()
    command = [sys.executable, "-m", "tleg_cli", "plan", *TINY, *as_options(), "--depth", "2", "--json"]
    shown: list[bytes] = []
    reader = threading.Thread(target=read_screen, args=(screen, shown))
    reader.start()  # a terminal that nobody reads would fill up and stop the command
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}, timeout=120, check=True
    )
    os.close(theirs)
    reader.join()
    assert b"counting parameters" in b"".join(shown)
    assert done.stdout.startswith(b"{")
