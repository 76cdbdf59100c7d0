"""The `tleg` command: subcommands by name, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable

import typer

from tleg_cli import __version__
from tleg_cli.commands._plugin_commands import Commands
from tleg_cli.commands._recipe_options import Command
from tleg_cli.commands.adopt import adopt
from tleg_cli.commands.bench import bench
from tleg_cli.commands.card import card
from tleg_cli.commands.choose import choose
from tleg_cli.commands.compare import compare
from tleg_cli.commands.compress import compress
from tleg_cli.commands.doctor import doctor
from tleg_cli.commands.evaluate import evaluate
from tleg_cli.commands.expand import expand
from tleg_cli.commands.export import export
from tleg_cli.commands.fit import fit
from tleg_cli.commands.import_reference import import_reference
from tleg_cli.commands.init import init
from tleg_cli.commands.inspect import inspect
from tleg_cli.commands.lab import lab
from tleg_cli.commands.plan import plan
from tleg_cli.commands.plugins import plugins
from tleg_cli.commands.predict import predict
from tleg_cli.commands.prepare import prepare
from tleg_cli.commands.presets import presets
from tleg_cli.commands.report import report
from tleg_cli.commands.train_aux import train_aux
from tleg_cli.commands.train_des import train_des
from tleg_cli.commands.train_teacher import train_teacher
from tleg_cli.commands.verify import verify
from tleg_cli.errors import EXIT_PREEMPTED, EXIT_USER_ERROR, Preempted, TlegError, one_line
from tleg_cli.launch.standard_streams import EXIT_NO_READER, ReaderLeft, guarded_streams
from tleg_cli.launch.stop_signals import StopRequested, catch_stop_signals, ignore_stop_signals, stop_requested

COMMANDS: dict[str, Callable[..., None]] = {
    "init": init,
    "prepare": prepare,
    "train-teacher": train_teacher,
    "train-aux": train_aux,
    "adopt": adopt,
    "expand": expand,
    "compress": compress,
    "train-des": train_des,
    "compare": compare,
    "lab": lab,
    "evaluate": evaluate,
    "predict": predict,
    "inspect": inspect,
    "fit": fit,
    "import": import_reference,
    "export": export,
    "plan": plan,
    "bench": bench,
    "choose": choose,
    "card": card,
    "presets": presets,
    "plugins": plugins,
    "doctor": doctor,
    "report": report,
    "verify": verify,
}
RESUMABLE = (
    "prepare",
    "train-teacher",
    "train-aux",
    "adopt",
    "train-des",
    "lab",
)  # stopped, they end with 75: the same command carries on

app = typer.Typer(
    name="tleg",
    cls=Commands,
    epilog="Plugins may bring more commands: tleg plugins",
    help="Train one learngene, grow vision transformers of any depth from it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich help costs three times the start-up of everything else
    context_settings={"help_option_names": ["-h", "--help"]},
)
for name, function in COMMANDS.items():
    first = (function.__doc__ or "").split("\n\n")[0]
    app.command(name, cls=Command, short_help=" ".join(first.split()))(function)  # given, so that it isn't cut short


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tleg {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", help="Show the version and leave.", callback=_version, is_eager=True
    ),
) -> None:
    pass


def main() -> None:
    """Runs the command line: 0 done, 1 the user can fix it, 2 usage, 75 stopped and the same command carries on."""
    with guarded_streams(), catch_stop_signals():
        code = _exit_code()
    if stop_requested():
        ignore_stop_signals()  # a second one would replace the exit code while Python shuts down
    sys.exit(code)


def _exit_code() -> int:
    """Runs the command; its errors become one line each."""
    try:
        code = _run_app()
        sys.stdout.flush()
    except TlegError as error:
        _report(error)
        return error.exit_code
    except ReaderLeft:
        return EXIT_NO_READER
    except StopRequested as stopped:
        if sys.argv[1:2] == [] or sys.argv[1] not in RESUMABLE:
            return 128 + stopped.number
        _report(Preempted(f"{stopped} before the first step; run the same command again to start"))
        return EXIT_PREEMPTED
    return code


def _run_app() -> int:
    """typer ends every command by SystemExit."""
    try:
        app()
    except SystemExit as left:
        return left.code if isinstance(left.code, int) else int(left.code is not None)
    return 0


def _report(error: TlegError) -> None:
    """One line on stderr; in one of several processes, the launcher prints it."""
    from tleg_cli.launch.rank_errors import leave_for_launcher

    if leave_for_launcher(error):
        return
    prefix = "error: " if error.exit_code == EXIT_USER_ERROR else ""
    typer.echo(f"{prefix}{one_line(error)}", err=True)
