"""Images of every mode become RGB without losing what they show; what can't be read is refused by name."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tleg_cli.config import DataSection
from tleg_cli.data.open import open_eval_loader
from tleg_cli.data.open_source import open_source
from tleg_cli.data.read_image import LARGEST, read_rgb
from tleg_cli.errors import DataError

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def stored(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)  # type: ignore[arg-type]
    file.seek(0)
    return file


def pixels(file: object, **options: bool) -> np.ndarray:
    return np.asarray(read_rgb(file, "x.png", **options))  # type: ignore[arg-type]


def pgm(levels: np.ndarray, largest: int) -> io.BytesIO:
    head = f"P5\n{levels.shape[1]} {levels.shape[0]}\n{largest}\n".encode()
    return io.BytesIO(head + levels.astype(">u2").tobytes())


@pytest.mark.parametrize(
    ("file", "levels"),
    [
        (lambda: stored(Image.fromarray(RAMP), "PNG"), RAMP),
        (lambda: stored(Image.fromarray(RAMP), "TIFF"), RAMP),
        (lambda: stored(Image.frombytes("I;16B", (256, 256), RAMP.astype(">u2").tobytes()), "TIFF"), RAMP),
        (lambda: pgm(RAMP, 65535), RAMP),
        (lambda: pgm(RAMP // 16, 4095), RAMP // 16 * (65535 / 4095)),
    ],
    ids=["png", "tiff", "big-endian-tiff", "pgm", "pgm-12-bit"],
)
def test_sixteen_bits_are_scaled_not_clipped(file, levels):
    assert np.abs(pixels(file())[..., 0] - levels / 257).max() <= 0.51


def test_eight_bits_written_as_sixteen_come_back_exactly():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    assert np.array_equal(pixels(stored(wide, "PNG")), pixels(stored(Image.fromarray(grey), "PNG")))


def test_floats_of_0_to_1_are_scaled_and_others_refused():
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    assert np.array_equal(pixels(stored(Image.fromarray(ramp), "TIFF"))[..., 1], np.round(ramp * 255))
    for wrong in (ramp * 255, ramp - 0.5, np.full_like(ramp, np.nan)):
        with pytest.raises(DataError, match=r"x\.png has floats \(mode F\) outside 0\.\.1"):
            pixels(stored(Image.fromarray(wrong), "TIFF"))


@pytest.mark.parametrize("top", [255, 40_000, 2**31 - 1])
def test_integers_of_an_unknown_range_are_refused(top):
    levels = np.linspace(0, top, 64).astype(np.int32).reshape(8, 8)
    with pytest.raises(DataError, match=r"x\.png has 32-bit integers \(mode I\) of an unknown range"):
        pixels(stored(Image.fromarray(levels), "TIFF"))


def half_clear(mode: str) -> io.BytesIO:
    """Black on the left, fully transparent on the right, with other colours below the transparent part."""
    image = Image.new("RGBA", (8, 4), (0, 0, 0, 255))
    image.paste((200, 10, 10, 0), (4, 0, 8, 4))
    if mode == "P":
        palette = Image.new("P", (8, 4), 0)
        palette.putpalette([0, 0, 0, 200, 10, 10])
        palette.paste(1, (4, 0, 8, 4))
        return stored(palette, "PNG", transparency=1)
    if mode == "P, several":
        return stored(image.quantize(4), "PNG")
    if mode == "L, one level":
        return stored(image.convert("L"), "PNG", transparency=image.convert("L").getpixel((7, 0)))
    if mode == "I;16, one level":
        levels = np.zeros((4, 8), np.uint16)
        levels[:, 4:] = 500
        return stored(Image.fromarray(levels), "PNG", transparency=500)
    if mode == "PA":
        return stored(image.quantize(4).convert("PA"), "TIFF")
    return stored(
        image.convert(mode),
        "WEBP" if mode == "RGBA" else "PNG",
        **({"lossless": True, "exact": True} if mode == "RGBA" else {}),
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "P, several", "L, one level", "I;16, one level"])
def test_transparent_parts_become_white(mode):
    shown = pixels(half_clear(mode))
    assert (shown[:, :4] == 0).all()
    assert (shown[:, 4:] == 255).all()


def test_what_needs_no_rule_is_as_pillow_converts_it():
    random = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    for mode, kind in (("RGB", "PNG"), ("L", "JPEG"), ("CMYK", "JPEG"), ("P", "GIF"), ("1", "PNG")):
        file = stored(Image.fromarray(random).convert(mode), kind)
        expected = np.asarray(Image.open(file).convert("RGB"))
        file.seek(0)
        assert np.array_equal(pixels(file), expected)
    opaque = Image.fromarray(random).convert("RGBA")
    assert np.array_equal(pixels(stored(opaque, "PNG")), random)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [0, 1, 2, 3, 6, 8, 77])
def test_photographs_are_upright(kind, orientation):
    random = np.random.default_rng(0).integers(0, 256, (9, 16, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = stored(Image.fromarray(random), kind, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGB"))
    assert np.array_equal(pixels(file), upright)
    if kind != "TIFF":  # which Pillow turns itself
        as_stored = np.asarray(Image.open(file).convert("RGB"))
        assert np.array_equal(pixels(file, exif_orientation=False), as_stored)


def in_a_fresh_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """pytest has filters of warnings of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_damaged_exif_data_are_ignored(tmp_path):
    file = tmp_path / "x.jpg"
    Image.new("RGB", (8, 4)).save(file, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\xff\xff")
    code = "import sys; from tleg_cli.data.read_image import read_rgb; print(read_rgb(sys.argv[1], 'x').size)"
    done = in_a_fresh_process(code, file)
    assert (done.stdout, done.stderr) == ("(8, 4)\n", "")


@pytest.mark.parametrize("upright", [True, False])
def test_the_option_reaches_loaders(tmp_path, upright):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture = Image.new("RGB", (16, 16), "white")
    picture.paste("black", (0, 0, 16, 8))
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        picture.save(tmp_path / split / "a" / "1.jpg", exif=exif)
    section = DataSection(path=str(tmp_path), image_size=16, crop_pct=1, workers=0, exif_orientation=upright)
    images, _ = next(open_eval_loader(section, batch_size=1, rank=0, world=1).epoch(0))
    assert (images[0, 0, 0].float().mean() > 128) == upright


def claims(width: int, height: int) -> io.BytesIO:
    """A PNG of a few bytes that says it is that large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(10))) + chunk(b"IEND", b""))


@pytest.mark.parametrize(("width", "height"), [(LARGEST, 2), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_more_pixels_than_the_limit_are_refused_by_name(width, height):
    with pytest.raises(DataError, match=r"x\.png has more than 268 megapixels"):
        pixels(claims(width, height))


@pytest.mark.slow
def test_a_telephones_200_megapixels_work_without_a_warning(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.new("L", (16_320, 12_240), 77).save(tmp_path / split / "a" / "1.png")
    code = (
        "import sys; from tleg_cli.config import DataSection; from tleg_cli.data.open import open_eval_loader\n"
        "loader = open_eval_loader(DataSection(path=sys.argv[1], image_size=16, workers=0), batch_size=1, rank=0, world=1)\n"
        "print([int(images.sum()) for images, _ in loader.epoch(0)])"
    )
    done = in_a_fresh_process(code, tmp_path)
    assert (done.stdout, done.stderr) == (f"[{77 * 3 * 16 * 16}]\n", "")


def test_a_fifo_with_the_name_of_an_image_is_refused_at_once(tmp_path, photos):
    import os
    import shutil

    copy = shutil.copytree(photos, tmp_path / "photos")
    os.mkfifo(copy / "train" / "class-1" / "9.png")
    with pytest.raises(DataError, match=r"9\.png is a FIFO, not an image"):
        open_source(str(copy)).train()
    (copy / "train" / "class-1" / "9.png").unlink()
    split = open_source(str(copy)).train()
    for file, there in ((Path("000.jpg"), Path("/dev/zero")), (Path("001.jpg"), tmp_path / "fifo")):
        (copy / "train" / "class-0" / file).unlink()
        if not there.exists():
            os.mkfifo(there)
        (copy / "train" / "class-0" / file).symlink_to(there)
    with pytest.raises(DataError, match=r"000\.jpg: it is a device"):
        split[0]
    with pytest.raises(DataError, match=r"001\.jpg: it is a FIFO"):
        split[1]


def test_files_that_were_written_upright_cant_be_turned_back(betons):
    section = DataSection(path=str(betons), image_size=16, workers=0, exif_orientation=False)
    with pytest.raises(
        DataError, match=r"data\.exif_orientation=false can't undo; write it with `tleg prepare --no-exif"
    ):
        open_eval_loader(section, batch_size=1, rank=0, world=1)


def test_a_strip_that_would_fill_the_memory_is_refused(tmp_path):
    """1 x 60,000 pixels would be resized to 256 x 15,360,000 before the crop."""
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.new("L", (60_000, 1)).save(tmp_path / split / "a" / "strip.png")
    section = DataSection(path=str(tmp_path), image_size=224, workers=0)
    with pytest.raises(DataError, match=r"strip\.png has 60000 x 1 pixels, which is too narrow a strip for 224 x 224"):
        next(open_eval_loader(section, batch_size=1, rank=0, world=1).epoch(0))
