"""Plain English in messages, help, comments, documents and presets. CONTRIBUTING.md has the wording rules."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# an expression that is avoided -> what to write
AVOIDED = {
    r"(?<!there )\b(is|are|was|were) no (?!longer|more\b)": "is not a ...",
    r"\bwhole\b(?! numbers?\b)": "complete, intact, entire",
    r"\b(stands?|stood)\b(?!-)": "is, is written",
    r"(?<![`\"])\bbeside\b(?![`\"])": "next to, in addition to",  # `beside` is a key of tleg inspect --json
    r"\b(is|are|was|were|be|been) (said|told)\b": "is reported",
    r"\banew\b": "again",
    r"\bstrangers?\b": "third party",
    r"\bby hand\b": "yourself, manually",
    r"\bnobody\b": "no one; or say who",
    r"\blooked at\b": "used, read",
    r"\bone's own\b": "your own",
    r"\buntrained\b(?!_| theta| teacher)": "with no further training, random",
}
ONE_WORD = {r"\bancestors?\b": "teacher"}  # in what the tool itself prints


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string of a module, docstrings included, and of every comment. An inserted value is an x."""
    source = path.read_text()
    inside: set[int] = set()  # parts of f-strings
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            inside.update(id(part) for part in node.values)
            yield (
                node.lineno,
                "".join(
                    str(getattr(part, "value", "x")) if isinstance(part, ast.Constant) else "x" for part in node.values
                ),
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, f"`{node.value}`" if node.value == "beside" else node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    yield from enumerate(path.read_text().splitlines(), 1)


def faults(path: Path, texts: Iterator[tuple[int, str]], avoided: dict[str, str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {found[0].strip()!r} (write: {instead}): {text.strip()[:100]}"
        for line, text in texts
        for pattern, instead in avoided.items()
        if (found := re.search(pattern, " ".join(text.split()), re.IGNORECASE))
    ]


MODULES = sorted(
    path for room in ("tleg_cli", "plugins", "benchmarks", "examples") for path in (ROOT / room).rglob("*.py")
)
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "examples").glob("*.[ms][dh]"),
    *(ROOT / "presets").rglob("*.yaml"),
    *(ROOT / "plugins").rglob("*.md"),
    *(ROOT / name for name in ("Makefile", "setup.sh", "quickstart.sh")),
]
ALLOWED = {"CONTRIBUTING.md", "architecture.md"}  # they quote what is avoided


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_and_comments_are_plain_english(path):
    found = faults(path, texts_of(path), AVOIDED | ONE_WORD)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_are_plain_english(path):
    found = [] if path.name in ALLOWED else faults(path, lines_of(path), AVOIDED)
    assert not found, "\n".join(found)


def test_the_list_finds_what_it_is_for():
    for bad in ("x is no learngene", "the whole file", "it stands beside it", "that is said", "begin anew", "by hand"):
        assert any(re.search(pattern, bad) for pattern in AVOIDED), bad
    for good in ("there is no GPU", "a whole number", "it is no longer there", "understands", "besides"):
        assert not any(re.search(pattern, good) for pattern in AVOIDED), good
