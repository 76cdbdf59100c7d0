"""What decides a run's result, as plain values in run.json: the same command must find the same values there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tleg_cli.config import AugmentationSection, Config, DataSection, Recipe, Section
from tleg_cli.errors import ConfigError
from tleg_cli.models.class_names import differences
from tleg_cli.training.distributed import World

Identity = dict[str, Any]
# may change from one start to the next: the weights don't follow from them
_NO_RESULT = {"checkpoint_every", "log_every", "on_nan", "gradient_checkpointing"}
_LATER = ("classes", "images")  # of the data; older records lack them, and images are known only once they are listed
_SECTIONS: Mapping[str, type[Section]] = {"data": DataSection, "augmentation": AugmentationSection, "recipe": Recipe}
_NAMES = ("learngene.file",)  # names of files that are known by their content


def identity(config: Config, recipe: Recipe, world: World, classes: Sequence[str], **inputs: Any) -> Identity:
    """inputs: plain values that decide the result in addition to the config, such as the depth or a teacher's hash.

    Loader workers are left out: every random number is a function of seed and position.
    """
    data = config.data.model_dump(mode="json", exclude={"workers"})
    if data["exif_orientation"]:
        del data["exif_orientation"]  # the default; runs of earlier versions don't have the key, and must go on
    if data["unlabelled"] is None:
        del data["unlabelled"]
    return {
        **inputs,
        "backbone": config.backbone.model_dump(mode="json"),
        "basis": config.basis,
        "data": data | {"path": data["path"] and _location(data["path"])},
        "augmentation": config.augmentation.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json", include=set(Recipe.model_fields) - _NO_RESULT),
        "seed": config.seed,
        "processes": world.size,
        "device": world.device.type,
        "classes": list(classes),
    }


def check_same(path: Path, old: Mapping[str, Any], new: Mapping[str, Any], allowed: Sequence[str] = ()) -> list[str]:
    """The keys that differ, all of which `allowed` names. Raises ConfigError with every other difference.

    allowed: dotted keys, their beginnings or their ends. path: of the run, for the message.
    """
    before, now = _flat(old), _flat(new)
    changed = [key for key in sorted(set(before) | set(now)) if not _is_same(key, before, now)]
    names = [_in_record(name) for name in allowed]
    refused = [
        key
        for key in changed
        if not any(key == name or f".{key}".endswith(f".{name}") or key.startswith(f"{name}.") for name in names)
    ]
    if refused:
        lines = ", ".join(dict.fromkeys(_change(key, before.get(key), now.get(key)) for key in refused))
        raise ConfigError(
            f"{path} holds a run with other settings ({lines}); choose another --out, or accept the change with "
            + " ".join(f"--allow-changed {key}" for key in refused)
        )
    return changed


def _is_same(key: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Older records lack what later versions added: then the default is what they were made with."""
    if key in before and key in now:
        return bool(before[key] == now[key])
    section, _, name = key.partition(".")
    if section in _LATER:
        return True
    fields = _SECTIONS[section].model_fields if section in _SECTIONS else {}
    return key in now and name in fields and now[key] == fields[name].get_default(call_default_factory=True)


def _change(key: str, before: Any, now: Any) -> str:
    """One difference in words."""
    if key == "classes" and isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            return f"classes: {len(before)} -> {len(now)}"
        return f"classes: {differences(now, before)}"
    if key.startswith("images.") and key.endswith(".sha256"):
        return f"{key.removesuffix('.sha256')}: other files or labels than when the run began"
    return f"{key}: {before!r} -> {now!r}"


def _in_record(key: str) -> str:
    """`aux.epochs` as run.json has it, `recipe.epochs`: a run folder has one recipe only."""
    for section in ("aux.", "descendant.", "teacher.recipe."):
        if key.startswith(section) and key.removeprefix(section).partition(".")[0] in Recipe.model_fields:
            return f"recipe.{key.removeprefix(section)}"
    return key


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"data": {"path": ...}}` as `{"data.path": ...}`, with paths spelled in one way."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{name}.")
        elif name not in _NAMES:
            flat[name] = _location(value) if name == "data.path" and isinstance(value, str) else value
    return flat


def _location(path: str) -> str:
    """One spelling for a folder, however it was given (relative, through a link, with a slash at the end); names stay."""
    place = Path(path).expanduser()
    return str(place.resolve()) if place.exists() else path
