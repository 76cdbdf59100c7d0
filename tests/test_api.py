"""The public face: cheap to import, complete, typed for its users, and documented by code that runs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import tleg_cli.api as tleg
from tleg_cli import plugin_manager
from tleg_cli.cli import app
from tleg_cli.learngene.basis import get_basis
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.models.build import build_model

ROOT = Path(__file__).parent.parent
DOCUMENT = (ROOT / "docs" / "python.md").read_text()
VIT = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}
SWIN = {"img_size": 16, "patch_size": 2, "window_size": 4, "embed_dim": 8, "num_heads": (2, 4)}


def learngene_of(backbone: str, options: dict, size: int, depth: tuple[int, ...]) -> tleg.Learngene:
    metadata = tleg.Metadata(backbone, options, depth, 10, tleg.InputSpec(size, (0.5,) * 3, (0.25,) * 3))
    return new_aux_net(plugin_manager.get_backbone(backbone), get_basis("linear"), metadata).learngene()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a learngene and a checkpoint of a timm model."""
    monkeypatch.chdir(tmp_path)
    tleg.write_learngene(learngene_of("vit", VIT, 8, (4,)), "learngene.pt")
    model = build_model(plugin_manager.get_backbone("vit"), VIT, (4,), 10)
    torch.save({"state_dict": model.state_dict()}, "checkpoint.pth")
    return tmp_path


def test_importing_it_loads_nothing_heavy():
    code = (
        "import sys, json, tleg_cli.api as t;"
        "before = sorted({'torch', 'timm', 'numpy', 'numba', 'yaml'} & set(sys.modules));"
        "t.Learngene; print(json.dumps([before, 'torch' in sys.modules, 'timm' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], True, False]


def test_every_public_name_is_there_and_documented():
    for name in tleg.__all__:
        assert getattr(tleg, name) is not None
        assert name in dir(tleg)
        assert f"`{name}" in DOCUMENT, name
    with pytest.raises(AttributeError, match="has no attribute 'Learngenes'"):
        tleg.Learngenes  # noqa: B018


def test_the_code_of_the_document_runs(folder, capsys):
    names: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert (folder / "half.safetensors").exists()
    assert (folder / "fitted.pt").exists()


@pytest.mark.parametrize("depth", [3, "3", (3,)])
def test_a_network_is_the_expansion_of_its_depth(folder, depth):
    model = tleg.create("learngene.pt", depth)
    weights = tleg.expand(tleg.read_learngene("learngene.pt"), depth)
    assert len(model.blocks) == 3
    assert set(weights) == set(model.state_dict())
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


def test_a_single_depth_sets_the_deepest_stage():
    gene = learngene_of("swin_2_stages", SWIN, 16, (2, 2))
    by_number, by_stages = tleg.create(gene, 3), tleg.create(gene, "2:3")
    assert by_number.state_dict().keys() == by_stages.state_dict().keys() == tleg.expand(gene, 3).keys()


def test_other_classes_get_a_fresh_head(folder):
    gene = tleg.read_learngene("learngene.pt")
    assert tleg.create(gene, 2, classes=7).head.out_features == 7
    assert not torch.equal(tleg.create(gene, 2, classes=10).head.weight, gene.shared["head.weight"])
    assert torch.equal(tleg.create(gene, 2).head.weight, gene.shared["head.weight"])


def test_mistakes_are_one_line(folder):
    with pytest.raises(tleg.ConfigError, match="depth '3-5' names 3 networks; give one depth"):
        tleg.create("learngene.pt", "3-5")
    with pytest.raises(tleg.FileFormatError, match="checkpoint"):
        tleg.read_learngene("checkpoint.pth")
    with pytest.raises(tleg.ConfigError, match="basis 'linaer' is unknown. Did you mean 'linear'"):
        tleg.fit("checkpoint.pth", "linaer")


def test_a_fitted_learngene_of_an_expanded_network_is_the_same(folder):
    gene = tleg.read_learngene("learngene.pt")
    torch.save(tleg.create(gene, 5).state_dict(), "model.pth")
    fitted = tleg.fit("model.pth", options={"num_heads": 2})
    for name, value in gene.theta.items():
        torch.testing.assert_close(fitted.learngene.theta[name], value, rtol=1e-4, atol=1e-5)


def test_inspect_reports_what_the_command_reports(folder):
    shown = json.loads(CliRunner().invoke(app, ["inspect", "learngene.pt", "--json"]).stdout)["files"][0]
    assert json.loads(json.dumps(tleg.inspect("learngene.pt"))) == shown


@pytest.mark.slow
def test_types_reach_those_who_import_it(tmp_path):
    """With py.typed: mypy knows the types in a script outside this checkout."""
    script = tmp_path / "script.py"
    script.write_text(
        "import tleg_cli.api as tleg\n"
        "reveal_type(tleg.read_learngene('x'))\n"
        "reveal_type(tleg.create('x', 6))\n"
        "reveal_type(tleg.fit('x').learngene)\n"
        "reveal_type(tleg.Basis)\n"
        "tleg.create('x', depth=6.5)\n"
    )
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    mypy = [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", str(script)]
    done = subprocess.run(mypy, capture_output=True, text=True, cwd=tmp_path, env=environment)
    for word in (
        "tleg_cli.learngene.gene.Learngene",
        "torch.nn.modules.module.Module",
        "tleg_cli.learngene.basis.Basis",
    ):
        assert word in done.stdout, done.stdout + done.stderr
    assert 'has incompatible type "float"' in done.stdout
