"""What a training of TLEG's aux nets on N GPUs needs and gives, from what was measured on one: docs/scaling.md explains the formulas.

    python -m benchmarks.scaling --images-per-second X [--batch 256] [--link-gbit 100] [--decode-per-core 480] [--kilobytes-per-image 110]
    python -m benchmarks.scaling --check      # the formula of a step against four processes with a slow link between them

X: of one GPU without waiting for data, as `tleg bench` shows it for the complete step. Nothing here is a measurement of a GPU.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from statistics import median

import torch
import torch.distributed as dist
from torch import nn

from tleg_cli import plugin_manager
from tleg_cli.learngene.expand import expand
from tleg_cli.learngene.gene import Metadata
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.aux_net import AuxNet, new_aux_net
from tleg_cli.training.distributed import World, replicate

SIZES = ("tiny", "small", "base")
GPUS = (1, 4, 8, 64)
RANKS, STEPS, MEGABYTES_PER_SECOND = 4, 12, (0.5, 2.0)


def ring_bytes(gradient_bytes: float, ranks: int) -> float:
    """What each rank sends, and receives, in a ring all-reduce (Patarasuk and Yuan 2009)."""
    return 2 * (ranks - 1) / ranks * gradient_bytes


def step_seconds(compute: float, gradient_bytes: float, ranks: int, bytes_per_second: float) -> float:
    """Of one step. The gradient of theta is complete only after the last block's backward pass, so nothing of it is sent before."""
    return compute + ring_bytes(gradient_bytes, ranks) / bytes_per_second


def gradient_bytes(network: nn.Module, bytes_each: int = 4) -> int:
    return bytes_each * sum(parameter.numel() for parameter in network.parameters())


def aux_net(name: str, options: dict[str, int], pixels: int, depth: int, classes: int) -> AuxNet:
    metadata = Metadata(name, options, (depth,), classes, InputSpec(pixels, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    return new_aux_net(plugin_manager.get_backbone(name), plugin_manager.get_basis("linear"), metadata)


def table(asked: argparse.Namespace) -> None:
    """One line for each size and number of GPUs."""
    link = asked.link_gbit * 1e9 / 8
    compute = asked.batch / asked.images_per_second
    heads = ("aux net", "GPUs", "sent per GPU and step", "plain network", "images/s", "of N times one", "cores", "read")
    print("{:8} {:>4} {:>22} {:>14} {:>10} {:>15} {:>6} {:>10}".format(*heads))
    for size in SIZES:
        network = aux_net(f"deit_{size}_patch16_224", {"img_size": 224}, 224, 12, 1000)
        full = gradient_bytes(network, 2 if asked.bf16 else 4)
        plain = 4 * sum(weight.numel() for weight in expand(network.learngene(), 12).values())
        for gpus in GPUS:
            rate = gpus * asked.batch / step_seconds(compute, full, gpus, link)
            sent, share = ring_bytes(full, gpus) / 1e6, rate / (gpus * asked.images_per_second)
            cores, read = rate / asked.decode_per_core, rate * asked.kilobytes_per_image / 1e3
            other = ring_bytes(plain, gpus) / 1e6
            print(
                f"{size:8} {gpus:4} {sent:19,.0f} MB {other:11,.0f} MB {rate:10,.0f} {share:15.3f} {cores:6,.0f} {read:5,.0f} MB/s"
            )


class SlowLink:
    """A network between the processes, which one bucket after the other goes through."""

    def __init__(self) -> None:
        self.bytes_per_second = float("inf")
        self.line = threading.Lock()


def slow_all_reduce(link: SlowLink, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
    """A hook of DDP: the all-reduce, and then the time that the link would take; the backward pass goes on meanwhile."""
    done: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    values = bucket.buffer().div_(RANKS)
    work = dist.all_reduce(values, async_op=True)
    seconds = ring_bytes(values.numel() * values.itemsize, RANKS) / link.bytes_per_second

    def finish() -> None:
        with link.line:
            work.wait()
            time.sleep(seconds)
        done.set_result(values)

    threading.Thread(target=finish).start()
    return done


def rank(number: int, folder: str) -> None:
    """One of the processes: steps with every link in turn. Rank 0 prints what they took and what the formula says."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=RANKS)
    torch.manual_seed(0)
    network = aux_net("vit", {"img_size": 32, "patch_size": 8, "embed_dim": 128, "num_heads": 2}, 32, 6, 10)
    replica, link = replicate(network, World(number, RANKS, torch.device("cpu"))), SlowLink()
    replica.register_comm_hook(link, slow_all_reduce)
    images = torch.randn(4, 3, 32, 32)
    speeds = (float("inf"), *(1e6 * speed for speed in MEGABYTES_PER_SECOND))
    took: dict[float, list[float]] = {speed: [] for speed in speeds}
    for step in range(STEPS + 1):
        for speed in speeds:
            link.bytes_per_second = speed
            dist.barrier()
            began = time.perf_counter()
            replica(images).square().mean().backward()
            replica.zero_grad(set_to_none=True)
            if step:
                took[speed].append(time.perf_counter() - began)
    if number == 0:
        compute, full = median(took[float("inf")]), gradient_bytes(network)
        print(f"{RANKS} processes, {full / 1e6:.2f} MB of gradients; no delay: {compute:.3f} s a step")
        for speed in speeds[1:]:
            measured, expected = median(took[speed]), step_seconds(compute, full, RANKS, speed)
            print(
                f"{speed / 1e6:g} MB/s: {measured:.3f} s measured, {expected:.3f} s expected, ratio {measured / expected:.3f}"
            )
    dist.destroy_process_group()


def check() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.scaling", "--rank"]
        ranks = [subprocess.Popen([*command, str(number), folder]) for number in range(RANKS)]
        if max(one.wait() for one in ranks):
            raise SystemExit("a process failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images-per-second", type=float, help="of one GPU, measured with tleg bench")
    parser.add_argument("--batch", type=int, default=256, help="images per GPU and step")
    parser.add_argument("--link-gbit", type=float, default=100, help="of each GPU, in one direction")
    parser.add_argument("--decode-per-core", type=float, default=480, help="images per second")
    parser.add_argument("--kilobytes-per-image", type=float, default=110)
    parser.add_argument("--bf16", action="store_true", help="gradient_compression: bf16")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--rank", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.rank:
        rank(int(asked.rank[0]), asked.rank[1])
    elif asked.check:
        check()
    elif asked.images_per_second:
        table(asked)
    else:
        parser.error("give --images-per-second, or --check")


if __name__ == "__main__":
    main()
