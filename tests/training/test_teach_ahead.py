"""`teacher.ahead`: augmentation and teacher run a batch ahead. In the same order as on a GPU, here without streams: the same weights."""

from collections.abc import Callable, Generator
from dataclasses import replace

import pytest
import torch

from tests.tiny import ALONE, Onlooker, tiny_config
from tests.training.test_resume import EVERYTHING, same, stop_at
from tleg_cli.augment.cpu import compiled
from tleg_cli.data.batches import Batch
from tleg_cli.data.copy_ahead import Parts, copied_ahead, one_ahead
from tleg_cli.errors import Preempted
from tleg_cli.training import step, train_aux
from tleg_cli.training.job import Job
from tleg_cli.training.losses import Distilled

ANY_DEPTH = ("basis=hat:3", "aux.depth=2-4", "aux.in_place={weight: 0.5, start: 0.0}")


@pytest.fixture
def ahead(monkeypatch) -> list[str]:
    """A processor that takes the GPU's way; what it did, in order."""
    done: list[str] = []

    def sent(batches: Generator[Batch, None, None], device: torch.device, prepare: Callable[[Batch], Parts]):
        def send(batch: Batch):
            done.append("teacher")
            prepared = prepare((batch[0].clone(), batch[1].clone()))
            return lambda: prepared

        return one_ahead(batches, send)

    def against(self: Distilled, logits: torch.Tensor, teacher_logits: torch.Tensor, targets: torch.Tensor):
        done.append("student")
        return plain(self, logits, teacher_logits, targets)

    plain, taught_by = Distilled.against, train_aux.taught_by
    monkeypatch.setattr(step, "copied_ahead", sent)
    monkeypatch.setattr(Distilled, "against", against)
    monkeypatch.setattr(train_aux, "taught_by", lambda *words: replace(taught_by(*words), teach_ahead=True))
    return done


@pytest.mark.parametrize(
    "settings",
    [EVERYTHING, (*EVERYTHING, "aux.accumulation=2", "aux.batch_size=128"), (*EVERYTHING, *ANY_DEPTH)],
    ids=["everything", "accumulation", "any depth, in place"],
)
def test_the_weights_are_the_same_and_the_teacher_is_a_batch_ahead(tmp_path, teacher, monkeypatch, request, settings):
    config = tiny_config(*settings, teacher=teacher)
    monkeypatch.setattr(compiled, "usable", lambda images: False)  # a GPU's augmentation
    train_aux.train_aux(config, tmp_path / "in-turn", ALONE, Onlooker())
    done = request.getfixturevalue("ahead")
    train_aux.train_aux(config, tmp_path / "ahead", ALONE, Onlooker())
    assert same(tmp_path / "in-turn" / "learngene.pt", tmp_path / "ahead" / "learngene.pt")
    assert done[:4] == ["teacher", "teacher", "student", "teacher"]
    batches = 15 * config.aux.accumulation
    assert (done.count("teacher"), done.count("student")) == (batches, batches)


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path, teacher, ahead):
    config = tiny_config(*EVERYTHING, teacher=teacher)
    train_aux.train_aux(config, tmp_path / "whole", ALONE, Onlooker())
    for at in (2, 7):
        with pytest.raises(Preempted):
            train_aux.train_aux(config, tmp_path / "parts", ALONE, stop_at(at))
    train_aux.train_aux(config, tmp_path / "parts", ALONE, Onlooker())
    assert same(tmp_path / "whole" / "learngene.pt", tmp_path / "parts" / "learngene.pt")


def test_a_bad_step_is_left_out_and_the_data_goes_on(tmp_path, teacher, monkeypatch, request):
    config = tiny_config("aux.on_nan=skip:3", "aux.log_every=1", teacher=teacher)
    augment_of = Job.__init__

    def poisoned(self: Job, *words: object, **values: object) -> None:
        """The fourth batch of the training has NaN in it, whenever it is augmented."""
        augment_of(self, *words, **values)
        plain = self.augment

        def augment(images, labels, generator):
            inputs, targets = plain(images, labels, generator)
            return (inputs * float("nan") if generator.initial_seed() == bad else inputs), targets

        object.__setattr__(self, "augment", augment)

    bad = step.step_generator(config.seed, 3, 0, ALONE.device).initial_seed()
    monkeypatch.setattr(Job, "__init__", poisoned)
    in_turn, look = Onlooker(), Onlooker()
    train_aux.train_aux(config, tmp_path / "in-turn", ALONE, in_turn)
    request.getfixturevalue("ahead")
    train_aux.train_aux(config, tmp_path / "ahead", ALONE, look)
    assert [line for line in look.said if "not finite, left out" in line] == [
        line.replace("in-turn", "ahead") for line in in_turn.said if "not finite, left out" in line
    ]
    assert any("step 3: loss nan" in line for line in look.said)
    assert same(tmp_path / "in-turn" / "learngene.pt", tmp_path / "ahead" / "learngene.pt")


def test_on_a_processor_a_note_says_that_it_changes_nothing(tmp_path, teacher):
    look = Onlooker()
    train_aux.train_aux(
        tiny_config("teacher.ahead=true", "aux.epochs=1", teacher=teacher), tmp_path / "run", ALONE, look
    )
    assert "note: teacher.ahead changes nothing on a processor, which computes one thing after the other" in look.said


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_what_is_prepared_on_the_other_stream_arrives_complete():
    device = torch.device("cuda")
    weights = torch.randn(2048, 2048, device=device)

    def slow(batch: Batch) -> Parts:
        product = batch[0].flatten(1).float()
        for _ in range(200):
            product = torch.tanh(product @ weights)
        return (*batch, product)

    def loaded() -> Generator[Batch, None, None]:
        for number in range(8):
            yield torch.full((64, 1, 1, 2048), number, dtype=torch.uint8), torch.full((64,), number)

    for number, (images, labels, product) in enumerate(copied_ahead(loaded(), device, slow)):
        expected = slow((images, labels))[2]
        assert int(labels[0]) == number
        assert torch.equal(product, expected)
