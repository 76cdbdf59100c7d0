"""The processes of a run: which one this is, and the few things that they do together. The same code for one process."""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from tleg_cli.errors import PeerLost, Preempted, TlegError
from tleg_cli.launch.heartbeat import hang_timeout, heartbeat
from tleg_cli.launch.processes import check_cuda, started_by_tleg
from tleg_cli.launch.rank_environment import RankEnvironment, rank_environment
from tleg_cli.launch.stop_signals import stop_requested
from tleg_cli.training.join_ranks import join_ranks

FIRST_TIMEOUT = timedelta(minutes=10)  # the first step compiles and may wait for a slow disk


@dataclass(frozen=True)
class World:
    """This process among all. Rank 0 is the one that writes files and reports."""

    rank: int
    size: int
    device: torch.device

    @property
    def main(self) -> bool:
        return self.rank == 0


@contextlib.contextmanager
def join_world(device: str, say: Callable[[str], None] = lambda line: None) -> Iterator[World]:
    """The World of this process, from torchrun's environment if there is one; left again when the block ends.

    device: "cuda" or "cpu". say: gets a line if other ranks let this one wait. Sets the CUDA device before anything can
    touch another. Raises ConfigError without CUDA, or for an environment that contradicts itself.
    """
    ranks = rank_environment()
    chosen = _device(device, ranks)
    if ranks is None or ranks.world_size == 1:
        yield World(0, 1, chosen)
        return
    with heartbeat(ranks.rank):
        try:
            store = join_ranks(ranks, say)
            dist.init_process_group(
                "nccl" if device == "cuda" else "gloo",
                store=store,
                rank=ranks.rank,
                world_size=ranks.world_size,
                timeout=_patience(),
            )
            yield World(dist.get_rank(), ranks.world_size, chosen)
        except RuntimeError as error:
            lost = _lost_connection(error, ranks)
            if lost is None:
                raise
            raise lost from error
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()


def _patience() -> timedelta:
    """How long a rank waits for the others. Under our launcher its watchdog kills what hangs, and a suspended job may go on
    after days; under another one this is all that ends a hanging run."""
    if started_by_tleg():
        return timedelta(days=30)
    seconds = hang_timeout()
    return max(FIRST_TIMEOUT, timedelta(seconds=2 * seconds)) if math.isfinite(seconds) else timedelta(days=30)


def _lost_connection(error: RuntimeError, ranks: RankEnvironment) -> TlegError | None:
    """The error for a connection that failed; None for any other error."""
    if "EADDRINUSE" in str(error):
        return TlegError(f"port {ranks.master_port}, where the ranks meet, is in use; run the same command again")
    if not isinstance(error, dist.DistError) and "gloo" not in str(error):
        return None
    # the others were asked to stop too, and were faster; our launcher decides by itself, since it also asks the ranks that
    # are left after one has died
    if (number := stop_requested()) is not None and not started_by_tleg():
        return Preempted(
            f"stopped by {signal.Signals(number).name}; the same command carries on from the last checkpoint"
        )
    return PeerLost(
        "the connection to another rank was lost; run the same command again to carry on from the last checkpoint"
    )


def _device(device: str, ranks: RankEnvironment | None) -> torch.device:
    if device == "cpu":
        return torch.device("cpu")
    check_cuda(ranks.local_world_size if ranks else 1)
    index = ranks.local_rank if ranks else 0
    torch.cuda.set_device(index)
    return torch.device("cuda", index)


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


def replicate(model: nn.Module, world: World, compression: str = "none") -> nn.Module:
    """The model, its gradients averaged over the ranks at each backward pass. compression: "bf16" sends them with 16 bits each."""
    if world.size == 1:
        return model
    ids = [world.device.index] if world.device.type == "cuda" else None
    replica = DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)
    if compression == "bf16":
        replica.register_comm_hook(None, bf16_compress_hook)
    return replica
