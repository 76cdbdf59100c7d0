"""A request to stop before training ends a rank, whatever happens to the exception."""

import os
import signal
import subprocess
import sys
import time

import pytest

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
