"""Your own images: the four commands that `tleg init` prints, run on a folder with own classes and unequal sizes."""

import shlex

import numpy as np
import pytest
from PIL import Image

from tleg_cli.config_file import load_config


@pytest.fixture
def photos(tmp_path):
    """Two classes, of which one is bright; names with a space; sizes differ."""
    random = np.random.default_rng(0)
    root = tmp_path / "my photos"
    for split, count in (("train", 24), ("val", 8)):
        for name, level in (("black cat", 60), ("white dog", 180)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                size = (20 + number % 3, 26)
                pixels = random.integers(level - 40, level + 40, (*size, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.mark.slow
def test_the_commands_that_init_prints_work_on_a_folder_of_own_images(tleg, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = tleg("init", "--data", photos, "--out", "mine.yaml", "--device", "cpu")
    assert made.code == 0, made.err
    text = (tmp_path / "mine.yaml").read_text()
    for long in ("epochs: 150", "epochs: 50", "epochs: 30"):  # as planned for real data; two epochs do here
        text = text.replace(long, "epochs: 2")
    (tmp_path / "mine.yaml").write_text(text)
    commands = [shlex.split(line, comments=True) for line in made.out.splitlines() if line.startswith("  tleg ")]
    assert [words[1] for words in commands] == ["train-teacher", "train-aux", "evaluate", "expand", "plan"]
    for words in commands:
        more = ["--device", "cpu"] if words[1] in ("train-teacher", "train-aux", "evaluate") else []
        more += ["--set", "aux.allow_bad_teacher=true"] if words[1] == "train-aux" else []
        done = tleg(*words[1:], *more)
        assert done.code == 0, (words, done.err)
    assert (tmp_path / "runs" / "mine-aux" / "learngene-depth-06.safetensors").is_file()


def test_init_measures_size_and_normalisation(tleg, photos, tmp_path):
    out = tmp_path / "mine.yaml"
    report = tleg("init", "--data", photos, "--out", out, "--device", "cpu", "--json").json()
    assert report["data"]["classes"] == ["black cat", "white dog"]
    assert (report["data"]["train"], report["data"]["val"], report["data"]["longer"]) == (48, 16, 26)
    config = load_config(str(out))
    assert config.data.path == str(photos)
    assert config.data.image_size == config.backbone.options["img_size"] == 20
    assert config.data.mean == pytest.approx([120 / 255] * 3, abs=0.02)
    assert config.data.std == pytest.approx([np.hypot(60, 80 / 12**0.5) / 255] * 3, abs=0.02)


@pytest.mark.parametrize("grey", [True, False])
def test_grey_images_are_not_mirrored(tleg, tmp_path, grey):
    """They are often characters; docs/results.md has what mirrored digits cost."""
    for number in range(8):
        folder = tmp_path / "data" / ("val" if number % 4 == 3 else "train") / ("a" if number < 4 else "b")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (90, 90, 90) if grey or number else (90, 80, 90)).save(folder / f"{number}.png")
    done = tleg("init", "--data", tmp_path / "data", "--out", tmp_path / "mine.yaml", "--device", "cpu")
    assert ("not mirrored: all are grey" in done.out) == grey
    assert load_config(str(tmp_path / "mine.yaml")).augmentation.flip == (0 if grey else 0.5)


def test_init_keeps_a_preset_that_exists_and_refuses_what_it_knows_without_a_download(tleg, photos, tmp_path, made):
    out = tmp_path / "mine.yaml"
    out.write_text("mine")
    kept = tleg("init", "--data", photos, "--out", out)
    assert kept.code == 1
    assert "--force" in kept.err
    assert out.read_text() == "mine"
    unknown = tleg("init", "--data", photos, "--out", tmp_path / "a.yaml", "--teacher-from", "resnet18x")
    assert unknown.code == 1
    assert "resnet18" in unknown.err
    foreign = tleg("init", "--data", photos, "--out", tmp_path / "a.yaml", "--teacher-from", made.teacher)
    assert foreign.code == 1
    assert "knows 10 classes, the data has 2" in foreign.err
    assert not (tmp_path / "a.yaml").exists()


def test_a_published_teacher_is_fine_tuned(tleg, photos, tmp_path):
    out = tmp_path / "mine.yaml"
    done = tleg("init", "--data", photos, "--out", out, "--teacher-from", "resnet18", "--device", "cpu")
    assert done.code == 0, done.err
    section = load_config(str(out)).teacher
    assert section.pretrained
    assert section.recipe is not None
    assert section.model == "resnet18"


def test_alpha_0_needs_no_teacher(tleg, photos, tmp_path):
    out = tmp_path / "mine.yaml"
    tleg("init", "--data", photos, "--out", out, "--device", "cpu")
    settings = ["--set", "aux.distillation.alpha=0", "--set", "aux.epochs=1", "--set", "data.workers=0"]
    assert "missing: the teacher" not in tleg("plan", "--preset", out, *settings).out
    done = tleg("train-aux", "--preset", out, *settings, "--device", "cpu", "--out", tmp_path / "aux")
    assert done.code == 0, done.err
    assert (
        f"next: tleg evaluate {tmp_path / 'aux' / 'learngene.pt'} --data {shlex.quote(str(photos))} --depth 2-12"
        in done.out
    )


def test_a_rate_without_its_training_names_the_three_keys(tleg):
    done = tleg("plan", "--preset", "digits", "--set", "lr=0.1")
    assert done.code == 1
    assert "aux.lr" in done.err
    assert "descendant.lr" in done.err


def test_an_image_that_can_not_be_read_is_left_out_by_the_first_command(tleg, photos, tmp_path):
    (photos / "train" / "black cat" / "broken.png").write_bytes(b"not an image")
    done = tleg("init", "--data", photos, "--out", tmp_path / "mine.yaml", "--device", "cpu")
    assert done.code == 0, done.err
    assert "warning: 1 of 49 images can't be used" in done.err
    assert "broken.png" in done.err
    lines = [line.strip() for line in done.out.splitlines() if line.startswith("  tleg ")]
    assert lines[0] == f"tleg prepare {shlex.quote(str(photos))} runs/mine-data --skip-bad"
    assert all("--data runs/mine-data" in line for line in lines[1:4])


def test_a_learngene_is_fine_tuned_on_other_images_and_classes(tleg, photos, tmp_path, made):
    out = tmp_path / "fine.yaml"
    words = ("init", "--data", photos, "--out", out, "--device", "cpu", "--learngene", made.learngene)
    assert "choose a multiple of that" in tleg(*words, "--image-size", 13).err
    refused = tleg(*words, "--teacher-from", "resnet18")
    assert (refused.code, "needs no teacher" in refused.err) == (1, True)
    done = tleg(*words, "--image-size", 12)
    assert done.code == 0, done.err
    config = load_config(str(out))
    assert config.data.image_size == config.backbone.options["img_size"] == 12
    assert config.data.mean == load_config("digits").data.mean, "of the learngene's images"
    assert config.descendant.layer_decay is None
    (command,) = (shlex.split(line)[1:] for line in done.out.splitlines() if line.startswith("  tleg train-des"))
    short = ("--depth", 3, "--device", "cpu", "--set", "descendant.epochs=1", "--set", "data.workers=0")
    trained = tleg(*command[:-1], tmp_path / "des", *short)
    assert trained.code == 0, trained.err
    assert "resamples the position embedding" in trained.err
    predicted = tleg(
        "predict", tmp_path / "des" / "depth-03" / "model.safetensors", photos / "val" / "white dog", "--json"
    )
    assert predicted.code == 0, predicted.err
    assert "black cat" in predicted.out
