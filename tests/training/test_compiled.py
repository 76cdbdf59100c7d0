"""torch.compile in a training: the same results within rounding, one graph for every depth, and nothing lost where it fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.processes import aux_command, start
from tests.tiny import ALONE, STEPS, Onlooker, tiny_config
from tests.training.test_any_depth import ANY, same
from tests.training.test_resume import stop_at
from tleg_cli.config import Recipe
from tleg_cli.learngene.file import read_learngene
from tleg_cli.training.compiled import TensorDropPath, wants_compiling
from tleg_cli.training.train_aux import train_aux
from tleg_cli.training.train_descendants import train_descendants

COMPILED = (
    *ANY,
    "aux.compile=true",
    "aux.in_place.weight=0.5",
    "aux.in_place.start=0.5",
    "aux.drop_path=0.2",
    "aux.epochs=2",
)


@pytest.fixture(autouse=True)
def forget_graphs():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def weights(out: Path) -> dict[str, torch.Tensor]:
    gene = read_learngene(out / "learngene.pt")
    return {**gene.theta, **gene.shared}


def train(out: Path, teacher: Path, *settings: str, observer: Onlooker | None = None) -> Onlooker:
    watch = observer or Onlooker()
    train_aux(tiny_config(*settings, teacher=teacher), out, ALONE, watch)
    return watch


@pytest.mark.parametrize(
    ("asked", "device", "answer"),
    [("auto", "cpu", False), ("auto", "cuda", True), (False, "cuda", False), (True, "cpu", True)],
)
def test_auto_compiles_on_a_gpu_only(asked, device, answer):
    assert wants_compiling(Recipe(epochs=1, batch_size=1, lr=1, compile=asked), torch.device(device)) is answer


@pytest.mark.slow
def test_where_no_compiler_works_one_warning_is_shown_and_the_run_is_the_one_without(tmp_path, teacher):
    said = {}
    for name, options in (("compiled", ["--set", "aux.compile=true"]), ("plain", [])):
        ended = start(
            aux_command(teacher, tmp_path / name, *options, epochs=1),
            tmp_path / f"{name}.err",
            CXX="/nowhere/c++",
            TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"),
        )
        assert ended.wait() == 0
        said[name] = (tmp_path / f"{name}.err").read_text()
    assert said["compiled"].count("warning: torch.compile failed") == 1
    assert "torch.compile" not in said["plain"]
    assert same(weights(tmp_path / "compiled"), weights(tmp_path / "plain"))


def test_drop_path_by_a_tensor_drops_as_often_and_keeps_the_mean():
    torch.manual_seed(0)
    drop = TensorDropPath(0.25, scale_by_keep=True, device=torch.device("cpu"))
    rows = drop(torch.ones(20_000, 3, 2))
    assert set(rows.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert rows.mean().item() == pytest.approx(1, abs=0.02)
    assert bool((rows == rows[:, :1, :1]).all())  # an image is dropped as one
    assert torch.equal(drop.eval()(rows), rows)
    assert not drop.state_dict()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_any_depth_training_equals_eager_with_few_graphs_and_resumes_bitwise(tmp_path, teacher):
    eager = train(tmp_path / "eager", teacher, *ANY, "aux.epochs=2")
    watch = train(tmp_path / "compiled", teacher, *ANY, "aux.epochs=2", "aux.compile=true")
    assert any(line.startswith("torch.compile: done in") for line in watch.said)
    assert watch.losses == pytest.approx(eager.losses, rel=1e-4)
    for name, value in weights(tmp_path / "eager").items():
        torch.testing.assert_close(weights(tmp_path / "compiled")[name], value, rtol=1e-3, atol=1e-4)
    stats = torch._dynamo.utils.counters
    assert not stats["graph_break"]
    graphs = stats["stats"]["unique_graphs"]
    assert graphs <= 2  # blocks of every depth, and the teacher
    with pytest.raises(Exception, match="stopped at step"):
        train(tmp_path / "stopped", teacher, *ANY, "aux.epochs=2", "aux.compile=true", observer=stop_at(STEPS + 2))
    train(tmp_path / "stopped", teacher, *ANY, "aux.epochs=2", "aux.compile=true")
    assert same(weights(tmp_path / "compiled"), weights(tmp_path / "stopped"))
    assert (
        stats["stats"]["unique_graphs"] == graphs
    )  # later starts of this process find them; none comes while training


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_drop_path_and_in_place_distillation_add_no_graph_while_training(tmp_path, teacher):
    made: list[int] = []
    stats = torch._dynamo.utils.counters["stats"]
    train(tmp_path, teacher, *COMPILED, observer=Onlooker(lambda step: made.append(stats["unique_graphs"])))
    assert len(set(made)) == 1
    assert made[0] <= 5  # first block (rate 0) and the others, each training and as its own teacher, and the teacher
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_compiled_descendant_equals_the_eager_one(tmp_path, teacher):
    from safetensors.torch import load_file

    train(tmp_path / "aux", teacher, "aux.epochs=1")
    for name, compiled in (("eager", "false"), ("compiled", "true")):
        config = tiny_config(f"descendant.compile={compiled}", "descendant.epochs=1")
        train_descendants(config, tmp_path / "aux" / "learngene.pt", [(4,)], tmp_path / name, ALONE, Onlooker())
    one, other = (load_file(tmp_path / name / "depth-04" / "model.safetensors") for name in ("eager", "compiled"))
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


def test_blocks_are_those_of_every_depth(teacher):
    from tleg_cli.models.aux_net import new_aux_net
    from tleg_cli.training.compiled import blocks_of
    from tleg_cli.training.task import resolve

    task = resolve(tiny_config(*ANY))
    assert task.draw is not None
    network = new_aux_net(
        task.backbone, task.basis, task.metadata([str(n) for n in range(10)]), task.expansion, task.draw.all
    )
    assert len(blocks_of(network, task.backbone.stages)) == 2 + 3 + 4 + 5
    plain = nn.Linear(2, 2)
    assert blocks_of(plain, ()) == [plain]
