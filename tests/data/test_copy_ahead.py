"""What copies batches to a GPU ahead of their step: the order, the memory that a loader uses again, and the end."""

from collections.abc import Generator

import pytest
import torch

from tleg_cli.data.batches import Batch
from tleg_cli.data.copy_ahead import copied_ahead, one_ahead


class Source:
    """Gives batch after batch in the same memory, as FFCV does."""

    def __init__(self, count: int):
        self.count, self.asked, self.closed = count, 0, False

    def batches(self) -> Generator[Batch, None, None]:
        images, labels = torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.long)
        try:
            for number in range(self.count):
                self.asked += 1
                images.fill_(number)
                labels.fill_(number)
                yield images, labels
        finally:
            self.closed = True


def send(batch: Batch):
    copies = batch[0].clone(), batch[1].clone()
    return lambda: copies


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_batch_comes_once_in_order_and_the_next_is_sent_before(count):
    source = Source(count)
    found, asked = [], []
    for images, labels in one_ahead(source.batches(), send):
        found.append((int(images[0, 0, 0, 0]), int(labels[1])))
        asked.append(source.asked)
    assert found == [(number, number) for number in range(count)]
    assert asked == [min(number + 2, count) for number in range(count)]
    assert source.closed


def test_a_training_that_stops_closes_the_loader():
    source = Source(5)
    batches = one_ahead(source.batches(), send)
    next(batches)
    batches.close()
    assert source.closed


def test_on_a_processor_nothing_is_in_between():
    batches = Source(3).batches()
    assert copied_ahead(batches, torch.device("cpu")) is batches


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_values_are_those_of_the_loader():
    found = [
        (int(images[0, 0, 0, 0]), int(labels[1]))
        for images, labels in copied_ahead(Source(9).batches(), torch.device("cuda"))
    ]
    assert found == [(number, number) for number in range(9)]
