"""Several machines with a worker each, one PostgreSQL, one bucket: the work is shared, and a machine may die of it.

A machine is a ``maia serve`` with a home of its own, its runs are processes of their own, and all of it dies at once.
The reference is the same work done undisturbed, an agent after the other, in one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import psutil
import pytest
from psycopg.conninfo import conninfo_to_dict

from alkyone import snapshots
from alkyone.agents import Agent, Site, run_agent
from alkyone.databases import scratch
from alkyone.environments import bare
from alkyone.house import ENDED, Engine, until
from alkyone.scenes import AMPLE, SMALL, seed
from alkyone.soak.audit import audit
from alkyone.soak.pace import VARIABLE, Pace
from alkyone.soak.schedules import at_any_machine
from alkyone.standins.gcs import GCSStandin
from alkyone.standins.threads import entered
from alkyone.standins.youtube import YouTubeStandin
from atlas import clock
from atlas.embedded import EmbeddedServer
from maia.demo.prefect import server
from maia.up.engine import as_url

pytestmark = [pytest.mark.engine, pytest.mark.machine, pytest.mark.timeout(1800)]

HOUR = timedelta(hours=1)
CYCLES: tuple[tuple[Agent, timedelta], ...] = (
    ("hunter", timedelta(0)),
    ("painter", HOUR),
    ("scribe", 2 * HOUR),
    ("tracker", timedelta(days=2)),
    ("janitor", timedelta(days=9)),
)
WORK: dict[Agent, str] = {
    "hunter": "videos_discovered",
    "painter": "videos_painted",
    "scribe": "videos_described",
    "tracker": "samples",
    "janitor": "samples_archived",
}
SETTINGS: dict[str, Any] = {
    "VAULT_PROVIDER": "gcs",
    "FRAME_WIDTH": 320,
    "HUNTER_NEW_TERMS": 1_000,  # a run that is killed would take up its share twice
    **{f"QUOTA_{bucket.upper()}_PER_DAY": limit for bucket, limit in AMPLE.items()},
}
SLOW_S = 300.0
"""A call that takes so long gives no answer before its caller is killed."""

STUCK_AT = {"hunter": "search.list", "tracker": "videos.batchGetStats", "painter": "videos.list"}


class Machine:
    """A ``maia serve`` and all that it starts."""

    def __init__(self, home: Path, environment: dict[str, str], deployments: Path) -> None:
        self.home = home
        home.mkdir()
        self.log = home / "log"
        command = ["serve", "--json", "--limit", "1", "--deployments", str(deployments)]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "maia", *command],
                env={**environment, **dict.fromkeys(("HOME", "PLEIADES_HOME", "PREFECT_HOME"), str(home))},
                cwd=home, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip

    def serving(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return '"event":"serving"' in self.log.read_text()

    def runs(self) -> Iterator[str]:
        """The runs that are at work here."""
        with contextlib.suppress(psutil.Error):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if run := process.environ().get("PREFECT__FLOW_RUN_ID"):
                        yield run

    def die(self) -> None:
        """Lose the power: nothing on it cleans up."""
        alive = [self.process.pid, *(child.pid for child in psutil.Process(self.process.pid).children(recursive=True))]
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(120) == 0, self.log.read_text()


class Cluster(Engine):
    """A Prefect server, a YouTube, a bucket, a database, and machines."""

    def __init__(self, api: str, youtube: YouTubeStandin, site: Site, folder: Path) -> None:
        self._api = api
        self.youtube = youtube
        self.site = site
        self._folder = folder
        self._deployments = at_any_machine(folder / "deployments.yaml", every_minutes=60)
        self._clock = folder / "clock"
        self.machines: list[Machine] = []
        self.whose: dict[str, Machine] = {}

    @property
    def api(self) -> str:
        return self._api

    def set_clock(self, now: datetime) -> None:
        self._clock.write_text(Pace.standing(now).text)
        self.youtube.set_clock(now)

    def add_machine(self) -> Machine:
        where = conninfo_to_dict(self.site.conninfo)
        host = quote(str(where["host"]), safe="")
        environment = {
            **bare(),
            "PREFECT_API_URL": self._api,
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "DATABASE_URL": f"postgresql://{where['user']}@/{where['dbname']}?host={host}&port={where['port']}",
            "YOUTUBE_API_ENDPOINT": self.site.endpoint,
            "YOUTUBE_API_KEY_POOL_JSON": orjson.dumps([self.site.key]).decode(),
            "RUNS_PER_AGENT": "2",
            VARIABLE: f"@{self._clock}",
            **{name: str(value) for name, value in self.site.changes},
            **dict(self.site.environment),
        }
        machine = Machine(self._folder / f"machine-{len(self.machines)}", environment, self._deployments)
        self.machines.append(machine)
        return machine

    def living(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.process.poll() is None]

    def have_ended(self, *runs: str) -> bool:
        """Have they? Meanwhile it is noted which machine is at work on them."""
        for machine in self.living():
            self.whose |= dict.fromkeys(machine.runs(), machine)
        return all(self.state(run) in ENDED for run in runs)

    def completes(self, *agents: str) -> list[str]:
        runs = [self.run(agent) for agent in agents]
        until(lambda: self.have_ended(*runs), f"the end of {agents}")
        assert [self.state(run) for run in runs] == ["COMPLETED"] * len(runs), self.logs()
        return runs

    def logs(self) -> str:
        return "\n".join(f"== {machine.home.name}\n{machine.log.read_text()[-3_000:]}" for machine in self.machines)


@pytest.fixture
def store() -> Iterator[GCSStandin]:
    with GCSStandin("alone", "cluster") as standin:
        yield standin


def test_machines_share_the_work_and_what_a_dead_one_held_is_done_by_the_others(
    postgres: EmbeddedServer, template: str, store: GCSStandin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.endpoint)
    with ExitStack() as stack:
        alone = stack.enter_context(a_place(postgres, template, store, tmp_path, "alone"))
        expected = undisturbed(*alone)
        youtube, site = stack.enter_context(a_place(postgres, template, store, tmp_path, "cluster"))
        begin = youtube.now()
        api = stack.enter_context(prefect(postgres, tmp_path))
        cluster = Cluster(api, youtube, site, tmp_path)
        cluster.set_clock(begin)
        for _ in range(2):
            stack.callback(cluster.add_machine().stop)
        until(lambda: all(machine.serving() for machine in cluster.machines), "both machines")

        for agent, after in CYCLES:
            cluster.set_clock(begin + after)
            if agent in STUCK_AT:
                youtube.faults.add("slow", method=STUCK_AT[agent], seconds=SLOW_S)
                run = cluster.run(agent)
                until(lambda: cluster.have_ended(run) or held(site), f"a {agent} that holds work")  # noqa: B023 - now
                assert not cluster.have_ended(run), f"{agent} found nothing to do: {cluster.logs()}"
                cluster.whose[run].die()
                youtube.faults.clear()
                snapshots.lapse_leases(site.conninfo)
                replacement = cluster.add_machine()
                stack.callback(replacement.stop)
                (again,) = cluster.completes(agent)
                assert cluster.whose[again] is not cluster.whose[run]
                until(replacement.serving, "the machine that replaces it")
            else:
                cluster.completes(agent)

        assert content(site) == expected
        assert snapshots.leased(site.conninfo) == 0

        # A day later all at once.
        cluster.set_clock(begin + timedelta(days=10))
        runs = cluster.completes("hunter", "tracker", "painter", "scribe")

        assert len({cluster.whose[run].home for run in runs}) == len(cluster.living()) == 2, "both had a part in it"
        # A dead hunter had read what it did not store; it was read again at the same moment, and is stored once.
        assert snapshots.readings(site.conninfo, site.open_vault()) == snapshots.served(youtube.served.columns())
        verdict = audit(site.conninfo, site.open_vault(), youtube)
        assert verdict["promises_broken"] == []
        assert verdict["invented"] == verdict["doubled"] == 0


@contextmanager
def a_place(
    postgres: EmbeddedServer, template: str, store: GCSStandin, folder: Path, name: str
) -> Iterator[tuple[YouTubeStandin, Site]]:
    """A YouTube ten days into its world, and a database and a bucket with a few terms and channels to begin with."""
    youtube = YouTubeStandin(SMALL, limits=AMPLE)
    begin = youtube.world.start + timedelta(days=10)
    youtube.set_clock(begin)
    with entered(youtube), scratch(postgres, template) as conninfo:
        changes = (*SETTINGS.items(), ("GCS_BUCKET_NAME", name))
        environment = (("STORAGE_EMULATOR_HOST", store.endpoint),)
        site = Site(conninfo, folder / name, youtube.endpoint, youtube.key, changes, environment)
        with clock.stopped(begin):
            site.open_vault().provision()
            asyncio.run(seed(site, youtube.world, begin))
        yield youtube, site


def undisturbed(youtube: YouTubeStandin, site: Site) -> dict[str, object]:
    begin = youtube.now()
    for agent, after in CYCLES:
        youtube.set_clock(begin + after)
        done = asyncio.run(run_agent(agent, site, begin + after))
        assert done.error is None
        assert done.summary is not None
        assert done.summary[WORK[agent]] > 0, f"the {agent} has nothing to share"
    return content(site)


def held(site: Site) -> int:
    """Rows that somebody holds; a turn at the work is none."""
    (rows,) = snapshots.column(
        site.conninfo,
        """
        SELECT (SELECT count(lease_token) FROM search_queue)
             + (SELECT count(lease_token) FROM watchlist)
             + (SELECT count(lease_token) FROM video_stage)
        """,
    )
    return int(rows)


def content(site: Site) -> dict[str, object]:
    """What the tables and the vault hold, however the vault's rows are divided into shards."""
    vault = site.open_vault()
    tables = snapshots.tables(site.conninfo)
    del tables["vault_manifest"]
    kinds = ("metrics", "metadata", "visuals", "transcripts", "events")
    return tables | {
        f"vault/{kind}": sorted(
            repr(sorted(row.items(), key=str)) for shard in vault.shards(kind) for row in vault.load(shard).to_pylist()
        )
        for kind in kinds
    }


@contextmanager
def prefect(postgres: EmbeddedServer, folder: Path) -> Iterator[str]:
    """A Prefect server whose database is a scratch one."""
    with scratch(postgres) as conninfo:
        words = {word: str(value) for word, value in conninfo_to_dict(conninfo).items()}
        environment = {
            **bare(),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": as_url(words),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }
        with entered(server(folder, environment)) as started:
            asyncio.run(started.ready())
            yield started.api
