"""``alkyone soak up``: ``maia up`` against the stand-in YouTube, on a clock that goes faster, watched from outside."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypedDict
from urllib.error import URLError

import psutil
import psycopg

from alkyone.house import WORKING, House, a_home, until
from alkyone.soak.audit import Verdict, audit
from alkyone.soak.pace import VARIABLE, Pace
from alkyone.soak.schedules import faster
from alkyone.standins.threads import entered
from alkyone.standins.youtube import YouTubeStandin
from atlas.embedded import EmbeddedServer

WORLD = "generated:seed=5,channels=60,videos=2400,past=20,days=31,start={start}"
AHEAD = timedelta(days=10)
"""How long before the soak its world begins: there is something to find, and three weeks to go."""

TERMS = 8
LOOK_S = 10.0
FIRST_RUNS_S = 20.0
"""After it is all up the first runs are due: by then the server's schedule service has planned them."""

WARM = 0.2
"""Of the samples, those that the slope leaves out: caches and pools fill first."""

DRAIN_S = 600.0
APART_S = 3_600.0
"""Of the faster clock: agents note when they store, the stand-in when it answers."""

MEGABYTE = 1e6
TROUBLE = re.compile(
    r"deadlock detected|database is locked|lock timeout|LockNotAvailable|could not obtain lock|too many connections"
    r"|could not serialize",
    re.IGNORECASE,
)


class Memory(TypedDict):
    """Of a part, in megabytes of its own (PSS); ``slope`` in megabytes an hour once it is warm, None: too short."""

    first: float
    last: float
    peak: float
    slope: float | None


class Runs(TypedDict):
    """The runs of an agent: how they ended, how late they began and how long they took, in seconds.

    ``states`` are named as Prefect's page does, ``types`` by what its engine goes by.
    """

    states: dict[str, int]
    types: dict[str, int]
    late_median: float
    late_most: float
    took_median: float
    took_most: float


class Report(Verdict):
    """What came of a soak."""

    minutes: float
    speed: float
    stretch: float
    begun: str
    virtual_hours: float
    cores: int
    load: dict[str, float]
    runs: dict[str, Runs]
    waiting_late_most: int
    memory: dict[str, Memory]
    run_memory: dict[str, float]
    processor_seconds: dict[str, float]
    tables: dict[str, list[int]]
    restarts: int
    trouble: list[str]
    exit_code: int
    failures: list[str]


@dataclass
class Watch:
    """What was seen of it while it ran."""

    memory: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    runs: list[float] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    load: list[float] = field(default_factory=list)
    processor: dict[str, float] = field(default_factory=dict)
    tables: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))


def soak(*, minutes: float, speed: float, stretch: float, show: Callable[[str], None]) -> Report:
    """Keep it up for ``minutes`` of the wall's clock, and say what became of it.

    Raises:
        RuntimeError: it does not start.
        TimeoutError: runs do not end when nothing new is started.
    """
    begun = datetime.now(UTC)
    pace = Pace(begun, begun, speed)
    world = WORLD.format(start=(begun - AHEAD).date().isoformat())
    span = timedelta(minutes=minutes)
    watch = Watch()
    with ExitStack() as stack:
        youtube = stack.enter_context(entered(YouTubeStandin(world, clock=pace)))
        home = stack.enter_context(a_home())
        file = home / "deployments.yaml"
        environment = {VARIABLE: pace.text, "JANITOR_RETENTION_DAYS": "1", "FRAME_WIDTH": "320"}
        house = House(home, youtube.endpoint, key=youtube.key, deployments=file, environment=environment)
        stack.callback(house.end)
        # It is all up long before; the first runs wait for their moment.
        first = begun + timedelta(seconds=FIRST_RUNS_S + 40)
        faster(file, first=first, speed=speed, stretch=stretch, within=span)
        show(f"starting maia up in {home}")
        house.start()
        show(f"up after {(datetime.now(UTC) - begun).total_seconds():.0f} s; Prefect's page is {house.api}")
        seeded = house.call("maia", "seed", *youtube.world.terms()[:TERMS])
        assert seeded.returncode == 0, seeded.stderr
        with _database(home) as server:
            end = time.monotonic() + span.total_seconds()
            while time.monotonic() < end:
                _look(house, server, watch)
                show(_line(watch, pace, begun))
                time.sleep(LOOK_S)
            house.pause()
            until(lambda: not house.count(type=WORKING), "the end of the last runs", DRAIN_S)
            _look(house, server, watch)
            ended = house.runs(state={"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "RUNNING"]}})
            names = {deployment: name for name, deployment in house.deployments().items()}
        restarts = sum(len(house.said(part, "ended")) for part in ("server", "worker", "database"))
        code = house.stop()
        with _database(home) as server:
            verdict = audit(server.conninfo, home / "vault", youtube)
        trouble = _trouble(home)
    report: Report = {
        "minutes": minutes,
        "speed": speed,
        "stretch": stretch,
        "begun": begun.isoformat(timespec="seconds"),
        "virtual_hours": round((pace() - begun) / timedelta(hours=1), 1),
        "cores": os.cpu_count() or 1,
        "load": {"median": round(statistics.median(watch.load), 1), "most": round(max(watch.load), 1)},
        "runs": _by_agent(ended, names),
        "waiting_late_most": max(watch.late),
        **verdict,
        "memory": {part: _memory(samples) for part, samples in watch.memory.items()},
        "run_memory": _middle(watch.runs),
        "processor_seconds": {part: round(seconds, 1) for part, seconds in watch.processor.items()},
        "tables": dict(watch.tables),
        "restarts": restarts,
        "trouble": trouble,
        "exit_code": code,
        "failures": [],
    }
    report["failures"] = list(_failures(report))
    return report


@contextmanager
def _database(home: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(home) as server:
        yield server


# -- Looking ----------------------------------------------------------------------------------------------------------


def _look(house: House, server: EmbeddedServer, watch: Watch) -> None:
    assert house.process is not None
    now = time.monotonic()
    watch.load.append(psutil.getloadavg()[0])
    with suppress(URLError, ConnectionError, TimeoutError):  # it may be on its way back
        watch.late.append(house.count(name=["Late"]))
    parts: dict[str, list[psutil.Process]] = {"up": [psutil.Process(house.process.pid)], "server": [], "worker": []}
    with suppress(psutil.Error):
        postmaster = psutil.Process(server.pid)
        parts["database"] = [postmaster, *postmaster.children()]
    at_work: list[psutil.Process] = []
    for part in ("server", "worker"):
        for process in house.members(part):
            with suppress(psutil.Error):
                is_run = "prefect.engine" in process.cmdline() or "flow-run" in process.cmdline()
                (at_work if is_run else parts[part]).append(process)
    watch.runs += [size for process in at_work if (size := _own(process))]
    for part, processes in parts.items():
        if size := sum(map(_own, processes)):
            watch.memory[part].append((now, size))
        with suppress(psutil.Error):
            times = [process.cpu_times() for process in processes]
            own = sum(time_.user + time_.system for time_ in times)
            ended = sum(time_.children_user + time_.children_system for time_ in times)
            if part == "worker":
                watch.processor |= {"worker": own, "runs": ended}
            elif part != "up":  # whose children are the others
                watch.processor[part] = own + ended
            else:
                watch.processor[part] = own
    for name, size in _sizes(server).items():
        watch.tables[name] = [watch.tables.get(name, [size])[0], size]


def _own(process: psutil.Process) -> float:
    """Memory of a process, what it shares divided by those who share it; 0: it has gone."""
    try:
        details = process.memory_full_info()
    except psutil.Error:
        return 0.0
    return float(getattr(details, "pss", details.rss)) / MEGABYTE


def _sizes(server: EmbeddedServer) -> dict[str, int]:
    with psycopg.connect(server.conninfo_of("pleiades")) as conn:
        sizes = conn.execute(
            "SELECT 'database ' || datname, pg_database_size(oid)::bigint FROM pg_database"
            " WHERE datname IN ('pleiades', 'prefect')"
        ).fetchall()
    with psycopg.connect(server.conninfo_of("prefect")) as conn:
        sizes += conn.execute(
            "SELECT 'prefect ' || relname, pg_total_relation_size(oid)::bigint FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            " AND relname IN ('flow_run', 'flow_run_state', 'log', 'artifact', 'events')"
        ).fetchall()
    return {name: int(size) for name, size in sizes}


def _line(watch: Watch, pace: Pace, begun: datetime) -> str:
    memory = "  ".join(f"{part} {samples[-1][1]:.0f}" for part, samples in watch.memory.items())
    late = watch.late[-1] if watch.late else 0
    real = (datetime.now(UTC) - begun).total_seconds()
    return f"{real:5.0f} s  {pace():%d %b %H:%M}  load {watch.load[-1]:.1f}  late {late}  MB: {memory}"


# -- Judging ----------------------------------------------------------------------------------------------------------


def _by_agent(runs: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, Runs]:
    by_agent: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        by_agent[names.get(run["deployment_id"], "?")].append(run)
    return {agent: _runs(found) for agent, found in sorted(by_agent.items())}


def _runs(runs: Sequence[Mapping[str, Any]]) -> Runs:
    began = [run for run in runs if run["start_time"]]
    late = [(_at(run["start_time"]) - _at(run["expected_start_time"])).total_seconds() for run in began]
    took = [float(run["total_run_time"]) for run in began]
    return {
        "states": dict(Counter(run["state_name"] for run in runs)),
        "types": dict(Counter(run["state_type"] for run in runs)),
        "late_median": round(statistics.median(late or [0]), 1),
        "late_most": round(max(late, default=0), 1),
        "took_median": round(statistics.median(took or [0]), 1),
        "took_most": round(max(took, default=0), 1),
    }


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _memory(samples: Sequence[tuple[float, float]]) -> Memory:
    sizes = [size for _, size in samples]
    warm = samples[int(len(samples) * WARM) :]
    slope = None
    if len(warm) >= 10:
        slope = round(statistics.linear_regression([at / 3_600 for at, _ in warm], [size for _, size in warm]).slope, 1)
    return {"first": round(sizes[0], 1), "last": round(sizes[-1], 1), "peak": round(max(sizes), 1), "slope": slope}


def _middle(sizes: Sequence[float]) -> dict[str, float]:
    return {"median": round(statistics.median(sizes), 1), "most": round(max(sizes), 1)} if sizes else {}


def _trouble(home: Path) -> list[str]:
    """Lines of any log that speak of locks or of too many connections."""
    logs = [*home.glob("logs/*.log*"), *home.glob("postgres/server.log*")]
    return [
        f"{log.name}: {line.strip()[:200]}"
        for log in sorted(logs)
        for line in log.read_text(errors="replace").splitlines()
        if TROUBLE.search(line)
    ]


def _failures(report: Report) -> Iterator[str]:
    """What must not be."""
    ended = Counter[str]()
    for agent, runs in report["runs"].items():
        ended.update(runs["types"])
        if not runs["types"].get("COMPLETED"):
            yield f"no run of the {agent} completed"
    for state in ("CRASHED", "FAILED", "RUNNING"):
        if ended[state]:
            yield f"runs {state.lower()}: {ended[state]}"
    for what in ("lost", "invented", "doubled", "restarts", "exit_code"):
        if count := report[what]:
            yield f"{what.replace('_', ' ')}: {count}"
    yield from report["promises_broken"]
    if report["apart"][0] > APART_S:
        yield f"the agents' time was {report['apart'][0]:.0f} s from the stand-in's"
    if not report["ledger_is_right"]:
        yield "the quota ledger differs from what was charged"
    if report["trouble"]:
        yield f"lines of lock trouble in the logs: {len(report['trouble'])}"
