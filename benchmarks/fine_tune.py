"""A learngene of one data set, fine-tuned on another: against from scratch and against a separately trained network.

First data set: scikit-learn's digits 0 to 4, 8 pixels. Second: the 5 to 9 of `mnist5k` at 14 pixels, so other classes, other images
and another image size. Each way has the same network of 6 blocks, the same epochs, and the same learning rates to choose from, by 400 of
the training images (seed 0); the scores are those of the validation images, which chose nothing.

python -m benchmarks.fine_tune runs/fine-tune 0,1,2    # half an hour on one processor core; the same command continues
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tleg_cli.data.small_sets import digits, mnist5k
from tleg_cli.hookspecs import Source

RATES = ("1e-3", "2e-3", "4e-3", "8e-3", "16e-3")
HELD_OUT = 400  # training images that choose the rate
DECAY = ", layer decay 0.75"
WAYS = ("learngene", f"learngene{DECAY}", "separate network", f"separate network{DECAY}", "scratch")
SETTINGS = ("--device", "cpu", "--set", "data.workers=0")


def write_half(source: Source, classes: str, folder: Path) -> Path:
    """`folder`/{train,val}/CLASS/NUMBER.png of these classes."""
    for split, images in (("train", source.train()), ("val", source.val())):
        for number in range(len(images)):
            image, label = images[number]
            if source.classes[label] in classes:
                file = folder / split / source.classes[label] / f"{number:04d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                if not file.exists():
                    image.save(file)
    return folder


def tleg(*words: object) -> None:
    """Runs a command, shown as one that can be copied."""
    line = ["tleg", *map(str, words), *SETTINGS]
    print("$", *line, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "tleg_cli", *line[1:]], check=True, stdout=subprocess.DEVNULL)


def train_first(root: Path, seed: int) -> None:
    """A teacher, a learngene for 2 to 12 blocks, and by the same teacher and for as many images x blocks a network of 6 blocks."""
    teacher = root / f"teacher-{seed}"
    common = ("--data", root / "first", "--seed", seed)
    tleg("train-teacher", "--preset", "digits-any-depth", *common, "--out", teacher)
    taught = (*common, "--teacher", teacher / "teacher.safetensors")
    short = ("--set", "aux.epochs=32")
    tleg("train-aux", "--preset", "digits-any-depth", *short, *taught, "--out", root / f"learngene-{seed}")
    alone = ("basis=piecewise:6", "aux.depth=6", "aux.epochs=38", "aux.lr=4e-3", "aux.warmup_epochs=2")
    sets = [word for value in alone for word in ("--set", value)]
    tleg("train-aux", "--preset", "digits", *sets, *taught, "--out", root / f"separate-{seed}")


def fine_tune(root: Path, way: str, seed: int, rate: str, depth: int, data: object, out: Path) -> float:
    """Top-1 in percent on the validation images of the second data set, after the last epoch."""
    start: tuple[object, ...] = ("--init", "scratch")
    if way != "scratch":
        start = ("--learngene", root / f"{way.split()[0].removesuffix(',')}-{seed}" / "learngene.pt", "--fresh-head")
    decay = 0.75 if way.endswith(DECAY) else "null"
    rates = ("--set", f"descendant.lr={rate}", "--set", f"descendant.layer_decay={decay}")
    tleg(
        *("train-des", "--preset", "fine-tune", "--data", data, "--seed", seed, "--depth", depth),
        *(*start, *rates, "--out", out),
    )
    return float(json.loads((out / "summary.json").read_text())["descendants"][0]["final_top1"])


def curve(out: Path) -> list[float]:
    """Top-1 before the first epoch and after each."""
    one = json.loads((out / "summary.json").read_text())["descendants"][0]
    return [one["zero_epoch_top1"], *one["top1"]]


def name(way: str) -> str:
    """Of a folder."""
    return way.replace(", ", "-").replace(" ", "-")


def choose_rate(root: Path, way: str) -> str:
    """The rate whose network of seed 0 is best on the held-out training images."""
    scores = {}
    for rate in RATES:
        out = root / "rates" / f"{name(way)}-{rate}"
        scores[rate] = fine_tune(root, way, 0, rate, 6, f"holdout/{HELD_OUT}/{root / 'second'}", out)
    chosen = max(scores, key=lambda rate: scores[rate])
    print(f"{way}: held-out top-1 by rate {scores}, chosen {chosen}", flush=True)
    return chosen


def row(root: Path, way: str, rate: str, depth: int, seeds: Sequence[int]) -> str:
    """A line of the table."""
    outs = [root / "tuned" / f"{name(way)}-{depth:02d}-{seed}" for seed in seeds]
    scores = [
        fine_tune(root, way, seed, rate, depth, root / "second", out) for seed, out in zip(seeds, outs, strict=True)
    ]
    epochs = [f"{sum(one) / len(one):.1f}" for one in zip(*map(curve, outs), strict=True)]
    each, mean = ", ".join(f"{score:.1f}" for score in scores), sum(scores) / len(scores)
    return f"| {depth} | {way} | {rate} | {each} | {mean:.1f} | {' '.join(epochs)} |"


def main(root: Path, seeds: Sequence[int]) -> None:
    """Trains what is not trained yet, then prints the table."""
    write_half(digits(), "01234", root / "first")
    write_half(mnist5k(), "56789", root / "second")
    for seed in seeds:
        train_first(root, seed)
    rates = {way: choose_rate(root, way) for way in WAYS}
    print(
        "\n| depth | way | rate | top-1, each seed | mean | by epoch, mean |\n|---:|---|---|---|---:|---|", flush=True
    )
    for depth, ways in ((6, WAYS), (3, (*WAYS[:2], "scratch"))):
        for way in ways:
            print(row(root, way, rates[way], depth, seeds), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(seed) for seed in sys.argv[2].split(",")])
