"""Several machines as one run: where they meet, how long they wait for each other, and the error if one does not join."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tleg_cli.errors import EXIT_USER_ERROR, ConfigError, TlegError
from tleg_cli.launch.processes import Processes
from tleg_cli.launch.rank_logs import remove_empty

GRACE = 10  # seconds after --rdzv-timeout, in which torch may give up by itself


def check_endpoint(processes: Processes) -> None:
    """Raises ConfigError for a wrong endpoint, an unknown host, or, on the node that offers it, a port in use."""
    if processes.nodes == 1 and processes.node_rank is not None:
        raise ConfigError("--node-rank only applies to multi-machine runs; also pass --nodes N")
    if processes.nodes > 1 and not processes.rdzv_endpoint:
        raise ConfigError(f"--nodes {processes.nodes} needs --rdzv-endpoint HOST:PORT, the same on every node")
    if not processes.rdzv_endpoint:
        return
    host, port = _address(processes.rdzv_endpoint)
    if processes.node_rank is not None and processes.node_rank >= processes.nodes:
        raise ConfigError(
            f"--node-rank {processes.node_rank}: nodes are counted from 0, so --nodes {processes.nodes} allows 0 to {processes.nodes - 1}"
        )
    try:
        socket.getaddrinfo(host, port)
    except (OSError, UnicodeError):
        raise ConfigError(f"--rdzv-endpoint {host}:{port}: host {host!r} is unknown on this machine") from None
    if processes.node_rank == 0 and _in_use(port):
        raise ConfigError(
            f"port {port} of --rdzv-endpoint {host}:{port} is in use on this machine; choose another on every node"
        )


def _address(endpoint: str) -> tuple[str, int]:
    host, colon, port = endpoint.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"--rdzv-endpoint {endpoint!r}: write HOST:PORT, as in node0:29500")
    return host, int(port)


def _in_use(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as torch does: a port that was just left can be used again
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def wait_for_host(processes: Processes) -> None:
    """On every node but 0: returns when node 0 can be reached. Raises TlegError when the time is up, in place of torch's pages."""
    if not processes.rdzv_endpoint or processes.node_rank in (0, None):
        return
    until = time.monotonic() + processes.rdzv_timeout
    while True:
        try:
            socket.create_connection(_address(processes.rdzv_endpoint), timeout=processes.rdzv_timeout).close()
            return
        except OSError:
            if time.monotonic() > until:
                raise nodes_missing(processes) from None
            time.sleep(0.5)


@contextlib.contextmanager
def time_limit(processes: Processes, errors: Path, logs: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Ends this process when the time is up and no rank was ever started: torch's own timeout has no effect while it waits
    for an answer from a port where something else listens. errors, logs: folders that are then removed, logs only if empty.
    """
    over, until = threading.Event(), time.monotonic() + processes.rdzv_timeout + GRACE

    def wait() -> None:
        while not over.wait(0.5):
            if _has_children():
                return  # all nodes have joined; from now on ranks may come and go
            if time.monotonic() > until:
                say(f"error: {nodes_missing(processes)}")
                shutil.rmtree(errors, ignore_errors=True)
                remove_empty(logs)
                os._exit(EXIT_USER_ERROR)  # the main thread is in C++ and handles no exception

    if processes.rdzv_endpoint:
        threading.Thread(target=wait, daemon=True, name="tleg-rendezvous").start()
    try:
        yield
    finally:
        over.set()


def _has_children() -> bool:
    """Whether ranks were started. True if the system doesn't show it."""
    files = list(Path("/proc/self/task").glob("*/children"))
    return not files or any(file.read_text().strip() for file in files)


def rendezvous_arguments(processes: Processes, name: str) -> list[str]:
    """torchrun's options. name: it must be the same on every node."""
    if processes.nodes == 1 and not processes.rdzv_endpoint:
        return ["--standalone"]
    seconds = processes.rdzv_timeout
    conf = {"join_timeout": seconds, "read_timeout": seconds}
    if processes.node_rank is not None:
        conf["is_host"] = int(processes.node_rank == 0)
    arguments = [
        f"--nnodes={processes.nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={processes.rdzv_endpoint}",
        f"--rdzv-id={name}",
        "--rdzv-conf=" + ",".join(f"{key}={value}" for key, value in conf.items()),
    ]
    if str(processes.rdzv_endpoint).startswith(("127.", "localhost:")):
        arguments.append("--local-addr=127.0.0.1")  # all on one machine, which may not be able to resolve its own name
    return arguments


def nodes_missing(processes: Processes) -> TlegError:
    """The error if the nodes have not all joined in time."""
    here = processes.node_rank
    others = [f"node {number}" for number in range(processes.nodes) if number != here]
    waited = f"at {processes.rdzv_endpoint} within {processes.rdzv_timeout} s"
    start = f"start it with the same command and its own --node-rank, or wait longer: --rdzv-timeout {10 * processes.rdzv_timeout}"
    if here not in (0, None):
        return TlegError(f"node 0 can't be reached {waited}; {start}")
    subject = others[0] if len(others) == 1 else f"not every one of {', '.join(others)}"
    return TlegError(f"{subject} has {'not ' if len(others) == 1 else ''}joined {waited}; {start}")
