"""Every built-in family by command line, on the digits through FFCV: train-aux, expand, train-des, evaluate."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tleg_cli.cli import app

pytest.importorskip("ffcv.libffcv", reason="no FFCV build on this machine")

VIT = "{img_size: 8, patch_size: 2, embed_dim: 16, num_heads: 2}"
SWIN = "{img_size: 8, patch_size: 1, window_size: 4, embed_dim: 8, num_heads: [2, 4]}"
CONVNEXT = "{dims: [8, 12, 16, 20], patch_size: 1, kernel_sizes: 3}"
FAMILIES = [
    ("vit", VIT, "3", "1,4-5"),
    ("deit3", VIT, "3", "1,4-5"),
    ("beit", VIT, "3", "1,4-5"),
    ("eva02", VIT, "3", "1,4-5"),
    ("swin_2_stages", SWIN, "2:3", "1,2:4,3:1"),
    ("swinv2_2_stages", SWIN, "2:3", "1,2:4,3:1"),
    ("convnext", CONVNEXT, "2:2:3:2", "1,2:2:4:2,1:1:1:1"),
    ("convnextv2", CONVNEXT, "2:2:3:2", "1,2:2:4:2,1:1:1:1"),
]
TWO_STEPS = ["epochs=1", "batch_size=512"]


def tleg(*arguments: str | Path) -> Any:
    """What a command reports with --json."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """The options that every training needs, and the file of an untrained teacher."""
    place = tmp_path_factory.mktemp("digits")
    tleg("prepare", "digits", place / "data")
    assert (place / "data" / "train.beton").is_file()  # so that it is FFCV that is used
    usual = ["--preset", "digits", "--data", str(place / "data"), "--device", "cpu", "--set", "data.workers=1"]
    tleg("train-teacher", *usual, "--set", "teacher.recipe.epochs=0", "--out", place / "teacher")
    return usual, place / "teacher" / "teacher.safetensors"


def settings(section: str) -> list[str]:
    return [part for value in TWO_STEPS for part in ("--set", f"{section}.{value}")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options", "depth", "others"), FAMILIES, ids=[family[0] for family in FAMILIES])
def test_a_family_from_train_aux_to_evaluate(
    digits: Any, tmp_path: Path, name: str, options: str, depth: str, others: str
):
    usual, teacher = digits
    usual = [*usual, "--set", f"backbone.name={name}", "--set", f"backbone.options={options}"]
    aux = tleg(
        "train-aux",
        *usual,
        *settings("aux"),
        "--set",
        f"aux.depth={depth}",
        "--teacher",
        teacher,
        "--allow-bad-teacher",
        "--out",
        tmp_path / "aux",
    )
    assert (aux["depth"], aux["plan"]["steps_per_epoch"]) == (depth, 2)
    gene = tmp_path / "aux" / "learngene.pt"
    tleg("expand", gene, "--depth", others, "--out", tmp_path / "grown")
    assert len(list((tmp_path / "grown").glob("*.safetensors"))) == 3
    trained = tleg(
        "train-des", *usual, *settings("descendant"), "--learngene", gene, "--depth", others, "--out", tmp_path / "des"
    )
    assert [one["plan"]["steps_per_epoch"] for one in trained["descendants"]] == [2, 2, 2]
    for file in sorted((tmp_path / "des").glob("*/model.safetensors")):
        score = tleg("evaluate", file, "--data", usual[3], "--device", "cpu", "--workers", "1")
        assert score["images"] == 500
        assert score["top1"] == pytest.approx(final_score(file), abs=0.01)


def final_score(file: Path) -> float:
    return float(json.loads((file.parent / "summary.json").read_text())["final_top1"])
