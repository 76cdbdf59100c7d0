"""Whether this process is one of several that another program has started: the variables of torchrun, srun and mpirun."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tleg_cli.errors import ConfigError

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
# how many tasks a launcher has started that does not say where they meet
_TASKS = {"SLURM_STEP_NUM_TASKS": "srun", "OMPI_COMM_WORLD_SIZE": "mpirun", "PMI_SIZE": "mpirun"}
_UNSET = f"if this is not one of several processes of a job, run: unset {' '.join((*NUMBERS, *ADDRESS))}"


@dataclass(frozen=True)
class RankEnvironment:
    """What torchrun tells each process: which one it is, and where all of them meet."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    master_addr: str
    master_port: int

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world_size}"


def rank_environment(environment: Mapping[str, str] = os.environ) -> RankEnvironment | None:
    """The variables of torchrun, checked; None if this process was started alone.

    MASTER_ADDR and MASTER_PORT by themselves make no rank: scripts export them for --rdzv-endpoint. Raises ConfigError for
    variables that are incomplete, contradict each other or hold no number: left over from another job, they would make
    one process train with a part of the batch, or wait for others that never come.
    """
    present = [name for name in NUMBERS if name in environment]
    if not present:
        return None
    missing = [name for name in (*NUMBERS, *ADDRESS) if not environment.get(name, "").strip()]
    if missing:
        raise ConfigError(
            f"the environment has {_listed(environment, present)}, as if a launcher had started several processes, but "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing or empty; {_UNSET}"
        )
    rank, size, local_rank, local_size = (_number(environment, name) for name in NUMBERS)
    port = _number(environment, "MASTER_PORT")
    for holds, rule in (
        (rank < size, "RANK counts from 0 to WORLD_SIZE - 1"),
        (local_rank < local_size, "LOCAL_RANK counts from 0 to LOCAL_WORLD_SIZE - 1"),
        (local_size <= size, "LOCAL_WORLD_SIZE is at most WORLD_SIZE"),
        (local_rank <= rank, "LOCAL_RANK is at most RANK"),
        (0 < port < 65536, "MASTER_PORT is between 1 and 65535"),
    ):
        if not holds:
            raise ConfigError(
                f"{_listed(environment, (*NUMBERS, 'MASTER_PORT'))} contradict each other: {rule}; {_UNSET}"
            )
    return RankEnvironment(rank, size, local_rank, local_size, environment["MASTER_ADDR"].strip(), port)


def check_agreement(found: RankEnvironment, gpus: int, nodes: int) -> None:
    """Raises ConfigError if --gpus or --nodes asks for something else than the launcher has started."""
    processes = found.local_world_size
    if gpus not in (1, processes):
        raise ConfigError(
            f"--gpus {gpus}, but a launcher has started {processes} {_processes(processes)} on this machine "
            f"(LOCAL_WORLD_SIZE={processes}); leave out --gpus. {_UNSET}"
        )
    if nodes > 1 and nodes * processes != found.world_size:
        raise ConfigError(
            f"--nodes {nodes}, but a launcher has started {found.world_size} {_processes(found.world_size)}, {processes} on "
            f"this machine; leave out --nodes. {_UNSET}"
        )


def check_single_task(nodes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError if srun or mpirun has started this command several times: each would train by itself.

    One task on each of several machines, with --nodes, is how it should be.
    """
    for name, launcher in _TASKS.items():
        text = environment.get(name, "").strip()
        if re.fullmatch(r"[0-9]{1,9}", text) and int(text) > 1 and int(text) != nodes:
            raise ConfigError(
                f"{launcher} has started {int(text)} tasks ({name}={text}), which would all train the same; start one task on "
                f"each machine, with --nodes for the machines and --gpus for the processes, or run: unset {name}"
            )


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name].strip()
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ConfigError(f"{name}={text[:40]!r} is not a number from 0 up; {_UNSET}")
    return int(text)


def _listed(environment: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(f"{name}={environment[name][:40]!r}" for name in names)


def _processes(number: int) -> str:
    return "process" if number == 1 else "processes"
