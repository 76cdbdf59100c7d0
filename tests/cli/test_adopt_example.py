"""The worked example of docs/adopt.md, run as it is written."""

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import in_its_own_process
from tleg_cli.weights.open import open_weights

DOCUMENT = (Path(__file__).parents[2] / "docs" / "adopt.md").read_text()


@pytest.mark.slow
def test_the_worked_example_gives_what_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = re.search(r"## A worked example.*?```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    lines = block[1].replace("\\\n", " ").strip().splitlines()
    outputs = []
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "tleg"
        done = in_its_own_process(*words[1:])
        assert done.code == 0, done.err
        outputs.append(done.out)
    summary = json.loads((tmp_path / "runs" / "adopted" / "summary.json").read_text())
    before, after = summary["zero_epoch_top1_at"], summary["top1_at"]
    assert set(before) == {"2", "3", "4", "5"}
    assert summary["zero_epoch_top1"] >= 94
    assert summary["final_top1"] >= summary["zero_epoch_top1"] - 1.5  # another processor is another seed
    assert after["2"] >= before["2"] + 2
    assert after["2"] >= 92
    with open_weights(tmp_path / "runs" / "networks" / "learngene-depth-03.safetensors") as (header, _):
        assert any(name.startswith("blocks.2.") for name in header.tensors)
        assert not any(name.startswith("blocks.3.") for name in header.tensors)
    assert "depth" in outputs[-1]
