"""Vectors: what pgvector's graph finds of what an exact search finds, and how fast, at 100,000 frames."""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import psycopg

from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_least, percentile, seconds
from alkyone.databases import NOON
from alkyone.pictures import frame
from atlas import sql
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import FrameVector
from atlas.db import DatabaseManager
from maia.batches import batched
from maia.scribe.embedders.perceptual import SOURCE_TYPE, PerceptualEmbedder

SQL = sql.load("alkyone.bench", "bench.sql")

K = 10
BATCH = 200  # vectors the Scribe stores at once: 50 videos with four frames
CLIENTS = 4
WORKERS = 2  # that draw and describe pictures


async def measure(lab: Lab) -> Result:
    """Store the covers of many videos as the Scribe does, search for some of them, and compare with all distances."""
    count, queries = lab.size(100_000, 600), lab.size(500, 20)
    vectors = await asyncio.to_thread(_described, count)
    asked = np.random.default_rng(1).choice(count, queries, replace=False)
    exact = _nearest(vectors, asked)
    async with lab.database() as database:
        dao = MaiaDAO(database)
        async with database.get_connection() as conn:
            await conn.execute(SQL["videos_of_one_channel"], {"count": count, "now": NOON})
        storing = await seconds(lambda: _store(dao, vectors))
        await lab.settle(database)
        size = await _size(database)
        found, times = [], []
        before = lab.used()
        for number in asked:
            rows: list[Any] = []
            times.append(await seconds(lambda n=number, r=rows: _search(dao, n, r)))  # type: ignore[misc]
            found.append(rows)
        spent = (lab.used() - before) / queries
        together = await seconds(lambda: _together(dao, asked))
        slow = await seconds(lambda: _exactly(database, asked[: lab.size(20, 5)])) / lab.size(20, 5)
        building = await seconds(lambda: _rebuild(database))
    recall = float(np.mean([len({*rows} & {*best}) / K for rows, best in zip(found, exact, strict=True)]))
    rate = 1 / float(np.mean(times))
    return Result(
        [
            Figure(f"recall@{K} of find_similar", recall, "share"),
            Figure("searches a second, one client", rate, "searches/s", rate * slow),
            Figure(
                f"searches a second, {CLIENTS} clients", queries / together, "searches/s", queries / together * slow
            ),
            Figure("searches a second, comparing all in SQL", 1 / slow, "searches/s", 1.0),
            Figure("processor time of a search, server and client", spent * 1_000, "ms"),
            Figure("p95 of a search", percentile(times, 95) * 1_000, "ms"),
            Figure("vectors stored a second, batches of 200", count / storing, "vectors/s"),
            Figure("building the index anew", building, "s"),
            Figure("bytes a vector, indexes included", size / count, "bytes"),
        ],
        [
            at_least(0.95, f"recall@{K} ≥ 0.95", recall),
            at_least(300, "≥ 300 searches a second, one client", rate),
        ],
        [f"{count:,} covers of generated videos, 512 numbers each, one frame a video"],
    )


def _described(count: int) -> Any:
    """Draw and describe covers, in other processes."""
    if count <= 1_000:
        return _covers(range(count))
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        return np.concatenate(list(pool.map(_covers, batched(range(count), 1_000))))


def _covers(seeds: Any) -> Any:
    return PerceptualEmbedder().embed([frame(seed, 0, width=160, height=90) for seed in seeds])


def _nearest(vectors: Any, asked: Any) -> list[list[str]]:
    """Find the K nearest others of each, by all distances."""
    likeness = vectors[asked] @ vectors.T
    likeness[np.arange(len(asked)), asked] = -1
    return [[_name(n) for n in np.argpartition(row, -K)[-K:]] for row in likeness]


def _name(number: int) -> str:
    return f"v{number:010}"


async def _store(dao: MaiaDAO, vectors: Any) -> None:
    for numbers in batched(range(len(vectors)), BATCH):
        rows = [FrameVector(_name(n), 0, SOURCE_TYPE, vectors[n]) for n in numbers]
        await dao.store_features(rows, most_vectors=len(vectors), now=NOON)


async def _search(dao: MaiaDAO, number: int, into: list[str]) -> None:
    into.extend(row["video_id"] for row in await dao.find_similar(_name(number), K, source_type=SOURCE_TYPE))


async def _together(dao: MaiaDAO, asked: Any) -> None:
    await asyncio.gather(*(_in_turn(dao, asked[client::CLIENTS]) for client in range(CLIENTS)))


async def _in_turn(dao: MaiaDAO, asked: Any) -> None:
    for number in asked:
        await _search(dao, number, [])


async def _exactly(database: DatabaseManager, asked: Any) -> None:
    async with database.get_connection() as conn:
        await conn.execute("SET LOCAL enable_indexscan = off")
        for number in asked:
            await conn.fetch(SQL["all_distances"], video_id=_name(number), k=K)


async def _rebuild(database: DatabaseManager) -> None:
    async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as conn:
        await conn.execute("SET maintenance_work_mem = '512MB'")
        await conn.execute("REINDEX INDEX video_vectors_nearest")


async def _size(database: DatabaseManager) -> int:
    async with database.get_connection() as conn:
        return int(await conn.fetchval("SELECT pg_total_relation_size('video_vectors')"))
