"""`hf-hub:USER/NAME`: learngenes from a server that speaks the hub's protocol, and clear errors if there is none."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import tleg_cli.api
from tests.cli.conftest import in_its_own_process
from tests.hub import Hub


@pytest.fixture
def hub(made, tmp_path, monkeypatch) -> Iterator[Hub]:
    hub = Hub({"me/gene/learngene.pt": made.learngene.read_bytes(), "me/empty/README.md": b"nothing"})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield hub
    hub.stop()


def test_a_learngene_on_the_hub_is_expanded_and_scored(tleg, hub, made, tmp_path):
    done = tleg("expand", "hf-hub:me/gene", "--depth", "2,3", "--json")
    assert done.code == 0, done.err
    files = [Path(one["file"]) for one in done.json()]
    assert files == [Path("learngene-depth-02.safetensors"), Path("learngene-depth-03.safetensors")]
    assert tleg("expand", made.learngene, "--depth", 3, "--out", "local.safetensors").code == 0
    local, fetched = (load_file(file) for file in ("local.safetensors", files[1]))
    assert local.keys() == fetched.keys()
    assert all(torch.equal(local[name], fetched[name]) for name in local)
    scores = tleg("evaluate", "hf-hub:me/gene@v2", "--depth", 3, "--data", "digits", "--json", "--device", "cpu").json()
    local = tleg("evaluate", files[1], "--data", "digits", "--json", "--device", "cpu").json()
    assert scores["top1"] == local["top1"]
    assert tleg("inspect", "hf-hub:me/gene/learngene.pt", "--shapes").code == 0
    assert hub.gets == ["/me/gene/resolve/main/learngene.pt"], "v2 is the same commit, which the cache has"


def test_python_reads_a_learngene_of_the_hub(hub, made):
    fetched = tleg_cli.api.read_learngene("hf-hub:me/gene")
    local = tleg_cli.api.read_learngene(made.learngene)
    assert all(torch.equal(fetched.theta[name], local.theta[name]) for name in local.theta)
    assert sum(value.numel() for value in tleg_cli.api.create("hf-hub:me/gene", depth=2).parameters()) > 0


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("hf-hub:gene", "write hf-hub:USER/NAME"),
        ("hf-hub:me/empty", "has no learngene.safetensors or learngene.pt"),
        ("hf-hub:me/gene/other.pt", "has no other.pt"),
        ("hf-hub:me/gene@v9", "no revision 'v9'"),
        ("hf-hub:you/gene", "has no such repository, or it is private"),
        ("hf-hub:me/ge..ne", "me/ge..ne"),
    ],
)
def test_what_is_not_on_the_hub_is_one_line(tleg, hub, address, words):
    done = tleg("expand", address, "--depth", 3)
    assert (done.code, words in done.err, len(done.err.splitlines())) == (1, True, 1), done.err


def test_a_hub_that_cannot_be_reached_is_one_line_unless_the_cache_has_the_file(tleg, hub, monkeypatch):
    assert tleg("expand", "hf-hub:me/gene", "--depth", 3).code == 0
    hub.stop()
    done = tleg("expand", "hf-hub:me/gene", "--depth", 4)
    assert done.code == 0, done.err
    done = tleg("expand", "hf-hub:me/other", "--depth", 3)
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert f"{hub.url} can't be reached" in done.err


@pytest.mark.slow
def test_the_variables_of_the_hub_work(hub, tmp_path):
    environment = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    done = in_its_own_process(
        "expand", "hf-hub:me/gene", "--depth", 3, "--out", tmp_path / "out", "--json", **environment
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)[0]["file"].startswith(str(tmp_path / "out"))
    assert list((tmp_path / "home").rglob("learngene.pt"))
    offline = {**environment, "HF_HUB_OFFLINE": "1"}
    again = in_its_own_process("expand", "hf-hub:me/gene", "--depth", 4, "--out", tmp_path / "out", **offline)
    assert again.code == 0, again.err
    missing = in_its_own_process("expand", "hf-hub:me/other", "--depth", 4, "--out", tmp_path / "out", **offline)
    assert (missing.code, "HF_HUB_OFFLINE" in missing.err) == (1, True), missing.err
