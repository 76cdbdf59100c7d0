"""`tleg compress`: smaller files that every command reads, and a table that says what they cost."""

import json

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.conftest import in_its_own_process
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.models.adopt import adopt_network
from tleg_cli.models.descendant import expanded_model


@pytest.fixture(scope="module")
def separate(made, tmp_path_factory):
    """A learngene with a theta for each of 4 blocks, as `tleg adopt` starts with."""
    folder = tmp_path_factory.mktemp("separate")
    done = in_its_own_process("expand", made.learngene, "--depth", "4", "--out", folder / "network.safetensors")
    assert done.code == 0, done.err
    write_learngene(adopt_network(folder / "network.safetensors").learngene, folder / "learngene.pt")
    return folder / "learngene.pt"


def test_several_shares_are_written_and_scored_as_evaluate_scores_them(tleg, separate, tmp_path):
    words = ("--keep", "0.5,0.8", "--half", "--data", "digits", "--depth", "3,4", "--device", "cpu")
    done = tleg("compress", separate, tmp_path / "small", *words, "--json")
    assert done.code == 0, done.err
    files = done.json()["files"]
    assert [file["keep"] for file in files] == [None, 0.5, 0.8]
    assert [one["file"] for one in files[1:]] == [str(tmp_path / "small" / f"keep-{keep}.pt") for keep in (0.5, 0.8)]
    total = read_learngene(separate).parameters()
    for file in files:
        read = read_learngene(tmp_path / file["file"])
        assert file["values"] == (read.stored or total) <= (file["keep"] or 1) * total
        scored = tleg(
            "evaluate", file["file"], "--data", "digits", "--depth", "3,4", "--device", "cpu", "--json"
        ).json()
        assert file["scores"] == {one["depth"]: one["top1"] for one in scored["depths"]}
    assert files[1]["kept"] < files[2]["kept"] < files[0]["kept"] == 1
    assert files[1]["bytes"] < 0.5 * files[0]["bytes"]
    table = tleg("compress", separate, tmp_path / "small", *words, "--force").out.splitlines()
    assert table[1].split()[:4] == ["file", "values", "size", "kept"]
    assert table[2].split()[1] == f"{total:,}"


def test_what_it_writes_is_expanded_trained_and_inspected_like_any_learngene(tleg, separate, tmp_path):
    done = tleg("compress", separate, tmp_path / "small.safetensors", "--keep", "0.6")
    assert done.code == 0, done.err
    small = read_learngene(tmp_path / "small.safetensors")
    assert small.metadata.provenance["compressed"] == {"keep": 0.6, "half": False}
    assert small.network_check is not None
    done = tleg("expand", tmp_path / "small.safetensors", "--depth", "3", "--out", tmp_path / "three.safetensors")
    assert f"({small.stored:,} parameters stored)" in done.out
    expected = expanded_model(small, (3,)).state_dict()
    assert all(
        torch.equal(tensor, expected[name]) for name, tensor in load_file(tmp_path / "three.safetensors").items()
    )
    done = tleg("inspect", tmp_path / "small.safetensors", "--json")
    (file,) = done.json()["files"]
    assert file["parameters"]["stored"] == small.stored
    assert file["low_rank"].keys() < small.theta.keys()
    assert "as their mean and residuals of rank" in tleg("inspect", tmp_path / "small.safetensors").out
    twice = tleg(
        "compress", tmp_path / "small.safetensors", tmp_path / "smaller.safetensors", "--half", "--json"
    ).json()
    assert twice["files"][0]["values"] == small.stored


def test_each_refusal_is_one_line_and_writes_nothing(tleg, separate, made, tmp_path):
    (tmp_path / "there.pt").write_bytes(b"mine")
    for words, why in (
        ((separate, "out.pt"), "give --keep SHARE, --half or both"),
        ((separate, "out.pt", "--keep", "2"), "shares between 0 and 1"),
        ((separate, "out.pt", "--keep", "0.5,0.5"), "shares between 0 and 1"),
        ((separate, "out.pt", "--keep", "half"), "shares between 0 and 1"),
        ((separate, "out.pt", "--keep", "0.001"), "keep at least"),
        ((separate, "out.pt", "--keep", "0.5,0.6"), "name a folder"),
        ((separate, "out", "--keep", "0.5"), ".pt or .pth or .safetensors"),
        ((separate, "there.pt", "--keep", "0.5"), "exists already"),
        ((separate, "out.pt", "--keep", "0.5", "--depth", "3"), "give --data too"),
        ((separate, "out.pt", "--keep", "0.5", "--data", "nowhere"), "nowhere"),
        ((separate, "out.pt", "--keep", "0.5", "--data", "digits", "--depth", "0"), "depth"),
        (("none.pt", "out.pt", "--keep", "0.5"), "no learngene at"),
        ((made.teacher, "out.pt", "--keep", "0.5"), "is not a learngene file"),
    ):
        done = tleg(
            "compress",
            *(tmp_path / word if word in ("out.pt", "out", "there.pt", "none.pt") else word for word in words),
        )
        last = done.err.splitlines()[-1]  # after what it is doing
        assert (done.code, why in last, done.err.count("error: ")) == (1, True, 1), done.err
    done = tleg("compress", separate, separate, "--half", "--force")
    assert (done.code, "can't be undone" in done.err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["there.pt"]
    assert (tmp_path / "there.pt").read_bytes() == b"mine"
    assert json.dumps(read_learngene(separate).metadata.provenance).count("compressed") == 0
