"""Images per second of two data paths on the same 500 x 375 JPEGs: FFCV with batched augmentation, and timm's loader.

python -m benchmarks.data_path [IMAGES [WORKERS]]      (a minute on two cores)

The two take turns in one process tree, so a busy machine slows both down; compare the ratios. On a CPU the batched augmentation and timm's
workers share the same cores; with a GPU the augmentation runs there.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from benchmarks.parity import prepare
from benchmarks.photographs import write_pieces
from tleg_cli.augment.pipeline import make_augment, step_generator
from tleg_cli.config import AugmentationSection, Config
from tleg_cli.config_file import load_config
from tleg_cli.data.open import open_train_loader

BATCH, ROUNDS = 64, 3
Epoch = Callable[[int], Iterator[Any]]


def timm_epoch(folder: Path, config: Config, workers: int, *, whole: bool) -> Epoch:
    """timm's own loader: bytes from the workers, normalised and erased afterwards; mixup while they are put together."""
    from timm.data import FastCollateMixup, create_dataset, create_loader

    section = config.augmentation
    recipe: dict[str, Any] = {}
    if whole:
        mixing = FastCollateMixup(section.mixup, section.cutmix, num_classes=1000, label_smoothing=0.1)
        recipe = {
            "auto_augment": section.auto_augment, "re_prob": section.erase, "re_mode": section.erase_mode,
            "collate_fn": mixing,
        }  # fmt: skip
    loader = create_loader(
        create_dataset("", str(folder / "train")), (3, 224, 224), BATCH, is_training=True, color_jitter=0.0,
        interpolation="bicubic", num_workers=workers, device=torch.device("cpu"), persistent_workers=True,
        pin_memory=False, **recipe,
    )  # fmt: skip
    return lambda number: iter(loader)


def ffcv_epoch(betons: Path, config: Config, workers: int, *, whole: bool) -> Epoch:
    """Our loader: crop, resize and flip in FFCV's threads; the rest on complete batches."""
    section = config.augmentation if whole else AugmentationSection()
    data = config.data.model_copy(update={"path": str(betons), "workers": workers})
    loader = open_train_loader(
        data, section.model_copy(update={"repeats": 1}), batch_size=BATCH, seed=0, rank=0, world=1
    )
    augment = make_augment(section, mean=data.mean, std=data.std, classes=1000, smoothing=0.1)

    def epoch(number: int) -> Iterator[Any]:
        with closing(loader.epoch(number)) as batches:
            for step, (images, labels) in enumerate(batches):
                # without the rest of the recipe both stop alike: at normalised floats
                yield augment(images, labels, step_generator(0, 1000 * number + step, 0, "cpu"))

    return epoch


def images_per_second(epoch: Epoch, number: int) -> float:
    """Of one epoch."""
    began, images = time.perf_counter(), 0
    for batch, _ in epoch(number):
        images += len(batch)
    return images / (time.perf_counter() - began)


def main(images: int = 384, workers: int = 2) -> None:
    """Prints medians of all paths and the two ratios."""
    config = load_config("small")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = write_pieces(root / "jpegs", train=-(-images // 32), val=1, size=(500, 375), quality=90)
        full = prepare(folder, root / "500", write_mode="jpg", max_resolution=500)
        small = prepare(folder, root / "256", write_mode="jpg", max_resolution=256)
        paths = {
            "timm, crop + flip": timm_epoch(folder, config, workers, whole=False),
            "FFCV, crop + flip, 256 px": ffcv_epoch(small, config, workers, whole=False),
            "FFCV, crop + flip, 500 px": ffcv_epoch(full, config, workers, whole=False),
            "timm, complete recipe": timm_epoch(folder, config, workers, whole=True),
            "FFCV, complete recipe, 256 px": ffcv_epoch(small, config, workers, whole=True),
            "FFCV, complete recipe, 500 px": ffcv_epoch(full, config, workers, whole=True),
        }
        for epoch in paths.values():
            images_per_second(epoch, 0)  # workers start, code is compiled
        speeds = {title: [] for title in paths}
        for number in range(1, ROUNDS + 1):
            for title, epoch in paths.items():
                speeds[title].append(images_per_second(epoch, number))
    _show(speeds, workers)


def _show(speeds: dict[str, list[float]], workers: int) -> None:
    middle = {title: statistics.median(found) for title, found in speeds.items()}
    print(f"{workers} workers, {torch.get_num_threads()} torch threads, medians of {ROUNDS} rounds, images/s")
    for title, found in speeds.items():
        print(f"{title:<28} {middle[title]:>7,.0f}   ({min(found):,.0f} - {max(found):,.0f})")
    for what in ("crop + flip", "complete recipe"):
        for size in (256, 500):
            ratio = middle[f"FFCV, {what}, {size} px"] / middle[f"timm, {what}"]
            print(f"{what}, {size} px: {ratio:.2f} times timm's")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
