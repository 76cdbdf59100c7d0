"""`tleg init`: image size, network, teacher and recipe for a data set and a machine, as a commented preset.

The values are starting points by simple rules, which the preset states; none of them was tuned on the data.
"""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from tleg_cli.errors import ConfigError, printable
from tleg_cli.plan.survey import Survey

# images -> (width, heads) of a vision transformer that fewer images than this can train
_WIDTHS = ((5_000, 64, 4), (50_000, 128, 4), (500_000, 192, 3), (math.inf, 384, 6))
_WIDEST_ON_CPU = 128
_SMALL, _LARGE = 64, 224  # image sizes of photographs: without and with a GPU
_TINY = 48  # below, images are used at their own size
_STEPS = {"cpu": 1_500, "cuda": 12_000}  # of stage 1
DEPTHS = "3,4,6,9,12"
_WHY_FLIP = "0.0 if a mirrored image means something else, as with letters and digits"
_WHY_NO_FLIP = "grey images are often characters, which must not be mirrored; 0.5 for others"


@dataclass(frozen=True)
class TeacherChoice:
    """kind: "scratch", "timm" (fine-tuned from its published weights) or "file" (trained already). name: of the network or file."""

    kind: str
    name: str


@dataclass(frozen=True)
class Choice:
    """What the rules chose."""

    image_size: int
    patch: int
    width: int
    heads: int
    batch: int
    aux_epochs: int
    descendant_epochs: int
    teacher_epochs: int
    workers: int
    flip: float
    gpu: bool

    @property
    def tokens(self) -> int:
        """Patches of an image."""
        return (self.image_size // self.patch) ** 2

    @property
    def smallest_crop(self) -> float:
        """Share of an image that a crop shows at least: much of a small one, which has little to show."""
        return 0.35 if self.image_size > _SMALL else 0.6 if self.image_size > _TINY else 0.8

    @property
    def aux_lr(self) -> str:
        """Learning rate of stage 1: a narrow network bears a higher one."""
        return "2.0e-3" if self.width <= 64 else "1.0e-3"


def choose_sizes(found: Survey, *, gpu: bool, cores: int, image_size: int | None = None) -> Choice:
    """Sizes for these images on this machine. image_size: instead of the rule. Raises ConfigError for one without a patch size."""
    size = image_size or _image_size(found.shorter, gpu)
    patch = _patch(size)
    width, heads = next((width, heads) for most, width, heads in _WIDTHS if found.train < most)
    if not gpu and width > _WIDEST_ON_CPU:
        width, heads = _WIDEST_ON_CPU, 4
    batch = _power_of_2(min(128 if gpu else 64, max(1, found.train // 4)))
    steps = max(1, found.train // batch)
    wanted = _STEPS["cuda" if gpu else "cpu"]
    aux = min(150, max(20, round(wanted / steps)))
    return Choice(
        image_size=size,
        patch=patch,
        width=width,
        heads=heads,
        batch=batch,
        aux_epochs=aux,
        descendant_epochs=max(5, aux // 5),
        teacher_epochs=max(10, aux // 3),
        workers=max(1, min(8, cores)),
        flip=0.0 if found.grey else 0.5,
        gpu=gpu,
    )


def _image_size(shorter: int, gpu: bool) -> int:
    if shorter < _TINY:
        return max(8, shorter // 4 * 4)
    return _LARGE if gpu and shorter >= 160 else _SMALL


def _patch(size: int) -> int:
    """The smallest patch with at most 200 of them in an image, 100 in a small one, which a larger one divides into equal parts."""
    for patch in (2, 4, 8, 14, 16, 32):
        if size % patch == 0 and (size // patch) ** 2 <= (100 if size <= _SMALL else 200):
            return patch
    raise ConfigError(f"--image-size {size} has no patch size; choose a multiple of 16, or of 4 below 48 pixels")


def _power_of_2(number: int) -> int:
    return 1 << (max(1, number).bit_length() - 1)


def preset_text(found: Survey, chosen: Choice, teacher: TeacherChoice, commands: list[str]) -> str:
    """The preset as YAML, with the reason for each value."""
    q = json.dumps  # a JSON string is a YAML string, whatever a path contains
    precision = "bf16" if chosen.gpu else "fp32"
    machine = "a GPU" if chosen.gpu else "processors without a GPU"
    lines = [
        "# Written by `tleg init`; every value is a starting point that you may change.",
        f"# {found.train:,} training and {found.val:,} validation images, {len(found.classes)} classes, about "
        f"{found.shorter} x {found.longer} pixels; for {machine}.",
        "#",
        *(f"#   {printable(command)}" for command in commands),
        "",
        f"backbone: # a vision transformer of width {chosen.width}, by the number of training images",
        "  name: vit",
        f"  options: {{img_size: {chosen.image_size}, patch_size: {chosen.patch}, embed_dim: {chosen.width}, "
        f"num_heads: {chosen.heads}}} # {chosen.tokens} patches",
        "",
        "basis: hat:3 # three blocks, and lines between them: one learngene for all depths",
        "expansion: {positions: ends, step: 1} # depth is the resolution of one curve; TLEG as published: basis linear without this line",
        "seed: 0",
        "",
        "data:",
        f"  path: {q(found.data)} # --data overrides it, as with a folder that `tleg prepare` wrote",
        f"  image_size: {chosen.image_size} # backbone.options.img_size has to be the same",
        f"  mean: {list(found.mean)} # measured on {found.read:,} training images",
        f"  std: {list(found.std)}",
        f"  crop_pct: {0.875 if chosen.image_size > _SMALL else 1.0}",
        f"  workers: {chosen.workers}",
        "",
        *augmentation_lines(chosen),
        *_teacher_lines(chosen, teacher, precision),
        "aux: # stage 1",
        "  depth: 2-12 # drawn again for every step; 6 for TLEG as published",
        *_recipe(chosen.aux_epochs, chosen.batch, chosen.aux_lr, precision, warmup=max(1, chosen.aux_epochs // 15)),
        "  smoothing: 0.0",
        "  distillation: {alpha: 1.0, temperature: 1.0, reduction: batchmean} # alpha 0.0: labels only, no teacher needed",
        "",
        "descendant: # stage 2, optional: short and without warm-up, because it starts from the learngene",
        f"  depths: {DEPTHS}",
        *_recipe(chosen.descendant_epochs, chosen.batch, "5.0e-4", precision),
    ]
    return "\n".join(lines) + "\n"


def augmentation_lines(chosen: Choice) -> list[str]:
    """The section `augmentation`."""
    why = _WHY_FLIP if chosen.flip else _WHY_NO_FLIP
    return ["augmentation:", f"  crop_scale: [{chosen.smallest_crop}, 1.0]", f"  flip: {chosen.flip} # {why}", ""]


def _teacher_lines(chosen: Choice, teacher: TeacherChoice, precision: str) -> list[str]:
    if teacher.kind == "file":
        return [
            "teacher: # trained already",
            f"  weights: {json.dumps(teacher.name)}",
            *(
                []
                if teacher.name.endswith(".safetensors")
                else ["  # model: NAME # timm's, if tleg did not write the file"]
            ),
            "",
        ]
    size = max(32, chosen.image_size)
    head = [
        "teacher: # a residual network, from scratch"
        if teacher.kind == "scratch"
        else "teacher: # from timm's published weights, fine-tuned on your images",
        f"  model: {json.dumps(teacher.name)}",
    ]
    if teacher.kind == "timm":
        head += ["  pretrained: true", "  recipe:"]
        rate, epochs = "3.0e-4", max(3, chosen.teacher_epochs // 4)
    else:
        head += [f"  image_size: {size}", "  recipe:"]
        if teacher.name == "resnet10t":
            head.insert(2, "  options: {channels: [32, 64, 96, 128]}")
        rate, epochs = "2.0e-3", chosen.teacher_epochs
    return [*head, *(f"  {line}" for line in _recipe(epochs, chosen.batch, rate, precision, warmup=1)), ""]


def _recipe(epochs: int, batch: int, lr: str, precision: str, warmup: int = 0) -> list[str]:
    return [
        f"  epochs: {epochs}",
        f"  batch_size: {batch}",
        f"  lr: {lr}",
        *([f"  warmup_epochs: {warmup}"] if warmup else []),
        f"  precision: {precision}",
    ]


def next_commands(out: Path, found: Survey, teacher: TeacherChoice) -> list[str]:
    """From the preset to networks of any depth, with the user's own paths."""
    q, name = shlex.quote, out.stem
    preset, runs = with_data(out, found), Path("runs")
    trained = runs / f"{name}-teacher" / "teacher.safetensors"
    learngene = q(str(runs / f"{name}-aux" / "learngene.pt"))
    given = "" if teacher.kind == "file" else f" --teacher {q(str(trained))}"
    return [
        *prepare_commands(out, found),
        *([] if teacher.kind == "file" else [f"tleg train-teacher --preset {preset} --out {q(str(trained.parent))}"]),
        f"tleg train-aux --preset {preset}{given} --out {q(str(runs / f'{name}-aux'))}",
        f"tleg evaluate {learngene} --data {q(data_of(out, found))} --depth {DEPTHS}",
        f"tleg expand {learngene} --depth 6",
    ]


def prepare_commands(out: Path, found: Survey) -> list[str]:
    """What leaves images out that can't be read, if there are any; trainings refuse them."""
    if not found.unreadable:
        return []
    return [f"tleg prepare {shlex.quote(found.data)} {shlex.quote(data_of(out, found))} --skip-bad"]


def data_of(out: Path, found: Survey) -> str:
    """What the trainings read: the images, or what is prepared from them."""
    return f"runs/{out.stem}-data" if found.unreadable else found.data


def with_data(out: Path, found: Survey) -> str:
    """The value of --preset, with --data if the preset does not name it."""
    preset = shlex.quote(str(out))
    return f"{preset} --data {shlex.quote(data_of(out, found))}" if found.unreadable else preset
