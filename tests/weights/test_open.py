"""The one reader of weights: what training codes save is found, what is damaged or odd is one line that names it."""

import argparse
import datetime
import json
import pathlib
import pickle
import struct
import time
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.weights.open import first_not_finite, open_weights, read_weights
from tleg_cli.weights.read_header import read_header
from tleg_cli.weights.safetensors_header import CRC_KEY
from tleg_cli.weights.save import save_safetensors


def weights(add: float = 0.0) -> dict[str, torch.Tensor]:
    return {"blocks.0.w": torch.arange(6.0).reshape(2, 3) + add, "norm.bias": torch.ones(3) + add}


def prefixed(prefix: str, add: float = 0.0) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in weights(add).items()}


def same(found: dict[str, torch.Tensor], add: float = 0.0) -> bool:
    expected = weights(add)
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def refused(path, which="auto") -> str:
    with pytest.raises((FileFormatError, ConfigError)) as caught:
        read_weights(path, which)
    assert "\n" not in str(caught.value)
    return str(caught.value)


OPTIONS = argparse.Namespace(lr=1e-3, out=pathlib.Path("/runs"), size=np.float64(3), names={"a"})
RAW = {
    "model": {"model": weights(), "args": OPTIONS},  # DeiT, Swin, MAE
    "state_dict": {"state_dict": weights(), "epoch": 3, "metric": np.float32(71.2)},  # timm, torchvision
    "lightning": {"state_dict": prefixed("model."), "hyper_parameters": {"lr": 0.1}, "callbacks": {}},
    "ddp": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "compiled-ddp": {"model": prefixed("_orig_mod.module.")},
    "ddp-compiled": {"state_dict": prefixed("module._orig_mod.model.")},
    "nested": {"model": {"state_dict": weights()}, "step": 4},
    "ordered": OrderedDict(weights()),
    "defaultdict": {"model": defaultdict(list, weights()), "loss": defaultdict(float, {"a": np.float64(1)})},
    "values": {
        "model": weights(), "counts": Counter("aab"), "when": datetime.timedelta(1), "options": types.SimpleNamespace(a=1),
        "array": np.arange(3), "rate": np.int64(3), "kind": np.dtype("f4"), "path": pathlib.PurePosixPath("x"), "dtype": torch.bfloat16,
        "device": torch.device("cpu"), "size": torch.Size([1]), "bytes": b"abc", "number": 2**70, "complex": 1j, "range": range(3),
    },
}  # fmt: skip


@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
@pytest.mark.parametrize("kind", RAW)
def test_what_training_codes_save_is_found(tmp_path, kind, old):
    torch.save(RAW[kind], tmp_path / "x.pth", _use_new_zipfile_serialization=not old)
    found = read_weights(tmp_path / "x.pth")
    assert same(found.tensors)
    assert (found.header.which, found.header.available) == ("raw", ("raw",))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_other_protocols_of_pickle_are_read(tmp_path, protocol):
    torch.save({"model": weights(), "args": OPTIONS}, tmp_path / "x.pth", pickle_protocol=protocol)
    assert same(read_weights(tmp_path / "x.pth").tensors)


@pytest.mark.parametrize(
    ("raw", "ema"),
    [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema"), ("state_dict", "ema_state_dict")],
)
def test_the_moving_average_is_taken_and_both_can_be_chosen(tmp_path, raw, ema):
    path = tmp_path / "x.pth"
    torch.save({raw: prefixed("module."), ema: {"module": weights(1)} if ema == "ema" else weights(1)}, path)
    found = read_weights(path)
    assert same(found.tensors, 1)
    assert (found.header.which, found.header.available) == ("ema", ("raw", "ema"))
    assert ema in found.header.choice()
    assert same(read_weights(path, "raw").tensors)
    assert same(read_weights(path, "ema").tensors, 1)
    assert read_header(path, "raw").prefix == "module."


def test_a_set_that_is_not_there_is_refused(tmp_path):
    torch.save({"model": weights(), "model_ema": None}, tmp_path / "x.pth")
    assert "no ema weights" in refused(tmp_path / "x.pth", "ema")
    save_file(weights(), tmp_path / "x.safetensors")
    assert "no ema weights" in refused(tmp_path / "x.safetensors", "ema")
    assert "choose auto, raw, ema" in refused(tmp_path / "x.pth", "best")


def test_a_prefix_goes_only_if_all_names_have_it(tmp_path):
    torch.save({**prefixed("module."), "loss.scale": torch.ones(1)}, tmp_path / "x.pth")
    assert "module.norm.bias" in read_weights(tmp_path / "x.pth").tensors
    save_file(prefixed("_orig_mod."), tmp_path / "x.safetensors")
    assert same(read_weights(tmp_path / "x.safetensors").tensors)


def odd_tensors() -> dict[str, torch.Tensor]:
    dense = torch.arange(6.0).reshape(2, 3)
    return {
        "sparse": dense.to_sparse(),
        "sparse-csr": dense.to_sparse_csr(),
        "quantised": torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8),
        "meta": dense.to("meta"),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "conjugated": torch.ones(2, dtype=torch.complex64).conj(),
        "bits": torch.empty(4, dtype=torch.bits8),
        "long": torch.ones(1),
    }


@pytest.mark.parametrize("kind", odd_tensors())
@pytest.mark.filterwarnings("ignore")
def test_tensors_without_plain_values_are_named(tmp_path, kind):
    name = "the.odd.one" + "x" * (2000 if kind == "long" else 0)
    torch.save({"fine": torch.ones(1), name: odd_tensors()[kind]}, tmp_path / "x.pth")
    message = refused(tmp_path / "x.pth")
    assert "the.odd.one" in message or "more than tensors" in message


@pytest.mark.parametrize(
    "tensor",
    [
        torch.ones(3).to(torch.float8_e4m3fn),
        torch.ones(3).to(torch.float8_e5m2),
        torch.ones(2, 1).expand(2, 5),  # stride 0
        torch.arange(12.0).reshape(3, 4).T[1:],  # a view
        torch.ones(0, 4),
        torch.tensor(3),
        torch.tensor([True, False]),
        torch.ones(2, dtype=torch.complex64),
        torch.ones(2, dtype=torch.uint16),
        torch.nn.Parameter(torch.ones(2)),
        torch.arange(20.0).as_strided((4, 4), (2, 1)),  # overlaps itself
    ],
    ids=lambda tensor: f"{tensor.dtype}-{tuple(tensor.shape)}",
)
@pytest.mark.parametrize("old", [False, True], ids=["zip", "old"])
def test_every_dense_tensor_comes_out_as_it_went_in(tmp_path, tensor, old):
    torch.save({"x": tensor}, tmp_path / "x.pth", _use_new_zipfile_serialization=not old)
    found = read_weights(tmp_path / "x.pth").tensors["x"]
    assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
    assert (
        found.tolist() == tensor.tolist() if tensor.itemsize > 1 else found.float().tolist() == tensor.float().tolist()
    )
    assert read_header(tmp_path / "x.pth").tensors["x"].dtype == str(tensor.dtype).removeprefix("torch.")


def test_names_that_no_encoding_can_write_are_refused(tmp_path):
    torch.save({"norm\udc80": torch.ones(1)}, tmp_path / "x.pth")
    assert r"norm\udc80" in refused(tmp_path / "x.pth")


def flip(path, at: int, bit: int = 4) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def test_a_flipped_bit_in_any_tensor_is_noticed_and_named(tmp_path):
    torch.save({"model": weights(), "optimizer": {"state": torch.zeros(1000)}}, tmp_path / "x.pth")
    save_safetensors(tmp_path / "x.safetensors", weights(), {"format": "tleg-model"})
    for name in ("x.pth", "x.safetensors"):
        for tensor, place in read_header(tmp_path / name).places.items():
            for at in (0, place.size // 2, place.size - 1):
                flip(tmp_path / name, place.begin + at)
                message = refused(tmp_path / name)
                assert tensor in message
                assert "checksum is wrong" in message
                flip(tmp_path / name, place.begin + at)
        assert same(read_weights(tmp_path / name).tensors)


def test_a_flipped_bit_in_what_a_file_says_about_itself_is_noticed(tmp_path):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, weights(), {"format": "tleg-model", "mean": [0.485]})
    for word in (b"0.485", b'"norm.bias":{', b"blocks.0.w", b"tleg-model"):
        at = path.read_bytes().index(word) + 3
        flip(path, at, bit=0)
        with pytest.raises(FileFormatError, match="damaged|another|can't be read"):
            read_header(path)
        flip(path, at, bit=0)
    assert same(read_weights(path).tensors)


def test_files_without_checksums_are_read(tmp_path):
    save_file(weights(), tmp_path / "x.safetensors", metadata={"tleg": '{"format": "tleg-model"}'})
    assert same(read_weights(tmp_path / "x.safetensors").tensors)
    assert CRC_KEY.encode() not in (tmp_path / "x.safetensors").read_bytes()
    before = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        torch.save(weights(), tmp_path / "x.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    assert same(read_weights(tmp_path / "x.pth").tensors)


def test_a_tensor_that_is_only_looked_at_is_not_copied(tmp_path):
    torch.save({"big": torch.zeros(1 << 20), "small": torch.ones(1)}, tmp_path / "x.pth")
    with open_weights(tmp_path / "x.pth") as (_, get):
        first = get("big")
        first[0] = 7  # private to this process
    assert float(read_weights(tmp_path / "x.pth").tensors["big"][0]) == 0


def test_the_first_tensor_with_nan_is_named():
    assert first_not_finite(weights()) is None
    assert first_not_finite({"a": torch.tensor([1]), "b": torch.tensor([float("inf")])}) == "b"
    assert first_not_finite({"c": torch.tensor([float("nan")]).to(torch.float8_e4m3fn)}) == "c"
    assert first_not_finite({"d": torch.ones(0), "e": torch.tensor([float("nan")], dtype=torch.bfloat16)}) == "e"


def archive(path, content: bytes, *more: tuple[str, bytes], compression: int = zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, data in (("x/data.pkl", content), ("x/version", b"3\n"), *more):
            out.writestr(name, data)
    return path


def shared_lists(levels: int) -> list:
    """One list ten times in a list, and so on: 10 ** levels values, if someone walks through them."""
    found: list = [1]
    for _ in range(levels):
        found = [found] * 10
    return found


def key_of_nested_tuples() -> bytes:
    """{((..), (..)): 1}: the hash of the key takes 2 ** 60 steps."""
    code = b"\x80\x02}K\x01\x85q\x000"
    for index in range(60):
        code += b"h%ch%c\x86q%c0" % (index, index, index + 1)
    return code + b"h\x3cK\x01s."


def safetensors_of(path, header: bytes):
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)
    return path


BOMBS = {
    "shared-lists": lambda p: archive(p, pickle.dumps({"model": shared_lists(40), "x": shared_lists(40)}, 2)),
    "nested-key": lambda p: archive(p, key_of_nested_tuples()),
    "operations": lambda p: archive(p, b"\x80\x02" + b"]0" * 4_000_000 + b"}."),
    "a-deep-list": lambda p: archive(p, b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
    "arguments": lambda p: archive(
        p, b"\x80\x02(" + b"K\x01" * 100_000 + b"tq\x000cargparse\nNamespace\nq\x01]" + b"h\x01h\x00Ra" * 9_000 + b"."
    ),
    "inflated": lambda p: archive(
        p, pickle.dumps({}), ("x/data/0", b"\0" * 200_000_000), compression=zipfile.ZIP_DEFLATED
    ),
    "entries": lambda p: archive(p, pickle.dumps({}), *((f"x/data/{n:0100}", b"") for n in range(60_000))),
    "names": lambda p: safetensors_of(
        p, json.dumps({f"n{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(120_000)}).encode()
    ),
    "metadata": lambda p: safetensors_of(p, json.dumps({"__metadata__": {f"n{n}": "" for n in range(400_000)}}).encode()),
    "shape": lambda p: safetensors_of(p, b'{"a":{"dtype":"F32","data_offsets":[0,4],"shape":[' + b"1," * 2_000_000 + b"1]}}"),
    "deep-json": lambda p: safetensors_of(p, b'{"a":' + b"[" * 900_000),
    "deep-tleg": lambda p: safetensors_of(p, json.dumps({"__metadata__": {"tleg": "[" * 900_000}}).encode()),
    "digits": lambda p: safetensors_of(p, b'{"a":{"dtype":"F32","data_offsets":[0,4],"shape":[' + b"9" * 900_000 + b"]}}"),
    "views-of-one-storage": lambda p: torch.save({f"n{n}": ONE_MEGABYTE for n in range(300)}, p) or p,
}  # fmt: skip
ONE_MEGABYTE = torch.zeros(1 << 18)


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_one_line_within_seconds(tmp_path, kind):
    path = BOMBS[kind](tmp_path / "x.bin")
    started = time.process_time()
    message = refused(path)
    assert len(message) < 1000
    assert time.process_time() - started < 6


def test_a_compressed_archive_is_refused_by_name(tmp_path):
    torch.save(weights(), tmp_path / "x.pth")
    with (
        zipfile.ZipFile(tmp_path / "x.pth") as old,
        zipfile.ZipFile(tmp_path / "y.pth", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    assert "is compressed" in refused(tmp_path / "y.pth")


def test_a_great_number_in_a_header_is_not_printed(tmp_path):
    content = {"format": "tleg-learngene", "format_version": 1 << 400_000, "theta": {}, "shared": {}}
    torch.save(content, tmp_path / "x.pt", pickle_protocol=4)
    assert read_header(tmp_path / "x.pt").tleg["format_version"] is None
