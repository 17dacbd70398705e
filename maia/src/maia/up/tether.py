"""Run a module as a process that does not outlive its parent: ``python -m maia.up.tether MODULE ARGUMENT…``.

The parent holds the other end of our standard input and never writes. When it is closed the parent has died, however
it died: we ask ourselves to stop, as it would have done, and end by force what is still there a minute later. That
means our process group, so the parent gives us one of our own.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import time

GRACE_S = 60.0
"""What a stop may take; runs at work get half of it from Prefect to give their work back."""


COMMAND = (sys.executable, "-m", "maia.up.tether")
"""What a module and its arguments are put behind."""


def let_go(process: subprocess.Popen[bytes]) -> None:
    """Close our end of a process that has ended."""
    if process.stdin is not None:
        process.stdin.close()


def main() -> None:
    """Become the module, with the parent watched from a thread."""
    # What we start shall not hold the pipe, nor read from it.
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_watch, args=(pipe,), name="tether", daemon=True).start()
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch(pipe: int) -> None:
    with contextlib.suppress(OSError):
        while os.read(pipe, 1):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.killpg(os.getpgid(0), signal.SIGKILL)


if __name__ == "__main__":
    main()
