"""The processes of a run: who this one is, and the few things that they do together. The same code for one process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tleg_cli.errors import PeerLost, TlegError
from tleg_cli.launch.heartbeat import hang_timeout, pulse
from tleg_cli.launch.processes import check_cuda

FIRST_TIMEOUT = timedelta(minutes=10)  # the first step compiles and may wait for a slow disk


@dataclass(frozen=True)
class World:
    """This process among all. rank 0 is the one that writes and shows."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        return self.rank == 0


@contextlib.contextmanager
def join_world(device: str) -> Iterator[World]:
    """The World of this process, from torchrun's environment if there is one; left again when the block ends.

    device: "cuda" or "cpu". Sets the CUDA device before anything can touch another. Raises ConfigError without CUDA.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = _device(device)
    if size == 1:
        yield World(0, 1, chosen)
        return
    patience = max(FIRST_TIMEOUT, timedelta(seconds=2 * hang_timeout()))  # the launcher is to name a hung rank first
    with pulse(int(os.environ["RANK"])):
        try:
            _meet("nccl" if device == "cuda" else "gloo", patience)
            yield World(dist.get_rank(), size, chosen)
        except RuntimeError as error:
            told = _peer_lost(error)
            if told is None:
                raise
            raise told from error
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


def _meet(backend: str, patience: timedelta) -> None:
    """torchrun keeps its store when it starts the ranks again: without a name of their own they would dial the dead."""
    store, rank, size = next(dist.rendezvous("env://", timeout=patience))
    store = dist.PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)


def _peer_lost(error: RuntimeError) -> TlegError | None:
    """What to say of a connection that failed; None for any other error."""
    if "EADDRINUSE" in str(error):
        port = os.environ.get("MASTER_PORT")
        return TlegError(f"port {port}, where the ranks meet, was taken in the meantime; run the same command again")
    if isinstance(error, dist.DistError) or "gloo" in str(error):
        return PeerLost(
            "the connection to another rank was lost; run the same command again to carry on from the last checkpoint"
        )
    return None


def _device(device: str) -> torch.device:
    if device == "cpu":
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    check_cuda(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def sum_over_ranks(values: Tensor, world: World) -> Tensor:
    """The element-wise sum over all ranks, on each of them."""
    if world.size > 1:
        dist.all_reduce(values)
    return values


def from_main(value: Any, world: World) -> Any:
    """What rank 0 has, on every rank."""
    if world.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: Any, world: World) -> list[Any]:
    """Every rank's value, on each of them."""
    if world.size == 1:
        return [value]
    values = [None] * world.size
    dist.all_gather_object(values, value)
    return values


def wait_for_all(world: World) -> None:
    """Returns when every rank has come here."""
    if world.size > 1:
        dist.barrier()


def replicate(model: nn.Module, world: World) -> nn.Module:
    """The model, its gradients averaged over the ranks at each backward pass."""
    if world.size == 1:
        return model
    ids = [world.device.index] if world.device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
