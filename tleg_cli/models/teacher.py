"""The teacher: any timm model, with its own image size and normalisation, behind the student's images."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tleg_cli.config import TeacherSection
from tleg_cli.errors import ConfigError, FileFormatError
from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.any_file import as_timm_names_them, describe_choice, read_finite, read_own_card, usual_input
from tleg_cli.models.build import TimmCall, create_network, without_weights
from tleg_cli.models.class_names import ClassMatch, OtherClasses, match_classes, read_class_map, reordered
from tleg_cli.models.model_file import ModelCard, check_shapes, is_card, network_of, read_card
from tleg_cli.models.published import fetch_published
from tleg_cli.models.timm_arguments import checked_arguments

_WORDNET = re.compile(r"n\d{8}")  # how ImageNet's class folders are called


class Adapted(nn.Module):
    """`net` behind images that were made for another network: resized to its size, its normalisation instead of theirs."""

    scale: Tensor
    shift: Tensor

    def __init__(self, net: nn.Module, image_size: int, scale: Tensor, shift: Tensor):
        super().__init__()
        self.net = net
        self.image_size = image_size
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of normalised images (batch, 3, size, size)."""
        if images.shape[-1] != self.image_size:
            images = F.interpolate(images, size=(self.image_size, self.image_size), mode="bicubic", antialias=True)
        logits: Tensor = self.net(images * self.scale + self.shift)
        return logits


@dataclass(frozen=True)
class LoadedTeacher:
    """A trained teacher in evaluation mode, without gradients, its logits in the order of the data's classes.

    notes: what the user should know about it, one line each.
    """

    network: nn.Module
    notes: Sequence[str] = ()

    def logits(self, images: Tensor) -> Tensor:
        """(batch, classes), without gradient."""
        with torch.inference_mode():
            logits = self.network(images)
        return logits.clone()  # outside: a tensor of inference mode can't be kept for the student's backward pass


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """The network there. On a GPU convolutions have their weights channels-last, as its units want them; the function is the same."""
    network.to(device)
    return channels_last(network) if device.type == "cuda" else network


def channels_last(network: nn.Module) -> nn.Module:
    """The weights of convolutions as (out, height, width, in) in memory; other layers are not affected."""
    return network.to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class _Source:
    """A teacher's network as it was published: what it expects, and the names of its outputs if they are known."""

    net: nn.Module
    input: InputSpec
    classes: int
    class_names: tuple[str, ...] | None
    where: str
    note: str = ""  # which of several sets of weights it has


def new_teacher(section: TeacherSection, data: InputSpec, classes: Sequence[str]) -> tuple[Adapted, ModelCard]:
    """A teacher to train on images of `data`, freshly initialised or pretrained with a new head, and the card for its file."""
    call = _call(section, len(classes))
    if section.pretrained:
        net = _fetched(section, call)
        usual = usual_input(net)
        spec = replace(usual, image_size=section.image_size or usual.image_size)
    else:
        net, spec = create_network(call), replace(data, image_size=section.image_size or data.image_size)
    return _adapt(net, data, spec), ModelCard("teacher", call, len(classes), spec, class_names=tuple(classes))


def card_of_trained(section: TeacherSection, data: InputSpec, classes: Sequence[str]) -> ModelCard:
    """The card of new_teacher, without any weights: nothing is fetched."""
    call = _call(section, len(classes))
    usual = usual_input(create_network(call)) if section.pretrained else data
    spec = replace(usual, image_size=section.image_size or usual.image_size)
    return ModelCard("teacher", call, len(classes), spec, class_names=tuple(classes))


def load_teacher(section: TeacherSection, data: InputSpec, classes: Sequence[str]) -> LoadedTeacher:
    """The trained teacher of `section.weights` or of timm's hub, for images of `data`.

    classes: the data's names; section.class_map says how the teacher's outputs are called there, see class_names.py. Raises
    ConfigError or FileFormatError: no file and no network, other classes than the data's, weights that don't fit.
    """
    source = _from_file(section, len(classes)) if section.weights else _from_hub(section, classes)
    check_classes(source.classes, len(classes), source.where)
    names = source.class_names
    if section.class_map is not None:
        names = read_class_map(Path(section.class_map), source.classes)
    match = match_teacher(names, source.classes, classes, source.where)
    size = _usable_size(source.net, section.image_size, source.input.image_size)
    unused = ""
    if section.image_size not in (None, size):
        unused = f"teacher {source.where} can't take images of {section.image_size} pixels (teacher.image_size); it gets {size}"
    network = reordered(_adapt(source.net, data, replace(source.input, image_size=size)), match)
    notes = [note for note in (source.note, unused, match.note) if note]
    return LoadedTeacher(network.eval().requires_grad_(False), notes)


def match_teacher(names: Sequence[str] | None, count: int, classes: Sequence[str], where: str) -> ClassMatch:
    """match_classes for a teacher. Raises OtherClasses with one more way out."""
    try:
        return match_classes(names, count, classes, f"teacher {where}")
    except OtherClasses as error:
        raise OtherClasses(f"{error}; or train a teacher on this data with `tleg train-teacher`") from None


def untrained_teacher(section: TeacherSection, image_size: int, classes: int) -> tuple[Callable[[], nn.Module], int]:
    """What builds the teacher's network without any weights, and the size of its images. Nothing is fetched.

    image_size: the data's, for a teacher that is still to be trained.
    """
    from timm.models import get_pretrained_cfg

    there = section.weights is not None and Path(section.weights).is_file()
    card = read_card(Path(str(section.weights))) if there else None
    if card is not None:
        build = partial(create_network, card.timm)
        return build, _usable_size(without_weights(build), section.image_size, card.input.image_size)
    usual = None if section.recipe else get_pretrained_cfg(section.model)
    size = section.image_size or (usual.input_size[-1] if usual else image_size)
    return partial(create_network, _call(section, classes)), size


def _usable_size(net: nn.Module, asked: int | None, own: int) -> int:
    """`asked`, the preset's, if the network takes such images: a ViT takes its own size only, a preset's may be another's."""
    if asked is None or asked == own:
        return own
    was_training = net.training
    device = next((parameter.device for parameter in net.parameters()), torch.device("cpu"))
    try:
        with torch.inference_mode():
            net.eval()(torch.zeros(1, 3, asked, asked, device=device))
    except (AssertionError, RuntimeError, ValueError):
        return own
    finally:
        net.train(was_training)
    return asked


def _call(section: TeacherSection, classes: int | None = None) -> TimmCall:
    """The preset's network. Its options obey the rules of model files, which the teacher's own will be."""
    outputs = {} if classes is None else {"num_classes": classes}
    try:
        return TimmCall(*checked_arguments(section.model, {**section.options, **outputs}))
    except FileFormatError as error:
        raise ConfigError(f"teacher.model {section.model!r}, teacher.options: {error}") from None


def _from_file(section: TeacherSection, classes: int) -> _Source:
    path = Path(str(section.weights))
    weights = read_finite(path, section.weight_set)
    note = describe_choice(path, weights)
    if is_card(weights.header.tleg):
        card = read_own_card(path, weights)
        net = network_of(card, weights.tensors, str(path))
        return _Source(net, card.input, card.classes, card.class_names, str(path), note)
    net = create_network(_call(section, classes))
    net.load_state_dict(teacher_weights(net, weights.tensors, section, classes), strict=True)
    return _Source(net, usual_input(net), classes, None, str(path), note)


def teacher_weights(
    net: nn.Module, weights: dict[str, Tensor], section: TeacherSection, classes: int
) -> dict[str, Tensor]:
    """A file's weights under timm's names. Raises FileFormatError, with the way out, for those of another network."""
    renamed = as_timm_names_them(net, weights)
    try:
        check_shapes(net, renamed, f"{section.weights} as {section.model} with {classes} classes")
    except FileFormatError as error:
        raise FileFormatError(f"{error}; if it is another network, name it with --set teacher.model=NAME") from None
    return renamed


def _from_hub(section: TeacherSection, classes: Sequence[str]) -> _Source:
    net = _fetched(section, _call(section))
    outputs = int(getattr(net, "num_classes", len(classes)))
    return _Source(net, usual_input(net), outputs, _published_names(net, classes), section.model)


def _fetched(section: TeacherSection, call: TimmCall) -> nn.Module:
    """The network with timm's published weights; with another number of classes than published, timm gives it a new head."""
    return fetch_published(call, f"teacher {section.model}", "give --teacher model.safetensors")


def _published_names(net: nn.Module, classes: Sequence[str]) -> tuple[str, ...] | None:
    """The class folders of ImageNet in the order of timm's weights; None if the data's are not called so."""
    from timm.data import ImageNetInfo, infer_imagenet_subset

    subset = infer_imagenet_subset(net)
    if not subset or not all(_WORDNET.fullmatch(name) for name in classes):
        return None
    return tuple(ImageNetInfo(subset).label_names())


def check_classes(found: int, wanted: int, where: str) -> None:
    """Raises ConfigError if a teacher knows another number of classes than the data has. where: its file or name."""
    if found != wanted:
        raise ConfigError(
            f"teacher {where} knows {found} classes, the data has {wanted}; train one with `tleg train-teacher`"
        )


def _adapt(net: nn.Module, ours: InputSpec, its: InputSpec) -> Adapted:
    """(x * ours.std + ours.mean - its.mean) / its.std, as one product and one sum."""
    mean, std, its_mean, its_std = (
        torch.tensor(values).view(-1, 1, 1) for values in (ours.mean, ours.std, its.mean, its.std)
    )
    return Adapted(net, its.image_size, std / its_std, (mean - its_mean) / its_std)
