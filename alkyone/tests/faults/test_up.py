"""``maia up`` as an operator has it: one process to start and stop, and whatever dies below it comes back.

Nothing runs that the tests do not ask for, but for the one about schedules; the stand-in's clock is the system's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from alkyone import snapshots
from alkyone.house import ENDED, House, a_home, free_port, until
from alkyone.outbound import Outbound, watched
from alkyone.soak.audit import audit
from alkyone.soak.schedules import when_asked, write
from alkyone.standins.threads import entered
from alkyone.standins.youtube import YouTubeStandin
from atlas import embedded
from atlas.embedded import EmbeddedServer
from maia import deployments

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]

AGENTS = tuple(deployment.name for deployment in deployments.read())
WORLD = "generated:seed=5,channels=8,videos=320,past=20,start={start}"
PREFETCH = timedelta(seconds=10)
"""How early Prefect's runner begins a run, so that its process is there in time (Prefect 3.8, Runner)."""

SLOW_S = 300.0
"""A search that takes so long gives no answer while a test looks."""


class Visited(House):
    """A house whose stand-in, database and outward attempts the test can see."""

    youtube: YouTubeStandin
    outbound: Outbound

    def conninfo(self, database: str = "pleiades") -> str:
        lines = (self.home / "postgres/data/postmaster.pid").read_text().splitlines()
        return f"host='{lines[4]}' port={lines[3]} user=pleiades dbname={database}"

    def postmaster(self) -> int:
        return int((self.home / "postgres/data/postmaster.pid").read_text().split()[0])

    def fetch(self, statement: str) -> int:
        with psycopg.connect(self.conninfo()) as conn:
            row = conn.execute(statement.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def tracked(self) -> int:
        return self.fetch("SELECT count(*) FROM watchlist")

    def terms_held(self) -> int:
        return self.fetch("SELECT count(*) FROM search_queue WHERE leased_until > now()")

    def hold_work(self) -> str:
        """Have a run of the Hunter at work that holds terms and gets no answer."""
        self.fetch("WITH due AS (UPDATE search_queue SET next_search_at = now() RETURNING 1) SELECT count(*) FROM due")
        self.youtube.faults.add("slow", method="search.list", seconds=SLOW_S)
        run = self.run("hunter")
        until(lambda: self.terms_held() or self.state(run) in ENDED, "a Hunter that holds terms")
        assert self.state(run) not in ENDED, self.log("worker")[-3000:]
        return run

    def answer_again(self) -> None:
        """Let searches be answered that come from now on."""
        self.youtube.faults.clear()

    def completes(self, agent: str) -> None:
        run = self.run(agent)
        until(lambda: self.state(run) in ENDED, f"the end of the {agent}'s run")
        assert self.state(run) == "COMPLETED", self.log("worker")[-3000:]


@contextmanager
def a_house(home: Path, schedule: Path | None = None, **variables: str) -> Iterator[Visited]:
    """A house that is not up yet, with a YouTube of its own."""
    start = (datetime.now(UTC) - timedelta(days=10)).date().isoformat()
    standin = YouTubeStandin(WORLD.format(start=start), clock=lambda: datetime.now(UTC))
    with entered(standin) as youtube, watched(home / "watch") as outbound:
        file = schedule or when_asked(home / "deployments.yaml")
        environment = {**outbound.environment, **variables}
        house = Visited(home, youtube.endpoint, key=youtube.key, deployments=file, environment=environment)
        house.youtube, house.outbound = youtube, outbound
        try:
            yield house
        finally:
            house.end()


def seed(house: Visited) -> None:
    done = house.call("maia", "seed", *house.youtube.world.terms()[:5])
    assert done.returncode == 0, done.stderr


def assert_nothing_is_lost(house: Visited, *, at_rest: bool = True) -> None:
    """Look at the database of a house that is down, and at its vault."""
    with EmbeddedServer(house.home) as server:
        verdict = audit(server.conninfo, house.home / "vault", house.youtube, at_rest=at_rest)
    assert verdict["readings_stored"] > 0
    assert (verdict["lost"], verdict["invented"], verdict["doubled"]) == (0, 0, 0), verdict
    assert verdict["promises_broken"] == []
    assert verdict["ledger_is_right"], verdict


def test_it_comes_up_lives_through_the_death_of_its_worker_and_stops_as_a_whole() -> None:
    with a_home() as home, a_house(home) as house:
        house.start()
        seed(house)
        held = house.hold_work()

        os.kill(house.pid("worker"), signal.SIGKILL)

        until(lambda: house.said("worker", "up"), "a new worker")
        (ended,) = house.said("worker", "ended")
        assert "SIGKILL" in ended["text"]
        assert house.terms_held() == 0, "its run gave the work back"
        assert house.state(held) == "CRASHED"
        house.answer_again()
        by_hand = ("prefect", "deployment", "run", "run_hunter_cycle/hunter", "--watch")
        asked = house.call(*by_hand, PREFECT_API_URL=house.api, PREFECT_HOME=str(home / "by-hand"))
        assert asked.returncode == 0, asked.stdout + asked.stderr + house.log("worker")[-3000:]
        assert house.tracked() > 0
        assert house.stop() == 0
        assert [line["part"] for line in house.said("up", "stopped")] == ["up"]
        assert not house.members()
        assert not (home / "postgres/data/postmaster.pid").exists(), "nobody else used the database"
        assert not list(home.rglob("*.db")), "Prefect keeps its state in PostgreSQL"
        assert house.outbound.attempts == []
        assert_nothing_is_lost(house)


def test_the_guard_sees_what_leaves_the_machine(tmp_path: Path) -> None:
    program = """
import contextlib, socket, urllib.request
with contextlib.suppress(OSError):
    socket.create_connection(("192.0.2.1", 9), timeout=0.01)
with contextlib.suppress(OSError):
    urllib.request.urlopen("http://example.invalid/hello", timeout=5)
with contextlib.suppress(OSError):
    socket.create_connection(("127.0.0.1", 9), timeout=0.01)
"""
    with watched(tmp_path / "watch") as outbound:
        environment = {"PATH": os.environ["PATH"], **outbound.environment}
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)

        by_socket = [line for line in outbound.attempts if "192.0.2.1" in line]
        assert [line.split()[0] for line in by_socket] == ["socket.getaddrinfo", "socket.connect"]
        assert [line for line in outbound.attempts if line not in by_socket] == [
            "by proxy: GET http://example.invalid/hello HTTP/1.1"
        ]


@pytest.fixture(scope="module")
def running() -> Iterator[Visited]:
    """One ``maia up`` for the tests that leave it running; afterwards nothing may be missing."""
    with a_home() as home, a_house(home) as house:
        house.start()
        seed(house)
        yield house
        house.answer_again()
        assert house.stop(signal.SIGINT) == 0
        assert house.outbound.attempts == []
        assert_nothing_is_lost(house, at_rest=False)  # what a killed one held has run out, and may not be due yet


@pytest.fixture
def house(running: Visited) -> Iterator[Visited]:
    yield running
    running.answer_again()
    until(lambda: not running.count(type=["RUNNING", "PENDING", "SCHEDULED"]), "the end of all runs")


@pytest.mark.machine
def test_every_deployment_runs_and_prefect_keeps_its_state_beside_ours(house: Visited) -> None:
    runs = {agent: house.run(agent) for agent in AGENTS}
    until(lambda: all(house.state(run) in ENDED for run in runs.values()), "the end of all runs")

    ends = {agent: house.state(run) for agent, run in runs.items()}
    assert ends == dict.fromkeys(AGENTS, "COMPLETED"), house.log("worker")[-5000:]
    assert house.tracked() > 0
    stored = {str(run) for run in snapshots.column(house.conninfo("prefect"), "SELECT id::text FROM flow_run")}
    assert set(runs.values()) <= stored


@pytest.mark.machine
def test_a_second_one_is_refused_and_names_the_first(house: Visited) -> None:
    done = house.call("maia", "up")

    assert done.returncode == 2
    assert house.process is not None
    assert f"as process {house.process.pid}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.machine
def test_a_killed_server_comes_back_and_the_run_at_work_is_not_disturbed(house: Visited) -> None:
    house.hold_work()
    before = len(house.said("server", "ended"))

    os.kill(house.pid("server"), signal.SIGKILL)

    until(lambda: len(house.said("server", "up")) == before + 1, "a new server")
    assert len(house.said("server", "ended")) == before + 1
    assert house.terms_held() > 0, "the run is still at work"
    end_runs(house)
    house.answer_again()
    house.completes("hunter")


@pytest.mark.machine
def test_a_killed_database_comes_back_with_all_it_had(house: Visited) -> None:
    house.completes("hunter")
    known = house.tracked()
    before = len(house.said("database", "up"))

    os.kill(house.postmaster(), signal.SIGKILL)

    until(lambda: len(house.said("database", "up")) == before + 1, "a new database server")
    house.completes("tracker")
    assert house.tracked() >= known > 0


@pytest.mark.machine
def test_all_three_killed_at_once_come_back(house: Visited) -> None:
    house.hold_work()
    before = {part: len(house.said(part, "up")) for part in ("server", "worker", "database")}
    pids = [house.pid("server"), house.pid("worker"), house.postmaster()]

    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    for part, count in before.items():
        until(lambda part=part, count=count: len(house.said(part, "up")) > count, f"a new {part}")  # type: ignore[misc]
    house.answer_again()
    # What the killed ones held comes back by itself after minutes, by the clock of the database's rows.
    snapshots.lapse_leases(house.conninfo())
    house.completes("hunter")


@pytest.mark.machine
def test_nothing_outlives_a_killed_one_and_the_next_goes_on_where_it_was() -> None:
    with a_home() as home, a_house(home) as house:
        house.start()
        seed(house)
        house.hold_work()
        assert house.process is not None

        house.process.kill()
        house.process.wait()

        until(lambda: not house.members(), "the end of what it had started")
        house.answer_again()
        house.start()
        assert house.terms_held() == 0
        house.completes("hunter")
        house.hold_work()
        assert house.stop() == 0
        assert not house.members()
        with EmbeddedServer(home) as server:
            assert snapshots.leased(server.conninfo) == 0


@pytest.mark.machine
def test_runs_come_when_the_schedule_says_so() -> None:
    with a_home() as home:
        anchor = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
        every = timedelta(seconds=20)

        def only_the_heartbeat(_: int, entry: dict[str, object]) -> dict[str, object]:
            schedule = {"interval": every.total_seconds(), "anchor_date": anchor.isoformat()}
            return entry | {"schedules": [schedule] if entry["name"] == "heartbeat" else []}

        with a_house(home, write(home / "deployments.yaml", only_the_heartbeat)) as house:
            house.start()
            until(lambda: house.count(type=["COMPLETED"]) >= 2, "two runs on schedule")
            house.pause()
            until(lambda: not house.count(type=["RUNNING", "PENDING", "SCHEDULED"]), "the end of all runs")

            for run in house.runs():
                assert run["auto_scheduled"]
                due = datetime.fromisoformat(run["expected_start_time"])
                assert (due - anchor) % every == timedelta(0)
                begun = run["start_time"] and datetime.fromisoformat(run["start_time"])
                assert not begun or begun >= due - PREFETCH
            assert house.stop() == 0


PASSWORD = "p@ss w/ord:%"  # every sign that an address must quote


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedServer]:
    """A PostgreSQL that is somebody else's: over TCP, with passwords; ``maia`` owns ``archive``, and may do no more."""
    port = free_port()
    monkeypatch.setattr(embedded, "PORT", port)
    with (
        a_home() as home,
        EmbeddedServer(home, settings={"listen_addresses": "127.0.0.1", "port": str(port)}) as server,
    ):
        rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (home / "postgres/data/pg_hba.conf").write_text(rules)
        with psycopg.connect(server.conninfo_of("postgres"), autocommit=True) as admin:
            admin.execute("SELECT pg_reload_conf()")
            admin.execute(sql.SQL("CREATE ROLE maia LOGIN PASSWORD {}").format(PASSWORD))
            admin.execute("CREATE DATABASE archive OWNER maia")
        with psycopg.connect(server.conninfo_of("archive"), autocommit=True) as admin:
            admin.execute("CREATE EXTENSION vector")
        yield server


@pytest.mark.machine
def test_a_given_database_is_used_for_prefect_too_and_outlives_it(given: EmbeddedServer) -> None:
    url = f"postgresql://maia:{quote(PASSWORD, safe='')}@127.0.0.1:{embedded.PORT}/archive"
    archive = given.conninfo_of("archive")
    with a_home() as home, a_house(home, DATABASE_URL=url) as house:
        assert house.call("atlas", "setup").returncode == 0

        refused = house.call("maia", "up")

        assert refused.returncode == 2
        assert "the database prefect cannot be made (permission denied to create database)" in refused.stderr
        assert "give the role CREATEDB" in refused.stderr
        assert PASSWORD not in refused.stderr
        assert quote(PASSWORD, safe="") not in refused.stderr

        with psycopg.connect(given.conninfo_of("postgres"), autocommit=True) as admin:
            admin.execute("ALTER ROLE maia CREATEDB")
        house.start()
        seed(house)
        house.completes("hunter")
        assert snapshots.column(given.conninfo_of("prefect"), "SELECT count(*) FROM flow_run") == [1]
        known = snapshots.column(archive, "SELECT count(*) FROM watchlist")
        assert known > [0]

        pid = given.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        until(lambda: house.said("database", "ended"), "a line on the database that does not answer")
        assert given.conninfo  # its owner starts it again
        until(lambda: house.said("database", "up"), "a line on the database that answers again")

        house.completes("tracker")
        assert snapshots.column(archive, "SELECT count(*) FROM watchlist") >= known
        assert house.stop() == 0
        assert given.pid is not None, "it is not ours to stop"
        assert not (home / "postgres").exists()
        assert house.outbound.attempts == []
        for log in (home / "logs").iterdir():
            assert PASSWORD not in log.read_text()
            assert quote(PASSWORD, safe="") not in log.read_text(), log.name
        verdict = audit(archive, home / "vault", house.youtube)
        assert (verdict["lost"], verdict["invented"], verdict["doubled"]) == (0, 0, 0), verdict
        assert verdict["promises_broken"] == []


def end_runs(house: Visited) -> None:
    """Ask the runs at work to stop, as an operator's Ctrl-C does."""
    for process in house.members("worker"):
        if process.pid != house.pid("worker"):
            process.send_signal(signal.SIGTERM)
    until(lambda: not house.terms_held(), "the work that is given back")
