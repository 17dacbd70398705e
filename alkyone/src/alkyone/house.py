"""``maia up`` as an operator has it: one process to start and to stop, what it and its Prefect server say."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson
import psutil

from alkyone.environments import bare
from maia.up import lock

PATIENCE_S = 240.0
"""A start is 30 s of processor time, and others may want the processor too."""

ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
WORKING = ("RUNNING", "PENDING", "CANCELLING")
PAGE = 200
"""Runs that Prefect lists at a time."""

T = TypeVar("T")


def until(condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
    """Wait for other processes, which have nothing to await; give what ``condition`` gave that is true.

    Raises:
        TimeoutError: it never did.
    """
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain for: {what}")
        time.sleep(0.2)
    return found


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def ask(url: str, body: Any = None, method: str | None = None) -> Any:
    """Speak JSON to a server of our own; None where it says nothing."""
    data = None if body is None else orjson.dumps(body)
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310 - our own servers
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        said = answer.read()
    return orjson.loads(said) if said else None


@contextlib.contextmanager
def a_home() -> Iterator[Path]:
    """Lend a folder for a home."""
    # Not below tmp_path: root's is closed to the account that the database server runs as.
    home = Path(tempfile.mkdtemp(prefix="pleiades-up-"))
    home.chmod(0o711)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


class Engine(ABC):
    """A Prefect server, asked over HTTP."""

    @property
    @abstractmethod
    def api(self) -> str:
        """Where it is."""

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Ask the Prefect server."""
        return ask(f"{self.api}/{path}", body, method)

    def deployments(self) -> dict[str, str]:
        """The deployments' ids, by name."""
        return {found["name"]: found["id"] for found in self.ask("deployments/filter", {"limit": PAGE})}

    def run(self, agent: str) -> str:
        """Ask for a run, and give its id."""
        body = {"state": {"type": "SCHEDULED"}}
        run: str = self.ask(f"deployments/{self.deployments()[agent]}/create_flow_run", body)["id"]
        return run

    def state(self, run: str) -> str:
        """How a run is; nothing while the server is away."""
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return str(self.ask(f"flow_runs/{run}")["state"]["type"])
        return ""

    def count(self, **state: Any) -> int:
        """How many runs are in a state, ``type=[…]`` or ``name=[…]``."""
        wanted = {key: {"any_": list(values)} for key, values in state.items()}
        return int(self.ask("flow_runs/count", {"flow_runs": {"state": wanted}}))

    def runs(self, **flow_runs: Any) -> list[dict[str, Any]]:
        """Every run that matches a filter, in the order they were due."""
        found: list[dict[str, Any]] = []
        while True:
            body = {"flow_runs": flow_runs, "limit": PAGE, "offset": len(found), "sort": "EXPECTED_START_TIME_ASC"}
            page = self.ask("flow_runs/filter", body)
            found += page
            if len(page) < PAGE:
                return found

    def pause(self) -> None:
        """Let nothing start any more that nobody asks for; what was planned is forgotten."""
        for deployment in self.deployments().values():
            self.ask(f"deployments/{deployment}/pause_deployment", {}, "POST")


class House(Engine):
    """A home, and the ``maia up`` that runs there; ``environment`` adds to the least that it needs."""

    def __init__(
        self, home: Path, youtube: str, *, key: str, deployments: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.home = home
        self.environment = {
            **bare(),
            "HOME": str(home),
            "PLEIADES_HOME": str(home),
            "YOUTUBE_API_ENDPOINT": youtube,
            "YOUTUBE_API_KEY_POOL_JSON": orjson.dumps([key]).decode(),
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
            **(environment or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.lines = home / "lines"
        self._deployments = deployments

    def start(self) -> None:
        """Start it, and wait until all is up.

        Raises:
            RuntimeError: it ended instead; the message has what it said.
        """
        command = ["up", "--json", "--port", str(free_port()), "--deployments", str(self._deployments)]
        with self.lines.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "maia", *command],
                env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        process = self.process
        until(lambda: self.said("up", "up") or process.poll() is not None, "all is up")
        if not self.said("up", "up"):
            raise RuntimeError(f"maia up ended: {self.lines.read_text()}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, and give its exit code."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)

    def end(self) -> None:
        """Let nothing of it live on, whatever went wrong."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        lock.end(self.members(), 20)

    def call(self, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``maia``, ``atlas`` or ``prefect`` at this home, to the end."""
        return subprocess.run(
            [sys.executable, "-m", program, *arguments],
            env={**self.environment, **variables},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def said(self, part: str, event: str) -> list[dict[str, Any]]:
        """What was said of ``part``, so far."""
        lines = [orjson.loads(line) for line in self.lines.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["part"] == part and line.get("event") == event]

    @property
    def api(self) -> str:
        """Where its Prefect server is."""
        return f"{self.said('up', 'up')[0]['page']}/api"

    def pid(self, part: str) -> int:
        """The process of a part: the one whose parent is ``maia up``."""
        assert self.process is not None
        pids = [int(process.pid) for process in self.members(part) if process.ppid() == self.process.pid]
        (pid,) = pids
        return pid

    def members(self, part: str | None = None) -> list[psutil.Process]:
        """The processes that it started, or those of a part."""
        return lock.members(self.home, part)

    def log(self, part: str) -> str:
        """What a part wrote, older files first."""
        files = sorted((self.home / "logs").glob(f"{part}.log*"), reverse=True)
        return "".join(file.read_text(errors="replace") for file in files)
