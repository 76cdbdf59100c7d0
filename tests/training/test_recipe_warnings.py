"""Recipes that can be trained but are hardly meant: the effect is reported before the first step."""

import pytest

from tests.tiny import ALONE, Onlooker, tiny_config
from tleg_cli.errors import ConfigError
from tleg_cli.training.optim import Budget, recipe_warnings
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_descendants import train_descendants


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("aux.epochs=2", "aux.warmup_epochs=5"), "warmup_epochs = 5 is longer than the 2 epochs"),
        (("aux.epochs=2", "aux.warmup_epochs=2.5"), "warmup_epochs = 2.5 is longer"),
        (("aux.epochs=1", "aux.cooldown_epochs=10"), "cooldown_epochs = 10 is longer than the 1 epochs"),
        (("aux.min_lr=1",), "min_lr = 1 is above lr"),
        (("aux.warmup_lr=1",), "warmup_lr = 1 is above lr"),
        (("aux.epochs=1", "aux.warmup_epochs=1"), None),
        (("aux.epochs=0", "aux.warmup_epochs=5"), None),
    ],
)
def test_the_effect_is_named(settings, expected):
    recipe = tiny_config(*settings).aux
    found = recipe_warnings(recipe, Budget(1280, 256, 5, recipe.epochs + recipe.cooldown_epochs, recipe.lr))
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]


def test_a_training_shows_it(tmp_path, teacher):
    look = Onlooker()
    train_aux(tiny_config("aux.epochs=1", "aux.warmup_epochs=3", teacher=teacher), tmp_path, ALONE, look)
    assert any("warning: warmup_epochs = 3 is longer" in line for line in look.said)
    assert max(look.rates) < 0.4 * tiny_config().aux.lr


def test_networks_from_scratch_need_no_learngene_and_are_those_that_a_learngene_names(tmp_path, teacher):
    train_aux(tiny_config("aux.epochs=1", teacher=teacher), tmp_path / "aux", ALONE, Onlooker())
    config = tiny_config("descendant.epochs=1")
    one = train_descendants(config, None, [(2,)], tmp_path / "without", ALONE, Onlooker(), scratch=True)
    gene = tmp_path / "aux" / "learngene.pt"
    other = train_descendants(config, gene, [(2,)], tmp_path / "with", ALONE, Onlooker(), scratch=True)
    scores = [
        [run["descendants"][0][name] for name in ("parameters", "top1", "zero_epoch_top1")] for run in (one, other)
    ]
    assert scores[0] == scores[1]
    with pytest.raises(ConfigError, match="--learngene FILE is missing"):
        train_descendants(config, None, [(2,)], tmp_path / "neither", ALONE, Onlooker())
