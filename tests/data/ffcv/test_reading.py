"""What a person sees in an image is what both loaders read: orientation, 16 bits, transparency; and very large images."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import in_its_own_process
from tests.data.conftest import picture, prepare
from tleg_cli.config import DataSection
from tleg_cli.data.ffcv.file import read_beton
from tleg_cli.data.ffcv.sidecar import read_sidecar
from tleg_cli.data.open import open_eval_loader

SIZE = 24


def turned(number: int) -> bytes:
    """A photograph as a camera on its side stores it."""
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = number
    picture(number, 60, 40).save(out, "JPEG", quality=95, exif=exif)
    return out.getvalue()


def encoded(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def sixteen_bits(kind: str) -> bytes:
    values = np.random.default_rng(1).integers(0, 65536, (40, 40), dtype=np.uint16)
    return encoded(Image.fromarray(values), kind)


def transparent() -> bytes:
    image = picture(3, 40, 40).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((40, 40)))
    return encoded(image, "PNG")


KINDS = {
    "right": (turned(6), "jpg"),
    "left": (turned(8), "jpg"),
    "mirrored": (turned(5), "jpg"),
    "png16": (sixteen_bits("PNG"), "png"),
    "tiff16": (sixteen_bits("TIFF"), "tif"),
    "alpha": (transparent(), "png"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split in ("train", "val"):
        for name, (content, suffix) in KINDS.items():
            (tmp_path / "images" / split / name).mkdir(parents=True)
            (tmp_path / "images" / split / name / f"1.{suffix}").write_bytes(content)
    return tmp_path / "images"


def scored(path: Path, *, exif_orientation: bool) -> torch.Tensor:
    section = DataSection(path=str(path), image_size=SIZE, workers=0, exif_orientation=exif_orientation)
    loader = open_eval_loader(section, batch_size=2, rank=0, world=1)
    return torch.cat([images.clone() for images, _ in loader.epoch(0)])


@pytest.mark.parametrize("exif_orientation", [True, False])
def test_folder_and_beton_give_the_same_pixels(folder, tmp_path, exif_orientation):
    out = prepare(folder, tmp_path / "out", write_mode="raw", exif_orientation=exif_orientation)
    assert read_sidecar(out / "train.beton").exif_orientation is exif_orientation
    beton = read_beton(out / "val.beton")
    upright = dict(zip(sorted(KINDS), zip(beton.widths.tolist(), beton.heights.tolist(), strict=True), strict=True))
    assert upright["right"] == ((40, 60) if exif_orientation else (60, 40))
    assert torch.equal(scored(out, exif_orientation=True), scored(folder, exif_orientation=exif_orientation))


def test_the_option_of_the_command_line(folder, tmp_path):
    done = in_its_own_process("prepare", folder, tmp_path / "out", "--no-exif-orientation", "--json")
    assert done.code == 0, done.err
    written = done.json()
    assert written["train"]["exif_orientation"] is False
    assert (written["train"]["compared"], written["val"]["compared"]) == (6, 6)


@pytest.mark.slow
def test_an_image_of_200_megapixels_is_shrunk_without_warnings(folder, tmp_path):
    Image.new("1", (20_000, 10_000)).save(folder / "train" / "alpha" / "large.png")
    done = in_its_own_process("prepare", folder, tmp_path / "out", "--max-resolution", 50, "--workers", 1)
    assert done.code == 0, done.err
    assert "Warning" not in done.err
    assert read_beton(tmp_path / "out" / "train.beton").widths.max() == 50
