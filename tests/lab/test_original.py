"""A network that is there already: methods that cut it pay nothing for it, and the ranking of its blocks is paid for."""

import json

import pytest
import torch

from tests.lab.conftest import EPOCH
from tests.tiny import ALONE
from tleg_cli import plugin_manager
from tleg_cli.errors import ConfigError
from tleg_cli.lab.choose import choose, open_study, trained_block_images
from tleg_cli.lab.folder import LabFolder
from tleg_cli.lab.run_cell import run_cell
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import read_learngene
from tleg_cli.models.importance import RANKING_BATCHES
from tleg_cli.report.lab_page import lab_page

CUT = ["every-nth", "most-important", "adopt", "adopt-ranked"]
BASES = plugin_manager.bases()


def cells_of(file, *only):
    study = open_study(str(file))
    return study, choose(study, only, None)


@pytest.mark.parametrize("method", [*CUT, "stochastic-depth", "distilled", "tleg"])
def test_the_family_costs_the_budget_and_the_original_nothing(protocol, method):
    study, cells = cells_of(protocol([method], budget=80, original=40))
    assert study.block_images - 4 * 64 * 4 < trained_block_images(cells) <= study.block_images
    ranking = (4 + 4 * 3 + 3 * 2 + 2 * 1) * RANKING_BATCHES * 64 / 3 if "ranked" in method or "most" in method else 0
    assert cells[0].ranking == pytest.approx(ranking, abs=1)
    original = cells[0].sources[0] if cells[0].sources else None
    if method in ("distilled", "tleg"):
        assert original is None or original.block_images
    else:
        assert original is not None
        assert (original.block_images, original.steps) == (0, 40 * 260 // (64 * 4))


def test_table_and_page_say_that_it_was_free(protocol):
    study, _ = cells_of(protocol(["adopt"], budget=80, original=40))
    words = "80 block-epochs for all depths together; a network of 40 block-epochs is there already"
    assert study.protocol.compute == words
    assert words in lab_page(study, "mine", [], [])


def test_all_methods_that_cut_it_share_one_original_whatever_their_rates(protocol):
    rates = {"adopt": {"source": {"lr": 1e-3}}, "every-nth": {"target": {"lr": 1e-3}}}
    _, cells = cells_of(protocol(CUT, budget=80, original=40, recipes=rates))
    assert len({cell.sources[0].name for cell in cells}) == 1
    assert len({cell.sources[1].name for cell in cells if len(cell.sources) == 2}) == 2
    by_method = {cell.method.name: cell for cell in cells}
    assert by_method["adopt"].sources[1].config.aux.lr == by_method["every-nth"].target.config.aux.lr == 1e-3
    assert by_method["adopt"].sources[0].config.aux.lr != 1e-3


@pytest.mark.parametrize(
    ("methods", "values", "words"),
    [
        (["every-nth"], {"recipes": {"every-nth": {"share": 0.5}}}, "method every-nth: its source is the protocol's original"),
        (["every-nth"], {"recipes": {"every-nth": {"source": {"lr": 0.1}}}}, r"leave out recipe\.source"),
        (["adopt"], {"original": 3}, r"original 3 gives it 3 steps, less than one epoch of 4"),
        (["most-important"], {"original": None, "budget": 20}, "gives the source of most-important 0 steps"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(protocol, methods, values, words):
    with pytest.raises(ConfigError, match=words):
        cells_of(protocol(methods, **{"budget": 80, "original": 40, **values}))


def test_a_network_of_several_stages_is_not_ranked(protocol):
    swin = ["backbone.name=swin", "backbone.options={}"]
    with pytest.raises(ConfigError, match="method most-important: it ranks the blocks of one stage, and swin has 4"):
        cells_of(protocol(["most-important"], swin, depths="2:2:2:2,2:2:4:2"))


def test_the_budget_that_a_refusal_names_is_enough_with_a_ranking(protocol):
    with pytest.raises(ConfigError) as caught:
        cells_of(protocol(["most-important"], budget=20))
    enough = int(str(caught.value).split("has to be ")[1].split()[0])
    for cell in cells_of(protocol(["most-important"], budget=enough))[1]:
        assert cell.sources[0].steps >= EPOCH
        assert cell.target.steps >= EPOCH


def test_the_networks_start_with_the_most_important_blocks_of_one_original(protocol, tmp_path):
    """From the files: which blocks are ranked first, and that each network is made of these."""
    study, cells = cells_of(protocol(["adopt-ranked", "most-important"], budget=40, original=20))
    folder = LabFolder(tmp_path / "out")
    rows = [run_cell(study, cell, folder, ALONE) for cell in cells]
    assert [row["status"] for row in rows] == ["done"] * 4, rows
    adopted, cut = cells[0], next(cell for cell in cells if cell.method.name == "most-important")
    original = read_learngene(folder.source(adopted.sources[0].name, 0) / "learngene.pt", BASES)
    ranked = read_learngene(folder.source(adopted.sources[1].name, 0) / "learngene.pt", BASES).basis
    assert original.basis.name == "piecewise:4"
    assert ranked.name.startswith("ranked:")
    most = [int(block) for block in ranked.name.removeprefix("ranked:").split("-")][:2]
    summary = json.loads((folder.cell(cut) / "training" / "summary.json").read_text())
    start = read_learngene(folder.source(cut.sources[0].name, 0) / "learngene.pt", BASES)
    weights, whole = expand(start, (4,)), expand(original, (4,))
    assert all(torch.equal(weights[name], whole[name]) for name in whole)  # one file for both
    assert summary["zero_epoch_top1"] == rows[cells.index(cut)]["start"]
    network = cut.method.grow(type(start)(**{**vars(start), "basis": ranked}), cut.depth)
    for place, block in enumerate(sorted(most)):
        assert torch.equal(network[f"blocks.{place}.mlp.fc1.weight"], whole[f"blocks.{block}.mlp.fc1.weight"])
    assert rows[0]["source_block_images"] == adopted.ranking + adopted.sources[1].block_images
