"""Only one ``maia up`` a home: a lock that the kernel drops with the process, and what a killed one left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil

from atlas.errors import ConfigurationError

MARK = "PLEIADES_UP"
"""In the environment of whatever ``maia up`` starts: its home, and the part it belongs to."""


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Be the only ``maia up`` of ``home`` for the length of the block.

    Raises:
        ConfigurationError: there is one already; the message names its process.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    except OSError as exc:
        raise ConfigurationError(f"PLEIADES_HOME {home} cannot be used: {exc.strerror}") from None
    with os.fdopen(descriptor, "r+b") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = lock.read().decode(errors="replace").strip() or "unknown"
            raise ConfigurationError(
                f"maia up is running already for {home}, as process {pid}: stop it, or give another PLEIADES_HOME"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n".encode())
        lock.flush()
        yield


def mark(home: Path, part: str) -> dict[str, str]:
    """What to put into the environment of ``part``; its own children inherit it."""
    return {MARK: orjson.dumps([str(home), part]).decode()}


def members(home: Path, part: str | None = None) -> list[psutil.Process]:
    """The processes that a ``maia up`` of ``home`` started, or only those of ``part``, with what they started."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, orjson.JSONDecodeError):
            # A run may have started the embedded server for all of us: that has its own way to end.
            if process.pid == os.getpid() or process.name().startswith("postgres"):
                continue
            belongs = orjson.loads(process.environ().get(MARK, "[null, null]"))
            if belongs[0] == str(home) and part in {None, belongs[1]} and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end(processes: list[psutil.Process], patience_s: float) -> None:
    """Ask processes to stop, and stop by force those that have not after ``patience_s``."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=patience_s)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
