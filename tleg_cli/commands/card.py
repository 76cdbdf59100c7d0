"""`tleg card`: README.md of a network or learngene for the Hugging Face Hub, and the way there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o

if TYPE_CHECKING:
    from tleg_cli.deploy.card import CardFacts
    from tleg_cli.deploy.publish import Subject

Scored = Annotated[
    str | None,
    typer.Option("--data", metavar="DATA", help="Score it on these validation images. Default: the training's score."),
]
Depths = Annotated[
    str | None,
    typer.Option("--depth", autocompletion=complete.depths, help="Of a learngene, with --data: score these depths."),
]
License = Annotated[
    str | None, typer.Option("--license", metavar="NAME", help="As the hub names it, such as apache-2.0.")
]
BaseModel = Annotated[
    str | None, typer.Option("--base-model", metavar="USER/NAME", help="The learngene's repository on the hub.")
]
Push = Annotated[
    str | None,
    typer.Option("--push", metavar="USER/NAME", help="Upload card, config.json and weights to this repository."),
]

Model = Annotated[
    Path,
    typer.Argument(metavar="DIR", help="A network's folder, as in runs/des/depth-06, its file, or a learngene."),
]
Private = Annotated[bool, typer.Option("--private", help="With --push: hide a new repository from others.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing README.md.")]


def card(
    model: Model,
    data: Scored = None,
    depth: Depths = None,
    license_name: License = None,
    base_model: BaseModel = None,
    push: Push = None,
    private: Private = False,
    force: Force = False,
    json: o.Json = False,
) -> None:
    """Write README.md next to a network or learngene: the hub's header with license, data and scores, and how to load it.

    --push uploads it to the Hugging Face Hub in one commit, for `timm.create_model("hf-hub:USER/NAME", pretrained=True)` or
    `tleg expand hf-hub:USER/NAME`. A README.md that exists is uploaded as it is. The token is that of `hf auth login` or HF_TOKEN.

    Example: tleg card runs/des/depth-06 --license apache-2.0
    """
    from tleg_cli.deploy.card import CardFacts
    from tleg_cli.deploy.publish import README, open_subject, publish
    from tleg_cli.deploy.push import open_hub
    from tleg_cli.errors import ConfigError
    from tleg_cli.files import write_text

    if private and push is None:
        raise ConfigError("--private is for --push USER/NAME")
    if depth is not None and data is None:
        raise ConfigError("--depth names what is scored; add --data DATA")
    subject = open_subject(model)
    out = subject.file.parent / README
    given = {"--data": data, "--license": license_name, "--base-model": base_model}
    writes = force or not _keep(out, [name for name, value in given.items() if value is not None], push)
    hub = None if push is None else open_hub(push, private=private)
    shown: dict[str, Any] = {"file": str(out)}
    if writes:
        name = push.split("/")[1] if push else out.parent.resolve().name
        facts = CardFacts(name, license_name, base_model=base_model, repository=push)
        facts = _scored(facts, subject, data, depth)
        write_text(out, subject.card(facts))
        shown |= _as_values(facts)
    if hub is not None:
        pushed = publish(subject, out, hub)
        shown |= {"url": pushed.url, "commit": pushed.commit, "notes": list(pushed.notes)}
    _print(shown, subject, json)


def _keep(out: Path, given: list[str], push: str | None) -> bool:
    """Whether a README.md that exists is uploaded as it is. Raises TlegError if it would have to be written again."""
    from tleg_cli.errors import TlegError

    if not out.exists():
        return False
    if push is None:
        raise TlegError(f"{out} exists already; replace it with --force, or upload it with --push USER/NAME")
    if given:
        raise TlegError(
            f"{out} exists already; leave out {' and '.join(given)} to upload it as it is, or replace it with --force"
        )
    return True


def _scored(facts: "CardFacts", subject: "Subject", data: str | None, depth: str | None) -> "CardFacts":
    """With the training's scores, or those on `data`, which are `tleg evaluate`'s."""
    from dataclasses import replace

    from tleg_cli.commands._training import pick_device
    from tleg_cli.deploy.card import Score, trained_scores
    from tleg_cli.errors import printable
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import join_world
    from tleg_cli.training.evaluate_file import Evaluation, evaluate_file

    if data is None:
        name, scores = trained_scores(subject.provenance, subject.depth)
        return replace(facts, data=name, scores=scores)

    def say(text: str) -> None:
        typer.echo(printable(text), err=True)

    with join_world(pick_device("auto", 1), say) as world:
        found = evaluate_file(Evaluation(subject.file, data, depth), world, Screen(quiet=False).say)
    if "depths" in found:
        scores = tuple(Score(one["top1"], one["top5"], one["depth"]) for one in found["depths"])
    else:
        scores = (Score(found["top1"], found["top5"], depth or subject.depth),)
    return replace(facts, data=data, scores=scores)


def _as_values(facts: "CardFacts") -> dict[str, Any]:
    values: dict[str, Any] = {"data": facts.data, "license": facts.license}
    if len(facts.scores) > 1:
        return {**values, "depths": [{"depth": one.depth, "top1": one.top1, "top5": one.top5} for one in facts.scores]}
    top1, top5 = (facts.scores[0].top1, facts.scores[0].top5) if facts.scores else (None, None)
    return {**values, "top1": top1, "top5": top5}


def _print(shown: dict[str, Any], subject: "Subject", json: bool) -> None:
    from tleg_cli.report.output import print_facts, print_json, print_line

    if json:
        print_json(shown)
        return
    lines: dict[str, Any] = {
        name: "not given" if value is None else value for name, value in shown.items() if name != "notes"
    }
    for score in lines.pop("depths", ()):
        lines[f"top-1 at {score['depth']}"] = f"{score['top1']:.2f} %"
    lines |= {name: f"{lines[name]:.2f} %" for name in ("top1", "top5") if isinstance(lines.get(name), float)}
    print_facts("model card", lines)
    for note in shown.get("notes", ()):
        print_line(f"note: {note}")
    if "url" in shown:
        repository = "/".join(str(shown["url"]).split("/")[-2:])
        load = f'timm.create_model("hf-hub:{repository}", pretrained=True)'
        print_line(f"next: {f'tleg expand hf-hub:{repository} --depth {subject.depth}' if subject.depth else load}")
