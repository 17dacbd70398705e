"""``maia up`` as an operator has it: one process to start and stop, and whatever dies below it comes back."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import psutil
import psycopg
import pytest

from maia import deployments
from maia.up import lock

pytestmark = [pytest.mark.machine, pytest.mark.timeout(600)]

PATIENCE_S = 150
ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
AGENTS = tuple(deployment.name for deployment in deployments.read())


def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Wait for other processes, which have nothing to await."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.2)
    return found


def ask(url: str, body: Any = None, method: str | None = None) -> Any:
    data = None if body is None else orjson.dumps(body)
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310 - our own servers
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return orjson.loads(answer.read())


class Standin(NamedTuple):
    endpoint: str

    def terms(self) -> list[str]:
        """Some that find videos."""
        found: list[str] = ask(f"{self.endpoint}/_standin/world")["terms"]
        return found[:5]

    def slow(self, seconds: float) -> None:
        """Let every search take so long; 0: as ever."""
        faults = [{"kind": "slow", "method": "search.list", "seconds": seconds}] if seconds else []
        ask(f"{self.endpoint}/_standin/faults", faults, "PUT")


class House:
    """A home, and the ``maia up`` that is running there."""

    def __init__(self, home: Path, standin: Standin) -> None:
        self.home = home
        self.standin = standin
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "PLEIADES_HOME": str(home),
            "YOUTUBE_API_ENDPOINT": standin.endpoint,
            "YOUTUBE_API_KEY_POOL_JSON": '["standin-key"]',
            "PREFECT_RUNNER_POLL_FREQUENCY": "2",
        }
        self.process: subprocess.Popen[str] | None = None
        self.lines: Path = home / "lines"

    def start(self) -> None:
        """Start it, and wait until all is up."""
        with self.lines.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "maia", "up", "--json"],
                env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True,
            )  # fmt: skip
        until(lambda: self.said("up", "up") or self.process.poll() is not None, "all is up")  # type: ignore[union-attr]
        assert self.said("up", "up"), self.lines.read_text()

    def maia(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "maia", *arguments],
            env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def said(self, part: str, event: str) -> list[dict[str, Any]]:
        """What was said of ``part``, so far."""
        lines = [orjson.loads(line) for line in self.lines.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["part"] == part and line.get("event") == event]

    def pid(self, part: str) -> int:
        """The process of a part: the one whose parent is ``maia up``."""
        assert self.process is not None
        (found,) = [process.pid for process in lock.members(self.home, part) if process.ppid() == self.process.pid]
        return found

    def runs_at_work(self) -> list[psutil.Process]:
        return [process for process in lock.members(self.home, "worker") if "prefect.engine" in process.cmdline()]

    # -- its engine

    def ask(self, path: str, body: Any = None) -> Any:
        return ask(f"{self.said('up', 'up')[0]['page']}/api/{path}", body)

    def run(self, agent: str) -> str:
        """Ask for a run, and give its id."""
        (deployment,) = self.ask("deployments/filter", {"deployments": {"name": {"any_": [agent]}}})
        state = {"state": {"type": "SCHEDULED"}}
        run: str = self.ask(f"deployments/{deployment['id']}/create_flow_run", state)["id"]
        return run

    def state(self, run: str) -> str:
        """How it is; nothing while the server is away."""
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            return str(self.ask(f"flow_runs/{run}")["state"]["type"])
        return ""

    def completes(self, agent: str) -> None:
        """Have a run complete; one that meets another at work is cancelled, and another asked for."""
        for _ in range(3):
            run = self.run(agent)
            ended = until(lambda run=run: self.state(run) in ENDED, agent)
            if ended and self.state(run) == "COMPLETED":
                return
        raise AssertionError(f"no run of the {agent} completes: {(self.home / 'logs/worker.log').read_text()[-3000:]}")

    # -- its database

    def leased(self) -> int:
        """Search terms that somebody holds."""
        return self.fetch("SELECT count(*) FROM search_queue WHERE leased_until > now()")

    def fetch(self, statement: str) -> int:
        lines = (self.home / "postgres/data/postmaster.pid").read_text().splitlines()
        where = f"host='{lines[4]}' port={lines[3]} user=pleiades dbname=pleiades"
        with psycopg.connect(where) as conn:
            row = conn.execute(statement.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def hold_work(self) -> str:
        """Have a run of the Hunter at work that holds terms and gets no answer; one that meets the schedule's waits."""
        while True:
            until(lambda: not self.leased(), "the end of the run that was at work")
            self.fetch(
                "WITH due AS (UPDATE search_queue SET next_search_at = now() RETURNING 1) SELECT count(*) FROM due"
            )
            self.standin.slow(60)
            run = self.run("hunter")
            until(lambda run=run: self.leased() or self.state(run) in ENDED, "a Hunter that holds terms")
            if self.state(run) not in ENDED:
                return run
            self.standin.slow(0)


@contextlib.contextmanager
def a_home() -> Iterator[Path]:
    # Not below tmp_path: root's is closed to the account that the database server runs as.
    home = Path(tempfile.mkdtemp(prefix="pleiades-test-up-"))
    home.chmod(0o711)
    try:
        yield home
    finally:
        lock.end(lock.members(home), 20)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def standin() -> Iterator[Standin]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ten_days_ago = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 10 * 86_400))
    world = f"generated:seed=5,channels=8,videos=320,past=20,start={ten_days_ago}"
    command = ["youtube", "--port", str(port), "--clock", "system", "--world", world, "--key", "standin-key"]
    process = subprocess.Popen([sys.executable, "-m", "alkyone", *command], stdout=subprocess.DEVNULL)
    found = Standin(f"http://127.0.0.1:{port}")
    try:

        def answers() -> bool:
            with contextlib.suppress(urllib.error.URLError, ConnectionError):
                return bool(ask(f"{found.endpoint}/_standin/clock"))
            return False

        until(answers, "the stand-in")
        yield found
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def running(standin: Standin) -> Iterator[House]:
    """One ``maia up`` for the tests that leave it running."""
    with a_home() as home:
        house = House(home, standin)
        house.start()
        assert house.process is not None
        assert house.maia("seed", *standin.terms()).returncode == 0
        yield house
        house.process.terminate()
        assert house.process.wait(PATIENCE_S) == 0


@pytest.fixture
def house(running: House) -> Iterator[House]:
    yield running
    running.standin.slow(0)


def test_every_deployment_runs_from_an_empty_home_without_leaving_the_machine(house: House) -> None:
    runs = {agent: house.run(agent) for agent in AGENTS}
    until(lambda: all(house.state(run) in ENDED for run in runs.values()), "the end of all runs")

    ends = {agent: house.state(run) for agent, run in runs.items()}
    # One on its cron line may have been at work just then: it takes the place of ours.
    assert set(ends.values()) <= {"COMPLETED", "CANCELLED"}, (house.home / "logs/worker.log").read_text()[-5000:]
    for agent in (agent for agent, end in ends.items() if end == "CANCELLED"):
        house.completes(agent)
    assert house.fetch("SELECT count(*) FROM watchlist") > 0
    assert not list(house.home.rglob("prefect.db")), "Prefect keeps its state in PostgreSQL"
    far = {
        connection.raddr.ip
        for process in lock.members(house.home)
        for connection in process.net_connections(kind="inet")
        if connection.raddr
    }
    assert far <= {"127.0.0.1"}


def test_a_second_one_is_refused_and_names_the_first(house: House) -> None:
    done = house.maia("up")

    assert done.returncode == 2
    assert house.process is not None
    assert f"as process {house.process.pid}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_killed_worker_comes_back_and_its_work_is_given_back(house: House) -> None:
    run = house.hold_work()
    before = len(house.said("worker", "ended"))

    os.kill(house.pid("worker"), signal.SIGKILL)

    until(lambda: len(house.said("worker", "ended")) == before + 1, "a line on the worker's end")
    until(lambda: len(house.said("worker", "up")) == before + 1, "a new worker")
    assert "SIGKILL" in house.said("worker", "ended")[-1]["text"]
    assert house.leased() == 0
    assert house.state(run) == "CRASHED"
    house.standin.slow(0)
    house.completes("hunter")


def test_a_killed_server_comes_back_and_later_runs_find_their_place_free(house: House) -> None:
    house.hold_work()
    before = len(house.said("server", "ended"))

    os.kill(house.pid("server"), signal.SIGKILL)

    until(lambda: len(house.said("server", "up")) == before + 1, "a new server")
    assert len(house.said("server", "ended")) == before + 1
    house.standin.slow(0)
    until(lambda: not house.leased(), "the end of the run that was at work")
    house.completes("hunter")


def test_a_killed_database_comes_back_with_all_it_had(house: House) -> None:
    house.completes("hunter")
    known = house.fetch("SELECT count(*) FROM watchlist")
    before = len(house.said("database", "up"))

    os.kill(int((house.home / "postgres/data/postmaster.pid").read_text().split()[0]), signal.SIGKILL)

    until(lambda: len(house.said("database", "up")) == before + 1, "a new database server")
    house.completes("tracker")
    assert house.fetch("SELECT count(*) FROM watchlist") >= known > 0


def test_nothing_outlives_a_killed_one_and_the_next_stops_with_its_work_given_back(standin: Standin) -> None:
    with a_home() as home:
        house = House(home, standin)
        house.start()
        assert house.process is not None
        assert house.maia("seed", *standin.terms()).returncode == 0
        house.hold_work()

        house.process.kill()
        house.process.wait()

        until(lambda: not lock.members(home), "the end of what it had started")

        house.start()
        assert house.leased() == 0
        run = house.hold_work()
        house.process.terminate()

        assert house.process.wait(PATIENCE_S) == 0
        assert [line["part"] for line in house.said("up", "stopped")] == ["up"]
        assert not lock.members(home)
        assert not (home / "postgres/data/postmaster.pid").exists(), "nobody else used the database"
        standin.slow(0)
        status = orjson.loads(house.maia("status", "--json").stdout)
        assert status["overview"]["backlog"]["search"]["leased"] == 0, run
