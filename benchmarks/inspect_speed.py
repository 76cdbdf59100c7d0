"""How fast `tleg inspect` is on a DeiT-B of depth 12 with random weights, against a limit for each way of calling it.

python -m benchmarks.inspect_speed            prints seconds and peak memory; exit code 1 if a limit is exceeded
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

SHAPES_SECONDS, STATISTICS_SECONDS, PEAK_BYTES = 1.0, 20.0, 1.5e9


def make(folder: Path) -> list[Path]:
    """86 million parameters in both formats, by a process of its own: this one stays small."""
    code = (
        "import timm, torch; from safetensors.torch import save_file\n"
        "weights = timm.create_model('deit_base_patch16_224', depth=12).state_dict()\n"
        f"save_file(weights, {str(folder / 'deit_base.safetensors')!r})\n"
        f"torch.save({{'model': weights}}, {str(folder / 'deit_base.pth')!r})"
    )
    if os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "-c", code]) != 0:
        raise SystemExit("the network could not be made")
    return sorted(folder.iterdir())


def measure(*arguments: str) -> tuple[float, int]:
    """Seconds and peak resident bytes of one `tleg` in a process of its own."""
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(sys.executable, [sys.executable, "-m", "tleg_cli", *arguments])
    _, status, usage = os.wait4(child, 0)
    if status != 0:
        raise SystemExit(f"tleg {' '.join(arguments)} failed")
    return time.perf_counter() - began, usage.ru_maxrss * 1024


def main() -> int:
    broken = 0
    with tempfile.TemporaryDirectory() as folder:
        for path in make(Path(folder)):
            for what, options, limit in (
                ("shapes", ["--shapes"], SHAPES_SECONDS),
                ("statistics", [], STATISTICS_SECONDS),
                ("statistics and page", ["--html", f"{folder}/page.html"], STATISTICS_SECONDS),
            ):
                seconds, peak = measure("inspect", str(path), *options)
                fine = seconds < limit and peak < PEAK_BYTES
                broken += not fine
                print(
                    f"{path.name:22} {what:20} {seconds:6.2f} s  {peak / 1e9:5.2f} GB  {'' if fine else 'over the limit'}"
                )
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} cores, load {load:.1f}; limits {SHAPES_SECONDS} s, {STATISTICS_SECONDS} s, {PEAK_BYTES / 1e9} GB"
    )
    return min(broken, 1)


if __name__ == "__main__":
    sys.exit(main())
