"""`tleg verify` finds what is damaged in a run folder, names it in one line, and never hangs."""

import json
import os
import shutil
from pathlib import Path

import pytest


@pytest.fixture
def run(made, tmp_path) -> Path:
    return Path(shutil.copytree(made.learngene.parent, tmp_path / "v1.5"))


def states(done) -> dict[str, str]:
    return {one["part"]: one["state"] for one in done.json()}


def test_a_finished_run_is_intact(tleg, run):
    done = tleg("verify", run, "--json")
    assert done.code == 0, done.err
    assert set(states(done).values()) == {"intact"}
    assert {"config.yaml", "run.json", "metrics.jsonl", "summary.json", "learngene.pt"} <= set(states(done))


def test_the_config_next_to_a_network_is_checked(tleg, made, tmp_path):
    run = Path(shutil.copytree(made.teacher.parent, tmp_path / "run"))
    file = run / "config.json"
    assert states(tleg("verify", run, "--json"))["config.json"] == "intact"
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "license": "mit"}))
    assert states(tleg("verify", run, "--json"))["config.json"] == "intact"
    document["pretrained_cfg"]["mean"] = [0, 0, 0]
    file.write_text(json.dumps(document))
    done = tleg("verify", run)
    assert done.code == 1
    assert "config.json: pretrained_cfg.mean is not that of teacher.safetensors" in done.err
    file.unlink()
    assert states(tleg("verify", run, "--json"))["config.json"] == "note"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip, pipe], ids=["deleted", "cut", "flipped", "fifo"])
@pytest.mark.parametrize("part", ["learngene.pt", "summary.json", "run.json", "metrics.jsonl"])
def test_damage_is_named(tleg, run, part, damage):
    if damage is flip and part != "learngene.pt":
        pytest.skip("a letter of a text may change without harm")
    damage(run / part)
    done = tleg("verify", run, "--json")
    if damage is Path.unlink and part in ("summary.json", "metrics.jsonl"):  # an unfinished run
        assert (done.code, states(done)[part]) == (0, "note")
        return
    assert states(done)[part] == "broken"
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert part in done.err
    assert done.err.startswith("error: ")


@pytest.mark.parametrize(
    ("part", "content"),
    [
        ("summary.json", "[]"),
        ("summary.json", '{"kind": 1}'),
        ("summary.json", '{"kind": "aux", "file": {}}'),
        ("summary.json", '{"kind": "aux", "file": "learngene.pt", "sha256": {"learngene.pt": [1]}}'),
        ("summary.json", '{"kind": "aux", "file": "learngene.pt", "sha256": "abc"}'),
        ("summary.json", "[" * 100_000),
        ("run.json", "7"),
        ("run.json", '{"command": ["train-aux"]}'),
        ("metrics.jsonl", "1\n"),
        ("metrics.jsonl", '{"epoch": Infinity}\n'),
        ("metrics.jsonl", '{"epoch": 1}\n{"epoch": 3}\n'),
        ("metrics.jsonl", '{"epoch": 1}\n{"epo'),
        ("config.yaml", "- a\n- list\n"),
    ],
)
def test_values_of_wrong_types_are_broken_parts(tleg, run, part, content):
    (run / part).write_text(content)
    done = tleg("verify", run, "--json")
    assert states(done)[part] == "broken"
    assert (done.code, done.err.count("\n")) == (1, 1)


def test_a_result_outside_the_folder_is_not_read(tleg, run):
    summary = json.loads((run / "summary.json").read_text())
    summary["sha256"] = {"../../../etc/passwd": "0" * 64}
    (run / "summary.json").write_text(json.dumps(summary))
    done = tleg("verify", run)
    assert "passwd is missing" in done.out


def test_a_family_whose_member_was_deleted(tleg, tmp_path):
    family = {"kind": "family", "init": "learngene", "descendants": [{"depth": "2"}, {"depth": "5"}]}
    (tmp_path / "depth-02" / "checkpoints").mkdir(parents=True)
    (tmp_path / "summary.json").write_text(json.dumps(family))
    assert "it lists depth 5, whose folder is missing" in tleg("verify", tmp_path).out
    family["descendants"] = [{"depth": 2}, None]
    (tmp_path / "summary.json").write_text(json.dumps(family))
    assert states(tleg("verify", tmp_path, "--json"))["summary.json"] == "broken"


def test_what_is_not_a_run_folder(tleg, tmp_path):
    for path in (tmp_path, tmp_path / "nothing", Path("/dev/null")):
        assert "is not a run folder" in tleg("verify", path).err
