"""`--lr 0.001` is a usage error that names `--set aux.lr=0.001`: a recipe has thirty values, and each training its own recipe."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from typer.core import TyperCommand

# command -> where its recipe is in the config, and the class in tleg_cli/config.py that has the keys
_RECIPES = {
    "train-teacher": ("teacher.recipe", "Recipe"),
    "train-aux": ("aux", "AuxSection"),
    "bench": ("aux", "AuxSection"),
    "adopt": ("aux", "Recipe"),
    "train-des": ("descendant", "Recipe"),
}
_OTHER_NAMES = {"learning_rate": "lr"}


class Command(TyperCommand):
    """A command whose usage errors know the keys of recipes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Fails with exit code 2 for an option that is a key of the command's recipe."""
        if self.name in _RECIPES and not ctx.resilient_parsing:
            known = {name for parameter in self.params for name in parameter.opts}
            for option, value in _unknown(args, known):
                if setting := _setting(*_RECIPES[self.name], option.lstrip("-").replace("-", "_")):
                    ctx.fail(_advice(option, f"{setting}={value}"))
        return super().parse_args(ctx, args)


def _unknown(args: Sequence[str], known: set[str]) -> Iterator[tuple[str, str]]:
    """Options that a command doesn't have, with what follows them; what comes after `--` is for torchrun."""
    ours = args[: args.index("--")] if "--" in args else args
    for word, following in pairwise([*ours, ""]):
        option, given, value = word.partition("=")
        if option.startswith("--") and option not in {*known, "--help"}:
            yield option, value if given else "VALUE" if following.startswith("--") else following or "VALUE"


def _setting(section: str, keys_of: str, key: str) -> str | None:
    """`aux.lr` for `lr`, None for what is not a key."""
    from tleg_cli import config

    key = _OTHER_NAMES.get(key, key)
    return f"{section}.{key}" if key in getattr(config, keys_of).model_fields else None


def _advice(option: str, setting: str) -> str:
    from tleg_cli.errors import printable

    return printable(f"No such option: {option}. It is a value of the config; write --set {shlex.quote(setting)}")
