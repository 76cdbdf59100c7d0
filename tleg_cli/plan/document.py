"""The document of `tleg plan --json`, typed. Bytes are of float32 unless the recipe's precision says otherwise."""

from __future__ import annotations

from typing import TypedDict

from typing_extensions import NotRequired  # typing has it from Python 3.11 on


class BetonSizes(TypedDict):
    """Bytes of train.beton and val.beton, None if unknown. what: where these figures come from."""

    train_bytes: int | None
    val_bytes: int | None
    what: str


class DataPlan(TypedDict):
    """kind: "ffcv", "images", or "assumed" if the data is not available. counted_as: where the counts come from."""

    path: str | None
    kind: str
    classes: int
    train: int
    val: int
    counted_as: str
    betons: BetonSizes


class TrainingPlan(TypedDict):
    """One network. macs: multiply-adds of one image's forward pass. The rest is of its training, if it has one here."""

    network: str
    parameters: int
    macs: int
    depth: NotRequired[str]
    epochs: NotRequired[int]
    steps_per_epoch: NotRequired[int]
    steps: NotRequired[int]
    global_batch: NotRequired[int]
    lr: NotRequired[float]
    images: NotRequired[int]
    training_macs: NotRequired[int]
    memory_bytes: NotRequired[int]
    file_bytes: NotRequired[int]
    checkpoint_bytes: NotRequired[int]


class FamilyPlan(TypedDict):
    """The family against each of its networks trained from scratch."""

    networks: int
    scratch_epochs_each: int
    epochs: int
    steps: int
    scratch_epochs: int
    times_fewer_epochs: float
    training_macs: int
    scratch_training_macs: int
    times_fewer_macs: float
    stored_parameters: int
    parameters_of_all: int
    times_fewer_parameters: float
    pretraining_epochs: int
    times_less_pretraining: float


class TrainingHours(TypedDict):
    """Of one training of the plan, scoring included."""

    network: str
    hours: float


class Estimate(TypedDict):
    """From timed steps of stage 1 on one process. with_data: whether they loaded images. scratch_hours: without scoring."""

    images_per_second: float
    seconds_per_step: float
    images_per_step: int
    with_data: bool
    device: str
    trainings: list[TrainingHours]
    hours: float
    scratch_hours: float


class DiskPlan(TypedDict):
    """Bytes of all trainings together."""

    trainings: int
    results_bytes: int
    checkpoints_bytes: int
    checkpoints_kept_of_each: int


class Plan(TypedDict):
    """teacher: None if labels alone are trained on. missing: what has to be made or given first.

    problems: `COMMAND: what it would refuse`. estimate: with --measure. commands: to run, in this order.
    """

    processes: int
    data: DataPlan
    teacher: TrainingPlan | None
    aux: TrainingPlan
    descendants: list[TrainingPlan]
    family: FamilyPlan
    disk: DiskPlan
    missing: list[str]
    problems: list[str]
    estimate: NotRequired[Estimate]
    commands: NotRequired[list[str]]
