"""Find, read and override configs: `--preset NAME|FILE`, `--set a.b=c`; every mistake in one message."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tleg_cli.config import Config, Recipe
from tleg_cli.errors import ConfigError, did_you_mean, first_line, printable

MAX_CONFIG_BYTES = 100_000  # thirty times the longest preset; PyYAML takes seconds for more
_MAX_NUMBER_CHARACTERS = 40


class _Loader(yaml.SafeLoader):
    """YAML with plain values only: no aliases (no bombs), no tags (PyYAML trusts `!!bool x` to be one), no key twice, 1e-5 is
    a number, and 2:2:6:2 isn't one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", event.start_mark)
        if (tag := getattr(event, "tag", None)) is not None:
            problem = f"the tag {tag.replace('tag:yaml.org,2002:', '!!')} is not allowed"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: Any) -> int:
        """A number of a million hexadecimal digits is quick to read, and can't be printed."""
        if len(node.value) > _MAX_NUMBER_CHARACTERS:
            problem = f"a number of {len(node.value):,} characters; at most {_MAX_NUMBER_CHARACTERS} are read"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return int(super().construct_yaml_int(node))

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} can't be a key", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _without_base_60(tag: str, pattern: re.Pattern[str]) -> tuple[str, re.Pattern[str]]:
    """YAML 1.1 reads 2:2:6:2, the depths of a Swin, as one number to the base 60."""
    number = tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    return tag, re.compile(f"(?!.*:)(?:{pattern.pattern})", re.VERBOSE) if number else pattern


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.yaml_implicit_resolvers = {
    first: [_without_base_60(*resolver) for resolver in resolvers]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def read_yaml(text: str, where: str) -> Any:
    """Plain YAML values. Raises ConfigError in one line that names `where` and the line."""
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(
            f"{where[:80]}: {len(text):,} characters are too many for a config; at most {MAX_CONFIG_BYTES:,} are read"
        )
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or first_line(error)
        raise ConfigError(printable(f"{where}{place}: {reason}")) from None


def preset_names(folder: str = "") -> list[str]:
    """The shipped presets; or, of a folder of theirs, what else is shipped as YAML."""
    files = resources.files("tleg_cli.presets").joinpath(folder).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def preset_text(name_or_file: str, folder: str = "") -> str:
    """The text of a preset by its name, or of a config file by its path. Raises ConfigError if there is none."""
    if name_or_file in preset_names(folder):
        name = f"{name_or_file}.yaml"
        return resources.files("tleg_cli.presets").joinpath(folder).joinpath(name).read_text(encoding="utf-8")
    path = Path(name_or_file)
    if not path.suffix and not path.exists():
        what = "protocol" if folder else "preset"
        raise ConfigError(f"{what} {name_or_file!r} is unknown.{did_you_mean(name_or_file, preset_names(folder))}")
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise ConfigError(f"{path} is a device or a pipe, not a config file")
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path} is not a config file: it has more than {MAX_CONFIG_BYTES:,} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"can't read config {path}: {reason}") from None


def load_config(name_or_file: str, settings: Iterable[str] = (), **replace: Any) -> Config:
    """The Config of a preset or file, `--set` applied, then `replace` (dotted with `__`: data__path="x", None: not set).

    Raises ConfigError that tells every mistake at once.
    """
    values = read_yaml(preset_text(name_or_file), name_or_file)
    if not isinstance(values, dict):
        raise ConfigError(f"{name_or_file}: a config is a mapping of sections, not {type(values).__name__}")
    _put_all(values, settings)
    for dotted, value in replace.items():
        if value is not None:
            _put(values, dotted.split("__"), value, dotted)
            _for_every_depth(values, dotted.split("__"))
    return validate(values, name_or_file)


def with_settings(config: Config, settings: Iterable[str]) -> Config:
    """The config with `--set` values in place of its own. Raises ConfigError that tells every mistake at once."""
    values = config.model_dump(mode="json")
    _put_all(values, settings)
    return validate(values, "settings")


def _put_all(values: dict[str, Any], settings: Iterable[str]) -> None:
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting!r}: write --set section.key=value, as in --set aux.epochs=5")
        path = key.strip().split(".")
        _put(values, path, read_yaml(value, f"--set {setting}"), setting)
        _for_every_depth(values, path)


def _for_every_depth(values: Mapping[str, Any], path: Sequence[str]) -> None:
    """A value set for all descendants also applies to depths that the preset sets separately: their own value is dropped."""
    if len(path) != 2 or path[0] != "descendant":
        return
    apart = values["descendant"].get("per_depth")
    for one in apart.values() if isinstance(apart, dict) and path[1] != "per_depth" else ():
        if isinstance(one, dict):
            one.pop(path[1], None)


def _put(values: dict[str, Any], path: list[str], value: Any, setting: str) -> None:
    *sections, key = path
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {setting}: {section} is a value, not a section")
        values = inner
    values[key] = value


def validate(values: Mapping[str, Any], where: str) -> Config:
    """A Config of plain values. Raises ConfigError with one clause for each wrong key."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        clauses = [_clause(item) for item in error.errors(include_url=False)]
        raise ConfigError(printable(f"{where}: " + "; ".join(clauses))) from None


def _clause(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden" and key in Recipe.model_fields:
        return f"unknown key {key}; each training has its own: aux.{key} (train-aux), descendant.{key} (train-des), teacher.recipe.{key}"
    if item["type"] == "extra_forbidden":
        return f"unknown key {key}.{did_you_mean(str(item['loc'][-1]), _keys_at(item['loc'][:-1]))}"
    return problem(item)


def problem(item: Any) -> str:
    """What pydantic says about one value, as a clause: which one, what it is, and the rule."""
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"{key} is missing"
    shown = repr(item["input"])
    message = item["msg"].removeprefix("Value error, ")
    return f"{key} = {shown if len(shown) < 60 else shown[:57] + '...'}: {message[0].lower() + message[1:]}"


def _keys_at(location: tuple[str | int, ...]) -> list[str]:
    """The keys of the section at `location`, for a suggestion."""

    def step(section: Any, key: str | int) -> Any:
        field = getattr(section, "model_fields", {}).get(key)
        kinds = getattr(field.annotation, "__args__", (field.annotation,)) if field else ()
        return next((kind for kind in kinds if hasattr(kind, "model_fields")), None)

    section = functools.reduce(step, location, Config)
    return list(getattr(section, "model_fields", {}))


def dump_yaml(config: Config) -> str:
    """The resolved config as YAML that load_config reads."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
