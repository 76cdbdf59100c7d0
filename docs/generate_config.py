"""Writes docs/config.md from the config classes in tleg_cli/config.py: `make docs`, or `python docs/generate_config.py`."""

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo

from tleg_cli import config
from tleg_cli.config import Config, Recipe, Section

TARGET = Path(__file__).with_name("config.md")
SOURCE = Path(str(config.__file__)).read_text(encoding="utf-8")
HEAD = """# The config

Written by `make docs` from [tleg_cli/config.py](../tleg_cli/config.py); a test fails when it is out of date.

A config is a YAML file of the sections below. `--preset NAME` takes one that is installed (`tleg presets` lists them, `tleg presets small`
prints one with the reason for every value), `--preset my.yaml` your own, and `--set SECTION.KEY=VALUE` overrides one value, such as
`--set aux.epochs=50`. `tleg presets my.yaml --set aux.epochs=50` prints the complete config that results. Every run folder holds its own as
`config.yaml`, which `--preset` accepts again. Unknown keys and values out of range are errors, all reported at once.

Where the default is *required*, a config must have the key. `null` is YAML's word for "not set".
"""
KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}
RANGES = {"ge": "at least {}", "gt": "above {}", "le": "at most {}", "lt": "below {}"}


def reference() -> str:
    """The complete text of docs/config.md."""
    parts = [HEAD, _table("", "The sections", Config)]
    for key, field in Config.model_fields.items():
        if section := _section_of(field.annotation):
            parts += _sections(key, section)
    parts.insert(2, _table("recipe", "recipe: how a network is trained", Recipe))
    return "\n".join(parts)


def _sections(path: str, section: type[Section]) -> Iterator[str]:
    """A section and those in it, each with its own table."""
    yield _table(path, path, section)
    for key, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is not None and inner is not Recipe:
            yield from _sections(f"{path}.{key}", inner)


def _table(path: str, title: str, section: type[Section]) -> str:
    shared = issubclass(section, Recipe) and section is not Recipe
    fields = {key: field for key, field in section.model_fields.items() if not (shared and key in Recipe.model_fields)}
    comments, rules = _comments(section.__name__), _rules(section.__name__)
    lines = [f"## {title}", "", " ".join(str(section.__doc__).split()), ""]
    if shared:
        lines += [f"In addition to the keys below it has all of [recipe](#{_anchor('recipe')}): `{path}.lr`, ...", ""]
    lines += ["| key | value | default | |", "|---|---|---|---|"]
    for key, field in fields.items():
        about = "; ".join(filter(None, [comments.get(key, ""), *rules.pop(key, ())]))
        if inner := _section_of(field.annotation):
            about = about or " ".join(str(inner.__doc__).split())
        cells = [f"`{key}`", _value(path, key, field), _default(field), about]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    for key, words in rules.items():
        lines += ["", *(f"`{key}`: {word}." if key else f"Rule: {word}." for word in words)]
    return "\n".join([*lines, ""])


def _value(path: str, key: str, field: FieldInfo) -> str:
    """What may be written: `whole number from 1 to 4096, or null`."""
    inner = _section_of(field.annotation)
    if inner is not None:
        name = "recipe" if inner is Recipe else f"{path}.{key}".lstrip(".")
        return f"[section](#{_anchor(name)})" + (", or null" if NoneType in get_args(field.annotation) else "")
    bounds = [
        text.format(getattr(one, name)) for one in field.metadata for name, text in RANGES.items() if hasattr(one, name)
    ]
    return _kind(field.annotation, " and ".join(bounds))


def _kind(annotation: Any, bounds: str = "") -> str:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:  # a list of depths, with its check
        return _kind(inside[0], bounds)
    if origin in (Union, UnionType):
        return ", or ".join("null" if one is NoneType else _kind(one, bounds) for one in inside)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inside)
    if origin is tuple:
        many = f"list of {KINDS[inside[0]]}s"
        return many if Ellipsis in inside else f"{len(inside)} {KINDS[inside[0]]}s"
    if origin is dict:
        return "mapping"
    return f"{KINDS[annotation]}, {bounds}" if bounds else KINDS[annotation]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    value = field.get_default()
    if isinstance(value, Section):
        return "its defaults"
    if type(value) is float:
        return f"`{value:g}`"
    plain = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{text}`"


def _section_of(annotation: Any) -> type[Section] | None:
    kinds = get_args(annotation) or (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def _anchor(title: str) -> str:
    """GitHub's name of a heading."""
    return "recipe-how-a-network-is-trained" if title == "recipe" else title.replace(".", "")


def _class(name: str) -> ast.ClassDef:
    return next(node for node in ast.parse(SOURCE).body if isinstance(node, ast.ClassDef) and node.name == name)


def _comments(section: str) -> dict[str, str]:
    """Key -> the comment in the lines of its field."""
    tokens = tokenize.generate_tokens(io.StringIO(SOURCE).readline)
    by_line = {one.start[0]: one.string.lstrip("# ") for one in tokens if one.type == tokenize.COMMENT}
    return {
        node.target.id: " ".join(
            by_line[line] for line in range(node.lineno, (node.end_lineno or 0) + 1) if line in by_line
        )
        for node in _class(section).body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _rules(section: str) -> dict[str, list[str]]:
    """Key -> what its validators say; "" for rules of the complete section."""
    rules: dict[str, list[str]] = {}
    for node in _class(section).body:
        for call in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
            if isinstance(call, ast.Call):
                keys = [one.value for one in call.args if isinstance(one, ast.Constant)] or [""]
                for key in keys:
                    rules.setdefault(str(key), []).extend(_words(node, str(key)))
    return {key: words for key, words in rules.items() if words}


def _words(validator: ast.AST, key: str) -> Sequence[str]:
    """The texts of the errors that a validator raises."""
    found = []
    for node in ast.walk(validator):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            (text,) = node.exc.args
            if isinstance(text, ast.Constant):
                found.append(str(text.value))
            elif isinstance(text, ast.Name):
                found.append(config._WORDS[key][1])
    return found


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"{TARGET} written")
