"""A preset or file plus `--set a.b=c` becomes one validated, frozen Config. Unknown keys are errors; all errors are reported at once."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tleg_cli.errors import ConfigError
from tleg_cli.learngene.depths import parse_depths
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.learngene.residual_step import check_step


class Section(BaseModel):
    """Base of all sections: frozen, and every key has to be declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _as_text(depths: Any) -> Any:
    return str(depths) if type(depths) is int else depths  # --set aux.depth=6 needs no quotes


def _checked_depths(text: str, *, single: bool = False) -> str:
    try:
        depths = parse_depths(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if single and len(depths) != 1:
        raise ValueError(f"{text!r} names {len(depths)} networks; one is needed")
    return text


Depths = Annotated[str, BeforeValidator(_as_text), AfterValidator(_checked_depths)]  # 6, or 3-12, or 2:2:6:2
OneDepth = Annotated[str, BeforeValidator(_as_text), AfterValidator(partial(_checked_depths, single=True))]


class BackboneSection(Section):
    """Which family of networks grows from the learngene."""

    name: str  # as `tleg plugins` lists it
    options: dict[str, Any] = {}  # keyword arguments of the backbone: img_size, patch_size, embed_dim, ...


class DataSection(Section):
    """Where images come from and how they become tensors."""

    path: str | None = None  # folder with train/ and val/, folder with train.beton and val.beton, or a source's name
    image_size: int = Field(ge=1, le=4096)  # pixels, square
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # of pixels in 0..1
    std: tuple[float, ...] = (0.229, 0.224, 0.225)  # of pixels in 0..1
    crop_pct: float = Field(0.875, gt=0, le=1)  # of evaluation: image_size / (the shorter side after resizing)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"  # folder loader; FFCV has its own (area)
    exif_orientation: bool = (
        True  # turn photographs upright as their EXIF data say; .beton files: when they are written
    )
    workers: int = Field(4, ge=0, le=1024)  # per process
    unlabelled: tuple[str, ...] | None = (
        None  # the teacher's class names, for a folder of images without classes: `tleg adopt --unlabelled`
    )

    @field_validator("path")
    @classmethod
    def _home(cls, path: str | None) -> str | None:
        return str(Path(path).expanduser()) if path and path.startswith("~") else path

    @field_validator("std")
    @classmethod
    def _not_zero(cls, std: tuple[float, ...]) -> tuple[float, ...]:
        if any(value <= 0 for value in std):
            raise ValueError("must be greater than 0")
        return std

    @model_validator(mode="after")
    def _three_channels(self) -> DataSection:
        if len(self.mean) != 3 or len(self.std) != 3:
            raise ValueError("mean and std need three values each: images are RGB")
        return self

    @property
    def input(self) -> InputSpec:
        """What a network trained on these images expects of others."""
        return InputSpec(self.image_size, self.mean, self.std, self.crop_pct)


class AugmentationSection(Section):
    """What happens to training images, in this order: crop, flip, RandAugment, jitter, normalise, erase, mixup."""

    crop_scale: tuple[float, float] | None = (0.08, 1.0)  # of the area; null: the evaluation crop
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height of the crop
    flip: float = Field(0.5, ge=0, le=1)  # probability of a horizontal flip
    color_jitter: float = Field(0.0, ge=0)  # strength for brightness, contrast and saturation; 0: none
    auto_augment: str | None = None  # timm's policy string, as in rand-m9-mstd0.5-inc1
    erase: float = Field(0.0, ge=0, le=1)  # probability of random erasing
    erase_mode: Literal["pixel", "rand", "const"] = "pixel"  # noise per pixel, one random colour, or zeros
    erase_count: int = Field(1, ge=1)  # most rectangles in an image
    mixup: float = Field(0.0, ge=0)  # alpha of the beta distribution; 0: none
    cutmix: float = Field(0.0, ge=0)  # alpha of the beta distribution; 0: none
    mixup_prob: float = Field(1.0, ge=0, le=1)  # probability of mixup or cutmix
    mixup_switch: float = Field(0.5, ge=0, le=1)  # probability of cutmix where both are on
    repeats: int = Field(1, ge=1)  # repeated augmentation: how often each image occurs in one epoch

    @field_validator("crop_scale", "crop_ratio")
    @classmethod
    def _ordered(cls, pair: tuple[float, float] | None) -> tuple[float, float] | None:
        if pair is not None and not 0 < pair[0] <= pair[1]:
            raise ValueError("needs two numbers, 0 < first <= second")
        return pair


_WORDS = {
    "checkpoint_every": (r"[1-9][0-9]{0,8}m?", "write a number of steps, as in 500, or of minutes, as in 30m"),
    "on_nan": (r"stop|rollback|skip:[1-9][0-9]{0,5}", "write stop, skip:N (as in skip:10) or rollback"),
}


class Recipe(Section):
    """How one network is trained: the same for teacher, aux net and descendant."""

    epochs: int = Field(ge=0, le=100_000)  # passes over the training images
    steps: int | None = Field(None, ge=0)  # in place of epochs: training ends after so many, inside an epoch too
    batch_size: int = Field(ge=1, le=1_000_000)  # images per process and forward pass
    accumulation: int = Field(1, ge=1, le=10_000)  # forward passes per step; one step equals one big batch
    optimizer: str = "adamw"  # timm's names
    lr: float = Field(gt=0)  # highest learning rate, after the warm-up
    lr_batch: int | None = Field(None, ge=1)  # null: lr as given; 512: lr * global batch / 512
    weight_decay: float = Field(0.05, ge=0)  # of matrices; biases, norms and what the network names are left out
    eps: float = Field(1e-8, gt=0)  # of the optimizer
    betas: tuple[float, float] = (0.9, 0.999)  # of optimizers with adam in their name
    min_lr: float = Field(1e-5, ge=0)  # where the cosine ends
    warmup_epochs: float = Field(0, ge=0)  # the rate rises in a line for so long
    warmup_lr: float = Field(1e-6, ge=0)  # where it starts
    cooldown_epochs: int = Field(0, ge=0)  # at min_lr, after `epochs`
    schedule: Literal["step", "epoch"] = "step"  # how often the cosine moves
    layer_decay: float | None = Field(None, gt=0, le=1)  # lr of block l times layer_decay ** (distance to the head)
    clip_grad: float | None = Field(None, gt=0)  # largest gradient norm
    drop_rate: float = Field(0.0, ge=0, lt=1)  # dropout
    drop_path: float = Field(0.0, ge=0, lt=1)  # stochastic depth, rising to this at the last block
    smoothing: float = Field(0.1, ge=0, lt=1)  # of labels
    ema_decay: float | None = Field(None, gt=0, lt=1)  # moving average of the weights; null: none
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"  # of forward passes (autocast)
    compile: bool | Literal["auto"] = "auto"  # torch.compile, block by block; auto: on a GPU
    gradient_checkpointing: bool = (
        False  # blocks run again in the backward pass: less memory, more time, the same gradients
    )
    gradient_compression: Literal["none", "bf16"] = (
        "none"  # between processes: bf16 sends half the bytes, rounded to 8 bits of precision
    )
    checkpoint_every: str | None = None  # in addition to each epoch; null: after each epoch only
    log_every: int | None = Field(None, ge=1)  # steps between two step records in metrics.jsonl; null: epochs only
    on_nan: str = (
        "stop"  # skip:N leaves out up to N steps of the run; rollback: weights of the last checkpoint, data goes on
    )

    @model_validator(mode="after")
    def _one_length(self) -> Recipe:
        if self.steps is not None and self.cooldown_epochs:
            raise ValueError("steps is the length of the complete training; set cooldown_epochs to 0")
        return self

    @field_validator("checkpoint_every", "on_nan", mode="before")
    @classmethod
    def _words(cls, value: Any, info: ValidationInfo) -> Any:
        value = str(value) if type(value) is int else value  # --set aux.checkpoint_every=500 needs no quotes
        pattern, advice = _WORDS[str(info.field_name)]
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise ValueError(advice)
        return value


class Distillation(Section):
    """loss = (1 - alpha) * label loss + alpha * tau^2 * KL(teacher / tau || student / tau)  (Hinton et al. 2015)."""

    alpha: float = Field(1.0, ge=0, le=1)  # 0: labels only, and no teacher is needed
    temperature: float = Field(1.0, gt=0)  # tau
    kind: Literal["soft", "hard"] = "soft"  # hard: the teacher's most probable class as the label
    reduction: Literal["batchmean", "elements"] = "batchmean"  # elements: the reference's, divided by batch * classes


class InPlaceSection(Section):
    """Any-depth stage 1: loss = (1 - weight) * loss + weight * distance to the own deepest form, at all other depths."""

    weight: float = Field(0.0, ge=0, lt=1)  # 0: off
    start: float = Field(0.0, ge=0, lt=1)  # share of all steps after which it begins


class TeacherSection(Section):
    """The trained network that stage 1 distils. Without `weights`, timm downloads its pretrained ones."""

    model: str = "levit_384"  # timm's name
    options: dict[str, Any] = {}  # keyword arguments of timm.create_model
    pretrained: bool = False  # `tleg train-teacher` starts from timm's published weights instead of from scratch
    weights: str | None = None  # .safetensors or .pth; or give --teacher
    class_map: str | None = None  # a file that says how its classes are called in the data; or give --class-map
    weight_set: Literal["auto", "raw", "ema"] = (
        "auto"  # of a file with both; auto: the moving average (EMA), as in timm
    )
    image_size: int | None = Field(None, ge=1, le=4096)  # null: what its pretrained weights expect
    recipe: Recipe | None = None  # of `tleg train-teacher`
    ahead: bool = False  # on a GPU: with the batch of the next step, on a stream of its own; the results are the same


class ExpansionSection(Section):
    """How a learngene is read at another depth, besides its basis; docs/method.md. The defaults are TLEG as published."""

    positions: Literal["tleg", "ends", "unit"] = (
        "tleg"  # of the blocks: l / L, or from the first trained block to the last
    )
    step: str = (
        "none"  # of the residual stream: none, scaled, deeper, repeats, or the power p of (trained depth / depth) ** p
    )

    @field_validator("step", mode="before")
    @classmethod
    def _as_text(cls, step: Any) -> Any:
        return f"{step:g}" if type(step) in (int, float) else step  # --set expansion.step=1 needs no quotes

    @field_validator("step")
    @classmethod
    def _a_step(cls, step: str) -> str:
        return _checked_step(step)


class AuxSection(Recipe):
    """Stage 1: the aux net. More than one depth: each step trains at one of them, and the learngene serves them all."""

    depth: Depths  # 12, or 3-12, 3,6,12, 2:2-18: drawn again for each step
    draw: Literal["uniform", "shallow", "deepest"] = "uniform"  # shallow: by 1 / blocks; deepest: half of the steps
    reference_depth: OneDepth | None = (
        None  # where the step is 1; null: the geometric mean of the shallowest and the deepest
    )
    score_depths: Depths | None = (
        None  # scored after each epoch, with the reference; null: the shallowest and the deepest
    )
    patience: int | None = Field(None, ge=1)  # ends early after so many epochs without a better profile; null: never
    distillation: Distillation = Distillation()
    in_place: InPlaceSection = InPlaceSection()
    allow_bad_teacher: bool = False  # go on with a teacher whose score is near chance

    @field_validator("layer_decay")
    @classmethod
    def _no_layers(cls, value: float | None) -> float | None:
        if value is not None:
            raise ValueError(
                "the blocks of an aux net share one learngene and can't have rates of their own; leave it out"
            )
        return value


class DescendantSection(Recipe):
    """Stage 2: descendants. `per_depth` overrides recipe values for single depths."""

    depths: Depths  # one network each, as in 3-12 or 6
    class_map: str | None = (
        None  # a file that says how the learngene's classes are called in the data; or give --class-map
    )
    fresh_head: bool = False  # leave the learngene's head out, as for another number of classes
    positions: Literal["tleg", "ends", "unit"] | None = None  # how the learngene is read; null: as its file says
    step: str | None = None  # of the residual stream, as in expansion; null: as its file says
    train: Literal["all", "coefficients"] = (
        "all"  # coefficients: those of the basis, norms and head; the learngene is frozen
    )
    per_depth: dict[str, dict[str, Any]] = {}  # depth: recipe values, as in 11: {epochs: 45}

    @field_validator("step", mode="before")
    @classmethod
    def _step_as_text(cls, step: Any) -> Any:
        return f"{step:g}" if type(step) in (int, float) else step

    @field_validator("step")
    @classmethod
    def _a_step(cls, step: str | None) -> str | None:
        return step if step is None else _checked_step(step)

    @field_validator("per_depth", mode="before")
    @classmethod
    def _depths_as_text(cls, per_depth: Any) -> Any:
        return {str(depth): values for depth, values in per_depth.items()} if isinstance(per_depth, dict) else per_depth

    @model_validator(mode="after")
    def _overrides_are_recipe_values(self) -> DescendantSection:
        for depth in self.per_depth:
            _checked_depths(depth, single=True)
            try:
                self.recipe_at(depth)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                raise ValueError(f"per_depth.{depth}.{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return self

    def recipe_at(self, depth: str) -> Recipe:
        """The recipe of the descendant of this depth."""
        values = {name: getattr(self, name) for name in Recipe.model_fields}
        return Recipe.model_validate({**values, **self.per_depth.get(depth, {})})


def _checked_step(step: str) -> str:
    try:
        check_step(step)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return step


class Config(Section):
    """Everything that a run needs. Saved resolved in its run folder, where it can be run again."""

    backbone: BackboneSection
    basis: str = "linear"  # the functions of depth that blocks are combined from; `tleg plugins` lists them
    expansion: ExpansionSection = ExpansionSection()
    data: DataSection
    augmentation: AugmentationSection = AugmentationSection()
    teacher: TeacherSection = TeacherSection()
    aux: AuxSection
    descendant: DescendantSection
    trackers: tuple[str, ...] = ()  # in addition to metrics.jsonl: tensorboard, wandb, or a plugin's
    seed: int = Field(0, ge=0, lt=2**31)  # of weights, order of images and augmentation
