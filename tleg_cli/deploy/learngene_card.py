"""The model card of a learngene: what it makes, how good its networks are at each depth, and how they are made."""

from __future__ import annotations

from tleg_cli.deploy.card import CardFacts, as_text, card_header, input_lines, readme, score_lines
from tleg_cli.learngene.depths import format_depth
from tleg_cli.learngene.gene import Learngene


def learngene_text(learngene: Learngene, facts: CardFacts) -> str:
    """The README of a learngene on the hub."""
    metadata = learngene.metadata
    where = f"hf-hub:{facts.repository or 'USER/NAME'}"
    depth, staged = format_depth(metadata.depth), len(metadata.depth) > 1
    trained = metadata.provenance.get("depths")
    at = f"depths {as_text(str(trained))}" if trained else f"depth {depth}"
    values = learngene.stored or learngene.parameters()
    lines = [
        f"A learngene: one file of {values:,} values that makes {as_text(metadata.backbone)} networks of any "
        f"depth, {metadata.classes} classes. Trained at {at} in the basis {as_text(learngene.basis.name)}.",
        "",
        *score_lines(facts),
        "## Use",
        "",
        f"A network of {depth if staged else '6 blocks'} as a plain timm model, in Python with tleg "
        "(the method: [arXiv 2312.05614](https://arxiv.org/abs/2312.05614)):",
        "",
        "```python",
        "import tleg_cli.api as tleg",
        "",
        f'model = tleg.create("{where}", depth={repr(depth) if staged else 6})',
        "```",
        "",
        "or as a file:",
        "",
        "```sh",
        f"tleg expand {where} --depth {depth if staged else 6}",
        "```",
        "",
        *input_lines(metadata.input, metadata.class_names),
    ]
    return readme(card_header("tleg", facts), facts.name, lines)
