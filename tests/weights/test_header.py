"""Headers without torch: right for every honest file, one line for every other."""

import argparse
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tleg_cli.errors import FileFormatError
from tleg_cli.learngene.file import write_learngene
from tleg_cli.weights.header import plain
from tleg_cli.weights.open import open_weights
from tleg_cli.weights.read_header import read_header

KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool]


def weights() -> dict[str, torch.Tensor]:
    return {f"t{n}": torch.ones(n + 1, 2).to(kind) for n, kind in enumerate(KINDS)} | {"scalar": torch.tensor(1.0)}


def one_line(path: Path) -> str:
    """Refused by the header and by the reader of weights alike."""
    for read in (read_header, lambda path: open_weights(path).__enter__()):
        with pytest.raises(FileFormatError) as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", "wrapped.pt"])
def test_shapes_and_dtypes_are_those_of_the_tensors(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    if suffix == ".safetensors":
        save_file(weights(), path)
    else:
        args = argparse.Namespace(lr=1e-3, data=Path("/data"))
        torch.save({"state_dict": weights(), "args": args, "epoch": 3} if "wrapped" in suffix else weights(), path)
    found = read_header(path).tensors
    assert {name: (info.shape, info.dtype) for name, info in found.items()} == {
        name: (tuple(one.shape), str(one.dtype).removeprefix("torch.")) for name, one in weights().items()
    }
    with open_weights(path) as (header, get):
        assert dict(header.tensors) == dict(found)
        assert all(torch.equal(get(name), one) for name, one in weights().items())


def test_parameters_views_and_old_files(tmp_path):
    wide = torch.arange(100.0).reshape(10, 10)
    torch.save({"a": torch.nn.Parameter(wide), "b": wide[:, 2]}, tmp_path / "x.pt")
    assert read_header(tmp_path / "x.pt").tensors["b"].shape == (10,)
    torch.save({"a": wide}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert read_header(tmp_path / "old.pt").tensors["a"].shape == (10, 10)
    with open_weights(tmp_path / "old.pt") as (header, get):
        assert header.tensors["a"].shape == (10, 10)
        assert torch.equal(get("a"), wide)


def test_a_learngene_says_what_it_is_in_both_formats(tmp_path, make_learngene):
    for suffix in (".pt", ".safetensors"):
        write_learngene(make_learngene(), tmp_path / f"g{suffix}")
    one, other = (read_header(tmp_path / f"g{suffix}") for suffix in (".pt", ".safetensors"))
    assert one.tleg == other.tleg
    assert dict(one.tensors) == dict(other.tensors)


def test_reading_a_header_imports_no_torch(tmp_path):
    torch.save(weights(), tmp_path / "x.pt")
    code = (
        "import sys; from pathlib import Path; from tleg_cli.weights.read_header import read_header\n"
        f"read_header(Path({str(tmp_path / 'x.pt')!r})); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def safetensors_with(path: Path, header: object, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + b"\0" * 16)
    return path


def test_a_header_of_ten_gigabytes_is_not_believed(tmp_path):
    message = one_line(safetensors_with(tmp_path / "x.safetensors", {}, length=10_000_000_000))
    assert "claims 10,000,000,000 bytes" in message


@pytest.mark.parametrize(
    "header",
    [
        b"{]", b"{\xff}", b"{" * 100_000, b'{"a": 1}', b"{}[",
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [400], "data_offsets": [0, 1600]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"a": {"dtype": "F32", "shape": [2]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}},
        {"a": {"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}},
        {"__metadata__": {"tleg": "{"}},
        {"__metadata__": 3},
    ],
)  # fmt: skip
def test_hostile_safetensors_are_refused(tmp_path, header):
    with pytest.raises(FileFormatError):
        read_header(safetensors_with(tmp_path / "x.safetensors", header))


class Bomb:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "old"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, new):
    content = {"a": torch.ones(2), "b": Bomb(tmp_path / "ran")}
    torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=new)
    if new:
        assert "nothing was run" in one_line(tmp_path / "x.pt")
    with pytest.raises(FileFormatError, match="nothing was run"), open_weights(tmp_path / "x.pt"):
        pass
    assert not (tmp_path / "ran").exists()


def torch_archive(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
        archive.writestr("x/version", "3\n")
    return path


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02", b"\x80\x02]q\x00.", pickle.dumps(3), pickle.dumps({}), b"r\xff\xff\xff\xff"]
)
def test_odd_pickles_are_refused(tmp_path, content):
    one_line(torch_archive(tmp_path / "x.pt", content))


def test_what_holds_itself_ends(tmp_path):
    loop: dict = {}
    loop["model"] = loop
    one_line(torch_archive(tmp_path / "x.pt", pickle.dumps(loop, protocol=2)))


def test_a_tensor_of_terabytes_in_a_file_of_bytes_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "x.pt")
    assert "claim 4,000,000,000,000 bytes" in one_line(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x89PNG", b"\x80"])
def test_other_files_are_named(tmp_path, content):
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(FileFormatError), open_weights(tmp_path / "x.bin"):
        pass
    assert "no file at" in one_line(tmp_path / "nothing")
    assert "is a folder" in one_line(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "is a FIFO" in one_line(tmp_path / "pipe")
    assert "is a device" in one_line(Path("/dev/zero"))


def test_an_unknown_layout_says_what_was_found(tmp_path):
    torch.save({"generator": {"a": torch.ones(2)}, "step": 7, "loss": [1.0]}, tmp_path / "x.pt")
    message = one_line(tmp_path / "x.pt")
    assert "generator: dict of 1" in message
    assert "step: int" in message
    torch.save([torch.ones(2)], tmp_path / "x.pt")
    assert "list of 1" in one_line(tmp_path / "x.pt")


def test_values_of_foreign_files_become_plain():
    found = plain({1: float("nan"), "a": (1, Path("/x")), "b": {"c": torch.ones(1)}})
    assert json.loads(json.dumps(found, allow_nan=False)) == {"1": None, "a": [1, "PosixPath"], "b": {"c": "Tensor"}}
