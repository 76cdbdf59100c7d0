"""`--gpus N`: the same command again in N processes, started by torchrun; under an outer torchrun, nothing to do."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tleg_cli.errors import EXIT_PREEMPTED, PeerLost, Preempted, TlegError
from tleg_cli.launch.heartbeat import ERROR_FOLDER
from tleg_cli.launch.processes import LAUNCHER, Processes, die_with_launcher
from tleg_cli.launch.rank_logs import log_arguments, log_folder, remove_empty, written_logs
from tleg_cli.launch.rendezvous import check_meeting, meeting_arguments, not_met, time_limit, wait_for_host
from tleg_cli.launch.watchdog import watched


def launch(
    processes: Processes,
    run_folder: Path | None,
    torchrun_options: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> int | None:
    """None if this process is to train itself; else the exit code of the torchrun that has trained.

    run_folder: takes what ranks beside the first print; None where there is none. Raises ConfigError for what can't be
    started, TlegError with the line of the first rank that failed, or of the node that never joined.
    """
    if "RANK" in os.environ or "LOCAL_RANK" in os.environ:
        die_with_launcher()
        return None
    check_meeting(processes)
    if processes.device == "cuda":
        from tleg_cli.launch.processes import check_cuda

        check_cuda(processes.gpus)
    if processes.gpus == 1 and processes.nodes == 1 and not torchrun_options:
        return None
    wait_for_host(processes)
    with tempfile.TemporaryDirectory(prefix="tleg-") as errors, _environment(processes, errors):
        name = run_folder.name if run_folder else "tleg"
        logs = log_folder(run_folder or Path(errors), processes.node_rank)
        arguments = _arguments(processes, name, logs, torchrun_options)
        try:
            return _torchrun(arguments, processes, Path(errors), logs, say)
        finally:
            remove_empty(logs)


def _arguments(processes: Processes, name: str, logs: Path, options: Sequence[str]) -> list[str]:
    """torchrun's own command line; what follows `--` in ours is passed on as it is."""
    arguments = [f"--nproc-per-node={processes.gpus}", f"--max-restarts={processes.max_restarts}"]
    arguments += [*meeting_arguments(processes, name), *log_arguments(logs, processes.gpus)]
    return [*arguments, *_stopping(), *options, "-m", "tleg_cli", *sys.argv[1:]]


def _stopping() -> list[str]:
    """A checkpoint may take longer than torchrun's 30 s, and SLURM warns with SIGUSR1; older ones know neither option."""
    from torch.distributed.run import get_args_parser

    known = get_args_parser().format_help()
    wanted = {"--signals-to-handle": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1", "--shutdown-timeout": "600"}
    return [f"{name}={value}" for name, value in wanted.items() if name in known]


def _torchrun(arguments: list[str], processes: Processes, errors: Path, logs: Path, say: Callable[[str], None]) -> int:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousTimeoutError

    _silence_torchrun()
    try:
        with watched(errors, say, restarts=processes.max_restarts > 0) as dog, time_limit(processes, errors, logs, say):
            run.run(run.parse_args(arguments))
    except ChildFailedError as failed:
        codes = {failure.exitcode for failure in failed.failures.values()}
        # who was killed has brought the others down
        rank, first = min(failed.failures.items(), key=lambda item: (item[1].exitcode >= 0, item[1].timestamp))
        _raise_first(errors, preempted=EXIT_PREEMPTED in codes)
        if dog.ended:
            line = next(iter(dog.ended.values()))
            raise TlegError(f"{line}; run the same command again to carry on from the last checkpoint") from None
        how = f"was killed by signal {-first.exitcode}" if first.exitcode < 0 else f"ended with code {first.exitcode}"
        raise TlegError(
            f"rank {rank} {how}{written_logs(logs)}; run the same command again to carry on from the last checkpoint"
        ) from None
    except (RendezvousTimeoutError, RendezvousConnectionError):
        raise not_met(processes) from None
    except SignalException as stopped:
        _raise_first(errors)
        raise TlegError(
            f"stopped by {stopped.sigval.name} before a checkpoint could be written; the same command carries on from the last one"
        ) from None
    return 0


def _silence_torchrun() -> None:
    """We say it in one line. Its loggers have levels of their own, so that silencing the one above them does nothing."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed"):
            logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def _environment(processes: Processes, errors: str) -> Iterator[None]:
    """What the processes find: threads shared out among them, and where to leave an error."""
    threads = str(max(1, (os.cpu_count() or 1) // processes.gpus))
    added = {
        ERROR_FOLDER: errors,
        LAUNCHER: str(os.getpid()),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads),
    }
    before = {name: os.environ.get(name) for name in added}
    os.environ.update(added)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def report_to_launcher(error: TlegError) -> bool:
    """In a process that our launcher started: leaves the error for it to print, once for all ranks. Else False."""
    folder = os.environ.get(ERROR_FOLDER)
    if not folder or "RANK" not in os.environ or not Path(folder).is_dir():
        return False
    if isinstance(error, PeerLost):
        return True  # the launcher knows which one, and why
    rank = int(os.environ["RANK"])
    content = {"message": str(error), "rank": rank, "exit_code": error.exit_code}
    (Path(folder) / f"{rank:06d}.json").write_text(json.dumps(content))
    return True


def _raise_first(errors: Path, *, preempted: bool = False) -> None:
    """Raises what the first rank to fail has left, if one has left anything."""
    files = sorted(errors.glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    if files:
        content = json.loads(files[0].read_text())
        kind = Preempted if preempted or content["exit_code"] == EXIT_PREEMPTED else TlegError
        raise kind(content["message"]) from None
    if preempted:
        raise Preempted("stopped, and a checkpoint is written; the same command carries on from there")
