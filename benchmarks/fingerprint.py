"""Fingerprints of small seeded trainings: run it before and after a refactoring; the lines must be the same.

    python -m benchmarks.fingerprint OUT > before.txt      # about two minutes on 2 cores

Weights are hashed tensor by tensor, scores as they are in metrics.jsonl, so changes of file formats or timings don't matter.
It uses the command line only, so any two versions of tleg can be compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits

SETTINGS = (
    "backbone.options={img_size: 8, patch_size: 2, embed_dim: 16, num_heads: 2}",
    "teacher.options={channels: [8, 8, 8, 8]}",
    "teacher.image_size=16",
    "teacher.recipe.epochs=1",
    "teacher.recipe.batch_size=256",
    "aux.depth='3'",
    "aux.allow_bad_teacher=true",  # after one epoch it is one; leave this line out for a tleg that doesn't know it
    "aux.epochs=3",
    "aux.batch_size=128",
    "aux.warmup_epochs=1",
    "aux.drop_path=0.1",
    "aux.ema_decay=0.9",
    "descendant.epochs=2",
    "descendant.batch_size=256",
    "augmentation.mixup=0.8",
    "augmentation.erase=0.25",
    "data.workers=1",
)


def tleg(*words: str, check: bool = True) -> subprocess.Popen[bytes]:
    """Runs a command to its end; its output goes to stderr."""
    process = subprocess.Popen([sys.executable, "-m", "tleg_cli", *words], stdout=sys.stderr, env=environment())
    if check and process.wait() != 0:
        raise SystemExit(f"tleg {' '.join(words)}: exit code {process.returncode}")
    return process


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def train(command: str, data: Path, out: Path, *more: str) -> list[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return [
        command, "--preset", "digits", "--data", str(data), "--device", "cpu", "--seed", "3", "--out", str(out),
        *settings, *more,
    ]  # fmt: skip


def write_folder(out: Path) -> None:
    """scikit-learn's digits as PNG files in train/CLASS and val/CLASS."""
    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = out / ("train" if index < 1297 else "val") / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(image * (255 / 16)).astype(np.uint8)).save(folder / f"{index:04}.png")


def weights_of(path: Path) -> str:
    """The first half of the SHA-256 of every tensor with its name, sorted."""
    content = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    tensors = {
        f"{part}{name}": tensor
        for part, table in ({"": content} if path.suffix == ".safetensors" else content).items()
        if isinstance(table, dict)
        for name, tensor in table.items()
        if isinstance(tensor, torch.Tensor)
    }
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def scores_of(run: Path) -> str:
    """The hash of all scores and losses of a run."""
    kept = ("step", "loss", "lr", "top1", "top5", "val_loss", "ema_top1", "ema_val_loss")
    lines = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    scores = [[line.get(name) for name in kept] for line in lines if line.get("kind", "epoch") == "epoch"]
    return hashlib.sha256(json.dumps(scores).encode()).hexdigest()[:32]


def interrupt(words: list[str], run: Path) -> None:
    """Starts a training, stops it by SIGTERM in mid-epoch, and runs it to its end."""
    process = tleg(*words, "--checkpoint-every", "4", check=False)
    while not any((run / "checkpoints").glob("step-*4")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    print("stopped with exit code", process.wait(), file=sys.stderr)
    tleg(*words, "--checkpoint-every", "4")


def main(out: Path) -> None:
    beton, folder, teacher = out / "beton", out / "folder", out / "teacher"
    write_folder(folder)
    tleg("prepare", str(folder), str(beton))
    tleg(*train("train-teacher", folder, teacher))
    weights = ("--teacher", str(teacher / "teacher.safetensors"))
    tleg(*train("train-aux", folder, out / "aux-folder", *weights))
    tleg(*train("train-aux", beton, out / "aux-ffcv", *weights))
    interrupt(train("train-aux", folder, out / "aux-resumed", *weights), out / "aux-resumed")
    tleg(*train("train-aux", folder, out / "aux-two", *weights, "--gpus", "2"))
    gene = ("--learngene", str(out / "aux-folder" / "learngene.pt"))
    tleg(*train("train-des", beton, out / "des", *gene, "--depth", "2,5"))
    tleg("expand", gene[1], "--depth", "2,5", "--out", str(out / "expanded"))
    found = [*out.rglob("*.pt"), *out.rglob("*.safetensors")]
    for path in sorted(path for path in found if "checkpoints" not in path.parts):
        print(weights_of(path), path.relative_to(out))
    for path in sorted(out.rglob("metrics.jsonl")):
        print(scores_of(path.parent), path.parent.relative_to(out), "scores")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
