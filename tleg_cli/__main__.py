"""`python -m tleg_cli`, and what torchrun starts in every process: both import what the `tleg` command imports."""

import contextlib
import os
import sys


def _use_the_commands_path() -> None:
    """Takes the launcher's sys.path; without one, drops the folder that Python puts first: a `yaml.py` there is not ours."""
    handed_over = os.environ.get("TLEG_SYS_PATH")
    if handed_over is not None and os.environ.get("TLEG_LAUNCHER") == str(os.getppid()):
        sys.path[:] = handed_over.split("\n")
        return
    with contextlib.suppress(OSError):  # the current folder was deleted
        folders = (os.getcwd(), os.path.dirname(os.path.abspath(__file__)))
        if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)) and sys.path[0] in folders:
            del sys.path[0]


if __name__ == "__main__":
    _use_the_commands_path()
    from tleg_cli.cli import main

    sys.argv[0] = "tleg"
    main()
