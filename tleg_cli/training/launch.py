"""`--gpus N`: the same command again in N processes, started by torchrun; under an outer torchrun, nothing to do."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tleg_cli.errors import EXIT_PREEMPTED, ConfigError, Preempted, TlegError

ERROR_FOLDER = "TLEG_ERROR_FOLDER"  # where a rank leaves the one line that the launcher then prints


@dataclass(frozen=True)
class Processes:
    """How many processes and where. nodes > 1 needs an endpoint host:port that every node can reach."""

    gpus: int = 1  # per node; with --device cpu, processes
    device: str = "cuda"
    nodes: int = 1
    node_rank: int | None = None
    rdzv_endpoint: str | None = None
    max_restarts: int = 0


def launch(processes: Processes, run_folder: Path, torchrun_options: Sequence[str] = ()) -> int | None:
    """None if this process is to train itself; else the exit code of the torchrun that has trained.

    Raises ConfigError for what can't be started, TlegError with the line of the first rank that failed.
    """
    if "RANK" in os.environ or "LOCAL_RANK" in os.environ:
        return None
    if processes.nodes > 1 and not processes.rdzv_endpoint:
        raise ConfigError("--nodes needs --rdzv-endpoint HOST:PORT, the same on every node")
    if processes.device == "cuda":
        from tleg_cli.training.distributed import check_cuda

        check_cuda(processes.gpus)
    if processes.gpus == 1 and processes.nodes == 1 and not torchrun_options:
        return None
    with tempfile.TemporaryDirectory(prefix="tleg-") as errors, _environment(processes, errors):
        return _torchrun(_arguments(processes, run_folder, torchrun_options), Path(errors))


def _arguments(processes: Processes, run_folder: Path, options: Sequence[str]) -> list[str]:
    """torchrun's own command line; what follows `--` in ours is passed on as it is."""
    arguments = [f"--nproc-per-node={processes.gpus}", f"--max-restarts={processes.max_restarts}"]
    if processes.nodes == 1 and not processes.rdzv_endpoint:
        arguments.append("--standalone")
    else:
        arguments += [
            f"--nnodes={processes.nodes}",
            "--rdzv-backend=c10d",
            f"--rdzv-endpoint={processes.rdzv_endpoint}",
            f"--rdzv-id={run_folder.name or 'tleg'}",
        ]
        if processes.node_rank is not None:
            arguments += [f"--node-rank={processes.node_rank}", f"--rdzv-conf=is_host={int(processes.node_rank == 0)}"]
    return [*arguments, *_stopping(), *options, "-m", "tleg_cli", *sys.argv[1:]]


def _stopping() -> list[str]:
    """A checkpoint may take longer than torchrun's 30 s, and SLURM warns with SIGUSR1; older ones know neither option."""
    from torch.distributed.run import get_args_parser

    known = get_args_parser().format_help()
    wanted = {"--signals-to-handle": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1", "--shutdown-timeout": "600"}
    return [f"{name}={value}" for name, value in wanted.items() if name in known]


def _torchrun(arguments: list[str], errors: Path) -> int:
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # we say it in one line
    try:
        run.run(run.parse_args(arguments))
    except ChildFailedError as failed:
        codes = {failure.exitcode for failure in failed.failures.values()}
        rank, first = failed.get_first_failure()
        _raise_first(errors, preempted=EXIT_PREEMPTED in codes)
        how = f"was killed by signal {-first.exitcode}" if first.exitcode < 0 else f"ended with code {first.exitcode}"
        raise TlegError(f"rank {rank} {how}; run the same command again to carry on from the last checkpoint") from None
    except SignalException as stopped:
        _raise_first(errors)
        raise TlegError(
            f"stopped by {stopped.sigval.name} before a checkpoint could be written; the same command carries on from the last one"
        ) from None
    return 0


@contextmanager
def _environment(processes: Processes, errors: str) -> Iterator[None]:
    """What the processes find: threads shared out among them, and where to leave an error."""
    threads = str(max(1, (os.cpu_count() or 1) // processes.gpus))
    added = {ERROR_FOLDER: errors, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
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
