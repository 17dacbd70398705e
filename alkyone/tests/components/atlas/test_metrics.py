"""Metrics read from a real database are what Prometheus understands, at a bounded cost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import aiohttp
import psycopg
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from atlas import metrics
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import AgentRun, WatchEntry
from atlas.breakers import BreakerState
from atlas.clock import VirtualClock
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.metrics import MEASURES, Exporter, served
from atlas.quota import QuotaLedger

RULES = Settings(_env_file=None)  # type: ignore[call-arg]
HOUR = timedelta(hours=1)
LIMITS = {"search": 100, "stats": 10_000, "general": 10_000}


@pytest.fixture(autouse=True)
def now(frozen_clock: VirtualClock) -> VirtualClock:
    return frozen_clock


Figures = dict[tuple[str, ...], float]


def figures(text: str) -> Figures:
    """Every value by the metric's name and its labels' values, in the order of the labels' names."""
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


async def scrape(database: DatabaseManager) -> Figures:
    body, _ = await Exporter(database, rules=RULES).render()
    return figures(body.decode())


async def test_every_metric_that_is_listed_is_told_with_its_labels_and_nothing_else(
    database: DatabaseManager, dao: MaiaDAO, now: VirtualClock
) -> None:
    await QuotaLedger(database, LIMITS).reserve("moon", "search", 3, purpose="search")  # type: ignore[arg-type]
    run = AgentRun(agent="hunter", run_id="x", started_at=now() - HOUR, ended_at=now(), reason=None, summary={})
    await dao.report_run(run, {"alert": 2}, {"feeds": BreakerState("opened", 0, now() + HOUR)})
    await dao.beat("Attention", [], every=HOUR)
    async with database.get_connection() as conn:
        await conn.execute(
            "INSERT INTO vault_manifest VALUES ('p', 'metrics', %(day)s, 'd', 5, 70, %(now)s, %(now)s, %(now)s)",
            {"day": now().date(), "now": now()},
        )

    body, content_type = await Exporter(database, rules=RULES).render()

    families = {family.name: family for family in parse(body.decode())}
    told = {
        measure.name.removesuffix("_total") if measure.kind == "counter" else measure.name: measure
        for measure in MEASURES
    }
    assert families.keys() == told.keys()
    for name, family in families.items():
        assert family.documentation == told[name].help
        assert family.type == told[name].kind
        assert {frozenset(sample.labels) for sample in family.samples} == {frozenset(told[name].labels)}
    assert content_type.startswith("text/plain; version=0.0.4")


async def test_the_figures_are_those_of_the_database(
    database: DatabaseManager, dao: MaiaDAO, now: VirtualClock
) -> None:
    await dao.add_to_search_queue(["jazz", "blues"])
    await dao.add_to_watchlist([WatchEntry(f"v{n}", now(), "DAILY", now() - n * HOUR) for n in range(3)])
    await dao.fetch_hunter_batch(1)
    now.advance(HOUR)
    await dao.fetch_tracking_batch(1)
    await QuotaLedger(database, LIMITS).reserve("moon", "search", 3, purpose="search")  # type: ignore[arg-type]

    told = await scrape(database)

    assert told["pleiades_up",] == 1
    assert (told["pleiades_queue_waiting", "search"], told["pleiades_queue_due", "search"]) == (2, 2)
    assert told["pleiades_queue_leases_expired", "search"] == 1
    assert told["pleiades_queue_leased", "tracking"] == 1
    assert told["pleiades_queue_oldest_due_seconds", "tracking"] == 3 * 3600
    assert told["pleiades_watchlist_videos", "DAILY"] == 3
    assert (
        told["pleiades_quota_used_units", "search", "moon"],
        told["pleiades_quota_left_units", "search", "moon"],
    ) == (3, 97)
    assert told["pleiades_quota_purpose_units", "search", "moon", "search"] == 3
    assert told["pleiades_database_bytes",] > 1_000_000


async def test_samples_and_days_are_counted_by_our_clock(
    database: DatabaseManager, dao: MaiaDAO, now: VirtualClock, conninfo: str
) -> None:
    await dao.ensure_partitions(now=now() - timedelta(days=9))
    with psycopg.connect(conninfo) as conn:
        for minutes in (1, 59, 61, 60 * 24 * 9):
            conn.execute("INSERT INTO video_stats_log VALUES ('v', %s, 1, 1, 1)", [now() - timedelta(minutes=minutes)])

    told = await scrape(database)

    assert told["pleiades_samples_last_hour",] == 2
    assert told["pleiades_oldest_day_seconds",] == (8 * 24 + 12) * 3600
    assert told["pleiades_retention_seconds",] == 7 * 24 * 3600


async def test_a_database_that_cannot_be_read_is_told_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    async with DatabaseManager("postgresql://nobody@127.0.0.1:9/nowhere") as nowhere:
        told = await scrape(nowhere)

    assert {name for name, *_ in told} == {"pleiades_up", "pleiades_reading_seconds"}
    assert told["pleiades_up",] == 0
    assert "the database cannot be read" in caplog.text


async def test_a_slow_database_is_given_up(
    database: DatabaseManager, conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "PATIENCE", timedelta(milliseconds=50))
    with psycopg.connect(conninfo) as conn:
        conn.execute("LOCK TABLE search_queue IN ACCESS EXCLUSIVE MODE")
        told = await scrape(database)

    assert told["pleiades_up",] == 0


async def test_however_many_ask_the_database_is_asked_once(
    database: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    read = metrics.vitals.read

    async def counted(where: DatabaseManager) -> metrics.Vitals:
        nonlocal asked
        asked += 1
        return await read(where)

    monkeypatch.setattr(metrics.vitals, "read", counted)
    exporter = Exporter(database, rules=RULES)
    answers = await asyncio.gather(*(exporter.render() for _ in range(20)))
    assert (asked, len(set(answers))) == (1, 1)

    monkeypatch.setattr(metrics, "FRESH", timedelta(0))
    await exporter.render()
    assert asked == 2


async def test_it_is_served_over_http_in_the_format_that_is_asked_for(database: DatabaseManager) -> None:
    async with (
        served(Exporter(database, rules=RULES), "127.0.0.1", 0) as address,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(address) as plain:
            assert plain.status == 200
            told = figures(await plain.text())
        async with http.get(address, headers={"Accept": "application/openmetrics-text; version=1.0.0"}) as modern:
            assert modern.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            families = list(parse_openmetrics(await modern.text()))
        async with http.get(address.removesuffix("/metrics")) as elsewhere:
            assert elsewhere.status == 404

    assert told["pleiades_up",] == 1
    assert {family.name for family in families} >= {"pleiades_up", "pleiades_queue_due"}


def test_names_and_words_are_as_prometheus_asks() -> None:
    """What promtool's ``check metrics`` would complain of (Prometheus, "Metric and label naming")."""
    for measure in MEASURES:
        assert measure.name.startswith("pleiades_")
        assert measure.help.endswith(".")
        assert measure.name.endswith("_total") is (measure.kind == "counter"), measure.name
        assert not measure.name.endswith(
            ("_count", "_sum", "_bucket", "_milliseconds", "_minutes", "_hours", "_megabytes")
        )
        assert measure.name == measure.name.lower()
        assert not {"le", "quantile", "job", "instance"} & set(measure.labels), measure.name
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
