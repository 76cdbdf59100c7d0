"""A trained network as a learngene: exactly itself at its own depth, whatever its family; any other depth from the same file."""

import copy

import pytest
import torch
from safetensors.torch import save_file

from tests.plugins.test_families import FAMILIES, NAMES
from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.basis import get_basis
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.expansion import Expansion
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.learngene.full_rank import full_rank
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.adopt import Adopted, adopt_network, expecting
from tleg_cli.models.branches import rule_for
from tleg_cli.models.build import build_model
from tleg_cli.models.descendant import expanded_model, full_depth
from tleg_cli.models.importance import passes, rank_blocks
from tleg_cli.training.teaching import teaches_itself

OPTIONS = {"img_size": 8, "patch_size": 4, "embed_dim": 16, "num_heads": 2}


def metadata(name: str, options: dict, depth: tuple[int, ...], size: int) -> Metadata:
    return Metadata(name, options, depth, 5, InputSpec(size, (0.5,) * 3, (0.5,) * 3, 1.0))


@pytest.mark.parametrize(("name", "options", "size", "depth", "others"), FAMILIES, ids=NAMES)
def test_at_its_own_depth_the_learngene_is_the_network(tmp_path, name, options, size, depth, others):
    torch.manual_seed(0)
    backbone = plugin_manager.get_backbone(name)
    about = metadata(name, options, depth, size)
    network = build_model(backbone, options, depth, 5).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)  # fresh layer scale would hide the branches
    rule = rule_for(name, options, "tleg", "repeats")
    learngene = full_rank(network.state_dict(), backbone.stages, about, rule)
    grown = expand(learngene, depth)
    assert set(grown) == set(network.state_dict())
    for key, value in network.state_dict().items():
        assert torch.equal(grown[key], value), key
    write_learngene(learngene, tmp_path / "gene.pt")
    images = torch.randn(2, 3, size, size)
    for other in (depth, *others):  # any other depth is a network of timm too
        model = expanded_model(read_learngene(tmp_path / "gene.pt"), full_depth(learngene, other)).eval()
        with torch.no_grad():
            logits = model(images)
        assert logits.isfinite().all()
    with torch.no_grad():
        ours = expanded_model(read_learngene(tmp_path / "gene.pt"), depth).eval()(images)
        assert torch.equal(ours, network(images))


def test_shallower_networks_take_blocks_and_deeper_ones_repeat_them_in_smaller_steps():
    backbone = plugin_manager.get_backbone("vit")
    network = build_model(backbone, OPTIONS, (4,), 5)
    rule = rule_for("vit", OPTIONS, "tleg", "repeats")
    learngene = full_rank(network.state_dict(), backbone.stages, metadata("vit", OPTIONS, (4,), 8), rule)
    own = network.state_dict()
    half, twice = expand(learngene, 2), expand(learngene, 8)
    for inside in ("attn.qkv.weight", "attn.proj.weight"):
        for block, source in enumerate((0, 2)):
            assert torch.equal(half[f"blocks.{block}.{inside}"], own[f"blocks.{source}.{inside}"])
        for block in range(8):
            share = 0.5 if inside.startswith("attn.proj") else 1.0
            assert torch.equal(twice[f"blocks.{block}.{inside}"], share * own[f"blocks.{block // 2}.{inside}"])


@pytest.mark.parametrize("stages", [(2, 3), (1, 5), (6, 4)])
def test_stages_of_other_depths_store_their_blocks_more_than_once(stages):
    backbone = plugin_manager.get_backbone("swin_2_stages")
    options = {"img_size": 8, "patch_size": 1, "window_size": 2, "embed_dim": 16, "num_heads": [2, 4]}
    network = build_model(backbone, options, stages, 5)
    about = metadata("swin_2_stages", options, stages, 8)
    learngene = full_rank(network.state_dict(), backbone.stages, about, Expansion())
    assert learngene.basis.name == f"piecewise:{max(stages)}"
    assert all(torch.equal(expand(learngene, stages)[key], value) for key, value in network.state_dict().items())


def saved(tmp_path, depth: int = 4):
    network = build_model(plugin_manager.get_backbone("vit"), OPTIONS, (depth,), 5)
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_the_settings_are_those_of_the_very_network(tmp_path):
    from tleg_cli.config_file import load_config

    file = saved(tmp_path)
    adopted = adopt_network(file, None, "vit", {"num_heads": 2})
    config = load_config("adopt", adopted.settings)
    assert (config.aux.depth, config.aux.reference_depth, config.basis) == ("1-4", "4", "piecewise:4")
    assert config.aux.score_depths == "1,2,3,4"
    assert (config.expansion.positions, config.expansion.step) == ("tleg", "repeats")
    assert teaches_itself(config)
    other = load_config("adopt", (*adopted.settings, f"teacher.weights={file}"))
    assert not teaches_itself(other)


def test_what_a_file_does_not_state_can_be_corrected_and_what_it_states_cannot(tmp_path):
    assumed = adopt_network(saved(tmp_path), None, "vit", {"num_heads": 2})
    assert "--set data.mean=" in assumed.note
    grey = InputSpec(8, (0.5,) * 3, (0.5,) * 3, 1.0)
    assert expecting(assumed, grey).metadata.input == grey
    stated = Adopted(assumed.learngene, assumed.settings)
    assert expecting(stated, grey) is assumed.learngene


def test_what_cannot_be_adopted_is_named(tmp_path):
    gene = adopt_network(saved(tmp_path), "2-4", "vit", {"num_heads": 2}).learngene
    write_learngene(gene, tmp_path / "gene.pt")
    with pytest.raises(FileFormatError, match="is a learngene already"):
        adopt_network(tmp_path / "gene.pt")
    save_file({"layer.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises((FileFormatError, ConfigError), match=r"other\.safetensors: .*; docs/plugins\.md says how"):
        adopt_network(tmp_path / "other.safetensors")
    weights = build_model(plugin_manager.get_backbone("vit"), OPTIONS, (3,), 5).state_dict()
    save_file(
        weights | {f"blocks.{n}.norm1.running_mean": torch.zeros(16) for n in range(3)}, tmp_path / "bn.safetensors"
    )
    with pytest.raises(FileFormatError, match=r"its blocks hold BatchNorm \(blocks\.0\.norm1\.running_mean\)"):
        adopt_network(tmp_path / "bn.safetensors")
    wide = {"blocks.2.mlp.fc1.weight": (32, 16), "blocks.2.mlp.fc1.bias": (32,), "blocks.2.mlp.fc2.weight": (16, 32)}
    save_file(weights | {name: torch.zeros(shape) for name, shape in wide.items()}, tmp_path / "wide.safetensors")
    with pytest.raises(
        FileFormatError, match=r"blocks\.2\.mlp\.fc1\.bias has shape \(32,\), but in block 0 it is \(64,\)"
    ):
        adopt_network(tmp_path / "wide.safetensors")
    weights["blocks.1.mlp.fc1.bias"] = torch.full_like(weights["blocks.1.mlp.fc1.bias"], float("nan"))
    save_file(weights, tmp_path / "nan.safetensors")
    with pytest.raises(FileFormatError, match=r"blocks\.1\.mlp\.fc1\.bias holds NaN"):
        adopt_network(tmp_path / "nan.safetensors", None, "vit", {"num_heads": 2})


def test_a_ranking_takes_the_most_important_blocks_in_their_order():
    basis = get_basis("ranked:2-0-3-1")
    taken = {depth: basis.matrix(depth).argmax(dim=1).tolist() for depth in (1, 2, 3, 4)}
    assert taken == {1: [2], 2: [0, 2], 3: [0, 2, 3], 4: [0, 1, 2, 3]}
    assert bool((basis.matrix(3).sum(dim=1) == 1).all())
    for wrong in ("ranked:0-0-1", "ranked:1-2", "ranked:", "ranked:0-x", "ranked:-1-0"):
        with pytest.raises(ConfigError, match="ranked"):
            get_basis(wrong)


def test_deeper_than_its_network_a_ranking_repeats_the_least_important_blocks_and_never_the_most_important():
    basis = get_basis("ranked:2-0-3-1")
    taken = {depth: basis.matrix(depth).argmax(dim=1).tolist() for depth in (5, 6, 7, 8)}
    assert taken == {
        5: [0, 1, 1, 2, 3],
        6: [0, 1, 1, 2, 3, 3],
        7: [0, 0, 1, 1, 2, 3, 3],
        8: [0, 0, 1, 1, 1, 2, 3, 3],
    }
    assert get_basis("ranked:0").matrix(3).tolist() == [[1.0]] * 3


def test_blocks_that_do_nothing_are_ranked_last_and_the_rest_by_what_their_absence_changes():
    torch.manual_seed(0)
    network = build_model(plugin_manager.get_backbone("vit"), OPTIONS, (4,), 5)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        for block, size in ((1, 0.0), (3, 0.01)):
            for end in (network.blocks[block].attn.proj, network.blocks[block].mlp.fc2):
                end.weight.mul_(size)
                end.bias.mul_(size)
    images = [torch.randn(8, 3, 8, 8) for _ in range(2)]
    with torch.no_grad():
        before = network.eval()(images[0])
    calls = []
    hooks = [block.attn.register_forward_hook(lambda *_: calls.append(1)) for block in network.blocks]
    order = rank_blocks(network, list(network.blocks), images)
    for hook in hooks:
        hook.remove()
    assert len(calls) == len(images) * passes(4) == 2 * (4 + 4 * 3 + 3 * 2 + 2 * 1)  # a block left out costs nothing
    assert order[2:] == [3, 1]
    with torch.no_grad():
        assert torch.equal(network(images[0]), before)  # every block is in its place again

        def without(block):
            kept = copy.deepcopy(network)
            kept.blocks = torch.nn.Sequential(
                *[one for number, one in enumerate(network.blocks) if number not in (1, 3, block)]
            )
            pairs = [(kept(batch).log_softmax(1), network(batch).log_softmax(1)) for batch in images]
            return sum(float((full.exp() * (full - ours)).sum() / 8) for ours, full in pairs)

        assert without(order[0]) > without(order[1])
