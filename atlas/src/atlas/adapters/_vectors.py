"""What frames look like: vectors of 512 numbers, searched by pgvector's HNSW index, one model at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from atlas.adapters._session import columns
from atlas.adapters.records import Duplicate, DuplicatePage, FrameVector, Similar, TextFeatures
from atlas.sql import load

if TYPE_CHECKING:
    from atlas.db import Connection

SQL = load("atlas.adapters", "_vectors.sql")

DIMENSIONS = 512

EFFORT = 100
"""How many candidates a search of the graph keeps (hnsw.ef_search): a recall of 0.99, see docs/benchmarks.md."""

OWN_FRAMES = 16
"""Of a video, at most so many frames are searched with."""

FRAMES_PER_VIDEO = 4
"""How many frames of one video may stand before the next video's, so that there are enough videos in the end."""

MOST_FRAMES = 1000
"""That a search may ask for (pgvector's bound on hnsw.ef_search)."""


async def store_vectors(conn: Connection, vectors: Iterable[FrameVector], most: int, now: datetime) -> None:
    """Keep vectors of hot videos in the place of the oldest; those that are all zero are left out."""
    rows = {row[:3]: row for row in vectors if any(row.vector)}.values()  # one statement cannot change a row twice
    if rows:
        batch = columns([row._replace(vector=()) for row in rows]) | {"vector": [_text(row.vector) for row in rows]}
        await conn.execute(SQL["store_vectors"], batch | {"now": now})
        await conn.execute(SQL["trim_vectors"], {"keep": most, "now": now})


async def store_texts(conn: Connection, texts: Mapping[str, TextFeatures], now: datetime) -> None:
    """Keep what the words of hot videos tell; other videos are left out."""
    if texts:
        ids = list(texts)
        await conn.execute(SQL["store_texts"], columns([texts[id_] for id_ in ids]) | {"video_id": ids, "now": now})


async def find_similar(conn: Connection, video_id: str, k: int, source_type: str | None) -> list[Similar]:
    """Search with every frame of a video."""
    if source_type is None:
        known = await models_of(conn, video_id)
        if not known:
            return []
        source_type = known[0]
    frames = min(k * FRAMES_PER_VIDEO, MOST_FRAMES)
    await _search_widely(conn, frames)
    return await conn.fetch(
        SQL["find_similar"],
        video_id=video_id, source_type=source_type, own_frames=OWN_FRAMES, frames=frames, k=k,
    )  # fmt: skip


async def find_duplicates(
    conn: Connection, source_type: str, at_least: float, after: str, batch_size: int, frames: int
) -> DuplicatePage:
    """Search with every frame of the next videos."""
    await _search_widely(conn, frames)
    rows = await conn.fetch(
        SQL["find_duplicates"],
        source_type=source_type, at_least=at_least, after=after, batch_size=batch_size, frames=frames,
    )  # fmt: skip
    return DuplicatePage(
        pairs=[Duplicate(**row) for row in rows if row["other_id"] is not None],
        compared=len({row["video_id"] for row in rows}),
        after=rows[-1]["video_id"] if rows else None,
    )


async def models_of(conn: Connection, video_id: str) -> list[str]:
    """Name the models that described a video, the newest first."""
    return [row["source_type"] for row in await conn.fetch(SQL["models_of"], video_id=video_id)]


async def _search_widely(conn: Connection, frames: int) -> None:
    await conn.execute(SQL["search_widely"], {"effort": max(EFFORT, frames)})


def _text(vector: Collection[float]) -> str:
    """Spell a vector for pgvector, with the digits that half precision keeps."""
    if len(vector) != DIMENSIONS:
        raise ValueError(f"a vector has {DIMENSIONS} numbers, not {len(vector)}")
    return f"[{','.join([f'{value:.5g}' for value in vector])}]"
