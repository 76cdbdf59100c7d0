"""`tleg plan`: figures that a second way of counting confirms, and nothing done."""

import pytest

from tests.data.conftest import write_folder
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
    assert plan["missing"] == []
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


def test_the_table_says_everything(tleg):
    done = tleg("plan", *TINY, *as_options(), "--depth", "2,5")
    assert done.code == 0
    for words in ("1,297 images", "aux net 3", "descendant 5", "pre-training", "missing: the teacher"):
        assert words in done.out
    assert done.err == ""


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
