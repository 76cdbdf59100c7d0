"""`tleg card --push`: one commit on a server that speaks the hub's protocol, or one line that says why not."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
import yaml

from tests.cli.conftest import in_its_own_process
from tests.hub import TOKEN, Hub
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.grow import grow
from tleg_cli.weights.read_header import read_header


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[Hub]:
    hub = Hub({"you/net/README.md": b"yours", "me/old/README.md": b"mine"})
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)  # whose store is another protocol
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def grown(made, tmp_path_factory) -> Path:
    """The folder of a network of five blocks."""
    file = tmp_path_factory.mktemp("grown") / "depth-05" / "model.safetensors"
    grow(read_learngene(made.learngene), parse_depths("5"), made.learngene, file)
    return file.parent


@pytest.fixture
def network(grown, tmp_path) -> Path:
    return shutil.copytree(grown, tmp_path / "depth-05")


def test_a_network_is_pushed_in_one_commit_and_timm_loads_it(tleg, hub, network, tmp_path):
    done = tleg("card", network, "--license", "apache-2.0", "--push", "me/net", "--private", "--json")
    assert done.code == 0, done.err
    assert done.json()["url"] == f"{hub.url}/me/net"
    assert hub.commits == [("me/net", ["README.md", "config.json", "model.safetensors"])]
    assert hub.private == {"me/net"}
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in hub.in_repository("me/net").items():
        (copy / name).write_bytes(content)
    images = torch.rand(2, 3, 8, 8)
    pushed, local = (timm.create_model(f"local-dir:{one}", pretrained=True).eval() for one in (copy, network))
    assert torch.equal(pushed(images), local(images))
    text = (copy / "README.md").read_text()
    assert 'timm.create_model("hf-hub:me/net", pretrained=True)' in text
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "apache-2.0"
    again = tleg("card", network, "--push", "me/net")
    assert again.code == 0, again.err
    assert (copy / "README.md").read_bytes() == hub.files["me/net/README.md"], "an existing card is pushed as it is"


def test_no_folder_of_this_machine_is_published(tleg, hub, made, network):
    assert tleg("card", made.learngene, "--push", "me/gene").code == 0
    assert tleg("card", network, "--push", "me/net").code == 0
    for name in ("me/gene/learngene.safetensors", "me/net/model.safetensors", "me/net/README.md", "me/gene/README.md"):
        assert str(made.learngene.parent.parent).encode() not in hub.files[name], name
    made.learngene.with_name("README.md").unlink()


def test_a_learngene_is_pushed_and_expanded_from_there(tleg, hub, made, tmp_path):
    scored = ("--data", "digits", "--depth", "2,3", "--force")
    done = tleg("card", made.learngene, *scored, "--push", "me/gene")
    assert done.code == 0, done.err
    assert "next: tleg expand hf-hub:me/gene --depth 3" in done.out
    text = made.learngene.with_name("README.md").read_text()
    made.learngene.with_name("README.md").unlink()
    top1 = tleg("evaluate", made.learngene, "--data", "digits", "--depth", "2,3", "--json").json()["depths"][0]["top1"]
    assert f"| 2 | {top1:.2f} |" in text
    assert yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"][0]["metrics"][0]["value"] == top1 / 100
    assert 'tleg.create("hf-hub:me/gene", depth=6)' in text
    for file, address in (("there.safetensors", "hf-hub:me/gene"), ("here.safetensors", made.learngene)):
        assert tleg("expand", address, "--depth", 2, "--out", file).code == 0
    there, here = (timm.models.load_state_dict(f"{name}.safetensors") for name in ("there", "here"))
    assert all(torch.equal(there[name], here[name]) for name in here)
    facts = read_header(Path("there.safetensors")).tleg["provenance"]
    assert "command" not in facts["learngene"]
    assert facts["learngene"]["data"] == "digits"


@pytest.mark.parametrize(
    ("repository", "token", "words"),
    [
        ("me/net", None, "needs a token of the Hugging Face Hub that may write: log in with `hf auth login`"),
        ("me/net", "wrong", "does not accept the token"),
        ("you/net", TOKEN, "you/net exists, and me may not write to it"),
        ("you/new", TOKEN, "me may not make the repository you/new"),
        ("net", TOKEN, "--push net: write USER/NAME"),
        ("me/a b", TOKEN, "--push me/a b: "),
        ("me/old", TOKEN, "me/old exists and is public; --private is for new repositories"),
    ],
)
def test_what_can_not_be_pushed_is_one_line(tleg, hub, network, monkeypatch, repository, token, words):
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    done = tleg("card", network, "--push", repository, *(["--private"] if repository == "me/old" else []))
    assert (done.code, words in done.err, len(done.err.splitlines())) == (1, True, 1), done.err
    assert not hub.commits
    assert hub.files["me/old/README.md"] == b"mine"


@pytest.mark.parametrize("refuses", ["/blobs/", "/commit/"])
def test_a_failed_upload_leaves_the_repository_as_it_was(tleg, hub, network, refuses):
    hub.refuses = refuses
    before = dict(hub.files)
    done = tleg("card", network, "--push", "me/old")
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert "nothing was pushed to me/old, the repository is as it was" in done.err
    assert hub.files == before
    hub.refuses = None
    assert tleg("card", network, "--push", "me/old").code == 0


def test_a_header_that_the_hub_refuses_is_explained(tleg, hub, network):
    done = tleg("card", network, "--license", "no-such-license", "--push", "me/net")
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert '"license" must be one of [apache-2.0, mit]' in done.err
    assert not hub.commits


def test_options_that_would_be_ignored_are_refused(tleg, hub, network):
    assert tleg("card", network).code == 0
    for words, reason in (
        (("--push", "me/net", "--license", "mit"), "leave out --license to upload it as it is"),
        (("--private",), "--private is for --push"),
        (("--depth", "3", "--force"), "add --data DATA"),
    ):
        done = tleg("card", network, *words)
        assert (done.code, reason in done.err) == (1, True), done.err


def test_a_hub_that_can_not_be_reached_is_one_line(tleg, hub, network):
    hub.stop()
    done = tleg("card", network, "--push", "me/net")
    assert (done.code, len(done.err.splitlines())) == (1, 1), done.err
    assert f"{hub.url} can't be reached" in done.err
    assert not (network / "README.md").exists()


@pytest.mark.slow
def test_timm_loads_a_pushed_network_from_the_hub(hub, network, tmp_path):
    variables = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    done = in_its_own_process("card", network, "--push", "me/net", "--json", **variables)
    assert done.code == 0, done.err
    assert done.json()["url"].endswith("/me/net")
    predicted = in_its_own_process("evaluate", "hf-hub:me/net", "--data", "digits", "--json", **variables)
    assert predicted.code == 0, predicted.err
    local = in_its_own_process("evaluate", network / "model.safetensors", "--data", "digits", "--json")
    assert predicted.json()["top1"] == local.json()["top1"]
    code = "import timm; print(timm.create_model('hf-hub:me/net', pretrained=True).pretrained_cfg['crop_pct'])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **variables}
    )
    assert loaded.stdout.strip() == "1.0", loaded.stderr
    assert json.loads((network / "config.json").read_text())["pretrained_cfg"]["crop_pct"] == 1.0
