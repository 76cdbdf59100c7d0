"""README and documents are true: commands exist with their options, links and tests exist, the quickstart is the one that runs."""

import ast
import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer

from tleg_cli.cli import app
from tleg_cli.config import Config, Recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(text: str) -> list[list[str]]:
    """Every `tleg ...` line of a block of code; a backslash joins lines, && and # end a command."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        for part in line.strip().split("&&"):
            words = shlex.split(part, comments=True) if part.strip().startswith("tleg ") else []
            if words:
                found.append(words[1:])
    return found


def test_the_quickstart_of_the_readme_is_the_one_that_runs():
    script = (ROOT / "quickstart.sh").read_text()
    values = {
        "$run": "runs/quickstart",
        "$seed": "0",
        "$teacher": "runs/quickstart/teacher/teacher.safetensors",
        "$alone": re.search(r'^alone="(.*?)"', script, re.MULTILINE).group(1),
    }
    ours = []
    for line in script.splitlines():
        if line.startswith(("say tleg", "meanwhile tleg")):
            line = line.partition(" ")[2].split(" --seconds")[0].replace('"', "")
            for name, value in values.items():
                line = line.replace(name, value)
            ours.append(line)
    block = next(block for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) if "prepare digits" in block)
    assert block.strip().splitlines() == ours


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_exists_with_its_options(document):
    group = typer.main.get_command(app)
    for words in commands(document.read_text()):
        context = typer.Context(group)
        command = group.get_command(context, words[0])  # type: ignore[attr-defined]
        if words[0].startswith("-") or words[0] in ("sizes", "..."):  # the example of a plugin's command
            continue
        assert command is not None, words
        known = {name for parameter in command.params for name in parameter.opts}
        for word in words[1:]:
            if word.startswith("--") and word != "--":
                assert word.split("=")[0] in known | {"--help"}, words


def test_the_plugin_of_the_readme_is_the_one_that_the_tests_run():
    plugin = (ROOT / "examples" / "own_backbone.py").read_text().split('"""')[2].strip()
    assert plugin in README


@pytest.mark.parametrize("name", ["cli", "config"])
def test_the_generated_references_are_up_to_date(name):
    reference = runpy.run_path(str(ROOT / "docs" / f"generate_{name}.py"))["reference"]
    assert (ROOT / "docs" / f"{name}.md").read_text() == reference(), "run `make docs`"


def test_the_config_reference_describes_every_key_with_its_rules():
    rows = [
        line.split(" | ") for line in (ROOT / "docs" / "config.md").read_text().splitlines() if line.startswith("| `")
    ]
    keys = [row[0].strip("| `") for row in rows]
    kinds = [Config, Recipe, *(field.annotation for field in Config.model_fields.values() if "Section" in str(field))]
    for kind in kinds:
        assert set(getattr(kind, "model_fields", ())) <= set(keys)
    assert not [row for row in rows if not row[3].strip(" |")], "a key has no comment in tleg_cli/config.py"
    lines = [" | ".join(row) for row in rows]
    for line in (
        "| `image_size` | whole number, at least 1 and at most 4096 | *required* | pixels, square |",
        "| `lr` | number, above 0 | *required* | highest learning rate, after the warm-up |",
        "| `precision` | `fp32`, `bf16`, `fp16` | `bf16` | of forward passes (autocast) |",
    ):
        assert line in lines
    assert any(line.endswith("write stop, skip:N (as in skip:10) or rollback |") for line in lines)


def test_every_link_to_a_file_leads_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_promise_names_a_test_that_is_there():
    rows = [line for line in GUARANTEES.splitlines() if line.startswith("|") and "`tests/" in line]
    assert len(rows) >= 10
    for row in rows:
        first, *more = re.findall(r"`((?:tests/|test_)\S+)`", row.rsplit("|", 2)[1])
        for name in (first, *(str(Path(first).parent / other) for other in more)):
            assert (ROOT / name).exists(), row


def test_the_changelog_has_an_open_section():
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def names_in(path: Path) -> set[str]:
    """Every function, class and method of a module: `train`, `Run`, `Run.finish`."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return names


def test_the_walks_of_the_architecture_name_functions_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    found = re.findall(r"`([a-z_/]+\.py):([A-Za-z_.]+)`", text)
    assert len(found) >= 25
    for file, name in found:
        assert name in names_in(ROOT / "tleg_cli" / file), f"{file}:{name}"


def test_every_path_and_folder_in_the_architecture_exists():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in re.findall(r"`((?:tleg_cli|tests|presets|plugins|examples|benchmarks)/[a-z_/.-]*)`", text):
        assert (ROOT / path).exists(), path
    table = text.split("## The import rule")[0]
    rooms = {path.name for path in (ROOT / "tleg_cli").iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert rooms == {room for room in re.findall(r"`([a-z]+)/`", table) if (ROOT / "tleg_cli" / room).is_dir()}


def test_the_import_order_of_the_document_is_the_one_that_is_checked():
    from tests.test_architecture import ORDER

    block = re.search(
        r"^    (cli > .*?)\n\n", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert block
    documented = [{name.strip() for name in part.split(",")} for part in block[1].split(">")]
    assert documented == [names for names in ORDER if not any(name.startswith("__") for name in names)]
