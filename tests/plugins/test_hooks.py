"""Every hook has a documented example; each example is installed as a plugin and used."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tleg_cli import plugin_manager
from tleg_cli.cli import app
from tleg_cli.hookspecs import API_VERSION, Hooks
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.models.build import build_model
from tleg_cli.models.descendant import expanded_model
from tleg_cli.training.tracking import load_trackers, tracked

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
HOOKS = sorted(name for name in vars(Hooks) if name.startswith("tleg_"))


def section(title: str) -> str:
    """The text under `## title`."""
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/plugins.md has no section {title}"
    return found[1]


def example(title: str) -> str:
    """The plugin under `## title`: its first block of Python."""
    found = re.search(r"^```python\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)
    assert found, f"docs/plugins.md has no example of {title}"
    return found[1]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_documented_by_a_plugin_that_uses_it(publish, hook):
    publish(example(hook), "mine")
    (report,) = [report for report in plugin_manager.survey() if report.name == "mine"]
    assert report.error is None
    assert list(report.hooks) == [hook]
    assert report.hooks[hook]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_test(hook):
    names = {node.name for node in ast.walk(ast.parse(Path(__file__).read_text())) if isinstance(node, ast.FunctionDef)}
    assert f"test_{hook}" in names, f"write test_{hook} in {Path(__file__).name}"


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_a_docstring_and_a_check(hook):
    from tleg_cli.commands.plugins import _KINDS
    from tleg_cli.plugin_manager import CHECKS

    assert (getattr(Hooks, hook).__doc__ or "").strip()
    assert hook in CHECKS
    assert hook in _KINDS


def test_the_documented_hook_version_is_the_one_that_is_there():
    assert f"TLEG_API = {API_VERSION}\n" in example("tleg_backbones")


def test_the_documented_backbone_is_the_example_package_and_has_at_most_40_lines():
    code = example("Write your own backbone")
    assert code == (ROOT / "plugins" / "example-fnet" / "tleg_fnet.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 40


def test_the_example_is_an_aux_net_and_its_descendants(publish, metadata_of, images):
    publish(example("Write your own backbone"), "fnet")
    options = {"img_size": 8, "patch_size": 4, "embed_dim": 16}
    aux_net = new_aux_net(plugin_manager.get_backbone("fnet"), get_basis("linear"), metadata_of((4,), "fnet", options))
    with torch.no_grad():
        for depth in (1, 4, 7):
            descendant = expanded_model(aux_net.learngene(), (depth,)).eval()
            assert len(descendant.blocks) == depth
            same = torch.allclose(aux_net.eval()(images), descendant(images), rtol=0, atol=1e-5)
            assert same is (depth == 4)


def test_the_line_for_stages_in_the_document_is_right():
    from tleg_cli.hookspecs import Backbone

    found = re.search(r'^    (Backbone\("mambaout".*?\)\))\n\n', section("tleg_backbones"), re.MULTILINE | re.DOTALL)
    assert found
    backbone = eval(found[1], {"Backbone": Backbone})
    model = build_model(backbone, {}, (1, 1, 2, 1), 10)
    assert any(name.startswith(f"{backbone.head[0]}.") for name, _ in model.named_parameters())


def test_tleg_backbones(publish, metadata_of):
    publish(example("tleg_backbones"), "mine")
    backbone = plugin_manager.get_backbone("vit_registers")
    options = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}
    gene = new_aux_net(backbone, get_basis("linear"), metadata_of((2,), "vit_registers", options)).learngene()
    assert gene.shared["reg_token"].shape == (1, 4, 16)
    assert len(expanded_model(gene, (5,)).blocks) == 5


def test_tleg_bases(publish, metadata_of, tmp_path):
    publish(example("tleg_bases"), "mine")
    basis = get_basis("half_wave", plugin_manager.bases())
    gene = new_aux_net(plugin_manager.get_backbone("vit"), basis, metadata_of((4,))).learngene()
    write_learngene(gene, tmp_path / "gene.pt")
    read = read_learngene(tmp_path / "gene.pt", plugin_manager.bases())
    name = "attn.qkv.weight"
    theta = read.theta[f"blocks.*.{name}"]
    weights = expand(read, 4)
    for block, cosine in enumerate(np.cos(np.pi * np.arange(4) / 4)):
        torch.testing.assert_close(weights[f"blocks.{block}.{name}"], theta[0] + cosine.item() * theta[1])


def test_tleg_sources(publish):
    from tleg_cli.data.open_source import open_source

    publish(example("tleg_sources"), "mine")
    source = open_source("stripes/200")
    assert source.classes == ("upright", "lying")
    assert (len(source.split("train")), len(source.split("val"))) == (200, 50)
    image, label = source.split("train")[3]
    assert (image.mode, image.size, label) == ("RGB", (32, 32), 1)
    rows = np.asarray(image, dtype=float).mean(axis=(1, 2))
    columns = np.asarray(image, dtype=float).mean(axis=(0, 2))
    assert rows.std() > 10 * columns.std()


def test_tleg_initialisers(publish, metadata_of):
    publish(example("tleg_initialisers"), "mine")
    method = plugin_manager.get_initialiser("neighbours")
    source = new_aux_net(plugin_manager.get_backbone("vit"), get_basis("piecewise:4"), metadata_of((4,))).learngene()
    weights, deep = method.grow(source, (2,)), expand(source, (4,))
    name = "attn.qkv.weight"
    torch.testing.assert_close(weights[f"blocks.0.{name}"], (deep[f"blocks.0.{name}"] + deep[f"blocks.1.{name}"]) / 2)
    torch.testing.assert_close(weights[f"blocks.1.{name}"], deep[f"blocks.3.{name}"])


def test_tleg_trackers(publish, tmp_path):
    publish(example("tleg_trackers"), "mine")
    trackers = load_trackers(["lines"])
    with tracked(trackers, tmp_path, {"seed": 0}, 0, pytest.fail) as track:
        track({"step": 4, "loss": 0.5, "top1_at": {"12": 97.0}})
    assert (tmp_path / "lines.csv").read_text() == "4,loss,0.5\n4,top1/depth 12,97.0\n"


def test_tleg_commands(publish, metadata_of, tmp_path):
    publish(example("tleg_commands"), "mine")
    aux_net = new_aux_net(plugin_manager.get_backbone("vit"), get_basis("linear"), metadata_of((4,)))
    write_learngene(aux_net.learngene(), tmp_path / "gene.pt")
    done = CliRunner().invoke(app, ["sizes", str(tmp_path / "gene.pt"), "--depth", "3,6"])
    assert done.exit_code == 0
    sizes = dict(line.split("\t") for line in done.stdout.splitlines())
    for depth in (3, 6):
        model = expanded_model(aux_net.learngene(), (depth,))
        assert int(sizes[str(depth)]) == sum(parameter.numel() for parameter in model.parameters())
