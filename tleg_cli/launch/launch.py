"""`--gpus N`: the same command again in N processes, started by torchrun; under an outer torchrun, nothing to do."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import tleg_cli
from tleg_cli.errors import EXIT_PREEMPTED, Preempted, TlegError
from tleg_cli.files import temporary_folder
from tleg_cli.launch.heartbeat import ERROR_FOLDER, hang_timeout
from tleg_cli.launch.processes import LAUNCHER, Processes, check_device, die_with_launcher
from tleg_cli.launch.rank_environment import check_agreement, check_single_task, rank_environment
from tleg_cli.launch.rank_errors import raise_first_error
from tleg_cli.launch.rank_logs import log_arguments, log_folder, remove_empty, written_logs
from tleg_cli.launch.rendezvous import (
    check_endpoint,
    nodes_missing,
    rendezvous_arguments,
    time_limit,
    wait_for_host,
)
from tleg_cli.launch.standard_streams import EXIT_NO_READER
from tleg_cli.launch.stop_signals import StopRequested, raise_stop_request
from tleg_cli.launch.watchdog import Watchdog, watched

SYS_PATH = "TLEG_SYS_PATH"  # what __main__ gives every rank: its launcher's sys.path, an entry a line


def launch(
    processes: Processes,
    run_folder: Path | None,
    torchrun_options: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> int | None:
    """None if this process is to do the work itself; else the exit code of the torchrun that has done it.

    run_folder: gets the output of ranks other than the first, and can be resumed; None if there is none. Raises
    ConfigError for what can't be started, TlegError with the line of the first rank that failed, or of the node that
    never joined.
    """
    hang_timeout()
    environment = rank_environment()
    if environment is not None:
        check_agreement(environment, processes.gpus, processes.nodes)
        die_with_launcher()
        return None
    check_single_task(processes.nodes)
    check_endpoint(processes)
    if processes.gpus == 1 and processes.nodes == 1 and not torchrun_options:
        check_device(processes)
        return None
    with temporary_folder() as errors, _environment(processes, errors):
        check_device(processes)
        wait_for_host(processes)
        name = run_folder.name if run_folder else "tleg"
        logs = log_folder(run_folder or errors, processes.node_rank)
        arguments = _arguments(processes, name, logs, torchrun_options)
        try:
            return _torchrun(arguments, processes, errors, logs, say, resumable=run_folder is not None)
        finally:
            remove_empty(logs)


def _arguments(processes: Processes, name: str, logs: Path, options: Sequence[str]) -> list[str]:
    """torchrun's own command line; what follows `--` in ours is passed on as it is.

    The script is given by its path, not as `-m tleg_cli`, for which Python would look in the current folder first.
    """
    arguments = [f"--nproc-per-node={processes.gpus}", f"--max-restarts={processes.max_restarts}"]
    arguments += [*rendezvous_arguments(processes, name), *log_arguments(logs, processes.gpus)]
    script = Path(tleg_cli.__file__).with_name("__main__.py")
    return [*arguments, *_stopping(), *options, str(script), *sys.argv[1:]]


def _stopping() -> list[str]:
    """A checkpoint may take longer than torchrun's 30 s, and a stop signal may come twice, which ends torchrun's own wait
    (`timeout` sends it to the process and to its group): stop_signals.py handles them. Older torchruns know neither option.
    """
    from torch.distributed.run import get_args_parser

    known = get_args_parser().format_help()
    wanted = {"--signals-to-handle": "SIGUSR2", "--shutdown-timeout": "600"}
    return [f"{name}={value}" for name, value in wanted.items() if name in known]


def _torchrun(
    arguments: list[str],
    processes: Processes,
    errors: Path,
    logs: Path,
    say: Callable[[str], None],
    *,
    resumable: bool,
) -> int:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousTimeoutError

    _silence_torchrun()
    again = "; run the same command again to carry on from the last checkpoint" if resumable else ""
    try:
        raise_stop_request()  # one that came during the imports may have been swallowed there; no rank would ever hear of it
        with watched(errors, say, restarts=processes.max_restarts > 0) as dog, time_limit(processes, errors, logs, say):
            run.run(run.parse_args(arguments))
    except ChildFailedError as failed:
        codes = {rank: (failure.exitcode, failure.timestamp) for rank, failure in failed.failures.items()}
        if codes.get(0, (0, 0))[0] == EXIT_NO_READER:  # all is done, and the reader of the result has left
            return EXIT_NO_READER
        raise_first_error(errors, preempted=EXIT_PREEMPTED in {code for code, _ in codes.values()})
        raise TlegError(f"{_why_failed(codes, dog)}{written_logs(logs)}{again}") from None
    except (RendezvousTimeoutError, RendezvousConnectionError):
        raise nodes_missing(processes) from None
    except (StopRequested, SignalException) as stopped:
        raise_first_error(errors)
        number = stopped.number if isinstance(stopped, StopRequested) else stopped.sigval
        if not resumable:
            raise StopRequested(number) from None
        name = signal.Signals(number).name
        raise Preempted(f"stopped by {name}; the same command carries on from the last checkpoint") from None
    return 0


def _why_failed(codes: dict[int, tuple[int, int]], dog: Watchdog) -> str:
    """The rank that failed first and how. codes: exit code and time of each rank that failed."""
    if dog.killed:
        return next(iter(dog.killed.values()))
    # a rank that was killed is the reason why the others have failed
    rank, (code, _) = min(codes.items(), key=lambda item: (item[1][0] >= 0, item[1][1]))
    if code == -signal.SIGKILL:
        return f"rank {rank} was killed by SIGKILL, as Linux does when memory runs out"
    return (
        f"rank {rank} was killed by {signal.Signals(-code).name}" if code < 0 else f"rank {rank} ended with code {code}"
    )


def _silence_torchrun() -> None:
    """Our one line replaces its report. Its loggers have levels of their own: silencing the one above them does nothing."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _environment(processes: Processes, errors: Path) -> Iterator[None]:
    """The environment of the ranks, and of torch here: threads shared out, what to import, and where to leave an error."""
    threads = str(max(1, (os.cpu_count() or 1) // processes.gpus))
    added = {
        ERROR_FOLDER: str(errors),
        LAUNCHER: str(os.getpid()),
        SYS_PATH: "\n".join(sys.path),
        "PYTHONSAFEPATH": "1",  # for the processes that ranks start, such as compilers; Python 3.10 doesn't know it
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
        # where the nodes meet ends with node 0, which torch's C++ on the others then reports in twenty lines
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
    }
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
