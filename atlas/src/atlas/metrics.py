"""``atlas metrics``: the vital signs for Prometheus, read from the database when it asks.

So the short-lived runs of the agents count, which no scrape would ever find alive. A reading is kept for some seconds:
however many ask, the database is asked once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Literal, NamedTuple

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from atlas import db, settings, vitals
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.errors import AtlasError
from atlas.vitals import Vitals

logger = logging.getLogger(__name__)

FRESH = timedelta(seconds=15)
"""How long a reading is kept."""
PATIENCE = timedelta(seconds=20)
"""How long a reading may take in all."""

PATH = "/metrics"


class Measure(NamedTuple):
    """One metric: its name, what it tells, and the labels that tell its values apart."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    kind: Literal["gauge", "counter"] = "gauge"


MEASURES = (
    Measure("pleiades_up", "1 if the database could be read, else 0 and nothing but this and the time it took."),
    Measure("pleiades_reading_seconds", "Seconds that the last reading of the database took."),
    Measure("pleiades_queue_waiting", "Rows in a queue, due or not.", ("queue",)),
    Measure("pleiades_queue_due", "Rows of a queue that are due.", ("queue",)),
    Measure("pleiades_queue_leased", "Rows of a queue that a worker holds.", ("queue",)),
    Measure("pleiades_queue_leases_expired", "Rows whose lease ran out before the work was done.", ("queue",)),
    Measure(
        "pleiades_queue_oldest_due_seconds", "How long the oldest due row of a queue has been waiting.", ("queue",)
    ),
    Measure("pleiades_stages_dead", "Work on videos that was given up.", ("stage",)),
    Measure("pleiades_watchlist_videos", "Videos on the watchlist.", ("tier",)),
    Measure("pleiades_samples_last_hour", "Samples taken in the last hour."),
    Measure("pleiades_discoveries_last_hour", "Videos discovered in the last hour."),
    Measure("pleiades_quota_used_units", "Units used of a bucket on this Pacific day.", ("project", "bucket")),
    Measure("pleiades_quota_left_units", "Units left of a bucket until midnight Pacific.", ("project", "bucket")),
    Measure("pleiades_quota_limit_units", "Units of a bucket in a day.", ("project", "bucket")),
    Measure(
        "pleiades_quota_purpose_units",
        "Units used on this Pacific day for a purpose.",
        ("project", "bucket", "purpose"),
    ),
    Measure("pleiades_oldest_day_seconds", "How long ago the oldest day ended whose samples are still in SQL."),
    Measure("pleiades_retention_seconds", "How long samples are meant to stay in SQL (JANITOR_RETENTION_DAYS)."),
    Measure("pleiades_vault_rows", "Rows that the vault is proven to hold.", ("kind",)),
    Measure("pleiades_vault_bytes", "Bytes of shards that the vault is proven to hold.", ("kind",)),
    Measure("pleiades_vault_shards", "Shards that the vault is proven to hold.", ("kind",)),
    Measure(
        "pleiades_losses_total", "Events and alerts that were lost, by the runs that have ended.", ("kind",), "counter"
    ),
    Measure("pleiades_database_bytes", "Size of the database."),
    Measure("pleiades_database_budget_bytes", "Size above which days are archived early (JANITOR_SQL_BUDGET_MB)."),
    Measure("pleiades_table_bytes", "Size of a table without indexes, with its partitions.", ("table",)),
    Measure("pleiades_index_bytes", "Size of a table's indexes, with its partitions.", ("table",)),
    Measure("pleiades_table_live_rows", "Rows of a table, as the server estimates.", ("table",)),
    Measure("pleiades_table_dead_rows", "Rows of a table that await a vacuum, as the server estimates.", ("table",)),
    Measure("pleiades_oldest_transaction_seconds", "Age of the oldest open transaction of the database."),
    Measure("pleiades_agent_run_timestamp_seconds", "When an agent's last run ended.", ("agent",)),
    Measure("pleiades_agent_run_seconds", "How long an agent's last run took.", ("agent",)),
    Measure("pleiades_agent_failed", "1 if an agent's last run failed, else 0.", ("agent",)),
    Measure("pleiades_agent_completed_timestamp_seconds", "When an agent's run last completed.", ("agent",)),
    Measure("pleiades_breaker_open", "1 if a service is left in peace, as a run last told, else 0.", ("name",)),
    Measure("pleiades_heartbeat_timestamp_seconds", "When the heartbeat last looked."),
    Measure(
        "pleiades_heartbeat_state", "1 for what the heartbeat said last: Healthy, Attention, Degraded.", ("state",)
    ),
)
"""Every metric there is, in the order they are told."""

HEARTBEAT_STATES = ("Healthy", "Attention", "Degraded")

Value = tuple[str, tuple[str, ...], float]
"""A metric's name, its labels' values, its value."""


def values(seen: Vitals, rules: Settings) -> Iterator[Value]:
    """Put the vital signs into figures."""
    for name, queue in seen.queues.items():
        yield "pleiades_queue_waiting", (name,), queue.waiting
        yield "pleiades_queue_due", (name,), queue.due
        yield "pleiades_queue_leased", (name,), queue.leased
        yield "pleiades_queue_leases_expired", (name,), queue.lapsed
        yield "pleiades_queue_oldest_due_seconds", (name,), seen.late(name).total_seconds()
    for stage, dead in seen.dead_stages.items():
        yield "pleiades_stages_dead", (stage,), dead
    for tier, videos in seen.tiers.items():
        yield "pleiades_watchlist_videos", (tier,), videos
    yield "pleiades_samples_last_hour", (), seen.samples_lately
    yield "pleiades_discoveries_last_hour", (), seen.discoveries_lately
    for usage in seen.quota:
        bucket = usage.project, usage.bucket
        yield "pleiades_quota_used_units", bucket, usage.used
        yield "pleiades_quota_left_units", bucket, usage.left
        yield "pleiades_quota_limit_units", bucket, usage.limit
        for purpose, units in usage.purposes.items():
            yield "pleiades_quota_purpose_units", (*bucket, purpose), units
    yield "pleiades_oldest_day_seconds", (), seen.oldest_day_age.total_seconds()
    yield "pleiades_retention_seconds", (), timedelta(days=rules.JANITOR_RETENTION_DAYS).total_seconds()
    for kind, held in seen.vault.items():
        yield "pleiades_vault_rows", (kind,), held["rows"]
        yield "pleiades_vault_bytes", (kind,), held["bytes"]
        yield "pleiades_vault_shards", (kind,), held["shards"]
    for kind, loss in seen.losses.items():
        yield "pleiades_losses_total", (kind,), loss.lost
    yield from _of_the_database(seen, rules)
    yield from _of_runs(seen)


def _of_the_database(seen: Vitals, rules: Settings) -> Iterator[Value]:
    yield "pleiades_database_bytes", (), seen.database_bytes
    yield "pleiades_database_budget_bytes", (), rules.JANITOR_SQL_BUDGET_MB * 1024 * 1024
    for name, table in seen.tables.items():
        yield "pleiades_table_bytes", (name,), table.table_bytes
        yield "pleiades_index_bytes", (name,), table.index_bytes
        yield "pleiades_table_live_rows", (name,), table.live_rows
        yield "pleiades_table_dead_rows", (name,), table.dead_rows
    yield "pleiades_oldest_transaction_seconds", (), seen.oldest_transaction.total_seconds()


def _of_runs(seen: Vitals) -> Iterator[Value]:
    for run in seen.runs:
        agent = (run["agent"],)
        yield "pleiades_agent_run_timestamp_seconds", agent, run["ended_at"].timestamp()
        yield "pleiades_agent_run_seconds", agent, (run["ended_at"] - run["started_at"]).total_seconds()
        yield "pleiades_agent_failed", agent, run["reason"] is not None
        if run["completed_at"] is not None:
            yield "pleiades_agent_completed_timestamp_seconds", agent, run["completed_at"].timestamp()
    for breaker in seen.breakers:
        is_open = breaker["until"] is not None and breaker["until"] > seen.at
        yield "pleiades_breaker_open", (breaker["name"],), is_open
    if seen.heartbeat is not None:
        yield "pleiades_heartbeat_timestamp_seconds", (), seen.heartbeat.seen_at.timestamp()
        for state in HEARTBEAT_STATES:
            yield "pleiades_heartbeat_state", (state,), state == seen.heartbeat.state


class Reading(NamedTuple):
    """What a look at the database gave; ``vitals`` is None when it could not be read."""

    at: float  # by the monotonic clock
    took: timedelta
    vitals: Vitals | None


class VitalsCollector(Collector):
    """Hands a reading to prometheus_client."""

    def __init__(self, reading: Reading, rules: Settings) -> None:
        self._reading = reading
        self._rules = rules

    def collect(self) -> Iterable[Metric]:
        """Tell every metric that has a value."""
        seen = self._reading.vitals
        told: list[Value] = [
            ("pleiades_up", (), seen is not None),
            ("pleiades_reading_seconds", (), self._reading.took.total_seconds()),
        ]
        if seen is not None:
            told += values(seen, self._rules)
        families = {measure.name: _family(measure) for measure in MEASURES}
        for name, labels, value in told:
            families[name].add_metric(list(labels), float(value))
        return [family for family in families.values() if family.samples]


def _family(measure: Measure) -> GaugeMetricFamily | CounterMetricFamily:
    make = GaugeMetricFamily if measure.kind == "gauge" else CounterMetricFamily
    return make(measure.name, measure.help, labels=measure.labels)


class Exporter:
    """Reads the vital signs when asked, at most once in ``FRESH``."""

    def __init__(self, database: DatabaseManager = db, *, rules: Settings = settings) -> None:
        self._db = database
        self._rules = rules
        self._reading: Reading | None = None
        self._one_at_a_time = asyncio.Lock()

    async def render(self, accept: str = "") -> tuple[bytes, str]:
        """Tell all metrics in the format that ``accept`` asks for, and name it."""
        async with self._one_at_a_time:
            if self._reading is None or time.monotonic() - self._reading.at >= FRESH.total_seconds():
                self._reading = await self._read()
        registry = CollectorRegistry(auto_describe=False)
        registry.register(VitalsCollector(self._reading, self._rules))
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    async def _read(self) -> Reading:
        from psycopg import Error

        begun = time.monotonic()
        seen: Vitals | None = None
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                seen = await vitals.read(self._db)
        except (AtlasError, Error, TimeoutError) as exc:
            logger.warning("the database cannot be read: %s", str(exc) or type(exc).__name__)
        now = time.monotonic()
        return Reading(now, timedelta(seconds=now - begun), seen)


def application(exporter: Exporter) -> web.Application:
    """Make the server: ``/metrics``, and nothing else."""

    async def metrics(request: web.Request) -> web.Response:
        body, content_type = await exporter.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    app = web.Application()
    app.router.add_get(PATH, metrics)
    return app


@asynccontextmanager
async def served(exporter: Exporter, host: str, port: int) -> AsyncIterator[str]:
    """Serve the metrics for the length of the block; gives their address.

    Raises:
        OSError: ``host`` and ``port`` cannot be listened on.
    """
    runner = web.AppRunner(application(exporter), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield f"http://{host}:{runner.addresses[0][1]}{PATH}"
    finally:
        await runner.cleanup()
