"""What a user types and writes: configs, --set, YAML and the command line itself, with every value that one shouldn't."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from tests.fuzz.hostile import A_FEW, MANY, MARKER, damaged, feed, plain
from tleg_cli import cli
from tleg_cli.config_file import dump_yaml, load_config, preset_text, read_yaml, validate
from tleg_cli.learngene.depths import parse_depths

_PIECES = [
    f"!!python/object/apply:os.mkdir [{MARKER}]", f"!!python/object/new:os.system [mkdir {MARKER}]", "!!python/name:os.system",
    "!!binary aGVsbG8=", "!!set {a, b}", "!!timestamp 2001-01-01", "!!int 99999999999999999999", "!!float .nan", "!!null x",
    "&a [*a]", "*a", "&a [x, x]", "<<: {a: 1}", "[" * 2000, "{" * 300, "a: " * 200, "? x", "- - - -", "---", "...", "%YAML 9.9",
    "\x00", "\ufeff", "\u2028", "\U0001f600", "'", '"', "\\", "\t", "1e999999", "0x" + "f" * 300, "9" * 6000, "1_000", "2:2:6:2",
    "2001-99-99", "yes", "~", "=", "{a: 1, a: 2}", "{[1]: 2}", "{1.5: x}", "null", "-.inf", ".nan", "1e-5", "[1, 2", "!", "@", "`",
]  # fmt: skip
texts = st.lists(st.sampled_from(_PIECES) | st.text(max_size=10), max_size=5).map("".join)


def keys() -> list[str]:
    """Every dotted key of a config."""
    found = []

    def walk(values: dict[str, Any], prefix: str) -> None:
        for key, value in values.items():
            found.append(prefix + key)
            if isinstance(value, dict):
                walk(value, f"{prefix}{key}.")

    walk(load_config("digits").model_dump(mode="json"), "")
    return found


def yaml_texts() -> tuple[Any, Any]:
    whole = preset_text("digits").encode()

    def check(data: bytes) -> None:
        text = data.decode("utf-8", "replace")
        values = read_yaml(text, "x")
        if isinstance(values, dict):
            validate(values, "x")

    return check, damaged(whole) | texts.map(lambda text: text.encode("utf-8", "surrogatepass"))


def config_files() -> tuple[Any, Any]:
    path = Path(f"{MARKER}.yaml")

    def check(data: bytes) -> None:
        try:
            path.write_bytes(data)
            load_config(str(path))
        finally:
            path.unlink()

    return check, damaged(preset_text("digits").encode()) | st.binary(max_size=200)


def settings() -> tuple[Any, Any]:
    """A config that is taken can be saved and is the same when it is read again."""
    known = st.sampled_from(keys())
    values = texts | plain.map(lambda value: yaml.safe_dump(value).strip()) | st.text(max_size=20)
    one = st.tuples(known | texts | st.text(max_size=12), values).map("=".join) | st.text(max_size=30)

    def check(several: list[str]) -> None:
        config = load_config("digits", several)
        assert validate(read_yaml(dump_yaml(config), "x"), "x") == config

    return check, st.lists(one, min_size=1, max_size=3)


def config_values() -> tuple[Any, Any]:
    def check(change: tuple[str, Any]) -> None:
        values = load_config("digits").model_dump(mode="json")
        *sections, last = change[0].split(".")
        place = values
        for section in sections:
            place = place[section]
        place[last] = change[1]
        validate(values, "x")

    return check, st.tuples(st.sampled_from(keys()), plain)


def depths() -> tuple[Any, Any]:
    words = st.lists(st.sampled_from([*"0123456789,-: ", "٣", "1e3", "\n", "12", "1000000"]), max_size=8).map("".join)
    return parse_depths, words | st.text(max_size=12)


def command_lines() -> tuple[Any, Any]:
    """In this process. Nothing that is well formed here trains, starts processes or asks the network."""
    words = [
        "--help", "-h", "--version", "--json", "--out", "--depth", "--set", "--preset", "--data", "--learngene", "--seed",
        "--device", "--gpus", "--checkpoint-every", "--allow-changed", "--teacher", "--max-restarts", "--split", "--batch-size",
        "--precision", "--basis", "--shapes", "--tensors", "--layer", "--module", "--sort", "--top", "--against", "--html",
        "--force", "--images", "--", "-", "", "=", "--=", "--out=", "3", "0", "-1", "1e9", "3,6", "12-3", "2:2", "nan", "digits/",
        "none.pt", "none.safetensors", "nowhere", "cpu", "tpu", "aux.epochs=0", "aux.lr=nan", "x=y", "a.b.c=1", "seed=-1",
        "digit", "tiny.yaml", "/proc/none", "\x01", "٣", "--dpeth", "é" * 300,
    ]  # fmt: skip
    start = st.sampled_from([*sorted(cli.COMMANDS), "nonsense", ""])

    def check(arguments: list[str]) -> None:
        sys.argv = ["tleg", *arguments]
        try:
            cli.main()
        except SystemExit as left:
            assert left.code in (0, 1, 2, None), left.code

    return check, st.tuples(start, st.lists(st.sampled_from(words) | st.text(max_size=6), max_size=5)).map(
        lambda pair: [word.replace("\x00", "") for word in (pair[0], *pair[1])]
    )


TARGETS = {make.__name__: make for make in (yaml_texts, config_files, settings, config_values, depths, command_lines)}


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """In an empty folder, without a network: what is written by accident is written here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tleg"])
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.delenv("RANK", raising=False)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_few_hostile_words(target, capsys):
    feed(*TARGETS[target](), A_FEW)


@pytest.mark.slow
@pytest.mark.timeout(100_000 if MANY > 1000 else 300)
@pytest.mark.parametrize("target", sorted(TARGETS))
def test_many_hostile_words(target, capsys):
    feed(*TARGETS[target](), MANY)


def test_the_slow_tests_give_at_least_two_thousand():
    from tests.fuzz.test_fuzz_files import TARGETS as FILES
    from tests.fuzz.test_fuzz_weights import TARGETS as WEIGHTS

    assert MANY * (len(TARGETS) + len(FILES) + len(WEIGHTS)) >= 2000 or "TLEG_FUZZ" in os.environ
