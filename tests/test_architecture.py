"""Imports run one way, without circles, and --help imports nothing heavy. docs/architecture.md explains the order."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# each line may import itself and what comes after it
ORDER = [
    {"__main__"},
    {"cli"},
    {"commands"},
    {"api"},
    {"report"},
    {"inspect", "plan", "deploy", "lab"},
    {"training"},
    {"models"},
    {"align"},
    {"augment"},
    {"data"},
    {"config_file"},
    {"config"},
    {"plugin_manager", "plugin_checks"},
    {"hookspecs"},
    {"initialiser"},
    {"declarations"},
    {"learngene"},
    {"weights"},
    {"files", "launch", "one_thread"},
    {"errors"},
    {"__init__"},
]
GENERIC = {"utils", "util", "helpers", "helper", "misc", "common", "base", "tools"}
LARGEST = 0.16  # share of the lines that one folder may have
HEAVY = ("torch", "timm", "numba", "ffcv", "numpy", "yaml", "matplotlib", "sklearn", "PIL")


def floor(module: str) -> int:
    return next(index for index, names in enumerate(ORDER) if module in names)


def all_imports(tree: ast.Module) -> list[str]:
    """Every imported module, in functions and under `if TYPE_CHECKING` too."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def imports_at_run_time(tree: ast.Module) -> list[str]:
    """Every imported module but those under `if TYPE_CHECKING`."""
    hidden = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    for node in hidden:
        node.body = [ast.Pass()]
    return all_imports(tree)


def sources() -> list[Path]:
    return sorted((ROOT / "tleg_cli").rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", sources(), ids=name_of)
def test_imports_run_downwards(path):
    here = path.relative_to(ROOT / "tleg_cli").with_suffix("").parts[0]
    for module in all_imports(ast.parse(path.read_text())):
        if module.startswith("tleg_cli."):
            there = module.split(".")[1]
            if any(there in names for names in ORDER):
                assert floor(there) >= floor(here), f"{here} imports {module}, which comes before it"


def test_files_import_each_other_in_no_circle():
    files = {name_of(path): path for path in sources()}
    below = {
        name: {other for other in all_imports(ast.parse(path.read_text())) if other in files}
        for name, path in files.items()
    }
    below = {name: {o for o in others if files[o].name != "__init__.py"} for name, others in below.items()}
    while ground := [name for name, others in below.items() if not others & set(below)]:
        for name in ground:
            del below[name]
    assert not below, f"these files, or what they import, form a circle: {sorted(below)}"


def test_folders_import_each_other_in_no_circle():
    def room(name: str) -> str:
        return name.split(".")[1] if "." in name else name

    files = {name_of(path): path for path in sources()}
    below: dict[str, set[str]] = {}
    for name, path in files.items():
        others = {room(other) for other in all_imports(ast.parse(path.read_text())) if other in files}
        below.setdefault(room(name), set()).update(others - {room(name), "tleg_cli"})
    while ground := [name for name, others in below.items() if not others & set(below)]:
        for name in ground:
            del below[name]
    assert not below, f"these folders form a circle: {below}"


def test_no_file_has_a_name_that_says_nothing():
    assert not [path for path in sources() if path.stem.strip("_") in GENERIC and path.name != "__init__.py"]


def test_no_folder_holds_more_than_its_share():
    lines = {path: len(path.read_text().splitlines()) for path in sources()}
    rooms: dict[Path, int] = {}
    for path, count in lines.items():
        rooms[path.parent] = rooms.get(path.parent, 0) + count
    room, count = max(rooms.items(), key=lambda item: item[1])
    assert count <= LARGEST * sum(lines.values()), f"{room} holds {count} of {sum(lines.values())} lines"


@pytest.mark.parametrize("path", sorted((ROOT / "tleg_cli" / "learngene").glob("*.py")), ids=lambda path: path.name)
def test_the_learngene_needs_torch_and_nothing_else(path):
    allowed = {*sys.stdlib_module_names, "torch", "safetensors", "tleg_cli"}
    for module in imports_at_run_time(ast.parse(path.read_text())):
        assert module.split(".")[0] in allowed, f"{path.name} imports {module}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_are_named_only_as_strings(path):
    assert not any(m.startswith("tleg_cli.plugins") for m in imports_at_run_time(ast.parse(path.read_text())))


def public_code() -> dict[str, str]:
    """What users read and copy: built-in plugins, the example package, examples, and every block of Python in a document."""
    found = {
        str(path.relative_to(ROOT)): path.read_text()
        for room in ("plugins", "examples")
        for path in (ROOT / room).rglob("*.py")
    }
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for number, block in enumerate(
            re.findall(r"^```python\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)
        ):
            found[f"{path.name}, block {number}"] = block
    return found


def test_plugins_documents_and_examples_use_the_public_face_only():
    for where, code in public_code().items():
        for node in ast.walk(ast.parse(code)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                inside = module.split(".")[0] == "tleg_cli"
                assert not inside or module in ("tleg_cli.api", "tleg_cli.hookspecs"), f"{where} imports {module}"


def loaded_by(arguments: list[str], **environment: str) -> set[str]:
    """The top-level modules that a command has loaded when it ends."""
    return loaded_and_printed(arguments, **environment)[0]


def loaded_and_printed(arguments: list[str], **environment: str) -> tuple[set[str], str]:
    """The same, and what it printed."""
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
    return set(done.stderr.rsplit("LOADED", 1)[1].split()), done.stdout


def commands() -> list[str]:
    from tleg_cli.cli import COMMANDS

    return sorted(COMMANDS)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, "--help"] for name in commands())], ids=" ".join
)
def test_help_loads_nothing_heavy(arguments):
    assert loaded_by(arguments).isdisjoint(HEAVY)


COMPLETED = {
    "tleg tr": {"train-aux", "train-des", "train-teacher"},
    "tleg train-aux --preset sw": {"swin-small", "swin-tiny"},
    "tleg fit --backbone convnextv2_a": {"convnextv2_atto"},
    "tleg fit --basis p": {"piecewise:3", "polynomial:2"},
    "tleg evaluate --device c": {"cuda", "cpu"},
    "tleg expand --depth ": {"6", "3,6,9", "3-12", "2:2:18:2"},
    "tleg expand --depth 3": set(),  # what isn't finished by a guess
    "tleg bench --set aux.distillation.": {
        f"aux.distillation.{k}=" for k in ("alpha", "temperature", "kind", "reduction")
    },
    "tleg presets dig": {"digits", "digits-any-depth"},
    "tleg lab dig": {"digits"},
}


@pytest.mark.parametrize("line", COMPLETED)
def test_completion_offers_what_there_is_and_loads_nothing_heavy(line):
    shell = {"_TLEG_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    loaded, out = loaded_and_printed([], **shell)
    assert loaded.isdisjoint(HEAVY)
    assert set(out.split()) >= COMPLETED[line] if COMPLETED[line] else not out.split()


def test_every_command_has_an_example_in_its_help():
    from tleg_cli.cli import COMMANDS

    for name, function in COMMANDS.items():
        assert f"Example: tleg {name}" in function.__doc__, name


def test_nothing_is_imported_from_typing_that_python_3_10_lacks():
    newer = {
        "NotRequired",
        "Required",
        "Self",
        "Unpack",
        "assert_never",
        "LiteralString",
        "Never",
        "TypeVarTuple",
        "override",
    }
    for path in [*sources(), *sorted((ROOT / "plugins").glob("*.py"))]:
        found = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.module == "typing"
            for alias in node.names
        }
        assert not found & newer, f"{path}: take {found & newer} from typing_extensions"
