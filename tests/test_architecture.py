"""The house keeps its shape: imports run downwards, and nothing heavy stands on the way to --help."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# each layer may import itself and what stands after it
LAYERS = [
    {"cli", "__main__"},
    {"commands"},
    {"training", "report"},
    {"models"},
    {"data"},
    {"config", "config_file", "plugin_manager", "plugin_loading", "plugin_checks"},
    {"learngene"},
    {"atomic", "orphans", "errors", "hookspecs", "__init__"},
]
HEAVY = ("torch", "timm", "numba", "ffcv", "numpy", "yaml", "matplotlib", "sklearn", "PIL")


def layer(module: str) -> int:
    return next(index for index, names in enumerate(LAYERS) if module in names)


def imports_at_run_time(tree: ast.Module) -> list[str]:
    """Every imported module but those under `if TYPE_CHECKING`."""
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def sources() -> list[Path]:
    return sorted((ROOT / "tleg_cli").rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_downwards(path):
    here = path.relative_to(ROOT / "tleg_cli").with_suffix("").parts[0]
    for module in imports_at_run_time(ast.parse(path.read_text())):
        if module.startswith("tleg_cli."):
            there = module.split(".")[1]
            if any(there in names for names in LAYERS):
                assert layer(there) >= layer(here), f"{here} imports {module}, which stands above it"


@pytest.mark.parametrize("path", sorted((ROOT / "tleg_cli" / "learngene").glob("*.py")), ids=lambda path: path.name)
def test_the_core_knows_torch_and_nothing_else(path):
    allowed = {*sys.stdlib_module_names, "torch", "safetensors", "tleg_cli"}
    for module in imports_at_run_time(ast.parse(path.read_text())):
        assert module.split(".")[0] in allowed, f"{path.name} imports {module}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_are_named_only_as_strings(path):
    assert not any(m.startswith("tleg_cli.plugins") for m in imports_at_run_time(ast.parse(path.read_text())))


def loaded_by(arguments: list[str], **environment: str) -> set[str]:
    """The top-level modules that a command has loaded when it ends."""
    code = (
        "import sys\n"
        f"sys.argv = ['tleg', *{arguments!r}]\n"
        "from tleg_cli.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    import os

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=True
    )
    return set(done.stderr.rsplit("LOADED", 1)[1].split())


def commands() -> list[str]:
    from tleg_cli.cli import COMMANDS

    return sorted(COMMANDS)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, "--help"] for name in commands())], ids=" ".join
)
def test_help_loads_nothing_heavy(arguments):
    assert loaded_by(arguments).isdisjoint(HEAVY)


def test_completion_loads_nothing_heavy():
    shell = {"_TLEG_COMPLETE": "complete_bash", "COMP_WORDS": "tleg tr", "COMP_CWORD": "1"}
    assert loaded_by([], **shell).isdisjoint(HEAVY)


def test_every_command_has_an_example_in_its_help():
    from tleg_cli.cli import COMMANDS

    for name, function in COMMANDS.items():
        assert f"Example: tleg {name}" in function.__doc__, name
