"""Nothing that a model file says about itself reaches the network or another file, whatever command reads it."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.cli.test_bad_input import refused
from tests.tiny import as_options

VIT = {"img_size": 8, "patch_size": 2, "embed_dim": 16, "num_heads": 2, "depth": 2, "num_classes": 10}
PLAIN = {"class_token": False, "global_pool": "avg"}


class Server:
    """Counts requests of any kind."""

    def __init__(self) -> None:
        self.seen = seen = []  # type: list[str]

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                seen.append(str(self.rfile.readline()))
                self.close_connection = True

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/{filename}")
    yield server
    server.http.shutdown()


def write_card(path, name="vit_tiny_patch16_224", kind="descendant", provenance=None, **more):
    """A card of today's format around sound weights, with whatever arguments."""
    torch.manual_seed(0)
    weights = timm.create_model("vit_tiny_patch16_224", **VIT, **PLAIN).state_dict()
    card = {
        "format": "tleg-model", "format_version": 1, "kind": kind, "classes": 10, "image_size": 8,
        "timm": {"name": name, "arguments": {**VIT, **PLAIN, **more}},
        "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0, "provenance": provenance or {}, "create": "",
    }  # fmt: skip
    save_file(weights, path, metadata={"tleg": json.dumps(card)})
    return path


def commands(file, tmp_path):
    start = ("--preset", "digits", "--data", "digits", *as_options("aux.epochs=1"))
    return [
        ("evaluate", file, "--data", "digits", "--device", "cpu"),
        ("train-aux", *start, "--device", "cpu", "--teacher", file, "--out", tmp_path / "aux"),
        ("fit", file, tmp_path / "gene.pt"),
    ]


@pytest.mark.parametrize("kind", ["descendant", "teacher"])
@pytest.mark.parametrize(
    "argument",
    [
        "pretrained",
        "pretrained_cfg",
        "pretrained_cfg_overlay",
        "checkpoint_path",
        "cache_dir",
        "features_only",
        "scriptable",
    ],
)
def test_arguments_that_make_timm_fetch_or_read_are_refused(tleg, server, tmp_path, argument, kind):
    torch.save({"x": torch.ones(1)}, tmp_path / "local.pth")
    value = {
        "pretrained_cfg": {"url": f"{server.url}/weights.pth", "num_classes": 10},
        "pretrained_cfg_overlay": {"url": f"{server.url}/weights.pth"},
        "checkpoint_path": str(tmp_path / "local.pth"),
        "cache_dir": str(tmp_path / "cache"),
    }.get(argument, True)
    fetch = {"pretrained": True, argument: value}
    provenance = {"backbone": "vit"} if kind == "descendant" else {}
    file = write_card(tmp_path / "model.safetensors", kind=kind, provenance=provenance, **fetch)
    for command in commands(file, tmp_path):
        refused(tleg(*command), "model.safetensors", "which a file may not set")
    assert server.seen == []
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "aux").exists()


@pytest.mark.parametrize(
    "scheme", ["hf-hub:timm/vit", "hf_hub:timm/vit", "local-dir:{folder}", "{folder}/model", "timm/vit"]
)
def test_names_that_lead_elsewhere_are_refused(tleg, server, tmp_path, scheme):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    config = {"architecture": "vit_tiny_patch16_224", "num_classes": 10, "pretrained_cfg": {}}
    (folder / "config.json").write_text(json.dumps(config))
    name = scheme.format(folder=folder)
    file = write_card(tmp_path / "model.safetensors", name, kind="teacher")
    for command in commands(file, tmp_path):
        refused(tleg(*command), "which is not a plain name of a timm model")
    start = ("train-aux", "--preset", "digits", "--data", "digits", "--device", "cpu", "--out", tmp_path / "aux")
    refused(tleg(*start, *as_options(f"teacher.model='{name}'"), "--set", "teacher.recipe=null"), repr(name))
    assert server.seen == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"depth": 100_000}, "100000 blocks; 1000 in each stage"),
        ({"embed_dim": "16"}, "embed_dim = '16'"),
        ({"class_token": 1}, "class_token = 1"),
        ({"img_size": float("inf")}, "img_size = None"),
        ({"num_classes": 11}, "has 10 classes, but its network 11"),
        ({"embed_dim": 1_000_000}, "has shape (16,"),  # compared before terabytes are asked for
        ({"num_heads": [[[2]]]}, "num_heads"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_values_that_cannot_be_are_named(tleg, tmp_path, arguments, words):
    file = write_card(tmp_path / "model.safetensors", provenance={"backbone": "vit"}, **arguments)
    refused(tleg("evaluate", file, "--data", "digits", "--device", "cpu"), words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crop_pct": float("nan")}, "crop_pct = None should be a number above 0 and up to 1"),
        ({"crop_pct": 0}, "crop_pct = 0"),
        ({"crop_pct": 1e-9}, "crop_pct = 1e-09 is too small"),
        ({"mean": [0.5, 0.5]}, "mean = (0.5, 0.5) should be three numbers"),
        ({"mean": "half"}, "mean = 'half'"),
        ({"std": [0.5, 0, 0.5]}, "std = (0.5, 0, 0.5) should be three numbers above 0"),
        ({"image_size": 10**9}, "image_size = 1000000000"),
        ({"image_size": 8.5}, "image_size = 8.5"),
        ({"classes": -1}, "classes = -1"),
        ({"class_names": ["a"] * 9}, "class_names"),
        ({"class_names": [1] * 10}, "class_names"),
        ({"kind": "else"}, "kind = 'else'"),
        ({"timm": []}, "timm = []"),
        ({"provenance": []}, "provenance = []"),
        ({"format_version": 99}, "format version 99"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_card_with_wrong_values_is_one_line(tleg, tmp_path, changes, words):
    from safetensors import safe_open
    from safetensors.torch import load_file

    file = write_card(tmp_path / "model.safetensors", provenance={"backbone": "vit"})
    with safe_open(file, "pt") as opened:
        card = json.loads(opened.metadata()["tleg"])
    save_file(load_file(file), file, metadata={"tleg": json.dumps({**card, **changes})})
    refused(tleg("evaluate", file, "--data", "digits", "--device", "cpu"), "model.safetensors", words)


def test_a_card_of_an_earlier_tleg_still_works(tleg, tmp_path):
    """Without names of classes: counted, and reported."""
    file = write_card(tmp_path / "model.safetensors", provenance={"backbone": "vit"})
    done = tleg("evaluate", file, "--data", "digits", "--device", "cpu", "--json")
    assert done.code == 0, done.err
    assert done.json()["images"] == 500
    assert "does not name its classes" in done.err


def test_sizes_in_a_learngenes_metadata_are_compared_before_memory_is_taken(tleg, made, tmp_path):
    content = torch.load(made.learngene, weights_only=True)
    content["metadata"]["options"]["embed_dim"] = 1_000_000
    torch.save(content, tmp_path / "gene.pt")
    refused(tleg("expand", tmp_path / "gene.pt", "--depth", 3), "learngene of vit")
