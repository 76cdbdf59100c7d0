"""timm's published networks, from a cache as `huggingface_hub` fills it (random weights in timm's own file): no network is needed."""

import json
import os
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file

from tleg_cli.errors import FileFormatError
from tleg_cli.models import read_network
from tleg_cli.models.recognise import recognise

NAME = "deit_tiny_patch16_224"
SCRIPT = """
import json, sys
from pathlib import Path
import torch
from tleg_cli.models.adopt import adopt_network
from tleg_cli.learngene.expand import expand
adopted = adopt_network(Path(sys.argv[1]), "3-12")
gene = adopted.learngene
torch.save(expand(gene, 12), sys.argv[2])
data = gene.metadata.input
print(json.dumps([gene.basis.name, gene.metadata.backbone, data.mean, data.crop_pct, adopted.note, gene.metadata.provenance]))
"""


def cached(cache, repository, weights):
    """A repository as it lies in the cache after a download."""
    folder = cache / f"models--timm--{repository}"
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    save_file(weights, snapshot / "model.safetensors")


def adopt(cache, name, out):
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", SCRIPT, name, out], capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_a_published_network_is_adopted_by_its_name(tmp_path):
    torch.manual_seed(0)
    weights = timm.create_model(NAME).state_dict()
    cached(tmp_path, f"{NAME}.fb_in1k", weights)
    done = adopt(tmp_path, NAME, tmp_path / "grown.pt")
    assert done.returncode == 0, done.stderr
    basis, backbone, mean, crop_pct, note, provenance = json.loads(done.stdout)
    assert (basis, backbone) == ("piecewise:12", f"{NAME}_token")
    assert mean == pytest.approx([0.485, 0.456, 0.406])  # what timm states, so nothing is assumed
    assert (crop_pct, note) == (0.9, "")
    assert provenance["fitted_to"] == NAME
    grown = torch.load(tmp_path / "grown.pt")
    assert all(torch.equal(grown[name], value) for name, value in weights.items())


def test_a_network_that_computes_something_else_than_its_shapes_show_is_refused(monkeypatch):
    torch.manual_seed(0)
    net = timm.create_model("vit_tiny_patch16_224", img_size=32, embed_dim=24, num_heads=2, depth=2, num_classes=5)
    monkeypatch.setattr(read_network, "fetch_published", lambda *_: net)
    monkeypatch.setattr(
        read_network, "recognise", lambda shapes, card: recognise(shapes, card, options={"num_heads": 2})
    )
    assert read_network.read_published("vit_tiny_patch16_224").metadata.depth == (2,)
    net.norm.eps = 1.0
    with pytest.raises(FileFormatError, match="computes something else"):
        read_network.read_published("vit_tiny_patch16_224")
