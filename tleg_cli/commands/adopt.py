"""`tleg adopt`: a trained network becomes a family."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tleg_cli.commands import _complete as complete
from tleg_cli.commands import _options as o
from tleg_cli.commands._training import TrainingOptions, in_processes, with_training_options

if TYPE_CHECKING:
    from tleg_cli.report.progress import Screen
    from tleg_cli.training.distributed import World


Checkpoint = Annotated[
    Path, typer.Argument(help="The weights of a trained network, of tleg or of timm, DeiT, Swin, ...; or timm's name.")
]
Depths = Annotated[
    str | None,
    typer.Option(
        "--depths",
        autocompletion=complete.depths,
        help="Trained at these. Default: from a quarter of its blocks to all.",
    ),
]
Unlabelled = Annotated[
    bool, typer.Option("--unlabelled", help="--data is a folder of images without classes; scores are agreement.")
]
Pick = Annotated[
    str | None,
    typer.Option(
        "--pick",
        help="Blocks of shallower networks: by importance, measured on training images, or every-nth. Default: "
        "importance; every-nth with --basis and for networks of several stages.",
    ),
]
Basis = Annotated[
    str | None,
    typer.Option(
        "--basis",
        autocompletion=complete.bases,
        help="Train a learngene of fewer thetas, as in hat:4: a smaller file. Default: every block is kept.",
    ),
]
FreshHead = Annotated[
    bool,
    typer.Option("--fresh-head", help="For other classes: first fine-tune the network with a new head, by labels."),
]


@with_training_options
def adopt(
    checkpoint: Checkpoint,
    depths: Depths = None,
    preset: o.Preset = "adopt",
    backbone: o.BackboneName = None,
    option: o.BackboneOptions = None,
    weights: o.WeightSet = "auto",
    unlabelled: Unlabelled = False,
    pick: Pick = None,
    basis: Basis = None,
    align: o.Align = False,
    fresh_head: FreshHead = False,
    *,
    options: TrainingOptions,
) -> None:
    """Make a trained network usable at every depth: its blocks become a learngene, which a short training improves at many depths.

    At its own depth the learngene is the network, exactly. Shallower networks take some of its blocks, deeper ones repeat them in
    smaller steps. The training draws a depth for each step and imitates the network itself, with recipe (the `aux` section) and
    augmentation of the preset; --set teacher.weights=FILE takes another teacher, --set aux.distillation.alpha=0.5 labels too.
    --fresh-head adopts a network of other classes: it is fine-tuned on the data at its own depth first, with the recipe of the preset's
    `descendant` section. Writes learngene.pt into the run folder (runs/NAME-adopted unless --out names one), and shows top-1 before and
    after.

    Example: tleg adopt deit_small_patch16_224 --data /data/imagenet --depths 3-12

    Example: tleg adopt mine.safetensors --data /data/photos --depths 3-12 --out runs/adopted
    """
    from tleg_cli import plugin_manager
    from tleg_cli.config_file import load_config
    from tleg_cli.errors import ConfigError, printable
    from tleg_cli.learngene.basis import get_basis
    from tleg_cli.models.adopt import adopt_network, expecting, start_of, without_labels
    from tleg_cli.models.fit_checkpoint import option_values
    from tleg_cli.report.adoption import report_adoption

    if pick not in (None, "every-nth", "importance"):
        raise ConfigError(f"--pick {pick!r} is unknown; write every-nth or importance")
    if basis and pick == "importance":
        raise ConfigError(
            f"--pick {pick} chooses among the network's blocks, and --basis {basis} replaces them; leave one of them out"
        )
    chosen = get_basis(basis, plugin_manager.bases()) if basis else None
    adopted = adopt_network(checkpoint, depths, backbone, option_values(option or ()), weights, chosen)
    if adopted.note:
        typer.echo(printable(adopted.note), err=True)
    if unlabelled:
        adopted = without_labels(adopted)
    config = load_config(
        preset,
        (*adopted.settings, *(options.settings or ())),
        data__path=options.data,
        seed=options.seed,
        aux__checkpoint_every=options.checkpoint_every,
        aux__log_every=options.log_every,
    )
    learngene = expecting(adopted, config.data.input)
    folder = options.out or Path("runs") / f"{checkpoint.stem}-adopted"

    def train(world: "World", screen: "Screen") -> Mapping[str, Any]:
        from tleg_cli.training.fine_tune import fine_tuned
        from tleg_cli.training.pick_blocks import by_importance
        from tleg_cli.training.train_aux import train_aux as run

        changed = options.allow_changed or ()
        original = (
            fine_tuned(learngene, config, folder / "fine-tuned", world, screen, changed) if fresh_head else learngene
        )
        start = start_of(original, chosen, align=align)
        ranks = pick == "importance" or (pick is None and not basis and len(start.stages) == 1)
        if not ranks or config.basis != start.basis.name:  # the training refuses a basis that it was given by --set
            return run(config, folder, world, screen, changed, start=start, original=original)
        start = by_importance(start, config, folder, world, screen)
        ranked = config.model_copy(update={"basis": start.basis.name})
        return run(ranked, folder, world, screen, changed, start=start)

    report = partial(report_adoption, folder=folder, as_json=options.json, every_block=not basis)
    in_processes(options.processes(), folder, options.torchrun_options or (), train, report)
