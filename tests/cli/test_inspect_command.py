"""`tleg inspect`: every kind of file, every option, every mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file


@pytest.fixture(scope="session")
def vit(tmp_path_factory) -> Path:
    """A timm checkpoint of 4 blocks."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("vit") / "vit.pth"
    model = timm.create_model(
        "vit_tiny_patch16_224",
        img_size=32,
        embed_dim=24,
        num_heads=2,
        depth=4,
        num_classes=5,
        class_token=False,
        global_pool="avg",
    )
    torch.save({"state_dict": model.state_dict(), "epoch": 2}, path)
    return path


def test_a_table_for_people(tleg, vit):
    done = tleg("inspect", vit, "--tensors")
    assert (done.code, done.err) == (0, "")
    for word in (
        "checkpoint",
        "depth 4",
        "attn.qkv",
        "linear",
        "chance",
        "blocks.3.mlp.fc2.weight",
        "10 networks of depth 3 to 12",
    ):
        assert word in done.out


def test_json_for_programs(tleg, vit):
    document = tleg("inspect", vit, vit, "--json", "--depths", "2,4", "--basis", "linear", "--basis", "hat:3").json()
    assert (document["schema"], document["schema_version"], len(document["files"])) == ("tleg-inspect", 1, 2)
    file = document["files"][0]
    assert [one["depth"] for one in file["produced"]["networks"]] == ["2", "4"]
    assert [one["basis"] for one in file["overall"][0]["linearity"]["bases"]] == ["linear", "hat:3"]


def keys_of(value, prefix="") -> set[str]:
    if isinstance(value, dict):
        return {
            key for name, inner in value.items() for key in ({f"{prefix}{name}"} | keys_of(inner, f"{prefix}{name}."))
        }
    if isinstance(value, list):
        return {key for inner in value for key in keys_of(inner, prefix)}
    return set()


def test_the_schema_is_documented_word_for_word(tleg, vit):
    """Every key of the document stands in docs/inspect-json.md: a new one needs a line there, and perhaps a new version."""
    document = tleg("inspect", vit, "--json", "--against", vit).json()
    text = (Path(__file__).parents[2] / "docs" / "inspect-json.md").read_text()
    free = ("files.dtypes.", "files.provenance.", "files.beside.")
    for key in keys_of(document):
        if not key.startswith(free):
            assert f"`{key.rpartition('.')[2]}`" in text, key


def test_the_page_and_the_plots_are_written(tleg, vit, tmp_path):
    done = tleg("inspect", vit, "--html", tmp_path / "page.html", "--png", tmp_path / "png")
    assert done.code == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert len(list((tmp_path / "png").iterdir())) == 4


def test_shapes_import_no_torch(vit):
    code = (
        f"import sys; sys.argv = ['tleg', 'inspect', '--shapes', {str(vit)!r}]\nfrom tleg_cli.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code.replace("main()\n", "try: main()\nexcept SystemExit: pass\nprint('torch' in sys.modules)\n")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.endswith("False\n")
    assert "blocks.0.attn.qkv.weight" in done.stdout


def refused(tleg, *arguments: object) -> str:
    done = tleg("inspect", *arguments)
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert done.out == ""
    return done.err


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("options", [[], ["--shapes"]])
def test_hostile_files_are_one_line(tleg, tmp_path, options):
    (tmp_path / "huge.safetensors").write_bytes((10_000_000_000).to_bytes(8, "little") + b"{}")
    assert "claims 10,000,000,000 bytes" in refused(tleg, tmp_path / "huge.safetensors", *options)
    torch.save({"w": torch.ones(2), "x": Bomb(tmp_path / "ran")}, tmp_path / "code.pt")
    assert "nothing was run" in refused(tleg, tmp_path / "code.pt", *options)
    assert not (tmp_path / "ran").exists()
    torch.save({"generator": {"w": torch.ones(2)}, "step": 1}, tmp_path / "layout.pt")
    assert "found generator: dict of 1, step: int" in refused(tleg, tmp_path / "layout.pt", *options)
    assert "no file at" in refused(tleg, tmp_path / "nothing.pt", *options)


def test_odd_weights_are_shown_and_not_crashed_on(tleg, tmp_path):
    save_file(
        {"blocks.0.a": torch.tensor([float("nan"), float("inf")]), "n": torch.tensor([1])}, tmp_path / "x.safetensors"
    )
    document = tleg("inspect", tmp_path / "x.safetensors", "--json").json()
    assert (document["files"][0]["nan"], document["files"][0]["inf"]) == (1, 1)
    assert "1 NaN and 1 Inf" in tleg("inspect", tmp_path / "x.safetensors").out
    save_file({}, tmp_path / "empty.safetensors")
    assert "no repeated blocks" in tleg("inspect", tmp_path / "empty.safetensors").out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--basis", "liner"], "Did you mean 'linear'"),
        (["--depths", "12-3"], "runs backwards"),
        (["--sort", "nrm"], "Did you mean 'norm'"),
        (["--module", "attn.qvk"], "Did you mean 'attn.qkv'"),
        (["--layer", "9"], "0 to 3"),
        (["--against", "/nothing"], "no file at /nothing"),
        (["--shapes", "--against", "/nothing"], "--shapes reads no weights"),
        (["--html", "/proc/page.html"], "can't write /proc/page.html"),
        (["--png", "/proc/png"], "can't write /proc/png"),
    ],
)
def test_mistakes_are_one_line(tleg, vit, options, words):
    assert words in refused(tleg, vit, *options)


def test_against_a_learngene(tleg, vit, tmp_path):
    assert tleg("fit", vit, tmp_path / "gene.pt", "--option", "num_heads=2").code == 0
    found = tleg("inspect", vit, "--against", tmp_path / "gene.pt", "--json").json()["files"][0]["against"]
    assert found["missing"] == found["added"] == found["reshaped"] == []
    assert found["overall"]["in_basis"] == pytest.approx(0, abs=1e-6)  # what a fit leaves, no other theta could take
    assert "Against" in tleg("inspect", vit, "--against", tmp_path / "gene.pt").out
    assert "Infinity" not in json.dumps(found)


def test_which_weights_of_a_checkpoint_are_shown(tleg, tmp_path):
    raw = {f"module.blocks.{n}.a.weight": torch.ones(4, 4) for n in range(3)}
    ema = {name: 2 * weight for name, weight in raw.items()}
    torch.save({"state_dict": raw, "state_dict_ema": ema}, tmp_path / "last.pth.tar")
    for options, chosen, mean in (((), "ema", 2), (("--weights", "raw"), "raw", 1), (("--weights", "ema"), "ema", 2)):
        found = tleg("inspect", tmp_path / "last.pth.tar", *options, "--json").json()["files"][0]
        assert (found["weights"]["set"], found["weights"]["available"]) == (chosen, ["raw", "ema"])
        assert {one["mean"] for one in found["tensors"]} == {mean}
        shapes = tleg("inspect", tmp_path / "last.pth.tar", *options, "--shapes", "--json").json()["files"][0]
        assert shapes["weights"] == found["weights"]
        assert found["weights"]["note"] in tleg("inspect", tmp_path / "last.pth.tar", *options).out
        against = ("--against", tmp_path / "last.pth.tar", "--json")
        moved = tleg("inspect", tmp_path / "last.pth.tar", *options, *against).json()["files"][0]["against"]["overall"]
        assert moved["drift"] == 0
    refused = tleg("inspect", tmp_path / "last.pth.tar", "--weights", "best")
    assert (refused.code, refused.err.count("\n")) == (1, 1)


@pytest.mark.parametrize("shapes", [(), ("--shapes",)])
@pytest.mark.parametrize(
    "card",
    [
        {"kind": ["x"], "classes": {"a": 1}, "image_size": [8], "provenance": 3},
        {"kind": None, "classes": -1, "provenance": {"backbone": {"deep": [1]}}},
        {"kind": "descendant\n", "classes": "\u202e10", "image_size": 1e308, "provenance": []},
        {"kind": "teacher", "classes": 10**40, "input": 5, "timm": "no"},
    ],
)
def test_cards_with_strange_values_are_shown(tleg, tmp_path, card, shapes):
    weights = {f"blocks.{n}.a.weight": torch.ones(4, 4) for n in range(3)}
    save_file(weights, tmp_path / "x.safetensors", metadata={"tleg": json.dumps({"format": "tleg-model", **card})})
    done = tleg("inspect", tmp_path / "x.safetensors", *shapes, "--html", tmp_path / "page.html")
    assert (done.code == 0) or done.err.count("\n") == 1
    json.loads(tleg("inspect", tmp_path / "x.safetensors", *shapes, "--json").out or "null")


def test_the_profile_over_depths_is_what_evaluate_gives_for_each_rule(tleg, made, tmp_path):
    data = ("--data", "digits", "--depths", "2,3,5")
    done = tleg("inspect", made.learngene, *data, "--json", "--png", tmp_path)
    assert done.code == 0, done.err
    published, scaled = done.json()["files"][0]["profiles"]
    assert (published["positions"], published["step"]) == ("tleg", "none")
    assert (scaled["positions"], scaled["step"]) == ("ends", "scaled")
    for profile, options in ((published, ()), (scaled, ("--step", "scaled"))):
        scored = tleg("evaluate", made.learngene, "--data", "digits", "--depth", "2,3,5", "--json", *options).json()
        assert profile["scores"] == [{"depth": one["depth"], "top1": one["top1"]} for one in scored["depths"]]
    assert published["scores"][1] == scaled["scores"][1]  # the trained depth
    assert (tmp_path / "learngene-profile.png").read_bytes().startswith(b"\x89PNG")
    assert "with no further training" in tleg("inspect", made.learngene, *data).out


def test_a_profile_needs_a_learngene_and_its_weights(tleg, made):
    done = tleg("inspect", made.teacher, "--data", "digits")
    assert (done.code, "use `tleg evaluate" in done.err) == (1, True)
    done = tleg("inspect", made.learngene, "--data", "digits", "--shapes")
    assert (done.code, "--shapes reads no weights, which --data needs" in done.err) == (1, True)
