"""`tleg expand` without timm: a note in the file replaces the comparison with the network, and only while it holds."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.plugins.test_families import CONVNEXT, DEEP_SWIN, SWIN, VIT, aux_net_of
from tleg_cli import plugin_manager
from tleg_cli.errors import FileFormatError
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expansion import Expansion
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.learngene.gene import Learngene
from tleg_cli.models import network_check
from tleg_cli.models.aux_net import new_aux_net
from tleg_cli.models.descendant import expanded_model
from tleg_cli.models.grow import grow
from tleg_cli.models.network_check import is_checked, with_network_check

CASES = {  # backbone, options, image size, trained depth, depth to grow
    "vit": ("vit", VIT, 8, (4,), (7,)),
    "beit": ("beit", VIT, 8, (4,), (3,)),
    "swin": ("swin", DEEP_SWIN, 32, (2, 2, 3, 2), (1, 2, 6, 2)),
    "swinv2": ("swinv2_2_stages", SWIN, 16, (2, 4), (3, 2)),
    "convnext": ("convnext", CONVNEXT, 32, (2, 2, 3, 2), (3, 3, 9, 3)),
}


@pytest.fixture(params=CASES)
def case(request, metadata_of) -> tuple[Learngene, tuple[int, ...]]:
    name, options, size, trained, depth = CASES[request.param]
    return with_network_check(aux_net_of(metadata_of, name, options, size, trained).learngene()), depth


@pytest.fixture
def no_network(monkeypatch):
    """From here on a network that is built is an error."""

    def refuse(*arguments, **keywords):
        raise AssertionError("a network was built")

    return lambda: monkeypatch.setattr(network_check, "build_model", refuse)


def written(learngene: Learngene, depth: tuple[int, ...], folder: Path, name: str) -> bytes:
    source = folder / "gene.pt"
    if not source.exists():
        write_learngene(learngene, source)
    (grown,) = grow(learngene, [depth], source, folder / f"{name}.safetensors")
    return json.dumps([grown.depth, grown.parameters, grown.create]).encode() + grown.file.read_bytes()


def test_the_file_is_the_same_without_a_network_byte_by_byte(case, tmp_path, no_network):
    learngene, depth = case
    expected = expanded_model(learngene, depth).state_dict()
    compared = written(replace(learngene, network_check=None), depth, tmp_path, "compared")
    no_network()
    assert written(learngene, depth, tmp_path, "noted") == compared
    found = load_file(tmp_path / "noted.safetensors")
    assert set(found) == set(expected)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("basis", ["constant", "polynomial:2", "hat:3", "ranked:2-0-3-1"])
def test_other_bases_and_rules_need_no_network_either(metadata_of, tmp_path, no_network, basis):
    backbone = plugin_manager.get_backbone("vit")
    gene = with_network_check(new_aux_net(backbone, get_basis(basis), metadata_of((4,))).learngene())
    gene = replace(gene, expansion=Expansion("tleg", "scaled", backbone.branch_ends))
    compared = written(replace(gene, network_check=None), (6,), tmp_path, "compared")
    no_network()
    assert written(gene, (6,), tmp_path, "noted") == compared


def test_the_layout_is_that_of_the_formats_own_library(case, tmp_path):
    learngene, depth = case
    written(learngene, depth, tmp_path, "ours")
    save_file(load_file(tmp_path / "ours.safetensors"), tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    files = []
    for name in ("ours", "theirs"):
        content = (tmp_path / f"{name}.safetensors").read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:begin])
        assert header.pop("__metadata__")["format"] == "pt"
        assert begin % 8 == 0
        files.append((list(header.items()), content[begin:]))
    assert files[0] == files[1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_learngene_of_16_bits_becomes_a_network_of_32_without_building_it(make_aux_net, tmp_path, no_network, dtype):
    gene = make_aux_net().learngene()
    theta = {name: value.detach().to(dtype) for name, value in gene.theta.items()}
    gene = with_network_check(replace(gene, theta=theta))
    expected = expanded_model(gene, (3,)).state_dict()
    compared = written(replace(gene, network_check=None), (3,), tmp_path, "compared")
    no_network()
    assert written(gene, (3,), tmp_path, "noted") == compared
    found = load_file(tmp_path / "noted.safetensors")
    assert all(found[name].dtype == torch.float32 and torch.equal(found[name], expected[name]) for name in expected)


def test_a_learngene_of_64_bits_has_no_note(make_aux_net):
    gene = make_aux_net().learngene()
    theta = {name: value.detach().double() for name, value in gene.theta.items()}
    assert with_network_check(replace(gene, theta=theta)).network_check is None


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_the_note_travels_with_the_file(make_aux_net, tmp_path, suffix):
    gene = with_network_check(make_aux_net().learngene())
    write_learngene(gene, tmp_path / f"gene{suffix}")
    again = read_learngene(tmp_path / f"gene{suffix}")
    assert again.network_check == gene.network_check
    assert is_checked(again)


def test_a_note_about_anything_else_is_not_believed(make_aux_net, tmp_path, monkeypatch):
    gene = with_network_check(make_aux_net().learngene())
    write_learngene(gene, tmp_path / "gene.pt")
    data = gene.metadata
    wider = replace(gene, metadata=replace(data, options={**data.options, "embed_dim": 32}))
    cut = replace(gene, shared={name: value for name, value in gene.shared.items() if name != "head.bias"})
    for other, why in ((wider, "has shape"), (cut, "head.bias has shape none, it is missing")):
        assert not is_checked(other)
        with pytest.raises(FileFormatError, match=why):
            grow(other, [(3,)], tmp_path / "gene.pt", tmp_path / "net.safetensors")
    assert not (tmp_path / "net.safetensors").exists()
    note = gene.network_check
    assert note is not None
    assert not is_checked(replace(gene, network_check=replace(note, timm="0.9.0")))
    monkeypatch.setattr(plugin_manager, "BUILT_IN", ())  # a third party's network may differ at another depth
    assert not is_checked(gene)
    assert with_network_check(gene).network_check is None


@pytest.mark.parametrize(
    "note", [{"timm": 1}, [], {"timm": "1", "network": "2"}, {"timm": "1", "network": "2", "buffers": 3}]
)
def test_a_broken_note_is_refused(make_aux_net, tmp_path, note):
    write_learngene(make_aux_net().learngene(), tmp_path / "gene.pt")
    torch.save({**torch.load(tmp_path / "gene.pt"), "network_check": note}, tmp_path / "gene.pt")
    with pytest.raises(FileFormatError, match="network_check"):
        read_learngene(tmp_path / "gene.pt")


SCRIPT = """
import sys
from tleg_cli.cli import main
for words in {commands}:
    sys.argv = ["tleg", *words]
    try:
        main()
    except SystemExit as left:
        assert not left.code, words
loaded = {{name.partition(".")[0] for name in sys.modules}}
assert "torch" in loaded
assert loaded.isdisjoint({{"timm", "torchvision"}}), loaded
assert "torch._dynamo" not in sys.modules
"""


def test_expand_imports_neither_timm_nor_torchvision(make_aux_net, metadata_of, tmp_path):
    name, options, size, trained, _ = CASES["swin"]
    genes = {
        "vit": make_aux_net().learngene(),
        "swin": aux_net_of(metadata_of, name, options, size, trained).learngene(),
    }
    for name, gene in genes.items():
        write_learngene(with_network_check(gene), tmp_path / f"{name}.pt")
    commands = [
        ["expand", "vit.pt", "--depth", "3,9"],
        ["expand", "vit.pt", "--depth", "3", "--step", "scaled", "--out", "scaled.safetensors"],
        ["expand", "swin.pt", "--depth", "6", "--positions", "ends", "--step", "1"],
    ]
    subprocess.run([sys.executable, "-c", SCRIPT.format(commands=commands)], cwd=tmp_path, check=True)
    assert len(list(tmp_path.glob("*.safetensors"))) == 4
