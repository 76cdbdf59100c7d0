"""The model card of a network: README.md with the Hugging Face Hub's YAML header, from what its file says about itself and its scores."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tleg_cli.learngene.input_spec import InputSpec
from tleg_cli.models.model_file import ModelCard

_MOST_NAMES = 50  # class names that the text lists; the file has all


@dataclass(frozen=True)
class Score:
    """top1, top5: percent. depth: of a learngene's network, in tleg's grammar; empty for a network of its own."""

    top1: float
    top5: float | None = None
    depth: str = ""


@dataclass(frozen=True)
class CardFacts:
    """What a card says in addition to the file. data: what it was scored on. base_model: of the learngene on the hub.

    repository: USER/NAME, where the card will be; None if only a folder is known.
    """

    name: str
    license: str | None = None
    data: str | None = None
    scores: tuple[Score, ...] = ()
    base_model: str | None = None
    repository: str | None = None


def training_of(provenance: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the training wrote: a descendant's file has it in a table of its own, next to what its learngene says."""
    inner = provenance.get("training")
    return inner if isinstance(inner, Mapping) else provenance


def trained_scores(provenance: Mapping[str, Any], depth: str = "") -> tuple[str | None, tuple[Score, ...]]:
    """(data, scores) that the training wrote into a file after its last epoch."""
    provenance = training_of(provenance)
    data = str(provenance["data"]) if provenance.get("data") else None
    top1, top5 = (
        float(provenance[key]) if isinstance(provenance.get(key), int | float) else None for key in ("top1", "top5")
    )
    return data, () if top1 is None else (Score(top1, top5, depth),)


def network_text(card: ModelCard, facts: CardFacts) -> str:
    """The README of a network that timm loads."""
    where = f"hf-hub:{facts.repository}" if facts.repository else f"local-dir:{_plain(facts.name)}"
    comment = "" if facts.repository else "  # on the hub: hf-hub:USER/NAME"
    lines = [
        f"{as_text(card.timm.name)}, {card.classes} classes{_origin(card)}",
        "",
        *score_lines(facts),
        "## Use",
        "",
        "```python",
        "import timm",
        "",
        f'model = timm.create_model("{where}", pretrained=True){comment}',
        "transform = timm.data.create_transform(**timm.data.resolve_data_config(model=model))",
        "```",
        "",
        *input_lines(card.input, card.class_names),
    ]
    return readme(card_header("timm", facts), facts.name, lines)


def readme(header: Mapping[str, Any], title: str, lines: Sequence[str]) -> str:
    """A README of the hub: its YAML, a title, and lines of Markdown."""
    head = yaml.safe_dump(dict(header), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n# {as_text(title)}\n\n" + "\n".join(lines) + "\n"


def card_header(library: str, facts: CardFacts) -> dict[str, Any]:
    """The YAML of the hub. library: what loads the file."""
    header: dict[str, Any] = {
        **({"license": facts.license} if facts.license else {}),
        "library_name": library,
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "learngene", "tleg"],
        **({"datasets": [data_name(facts.data)]} if facts.data else {}),
        "metrics": ["accuracy"],
        **({"base_model": facts.base_model} if facts.base_model else {}),
    }
    if facts.scores:
        name = data_name(facts.data or "")
        result = {
            "task": {"type": "image-classification"},
            "dataset": {"name": name, "type": name},
            "metrics": [metric for score in facts.scores for metric in _metrics(score)],
        }
        header["model-index"] = [{"name": facts.name, "results": [result]}]
    return header


def _metrics(score: Score) -> list[dict[str, Any]]:
    named = {"accuracy": ("Accuracy", score.top1), "top5_accuracy": ("Top-5 accuracy", score.top5)}
    return [
        {
            "type": key,
            **({"name": f"{name} at depth {score.depth}"} if score.depth else {}),
            "value": round(value / 100, 6),
        }
        for key, (name, value) in named.items()
        if value is not None
    ]


def score_lines(facts: CardFacts) -> list[str]:
    """A sentence, or for a learngene a table of depths; nothing without scores."""
    if not facts.scores:
        return []
    where = f"On the validation images of {as_text(data_name(facts.data or ''))}"
    if not facts.scores[0].depth:
        top5 = "" if facts.scores[0].top5 is None else f", top-5 {facts.scores[0].top5:.2f} %"
        return [f"{where}: top-1 {facts.scores[0].top1:.2f} %{top5}.", ""]
    rows = [f"| {score.depth} | {score.top1:.2f} |" for score in facts.scores]
    return [f"{where}, with no further training:", "", "| depth | top-1, % |", "|---:|---:|", *rows, ""]


def input_lines(spec: InputSpec, class_names: Sequence[str] | None) -> list[str]:
    """Which images the network expects, and what it calls them."""
    lines = [f"Images: {spec.image_size} pixels, crop {spec.crop_pct:g}, mean {list(spec.mean)}, std {list(spec.std)}."]
    if class_names:
        shown = ", ".join(as_text(name) for name in class_names[:_MOST_NAMES])
        more = len(class_names) - _MOST_NAMES
        lines += ["", f"Classes: {shown}{f' and {more} more' if more > 0 else ''}."]
    return lines


def _origin(card: ModelCard) -> str:
    facts = card.provenance
    backbone = f"backbone {as_text(str(facts['backbone']))}" if "backbone" in facts else ""
    training = training_of(facts)
    seed = f"seed {as_text(str(training['seed']))}" if "seed" in training else ""
    if card.kind == "teacher":
        start = "the teacher of a learngene"
    else:
        start = "trained from scratch" if training.get("init") == "scratch" else "from a learngene"
    return ", " + ", ".join(filter(None, (start, backbone, seed)))


def data_name(data: str) -> str:
    """The last part of a path: a card doesn't publish the folders of your machine."""
    return Path(data).name or data


def as_text(name: str) -> str:
    """A name as text of Markdown: neither HTML nor markup."""
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in name)
    return html.escape(" ".join(escaped.split()), quote=False)


def _plain(name: str) -> str:
    """A name inside a block of Python."""
    return "".join(letter if letter.isalnum() or letter in "-._/ " else "_" for letter in name)
