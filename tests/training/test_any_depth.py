"""Any-depth stage 1: a depth for each step, one learngene for all, and the same weights however the run was interrupted."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tleg_cli.config import Distillation
from tleg_cli.errors import ConfigError, PluginError
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.file import read_learngene
from tleg_cli.training.in_place import InPlace
from tleg_cli.training.task import check_task, resolve
from tleg_cli.training.train_aux import train_aux

SWIN = (
    "backbone.name=swin_2_stages",
    "backbone.options={img_size: 8, patch_size: 1, window_size: 2, embed_dim: 16, num_heads: [2, 4]}",
)
ANY = ("aux.depth=2-5", "expansion.positions=unit", "expansion.step=scaled", "basis=hat:3", "aux.ema_decay=0.9")


def learngene_of(out: Path, teacher: Path, *settings: str, observer: Onlooker | None = None) -> dict[str, torch.Tensor]:
    watch = observer or Onlooker()
    train_aux(tiny_config(*ANY, *settings, teacher=teacher), out, ALONE, watch)
    gene = read_learngene(out / "learngene.pt")
    return {**gene.theta, **gene.shared}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_one_run_serves_every_depth_and_scores_the_shallowest_and_the_deepest(tmp_path, teacher):
    watch = Onlooker()
    learngene_of(tmp_path, teacher, observer=watch)
    gene = read_learngene(tmp_path / "learngene.pt")
    assert gene.metadata.depth == (3,)  # sqrt(2 * 5)
    assert (gene.expansion.positions, gene.expansion.step) == ("unit", "scaled")
    assert gene.metadata.provenance["depths"] == "2-5"
    assert len(expand(gene, 9)) > 9
    assert [set(record["top1_at"]) for record in watch.records] == [{"2", "5"}] * 3


def test_too_little_memory_is_one_line_with_the_way_out(tmp_path, teacher):
    def allocate(step):
        torch.empty(1 << 60, dtype=torch.uint8)

    with pytest.raises(ConfigError, match=r"batch_size is 256 and the deepest network has 5 blocks; lower one of them"):
        learngene_of(tmp_path, teacher, observer=Onlooker(allocate))


@pytest.mark.parametrize("stop", [2, STEPS, STEPS + 3])
def test_stopped_anywhere_the_weights_are_bitwise_the_same(tmp_path, teacher, stop):
    from tests.training.test_resume import stop_at

    straight = learngene_of(tmp_path / "straight", teacher)
    with pytest.raises(Exception, match="stopped at step"):
        learngene_of(tmp_path / "stopped", teacher, observer=stop_at(stop))
    assert same(straight, learngene_of(tmp_path / "stopped", teacher))


def test_the_own_deepest_form_teaches_the_other_depths_from_its_start_on(tmp_path, teacher):
    """In place: from step `start` on another run, before it the same one; stopped and resumed, the same weights."""
    from tests.training.test_resume import stop_at

    late = ("aux.in_place.weight=0.5", "aux.in_place.start=0.5")
    plain, own = Onlooker(), Onlooker()
    learngene_of(tmp_path / "plain", teacher, observer=plain)
    straight = learngene_of(tmp_path / "own", teacher, *late, observer=own)
    first = round(0.5 * 3 * STEPS)
    assert own.losses[:first] == plain.losses[:first]
    assert own.losses[first:] != plain.losses[first:]
    with pytest.raises(Exception, match="stopped at step"):
        learngene_of(tmp_path / "stopped", teacher, *late, observer=stop_at(first + 1))
    assert same(straight, learngene_of(tmp_path / "stopped", teacher, *late))


def test_the_loss_in_place_is_a_mixture_with_the_distance_to_the_deepest_form():
    network = nn.Linear(3, 4)
    network.forward = lambda images, depth: images @ network.weight.T * depth[0]  # type: ignore[method-assign]
    images, targets = torch.randn(5, 3), torch.eye(4)[[0, 1, 2, 3, 0]]
    in_place = InPlace(0.25, 10, (12,), Distillation())
    assert [in_place.applies(step, depth) for step, depth in ((9, (3,)), (10, (3,)), (10, (12,)))] == [
        False,
        True,
        False,
    ]
    logits = network(images, (3,))
    loss = in_place.blend(torch.tensor(2.0), logits, network, images, targets)
    own = (images @ network.weight.T * 12).softmax(1)
    distance = (own * (own.log() - logits.log_softmax(1))).sum() / 5
    torch.testing.assert_close(loss, 0.75 * 2.0 + 0.25 * distance)
    assert network.training
    loss.backward()
    expected = torch.autograd.grad(
        0.25 * (own.detach() * (own.detach().log() - network(images, (3,)).log_softmax(1))).sum() / 5, network.weight
    )
    torch.testing.assert_close(network.weight.grad, expected[0])  # none through the deepest form


def test_accumulation_has_one_depth_for_a_step_and_equals_one_big_batch(tmp_path, teacher):
    big = learngene_of(tmp_path / "big", teacher, "aux.epochs=1", "augmentation.crop_scale=null")
    small = learngene_of(
        tmp_path / "small",
        teacher,
        "aux.epochs=1",
        "augmentation.crop_scale=null",
        "aux.batch_size=128",
        "aux.accumulation=2",
    )
    for name, value in big.items():
        torch.testing.assert_close(small[name], value, rtol=0, atol=1e-4)


def test_another_draw_trains_another_learngene(tmp_path, teacher):
    uniform = learngene_of(tmp_path / "uniform", teacher)
    assert not same(uniform, learngene_of(tmp_path / "shallow", teacher, "aux.draw=shallow"))


def test_scoring_more_depths_changes_no_weight(tmp_path, teacher):
    usual = learngene_of(tmp_path / "usual", teacher)
    assert same(usual, learngene_of(tmp_path / "more", teacher, "aux.score_depths='2,4,9'"))


def test_a_run_of_other_depths_is_another_run(tmp_path, teacher):
    learngene_of(tmp_path, teacher)
    with pytest.raises(ConfigError, match="draw.depths"):
        train_aux(tiny_config(*ANY, "aux.depth=2-6", teacher=teacher), tmp_path, ALONE, Onlooker())


def test_one_depth_is_tleg_as_before():
    task = resolve(tiny_config("aux.depth='6'"))
    assert task.draw is None
    assert task.depth == (6,)


@pytest.mark.parametrize(
    ("settings", "depths", "reference"),
    [
        (("aux.depth=3-12",), [(depth,) for depth in range(3, 13)], (6,)),
        (("aux.depth='3,6,24'",), [(3,), (6,), (24,)], (8,)),
        (("aux.depth=3-12", "aux.reference_depth=12"), [(depth,) for depth in range(3, 13)], (12,)),
        (
            (*SWIN, "aux.depth=2:2-6"),
            [(2, depth) for depth in range(2, 7)],
            (2, 3),
        ),
    ],
)
def test_ranges(settings, depths, reference):
    task = resolve(tiny_config(*settings))
    assert task.draw is not None
    assert list(task.draw.depths) == depths
    assert task.depth == reference


@pytest.mark.parametrize(
    ("settings", "error", "why"),
    [
        (("aux.depth=0-3",), ConfigError, "from 1 to"),
        (("aux.depth=12-3",), ConfigError, "backwards"),
        (("aux.depth='3,3'",), ConfigError, "more than once"),
        (("aux.depth=2:2-6",), ConfigError, "stages"),
        (("aux.depth=3-12", "aux.draw=often"), ConfigError, "draw"),
        (("aux.depth='6'", "aux.in_place.weight=0.5"), ConfigError, "no deeper form"),
        (("aux.depth=3-12", "aux.in_place.weight=1"), ConfigError, "less than 1"),
        (("aux.depth=3-12", "aux.reference_depth=3-4"), ConfigError, "names 2 networks"),
        (("aux.depth=3-12", "aux.score_depths=2:4"), ConfigError, "stages"),
        (("expansion.step=often",), ConfigError, "write none, scaled"),
        (("expansion.positions=middle",), ConfigError, "positions"),
        (("expansion.stepp=1",), ConfigError, "stepp"),
    ],
)
def test_what_cant_be_is_refused(settings, error, why):
    with pytest.raises(error, match=why):
        resolve(tiny_config(*settings))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (("basis=hat:3", "expansion.step=repeats"), "repeats needs a basis that takes blocks one by one"),
        (("data.image_size=9",), "data.image_size is 9, but backbone.options.img_size is 8"),
    ],
)
def test_what_its_network_cant_have_is_refused_before_the_data_is_opened(settings, why):
    with pytest.raises(ConfigError, match=why):
        check_task(resolve(tiny_config(*settings)))
    check_task(resolve(tiny_config("basis=piecewise:3", "expansion.step=repeats")))


def test_a_step_needs_a_backbone_with_branch_ends(publish):
    publish(
        "from tleg_cli.api import Backbone, hookimpl\n"
        "@hookimpl\n"
        "def tleg_backbones():\n"
        "    sizes = {'img_size': 8, 'patch_size': 2, 'embed_dim': 16, 'num_heads': 2}\n"
        "    return [Backbone('bare', timm_name='vit_tiny_patch16_224', options=sizes)]\n"
    )
    settings = ("backbone.name=bare", "expansion.step=scaled")
    with pytest.raises(PluginError, match="declares no branch_ends"):
        resolve(tiny_config(*settings))
