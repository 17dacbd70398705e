"""Discovery: a batch with all that belongs to it in one transaction, beside a statement and a commit for each row."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial

import psycopg

from alkyone.bench.ids import video_ids
from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_least, in_turns, seconds
from alkyone.databases import NOON
from atlas import sql
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery
from maia.batches import batched

SQL = sql.load("alkyone.bench", "bench.sql")

BATCHES = (50, 500)
VIDEOS_PER_CHANNEL = 5
_WORDS = ["build", "a", "small", "telescope", "in", "one", "weekend", "with", "parts", "from", "the", "kitchen"]


async def measure(lab: Lab) -> Result:
    """Compare batches with the naive way, each turn with videos nobody has seen."""
    many, few = lab.size(10_000, 500), lab.size(1_000, 25)
    async with lab.database() as database:
        dao = MaiaDAO(database)
        async with await psycopg.AsyncConnection.connect(database.conninfo, autocommit=True) as plain:
            ways: dict[str, Callable[[int], Awaitable[float]]] = {
                str(size): partial(_batches, dao, size, many) for size in BATCHES
            }
            rate = await in_turns(lab.repeats, {**ways, "rows": partial(_rows, plain, few)})
    naive = rate["rows"]
    return Result(
        [
            *(Figure(f"batches of {size}", rate[str(size)], "videos/s", rate[str(size)] / naive) for size in BATCHES),
            Figure("row by row, commit each", naive, "videos/s", 1.0),
        ],
        [
            at_least(20, f"batches of {size}: ≥ 20 × row by row", rate[str(size)] / naive) for size in BATCHES
        ],
        ["a batch also stores stages, a sample and the events; row by row has channel, video and watchlist only"],
    )  # fmt: skip


async def _batches(dao: MaiaDAO, size: int, count: int, turn: int) -> float:
    batches = list(batched(discoveries(count, seed=1000 * size + turn), size))

    async def store() -> None:
        for batch in batches:
            await dao.ingest_video_metadata(batch, now=NOON)

    return count / await seconds(store)


async def _rows(plain: psycopg.AsyncConnection, count: int, turn: int) -> float:
    videos = discoveries(count, seed=turn)

    async def store() -> None:
        for video in videos:
            await plain.execute(SQL["naive_channel"], (video.channel_id, video.channel_title, NOON, NOON))
            await plain.execute(SQL["naive_video"], _video(video))
            await plain.execute(SQL["naive_watch"], _watch(video))

    return count / await seconds(store)


def discoveries(count: int, seed: int) -> Sequence[Discovery]:
    """Invent discoveries with all their facts, five a channel."""
    ids = video_ids(count, seed)
    return [
        Discovery(
            id=id_,
            channel_id=f"UC{ids[n // VIDEOS_PER_CHANNEL]}{ids[n // VIDEOS_PER_CHANNEL]}",
            channel_title=f"The channel of {ids[n // VIDEOS_PER_CHANNEL]}",
            title=" ".join(_WORDS[n % 4 :][:9]),
            published_at=NOON - timedelta(minutes=n % 1440),
            tracking_tier="HOURLY",
            next_track_at=NOON + timedelta(hours=1),
            duration=30 + n % 3600,
            tags=tuple(f"{word} {n % 50}" for word in _WORDS[:10]),
            category_id=str(n % 28),
            default_language="en",
            source="search:telescope",
            observed_at=NOON,
            views=n * 17,
            likes=n,
            comment_count=n // 9,
        )
        for n, id_ in enumerate(ids)
    ]


def _video(video: Discovery) -> tuple[object, ...]:
    return (
        video.id, video.channel_id, video.title, video.published_at, video.duration, list(video.tags),
        video.category_id, video.default_language, list(video.wiki_topics), NOON,
    )  # fmt: skip


def _watch(video: Discovery) -> tuple[object, ...]:
    return video.id, video.channel_id, video.published_at, video.tracking_tier, video.next_track_at, NOON
