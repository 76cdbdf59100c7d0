"""The quickstart: one learngene gives five networks that need no training or one epoch."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_one_learngene_gives_five_networks_that_need_no_or_one_epoch(tmp_path):
    run = tmp_path / "run"
    done = subprocess.run(
        ["sh", str(ROOT / "quickstart.sh")],
        env={**os.environ, "RUN": str(run)},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((run / "summary.json").read_text())
    by_depth = {one["depth"]: one for one in summary["descendants"]}
    assert sorted(by_depth) == [3, 4, 6, 9, 12]
    assert summary["aux"]["depth"] == 6
    assert summary["aux"]["top1"] >= 95
    assert by_depth[6]["zero_epoch_top1"] == summary["aux"]["top1"]  # the same function
    assert min(by_depth[depth]["zero_epoch_top1"] for depth in (4, 9)) >= 85
    for one in by_depth.values():
        assert one["top1"][0] >= 91
        assert max(one["scratch_top1"]) < one["top1"][0]
        assert len(one["top1"]) == len(one["scratch_top1"]) == 10
    assert (run / "comparison.png").stat().st_size > 10_000
    assert len(list((run / "expanded").glob("*.safetensors"))) == 5
    same_logits(run)


def same_logits(run: Path) -> None:
    """The expanded network of the aux net's depth gives the aux net's logits."""
    import timm

    from tleg_cli import plugin_manager
    from tleg_cli.learngene.file import read_learngene
    from tleg_cli.models.aux_net import AuxNet, new_aux_net
    from tleg_cli.training.checkpoint import newest_checkpoint

    gene = read_learngene(run / "aux" / "learngene.pt")
    aux: AuxNet = new_aux_net(plugin_manager.get_backbone("vit"), gene.basis, gene.metadata)
    found, _ = newest_checkpoint(run / "aux" / "checkpoints")
    assert found is not None
    aux.load_state_dict(found.tensors["model"])
    file = next((run / "expanded").glob("*06.safetensors"))
    options = {"img_size": 8, "patch_size": 2, "embed_dim": 64, "num_heads": 4, "class_token": False}
    model = timm.create_model("vit_tiny_patch16_224", depth=6, num_classes=10, global_pool="avg", **options)
    model.load_state_dict(load_file(file), strict=True)
    images = torch.randn(64, 3, 8, 8)
    with torch.no_grad():
        assert (aux.eval()(images) - model.eval()(images)).abs().max() <= 1e-5
