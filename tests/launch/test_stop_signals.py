"""A request to stop before training ends a rank, whatever happens to the exception."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

SWALLOWED = """
import os, signal, time
from tleg_cli.launch import stop_signals
stop_signals._SECONDS_TO_END = 1.0
with stop_signals.catch_stop_signals():
    try:
        print("ready", flush=True)
        time.sleep(30)
    except BaseException:
        pass  # as a destructor or a bare except does
    {then}
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(
    ("then", "code"),
    [
        ("time.sleep(60)", 75),  # in C++, say: the timer ends the process
        ("stop_signals.raise_stop_request()", 1),  # a wait in Python raises it again
    ],
    ids=["stuck", "waiting"],
)
def test_a_rank_whose_stop_request_was_swallowed_ends(number, then, code):
    process = subprocess.Popen(
        [sys.executable, "-c", SWALLOWED.format(then=then)],
        env={**os.environ, "RANK": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(20) == code
    assert time.monotonic() - began < 10


IN_CPP = """
import datetime, torch.distributed
from tleg_cli.launch import stop_signals
stop_signals._SECONDS_TO_END = 1.0
with stop_signals.catch_stop_signals():
    print("ready", flush=True)
    torch.distributed.HashStore().wait(["never"], datetime.timedelta(seconds=60))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_rank_that_waits_in_cpp_ends_though_no_python_handler_runs(number):
    """As gloo does, and nccl, for ranks that have ended already."""
    process = subprocess.Popen(
        [sys.executable, "-c", IN_CPP],
        env={**os.environ, "RANK": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.5)  # it is in C++ by then
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(60) == 75
    assert time.monotonic() - began < 20


IGNORED = """
import os, signal, time
from tleg_cli.launch.stop_signals import StopRequested, catch_stop_signals

def stop(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(100):  # the handler runs here, where Python ignores exceptions
        pass

class Destructed:
    __del__ = stop

with catch_stop_signals():
    try:
        {moment}
        time.sleep(30)
    except StopRequested as stopped:
        print(stopped)
"""


@pytest.mark.parametrize(
    "moment",
    ["Destructed()", "os.register_at_fork(after_in_parent=stop); os.fork() or os._exit(0)"],
    ids=["destructor", "fork"],
)
@pytest.mark.parametrize("environment", [{}, {"RANK": "0"}], ids=["alone", "rank"])
def test_a_signal_that_comes_where_python_ignores_exceptions_stops_the_command(moment, environment):
    done = subprocess.run(
        [sys.executable, "-c", IGNORED.format(moment=moment)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=25,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("stopped by SIGTERM\n", "")


FORKS = """
import os, signal, time
from tleg_cli.launch import stop_signals
stop_signals._SECONDS_TO_END = 0.5
with stop_signals.catch_stop_signals():
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, lambda number, frame: os._exit(3))
        time.sleep(30)
    time.sleep(0.5)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    time.sleep(1.5)
    print("goes on")
"""


def test_a_signal_to_a_child_of_a_rank_is_none_to_the_rank():
    done = subprocess.run(
        [sys.executable, "-c", FORKS], env={**os.environ, "RANK": "0"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "3\ngoes on\n"), done.stderr


LAUNCHED = """
import os, signal, sys
from pathlib import Path
from tleg_cli.errors import Preempted
from tleg_cli.launch import stop_signals
from tleg_cli.launch.launch import launch
from tleg_cli.launch.processes import Processes
with stop_signals.catch_stop_signals():
    try:
        os.kill(os.getpid(), {number})
    except BaseException:
        pass  # as an import does that catches everything
    try:
        launch(Processes(2, "cpu"), Path(sys.argv[1]))
    except Preempted as stopped:
        print(stopped)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_that_was_swallowed_before_ranks_are_started_starts_none(number, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHED.format(number=int(number)), str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert f"stopped by {signal.Signals(number).name}" in done.stdout, done.stderr


IMPORTS = """
import sys
from tleg_cli.launch.stop_signals import StopRequested, catch_stop_signals
with catch_stop_signals():
    try:
        import slow_to_import
        import time
        time.sleep(30)
    except StopRequested as stopped:
        print(stopped, "slow_to_import" in sys.modules, flush=True)
"""
SLOW = """
import os, signal, time
os.kill(os.getpid(), signal.SIGHUP)
time.sleep(0.5)
print("imported", flush=True)
"""


def test_a_signal_while_a_module_is_imported_stops_the_command_after_the_import(tmp_path):
    """Raised inside an extension's start-up, the exception would be C++'s, and end in SIGABRT."""
    (tmp_path / "slow_to_import.py").write_text(SLOW)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert done.stdout.splitlines() == ["imported", "stopped by SIGHUP True"], done.stderr
    assert time.monotonic() - began < 20
