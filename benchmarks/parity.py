"""FFCV's evaluation path compared with PIL's and timm's on real photographs: how far pixels differ, and how much that changes top-1.

python -m benchmarks.parity      (about two minutes on two cores)

Both crop and resize with timm's own transform. The difference comes from the file: `tleg prepare` compresses images again and shrinks them
by area averages, and FFCV decodes JPEG with the fast DCT. A raw file gives the same pixels.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.photographs import write_pieces
from tleg_cli.config import DataSection
from tleg_cli.data.ffcv.prepare import prepare_folder
from tleg_cli.data.open import open_eval_loader

SIZE = 224
FILES: dict[str, dict[str, Any]] = {
    "raw, as they are": {"write_mode": "raw", "max_resolution": None},
    "JPEG q90, as they are": {"write_mode": "jpg", "max_resolution": None},
    "JPEG q90, long side 400": {"write_mode": "jpg", "max_resolution": 400},
}


def prepare(folder: Path, out: Path, **how: Any) -> Path:
    """`tleg prepare` without a bar."""
    options = {"quality": 90, "workers": 2, "skip_bad": False, "force": False, "progress": lambda *_: None}
    prepare_folder(str(folder), out, **{**options, **how})
    return out


def evaluated(path: Path, size: int = SIZE, crop_pct: float = 0.875) -> torch.Tensor:
    """The validation images as the evaluation path gives them: uint8 (images, 3, size, size)."""
    data = DataSection(path=str(path), image_size=size, crop_pct=crop_pct, workers=0)
    loader = open_eval_loader(data, batch_size=32, rank=0, world=1)
    try:
        return torch.cat([images.clone() for images, _ in loader.epoch(0)])
    finally:
        loader.close()


def difference(one: torch.Tensor, other: torch.Tensor) -> dict[str, float]:
    """In levels of 0..255: mean, and the mean of the worst image; bias: of the brightness."""
    apart = (one.int() - other.int()).float()
    by_image = apart.abs().mean(dim=(1, 2, 3))
    return {"mean": float(by_image.mean()), "worst image": float(by_image.max()), "bias": float(apart.mean())}


def top1_on_both(root: Path) -> tuple[float, float, int]:
    """Top-1 of one network, trained on PIL's images, by PIL's path and by FFCV's; and how many images were scored."""
    from tests.tiny import ALONE, Onlooker
    from tleg_cli.config_file import load_config
    from tleg_cli.training.evaluate_file import Evaluation, evaluate_file
    from tleg_cli.training.train_teacher import train_teacher

    folder = write_pieces(root / "pieces", train=24, val=64, size=(160, 120))
    betons = prepare(folder, root / "betons", write_mode="jpg", max_resolution=None)
    settings = [
        "data.image_size=64", "data.crop_pct=0.875", "data.workers=2", "teacher.image_size=64", "teacher.recipe.epochs=12",
        "augmentation.crop_scale=[0.5, 1.0]",
    ]  # fmt: skip
    train_teacher(load_config("digits", settings, data__path=str(folder)), root / "run", ALONE, Onlooker())
    file = root / "run" / "teacher.safetensors"
    scores = [
        evaluate_file(Evaluation(file, str(path), batch_size=64, workers=2), ALONE, print) for path in (folder, betons)
    ]
    return scores[0]["top1"], scores[1]["top1"], scores[0]["images"]


def main() -> None:
    """Prints the differences and both scores."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = write_pieces(root / "pieces", train=1, val=4, size=(500, 375))
        pil = evaluated(folder)
        for number, (title, how) in enumerate(FILES.items()):
            found = difference(evaluated(prepare(folder, root / str(number), **how)), pil)
            print(f"{title:<26}", "  ".join(f"{key} {value:.2f}" for key, value in found.items()), "levels of 255")
        ours, theirs, images = top1_on_both(root / "trained")
        print(
            f"top-1 of one network on {images} images: PIL {ours:.2f} %, FFCV {theirs:.2f} %, apart by {abs(ours - theirs):.2f}"
        )


if __name__ == "__main__":
    main()
