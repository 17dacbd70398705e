"""The flows on a real Prefect server: deployed to each kind of pool, late runs, three of one at once, by hand."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson
import pytest
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from alkyone import snapshots
from alkyone.environments import bare
from alkyone.standins.youtube import YouTubeStandin
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import WatchEntry

pytestmark = pytest.mark.engine

FLOWS = ("hunter", "tracker", "painter", "scribe", "janitor", "heartbeat")
START_TIMEOUT_S = 120


def _is_busy(error: BaseException) -> bool:
    return isinstance(error, urllib.error.HTTPError) and error.code == 503


class Prefect:
    """A Prefect server of the test's own, and its commands."""

    def __init__(self, port: int, environment: dict[str, str], folder: Path) -> None:
        self._api = f"http://127.0.0.1:{port}/api"
        self._environment = environment | {"PREFECT_API_URL": self._api}
        self._folder = folder

    def command(self, *arguments: str, **variables: str) -> str:
        """Run ``prefect …`` in the workspace."""
        return self.run("prefect", "--no-prompt", *arguments, **variables)

    def run(self, module: str, *arguments: str, **variables: str) -> str:
        """Run a module in the workspace, with this server as its engine."""
        return self._python("-m", module, *arguments, **variables)

    def program(self, code: str, *arguments: str, **variables: str) -> str:
        """Do the same with a program."""
        return self._python("-c", code, *arguments, **variables)

    def _python(self, *words: str, **variables: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self._folder,
            env=self._environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @retry(retry=retry_if_exception(_is_busy), stop=stop_after_delay(60), wait=wait_fixed(0.5), reraise=True)
    def ask(self, path: str, body: Any = None) -> Any:
        """Call the server's API, as its own client does: while its database is locked it says 503."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self._api}/{path}",
            data=None if body is None else orjson.dumps(body),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return orjson.loads(answer.read())

    def runs(self, agent: str, **filters: Any) -> list[Any]:
        """The runs of an agent's flow, the oldest first."""
        name = "run_heartbeat" if agent == "heartbeat" else f"run_{agent}_cycle"
        asked = {"flows": {"name": {"any_": [name]}}, "flow_runs": filters, "sort": "START_TIME_ASC"}
        found: list[Any] = self.ask("flow_runs/filter", asked)
        return found

    def missed(self, deployment: Any, hours: int, **parameters: Any) -> str:
        """Have a run of ``deployment`` that was due so many hours ago; gives its id."""
        due = datetime.now(UTC) - timedelta(hours=hours)
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        asked = {"parameters": parameters, "state": state}
        run: str = self.ask(f"deployments/{deployment['id']}/create_flow_run", asked)["id"]
        return run

    def answers(self) -> bool:
        """Is it up?"""
        try:
            return bool(self.ask("health"))
        except (urllib.error.URLError, ConnectionError):
            return False


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Prefect]:
    folder = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **bare(),
        "HOME": str(folder),
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
    }
    command = ["server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        here = Prefect(port, environment, pytestconfig.rootpath)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not here.answers():
            assert server.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.1)  # another process: there is nothing else to wait for
        yield here
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def deployed(prefect: Prefect) -> dict[str, Any]:
    """The deployments, on a process pool."""
    prefect.command("work-pool", "create", "pleiades", "--type", "process")
    prefect.command("deploy", "--all")
    ours = prefect.ask("deployments/filter", {"work_pools": {"name": {"any_": ["pleiades"]}}})
    return {found["name"]: found for found in ours}


def test_prefect_deploys_them_all_and_late_runs_become_one(
    prefect: Prefect, deployed: dict[str, Any], database_url: str, conninfo: str, tmp_path: Path
) -> None:
    assert set(deployed) == set(FLOWS)
    assert {found["concurrency_options"]["collision_strategy"] for found in deployed.values()} == {"CANCEL_NEW"}
    assert all(found["schedules"][0]["active"] for found in deployed.values())
    assert all(found["tags"] == ["pleiades", name] for name, found in deployed.items())
    missed = [prefect.missed(deployed["janitor"], hours, dry_run=False) for hours in range(1, 9)]

    states = Counter[str]()
    for _ in range(4):  # its one place may go to a run that is due by the clock
        prefect.command(
            "worker", "start", "--pool", "pleiades", "--run-once", "--limit", "1",
            DATABASE_URL=database_url, LOCAL_VAULT_PATH=str(tmp_path / "vault"),
        )  # fmt: skip
        states = Counter(prefect.ask(f"flow_runs/{run}")["state_type"] for run in missed)
        if "SCHEDULED" not in states:
            break
    assert states == {"COMPLETED": 1, "CANCELLED": 7}
    (done,) = snapshots.column(conninfo, "SELECT run_id FROM agent_runs WHERE agent = 'janitor'")
    assert done in missed
    artifacts = prefect.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [done]}}})
    assert [found["key"] for found in artifacts] == ["janitor-cycle"]


def test_a_run_overtakes_those_of_its_kind_that_were_due_before_it(
    prefect: Prefect, deployed: dict[str, Any], database_url: str, conninfo: str, tmp_path: Path
) -> None:
    late = [prefect.missed(deployed["janitor"], hours, dry_run=True) for hours in (3, 2, 1)]
    of_another_kind = prefect.missed(deployed["janitor"], 4, dry_run=False)
    not_due_yet = prefect.missed(deployed["janitor"], -1, dry_run=True)
    asked = {"parameters": {"dry_run": True}, "state": {"type": "PENDING"}}
    run = prefect.ask(f"deployments/{deployed['janitor']['id']}/create_flow_run", asked)["id"]

    prefect.run(
        "prefect.engine",
        PREFECT__FLOW_RUN_ID=run, DATABASE_URL=database_url, LOCAL_VAULT_PATH=str(tmp_path / "vault"),
    )  # fmt: skip

    done = prefect.ask(f"flow_runs/{run}")
    assert (done["state_type"], done["state_name"]) == ("COMPLETED", "Dry run")
    overtaken = [prefect.ask(f"flow_runs/{run}")["state"] for run in late]
    assert {(state["type"], state["name"]) for state in overtaken} == {("CANCELLED", "Overtaken")}
    assert all(state["message"].startswith(done["name"]) for state in overtaken)
    for other in (of_another_kind, not_due_yet):
        assert prefect.ask(f"flow_runs/{other}")["state_type"] == "SCHEDULED"
        prefect.ask(f"flow_runs/{other}/set_state", {"state": {"type": "CANCELLED"}, "force": True})


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_another_pool_is_all_that_another_infrastructure_needs(
    prefect: Prefect, pytestconfig: pytest.Config, tmp_path: Path, kind: str
) -> None:
    workers = files("prefect.server.api") / "collections_data/views/aggregate-worker-metadata.json"
    template = orjson.loads(workers.read_bytes())[f"prefect-{kind}"][kind]["default_base_job_configuration"]
    prefect.ask("work_pools/", {"name": kind, "type": kind, "base_job_template": template})
    ours = (pytestconfig.rootpath / "prefect.yaml").read_text()
    elsewhere = ours.replace(
        "  name: pleiades", f"  name: {kind}"
    )  # beside those of the other tests, not in their place
    (tmp_path / "prefect.yaml").write_text(elsewhere.replace("  - name: ", f"  - name: {kind}-"))

    prefect.command("deploy", "--all", "--prefect-file", str(tmp_path / "prefect.yaml"))

    deployed = prefect.ask("deployments/filter", {"work_pools": {"name": {"any_": [kind]}}})
    assert {found["name"] for found in deployed} == {f"{kind}-{name}" for name in FLOWS}
    assert not any(found["pull_steps"] for found in deployed), "there is no such folder in a container"
    for found in deployed:
        assert found["job_variables"].keys() <= template["variables"]["properties"].keys()
        assert set(template["variables"].get("required", ())) <= found["job_variables"].keys()


async def test_a_flow_started_three_times_at_once_does_its_work_once(
    prefect: Prefect, database_url: str, conninfo: str, dao: MaiaDAO, tmp_path: Path
) -> None:
    start = datetime.now(UTC) - timedelta(days=10)
    world = f"generated:seed=5,channels=8,videos=320,past=20,start={start:%Y-%m-%dT%H:%M:%S+00:00}"
    async with YouTubeStandin(world, keys={"any": "moon"}) as youtube:
        youtube.set_clock(None)
        youtube.faults.add("slow", seconds=0.3)
        now = datetime.now(UTC)
        await dao.ensure_partitions(now=now)
        videos = sorted(youtube.world.search("", at=now))
        await dao.add_to_watchlist([WatchEntry(video, now - timedelta(days=9), "WEEKLY", now) for video in videos])
        place = {
            "DATABASE_URL": database_url,
            "LOCAL_VAULT_PATH": str(tmp_path / "vault"),
            "YOUTUBE_API_ENDPOINT": youtube.endpoint,
            "YOUTUBE_API_KEY_POOL_JSON": '["any"]',
            "LOG_LEVEL": "INFO",
        }

        said = await asyncio.gather(
            *(asyncio.to_thread(prefect.run, "maia.tracker.flow", "--json", **place) for _ in range(3))
        )

    summaries = [orjson.loads(out) for out in said]
    tracked = sum(summary.get("videos_tracked", 0) + summary.get("missing", 0) for summary in summaries)
    assert tracked == len(videos)
    runs = [run for run in prefect.runs("tracker", tags={"all_": ["pleiades", "tracker"]}) if run["start_time"]]
    by_name = Counter(run["state_name"] for run in runs if datetime.fromisoformat(run["start_time"]) > now)
    assert by_name == {"Completed": 1, "Nothing due": 2}
    (done,) = [
        run for run in runs if run["state_name"] == "Completed" and run["state"]["message"] == "nothing more is due"
    ]
    assert done["name"].startswith("tracker 20")
    logs = prefect.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [done["id"]]}}})
    assert {"begins"} <= {line["message"] for line in logs if line["name"] == "maia.runs"}
    (artifact,) = prefect.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [done["id"]]}}})
    assert f"| Videos tracked | {len(videos)} |" in artifact["data"]


BY_HAND = """
import contextlib, io, runpy, sys
for agent in sys.argv[1:]:
    with contextlib.redirect_stdout(io.StringIO()) as said:
        sys.argv = [f"{agent}/flow.py", "--json"]
        try:
            runpy.run_module(f"maia.{agent}.flow", run_name="__main__")
        except SystemExit as ended:
            assert not ended.code, f"{agent}: {ended.code}"
    print(said.getvalue().strip())
"""


def test_every_flow_by_hand_runs_one_cycle_through_the_engine(
    prefect: Prefect, database_url: str, conninfo: str, tmp_path: Path
) -> None:
    place = {"DATABASE_URL": database_url, "LOCAL_VAULT_PATH": str(tmp_path / "vault")}

    out = prefect.program(BY_HAND, *FLOWS, YOUTUBE_API_KEY_POOL_JSON='["unused"]', **place)

    summaries = [orjson.loads(line) for line in out.splitlines()]
    assert [summary.get("stopped_by", "nothing due") for summary in summaries] == ["nothing due"] * len(FLOWS)
    noted = snapshots.column(conninfo, "SELECT run_id FROM agent_runs")
    runs = prefect.ask("flow_runs/filter", {"flow_runs": {"id": {"any_": noted}}})
    assert [(run["state_type"], run["deployment_id"]) for run in runs] == [("COMPLETED", None)] * len(FLOWS)
    flows = prefect.ask("flows/filter", {"flows": {"id": {"any_": [run["flow_id"] for run in runs]}}})
    assert {flow["name"] for flow in flows} == {*(f"run_{agent}_cycle" for agent in FLOWS[:-1]), "run_heartbeat"}
