"""A flipped bit or a NaN in a learngene or network: every command that uses the weights names the tensor, and none goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cli.conftest import Made, Tleg
from tests.tiny import as_options
from tleg_cli.learngene.file import read_learngene, write_learngene
from tleg_cli.weights.read_header import read_header

DATA = ["--data", "digits", "--device", "cpu"]
USES: dict[str, Callable[[Path, Path], list[object]]] = {
    "expand": lambda file, out: ["expand", file, "--depth", 2, "--out", out / "x.safetensors"],
    "export": lambda file, out: ["export", file, out / "x.pth", "--format", "reference"],
    "evaluate": lambda file, out: ["evaluate", file, "--depth", 2, *DATA],
    "inspect": lambda file, out: ["inspect", file, "--tensors"],
    "train-des": lambda file, out: [
        "train-des", "--preset", "digits", *DATA, "--learngene", file, "--depth", 2, "--out", out / "run", *as_options()
    ],
}  # fmt: skip


def refused(tleg: Tleg, *arguments: object) -> str:
    done = tleg(*arguments)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    return done.err


def flip_in(path: Path, tensor: str) -> None:
    """One bit of the last value."""
    place = read_header(path).places[tensor]
    content = bytearray(path.read_bytes())
    content[place.begin + place.size - 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("command", USES)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_flipped_bit_in_a_learngene(made: Made, tleg: Tleg, tmp_path, command, suffix):
    file = tmp_path / f"gene{suffix}"
    write_learngene(read_learngene(made.learngene), file)
    flip_in(file, "theta/blocks.*.mlp.fc1.weight")
    message = refused(tleg, *USES[command](file, tmp_path))
    assert "theta/blocks.*.mlp.fc1.weight" in message
    assert "checksum is wrong" in message
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [file.name]


@pytest.mark.parametrize("command", [command for command in USES if command != "inspect"])
@pytest.mark.parametrize(("part", "name"), [("theta", "blocks.*.norm1.bias"), ("shared", "pos_embed")])
def test_nan_in_a_learngene(made: Made, tleg: Tleg, tmp_path, command, part, name):
    content = torch.load(made.learngene, weights_only=True)
    content[part][name].view(-1)[0] = float("nan") if part == "theta" else float("inf")
    torch.save(content, tmp_path / "gene.pt")
    message = refused(tleg, *USES[command](tmp_path / "gene.pt", tmp_path))
    assert f"{part} of {name} holds NaN or Inf" in message


def test_inspect_still_shows_a_learngene_with_nan(made: Made, tleg: Tleg, tmp_path):
    content = torch.load(made.learngene, weights_only=True)
    content["theta"]["blocks.*.norm1.bias"][0, 0] = float("nan")
    torch.save(content, tmp_path / "gene.pt")
    assert "1 NaN" in tleg("inspect", tmp_path / "gene.pt").out


def test_a_flipped_bit_in_a_network_and_in_a_teacher(made: Made, tleg: Tleg, tmp_path):
    network = tmp_path / "network.safetensors"
    assert tleg("expand", made.learngene, "--depth", 2, "--out", network).code == 0
    flip_in(network, "blocks.1.attn.qkv.weight")
    for command in (
        ["evaluate", network, *DATA],
        ["fit", network, tmp_path / "gene.pt"],
        ["inspect", network, "--tensors"],
    ):
        assert "blocks.1.attn.qkv.weight" in refused(tleg, *command)
    teacher = shutil.copy(made.teacher, tmp_path / "teacher.safetensors")
    name = next(iter(load_file(teacher)))
    flip_in(Path(teacher), name)
    train = ["train-aux", "--preset", "digits", *DATA, "--teacher", teacher, "--out", tmp_path / "run", *as_options()]
    assert name in refused(tleg, *train)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8, torch.bool, torch.complex64], ids=str)
@pytest.mark.parametrize("command", ["expand", "evaluate"])
def test_a_theta_that_is_not_made_of_numbers_for_training(made: Made, tleg: Tleg, tmp_path, command, dtype):
    content = torch.load(made.learngene, weights_only=True)
    content["theta"]["blocks.*.norm1.bias"] = content["theta"]["blocks.*.norm1.bias"].to(dtype)
    torch.save(content, tmp_path / "gene.pt")
    assert "blocks.*.norm1.bias" in refused(tleg, *USES[command](tmp_path / "gene.pt", tmp_path))
    assert tleg("inspect", tmp_path / "gene.pt", "--tensors").code == 0


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.int64, torch.bool, torch.complex64, torch.uint16], ids=str)
def test_a_checkpoint_of_another_dtype(tleg: Tleg, made: Made, tmp_path, dtype):
    network = tmp_path / "network.safetensors"
    assert tleg("expand", made.learngene, "--depth", 3, "--out", network).code == 0
    weights = {name: value.to(dtype) for name, value in load_file(network).items()}
    torch.save(weights, tmp_path / "odd.pth")
    save_file(weights, tmp_path / "odd.safetensors")
    for name in ("odd.pth", "odd.safetensors"):
        assert tleg("inspect", tmp_path / name, "--tensors").code == 0
        assert tleg("inspect", tmp_path / name).code == 0
        fit = tleg("fit", tmp_path / name, tmp_path / "gene.pt", "--force", "--option", "num_heads=2")
        assert fit.code == (0 if dtype == torch.float8_e5m2 else 1), fit.err
        assert fit.err.count("\n") == fit.code
        assert tleg("import", tmp_path / name, tmp_path / "gene.pt", "--force").code == 1
