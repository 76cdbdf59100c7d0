"""What `tleg lab` compares, once its names are looked up: a protocol, its networks, and the trainings that each needs."""

from __future__ import annotations

from dataclasses import dataclass

from tleg_cli import plugin_manager
from tleg_cli.config import Config
from tleg_cli.config_file import load_config
from tleg_cli.errors import ConfigError
from tleg_cli.initialiser import Initialiser
from tleg_cli.lab.protocol import Protocol
from tleg_cli.learngene.depths import Depth, complete_depth, format_depth


@dataclass(frozen=True)
class Training:
    """One training. name: of its folder. what: its description. block_images: the cost of its steps, 0 for an original.

    needed: a description of the fewest steps that make sense; least: the smallest budget of the protocol that allows these, 0 for a
    training without steps.
    """

    name: str
    what: str
    config: Config
    steps: int
    steps_per_epoch: int
    block_images: int
    needed: str
    least: float


@dataclass(frozen=True)
class Cell:
    """One network of the comparison: a method at a depth with a seed. sources: what is trained first, once for all depths; the
    second one starts from the first. mixing: of the coefficients alone, before target, where the method has one. ranking: the cost of
    ranking the first source's blocks, in block-images. made_by: a digest of what decides the result."""

    method: Initialiser
    depth: Depth
    seed: int
    sources: tuple[Training, ...]
    target: Training
    mixing: Training | None = None
    ranking: int = 0
    made_by: str = ""

    @property
    def own(self) -> tuple[Training, ...]:
        """The trainings of this network alone, in their order."""
        return (self.target,) if self.mixing is None else (self.mixing, self.target)

    @property
    def block_images(self) -> int:
        """What they cost."""
        return sum(training.block_images for training in self.own)

    @property
    def source_block_images(self) -> int:
        """What the sources cost."""
        return self.ranking + sum(source.block_images for source in self.sources)

    @property
    def name(self) -> str:
        """`tleg depth 6 seed 0`."""
        return f"{self.method.name} depth {format_depth(self.depth)} seed {self.seed}"


@dataclass(frozen=True)
class Study:
    """A protocol with its names looked up. images: of the training set."""

    protocol: Protocol
    config: Config
    methods: tuple[Initialiser, ...]
    depths: tuple[Depth, ...]
    images: int

    @property
    def block_images(self) -> float:
        """What the complete family may cost."""
        return self.protocol.budget * self.images


def make_study(protocol: Protocol, images: int) -> Study:
    """Raises ConfigError for an unknown method, a preset or settings that can't be used, and a recipe of no method."""
    config = load_config(protocol.preset, protocol.settings)
    methods = tuple(plugin_manager.get_initialiser(name) for name in protocol.methods)
    unused = sorted(set(protocol.recipes) - {method.name for method in methods})
    if unused:
        raise ConfigError(f"recipes.{unused[0]} is for a method that the protocol doesn't name; add it to methods")
    backbone = plugin_manager.get_backbone(config.backbone.name)
    full = [complete_depth(depth, backbone.usual_depth, backbone.name) for depth in protocol.family]
    return Study(protocol, config, methods, tuple(full), images)
