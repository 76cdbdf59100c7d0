"""Names come from anywhere. Whatever a tensor, class, file, plugin or preset is called, the terminal gets plain text."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import save_file

from tests.data.conftest import write_folder
from tests.tiny import as_options

# a title escape, a bell, a carriage return, a C1 control, a mark that reverses the direction of writing, rich's markup
EVIL = "x\x1b]0;owned\x07\r\x9b2J\u202e\u2066[bold red]:smile:$a^{"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def assert_plain(done, *, shows: str = r"x\x1b]0;owned\x07") -> None:
    assert not OBEYED.search(done.out + done.err), repr(done.out + done.err)
    assert shows in done.out + done.err


@pytest.fixture
def weights(tmp_path):
    tensors = {f"blocks.{n}.{EVIL}\n.weight": torch.randn(4, 4) for n in range(5)} | {f"head{EVIL}": torch.ones(2)}
    save_file(tensors, tmp_path / f"{EVIL}\n.safetensors")
    return tmp_path / f"{EVIL}\n.safetensors"


@pytest.mark.parametrize("options", [(), ("--tensors",), ("--shapes",), ("--module", "nothing"), ("--layer", "99")])
def test_tensors_and_files(tleg, weights, options):
    assert_plain(tleg("inspect", weights, *options))


def test_against_page_and_plots(tleg, weights, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({f"new{EVIL}": torch.ones(2), f"head{EVIL}": torch.ones(3)}, other)
    page = tmp_path / "page.html"
    done = tleg("inspect", weights, "--against", other, "--html", page, "--png", tmp_path / "plots")
    assert done.code == 0, done.err
    assert_plain(done)
    assert not OBEYED.search(page.read_text())
    assert len(list((tmp_path / "plots").iterdir())) == 4


def test_json_keeps_names_as_they_are(tleg, weights):
    done = tleg("inspect", weights, "--json")
    assert not OBEYED.search(done.out)
    assert f"head{EVIL}" in [one["name"] for one in done.json()["files"][0]["tensors"]]


def test_a_name_that_is_not_utf_8(tleg, weights, tmp_path):
    odd = tmp_path / "\udcff\udcfe.safetensors"
    shutil.copy(weights, odd)
    page = tmp_path / "page.html"
    done = tleg("inspect", odd, "--html", page, "--png", tmp_path / "plots")
    assert done.code == 0, done.err
    assert "\\udcff" in done.out
    assert "\\udcff" in page.read_text(encoding="utf-8")


def test_names_of_255_bytes(tleg, weights, tmp_path):
    long = tmp_path / ("ä" * 121 + ".safetensors")
    shutil.copy(weights, long)
    assert tleg("inspect", long, "--html", tmp_path / ("p" * 250 + ".html"), "--png", tmp_path / "plots").code == 0
    assert len(list((tmp_path / "plots").iterdir())) == 4
    done = tleg("inspect", long, "--html", tmp_path / ("p" * 300 + ".html"))
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "name too long" in done.err


@pytest.mark.parametrize("option", ["--html", "--png"])
@pytest.mark.parametrize("target", ["/dev/full", "/dev/null"])
def test_devices_as_output(tleg, weights, option, target):
    done = tleg("inspect", weights, option, target)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert target in done.err


@pytest.mark.parametrize(
    "arguments",
    [("presets", "{}"), ("plan", "--preset", "{}"), ("verify", "{}"), ("doctor", "{}"), ("inspect", "{}"),
     ("evaluate", "{}", "--data", "digits"), ("prepare", "{}", "out"), ("expand", "{}", "--depth", "3"),
     ("plan", "--preset", "digits", "--set", "{}=1"), ("presets", "digits", "--set", "backbone.name={}"),
     ("evaluate", "x.pt", "--data", "{}"), ("compare", "--aux", "{}", "--tleg", "{}", "--separate", "{}", "--out", "o")],
    ids=" ".join,
)  # fmt: skip
def test_arguments_in_messages(tleg, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    done = tleg(*(word.replace("{}", f"{EVIL}\ny") for word in arguments))
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert not OBEYED.search(done.out + done.err), repr(done.err)


def test_class_folders_and_what_prepare_skips(tleg, made, tmp_path):
    folder = write_folder(tmp_path / "photos", classes=10, train=1, val=1)
    for split in ("train", "val"):
        first = min((folder / split).iterdir())
        first.rename(folder / split / f"{EVIL}\n")
    (folder / "train" / f"{EVIL}\n" / f"broken{EVIL}.jpg").write_bytes(b"\xff\xd8 nothing")
    assert_plain(tleg("evaluate", made.learngene, "--data", folder, "--device", "cpu"), shows="other classes")
    problems = tleg("plan", "--preset", "digits", "--data", folder, *as_options(), "--depth", 2, "--images", 999,
                    "--learngene", made.learngene)  # fmt: skip
    assert_plain(problems, shows="other classes")
    assert "can't work: train-des" in problems.out
    assert_plain(tleg("prepare", folder, tmp_path / "out", "--workers", 1))


def test_a_plugin(tleg, publish):
    publish(f"raise RuntimeError({EVIL!r})", "mine")
    assert_plain(tleg("plugins"))
    assert_plain(tleg("doctor"))


def test_the_record_of_a_run(tleg, made, tmp_path):
    run = shutil.copytree(made.learngene.parent, tmp_path / "run")
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"command": EVIL}))
    (run / f"bad-step-{EVIL}.json").write_text("{}")
    assert_plain(tleg("verify", run))
