"""What `tleg lab` compares: a YAML file of data, depths, seeds, budget and methods."""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from tleg_cli.config import Depths, Section
from tleg_cli.config_file import preset_names, preset_text, problem, read_yaml
from tleg_cli.errors import ConfigError, did_you_mean, printable
from tleg_cli.learngene.depths import Depth, parse_depths

FOLDER = "lab"  # of the shipped protocols, below presets/


class MethodRecipe(Section):
    """What one method does otherwise. source, mixing, target: recipe values of its trainings, as in {lr: 1e-3}."""

    share: float | None = Field(None, gt=0, le=1)  # of the budget that its source gets; null: the method's own
    source: dict[str, Any] = Field(default_factory=dict)
    mixing: dict[str, Any] = Field(default_factory=dict)
    target: dict[str, Any] = Field(default_factory=dict)


class Protocol(Section):
    """A comparison. The preset gives network, data, augmentation, teacher and everything of the recipe that is not set here."""

    preset: str
    settings: tuple[str, ...] = ()  # of the preset, as `--set` takes them
    images: int | None = Field(None, gt=0)  # to train with; used only to count costs while the data is not available
    depths: Depths  # of the family
    seeds: tuple[int, ...]
    budget: float = Field(gt=0)  # block-epochs for all depths together: training images x blocks, forward and backward
    original: float | None = Field(None, gt=0)  # block-epochs of the deepest network, if it is there already
    converged: float | None = Field(None, gt=0)  # a longer budget, which everything is trained for in addition
    warmup: float = Field(0.1, ge=0, lt=1)  # share of the steps of every training
    methods: tuple[str, ...]
    recipes: dict[str, MethodRecipe] = Field(default_factory=dict)

    @field_validator("seeds", "methods")
    @classmethod
    def _once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if not values or len(set(values)) < len(values):
            raise ValueError("needs at least one, and each of them once")
        return values

    @model_validator(mode="after")
    def _longer(self) -> Protocol:
        if self.converged is not None and self.converged <= self.budget:
            raise ValueError(f"converged is {self.converged:g}, which is not above the budget of {self.budget:g}")
        return self

    @property
    def compute(self) -> str:
        """What a method may spend, in words."""
        free = f"; a network of {self.original:g} block-epochs is there already" if self.original else ""
        return f"{self.budget:g} block-epochs for all depths together{free}"

    @property
    def family(self) -> list[Depth]:
        """The depths, shallowest first."""
        return sorted(parse_depths(self.depths), key=lambda depth: (sum(depth), depth))


def protocol_names() -> list[str]:
    """The shipped protocols."""
    return preset_names(FOLDER)


def load_protocol(name_or_file: str) -> Protocol:
    """A shipped protocol or a file. Raises ConfigError that names every mistake."""
    values = read_yaml(preset_text(name_or_file, FOLDER), name_or_file)
    if not isinstance(values, dict):
        raise ConfigError(f"{name_or_file}: a protocol is a mapping of keys, not {type(values).__name__}")
    try:
        return Protocol.model_validate(values)
    except ValidationError as error:
        clauses = "; ".join(map(_clause, error.errors(include_url=False)))
        raise ConfigError(printable(f"{name_or_file}: {clauses}")) from None


def _clause(item: Any) -> str:
    key = ".".join(map(str, item["loc"]))
    if not key:  # of several values
        return str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        fields = MethodRecipe.model_fields if item["loc"][0] == "recipes" else Protocol.model_fields
        return f"unknown key {key}.{did_you_mean(str(item['loc'][-1]), fields)}"
    return problem(item)
