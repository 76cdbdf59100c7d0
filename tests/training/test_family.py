"""A family, depth by depth: values of its own where the preset says so, and one summary whichever command trained what."""

import json

from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tleg_cli.report.summary import report_family
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_descendants import train_descendants

SETTINGS = ("descendant.epochs=1", "descendant.ema_decay=0.9", "descendant.per_depth.4.epochs=2")


def test_a_depth_may_have_a_recipe_of_its_own_and_a_later_depth_joins_the_family(tmp_path, teacher, capsys):
    train_aux(tiny_config("aux.epochs=1", teacher=teacher), tmp_path / "aux", ALONE, Onlooker())
    gene, config, out = tmp_path / "aux" / "learngene.pt", tiny_config(*SETTINGS), tmp_path / "des"
    first = train_descendants(config, gene, [(2,), (4,)], out, ALONE, Onlooker())
    assert [len(one["top1"]) for one in first["descendants"]] == [1, 2]
    assert json.loads((out / "depth-04" / "plan.json").read_text())["steps"] == 2 * STEPS

    onlooker = Onlooker()
    second = train_descendants(config, gene, [(3,)], out, ALONE, onlooker)
    assert onlooker.steps == list(range(1, STEPS + 1))
    assert second == json.loads((out / "summary.json").read_text())
    assert [one["depth"] for one in second["descendants"]] == ["2", "3", "4"]
    assert [second["descendants"][place] for place in (0, 2)] == first["descendants"]

    report_family(second, out, as_json=False)
    table = capsys.readouterr().out.splitlines()
    assert table[1].split()[-1] == "EMA"
    assert [line.split()[0] for line in table[2:]] == ["2", "3", "4"]
    ema = [one["ema_top1"][-1] for one in second["descendants"]]
    assert [line.split()[-2] for line in table[2:]] == [f"{value:.1f}" for value in ema]


def test_another_learngenes_descendants_are_no_part_of_the_family(tmp_path, teacher):
    config, out = tiny_config("descendant.epochs=1"), tmp_path / "des"
    for seed, depth in ((0, 2), (1, 3)):
        aux = tmp_path / f"aux-{seed}"
        train_aux(tiny_config("aux.epochs=1", teacher=teacher, seed=seed), aux, ALONE, Onlooker())
        family = train_descendants(config, aux / "learngene.pt", [(depth,)], out, ALONE, Onlooker())
    assert [one["depth"] for one in family["descendants"]] == ["3"]
