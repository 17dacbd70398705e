"""Events: what emitting costs who does it, how fast they are stored and read, beside a statement and a commit each."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from statistics import median

import psycopg

from alkyone.bench.ids import video_ids
from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_least, at_most, percentile
from atlas import sql
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.events import BEGINNING, EventBus

SQL = sql.load("alkyone.bench", "bench.sql")
PAYLOAD = {"misses": 3, "reason": "not found", "tier": "DORMANT"}
NOWHERE = "host=/nowhere dbname=none"


async def measure(lab: Lab) -> Result:
    """Emit as fast as a loop can, and let it be stored; then read it all as an observer elsewhere does."""
    many, few = lab.size(100_000, 500), lab.size(2_000, 50)
    ids = video_ids(many, seed=1)
    costs, stored, away = [], [], []
    async with lab.database() as database:
        for _ in range(lab.repeats):
            bus = _bus(database)
            begun = time.perf_counter()
            costs.append(_emit(bus, ids))
            await bus.close()
            stored.append(many / (time.perf_counter() - begun))
            if bus.lost:
                raise RuntimeError(f"{bus.lost} events were lost")
        heard = 0
        async with _bus(database).listen(after=BEGINNING) as listener:
            begun = time.perf_counter()
            async for _ in listener:
                heard += 1
                if heard == many:
                    break
            read = many / (time.perf_counter() - begun)
        async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as plain:
            begun = time.perf_counter()
            for id_ in ids[:few]:
                await plain.execute(SQL["naive_event"], (id_,))
            naive = few / (time.perf_counter() - begun)
    with _quiet():
        for _ in range(lab.repeats):
            bus = _bus(DatabaseManager(NOWHERE))
            away.append(_emit(bus, ids))
            await bus.close(timedelta())
    p50, p99 = (median(percentile(cost, which) for cost in costs) for which in (50, 99))
    gone = median(percentile(cost, 99) for cost in away)
    rate = median(stored)
    return Result(
        [
            Figure("emit at the caller, median", p50, "µs"),
            Figure("emit at the caller, 99 of 100", p99, "µs"),
            Figure("the same without a database", gone, "µs"),
            Figure("emitted and stored", rate, "events/s", rate / naive),
            Figure("read by an observer elsewhere", read, "events/s"),
            Figure("a statement and a commit each", naive, "events/s", 1.0),
        ],
        [
            at_most(20, "emit: ≤ 20 µs, 99 of 100", p99),
            at_most(20, "emit without a database: ≤ 20 µs, 99 of 100", gone),
            at_least(50_000, "≥ 50,000 events stored a second", rate),
        ],
        [f"{many:,} events at once, each with a video and three facts; the clock starts with the first emit"],
    )


def _emit(bus: EventBus, ids: list[str]) -> list[float]:
    """Emit an event for each id, and say how many microseconds each took."""
    costs = []
    for id_ in ids:
        begun = time.perf_counter_ns()
        bus.emit("bench.event", id_, PAYLOAD)
        costs.append((time.perf_counter_ns() - begun) / 1000)
    return costs


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of losses that are meant."""
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _bus(database: DatabaseManager) -> EventBus:
    return EventBus(database, settings=Settings.model_construct(EVENT_BUS_ENABLED=True))
