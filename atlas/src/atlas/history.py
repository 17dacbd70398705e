"""The history of videos as one table, wherever its parts lie: hot in SQL, cold in the vault; and SQL over the vault."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from atlas import db
from atlas import vault as shared_vault
from atlas.db import DatabaseManager
from atlas.epochs import EPOCHS
from atlas.errors import VaultNotFound
from atlas.sql import load
from atlas.vault import ShardInfo, VaultStrategy

if TYPE_CHECKING:
    import pyarrow as pa

SQL = load("atlas", "history.sql")

_COLUMNS = ("video_id", "timestamp", "views", "likes", "comment_count")
_READINGS = 3  # of the index, when a shard that it named is gone: a compaction replaced it


async def timeline(
    video_ids: str | Iterable[str],
    start: datetime | None = None,
    end: datetime | None = None,
    *,
    database: DatabaseManager = db,
    vault: VaultStrategy = shared_vault,
) -> pa.Table:
    """Give every sample of some videos from ``start`` to before ``end``, sorted by video and time, none twice.

    Columns: video_id, timestamp (µs, UTC), views, likes, comment_count (absent when hidden, which is not zero), and
    ``epoch``, the number of the metric epoch: views of different epochs cannot be compared. A sample that is being
    archived is found all the same.

    Raises:
        DatabaseUnavailable: the database does not answer.
        VaultNotFound: a shard that was proven to be in the vault is gone.
        VaultCorrupt: a shard is damaged.
        VaultError: the vault could not be read.
    """
    wanted = sorted({video_ids} if isinstance(video_ids, str) else set(video_ids))
    for attempt in range(1, _READINGS + 1):
        # Hot first: what leaves SQL between the two questions is in the index by then.
        hot, proven = await _ask(database, wanted, start, end)
        try:
            return await asyncio.to_thread(_union, vault, hot, proven, wanted, start, end)
        except VaultNotFound:
            if attempt == _READINGS:
                raise
    raise AssertionError("not reached")


def sql(
    query: str,
    parameters: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    vault: VaultStrategy = shared_vault,
    memory_mb: int = 512,
) -> pa.Table:
    """Ask DuckDB about what is in the vault: ``metrics``, ``metadata``, ``transcripts``, ``visuals``, ``events``.

    Each has the columns of its kind and ``date``, the UTC day; a ``WHERE date …`` spares the other days' files. No row
    is there twice. Samples that are still in PostgreSQL are not there: ``timeline`` has both. Parameters are written
    ``?`` or ``$name``. The query reads nothing but the vault, and above ``memory_mb`` it goes to a temporary folder.
    It blocks: from a coroutine call it through ``asyncio.to_thread``.

    Raises:
        ConfigurationError: the extra ``analytics`` is not installed.
        ValueError: the query is wrong.
        VaultError: the vault could not be read.
    """
    from atlas import _duckdb

    for attempt in range(1, _READINGS + 1):
        try:
            return _duckdb.ask(vault, query, parameters, memory_mb=memory_mb)
        except VaultNotFound:
            if attempt == _READINGS:
                raise
    raise AssertionError("not reached")


async def _ask(
    database: DatabaseManager, video_ids: Sequence[str], start: datetime | None, end: datetime | None
) -> tuple[list[dict[str, Any]], list[ShardInfo]]:
    async with database.get_connection() as conn:
        hot = await conn.fetch(SQL["timeline__hot"], video_ids=video_ids, start=start, stop=end)
        proven = await conn.fetch(SQL["timeline__cold"], start=start, stop=end)
    return hot, [ShardInfo(**row) for row in proven]


def _union(
    vault: VaultStrategy,
    hot: Sequence[dict[str, Any]],
    proven: Iterable[ShardInfo],
    video_ids: Sequence[str],
    start: datetime | None,
    end: datetime | None,
) -> pa.Table:
    import pyarrow as pa

    from atlas.vault.shards import METRICS, merge

    # What SQL calls proven must be there; what only the vault lists (not indexed yet, or by others) is history too.
    # What others replaced since it was proven may be gone: they hold its rows.
    index = vault.index("metrics", start, end)
    shards = {shard.path: shard for shard in (*index.live, *proven) if shard.path not in index.superseded}
    cold = vault.read_metrics(video_ids, start, end, shards=shards.values())
    recent = pa.Table.from_pydict({name: [row[name] for row in hot] for name in _COLUMNS}, schema=METRICS.schema)
    return _with_epochs(merge(METRICS, [cold, recent]))


def _with_epochs(table: pa.Table) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute
    numbers = pa.chunked_array([pa.nulls(table.num_rows, pa.int8()).fill_null(EPOCHS[0].number)])
    for epoch in EPOCHS[1:]:
        begun = pc.greater_equal(table["timestamp"], pa.scalar(epoch.begins, table["timestamp"].type))
        numbers = pc.if_else(begun, pa.scalar(epoch.number, pa.int8()), numbers)
    return table.append_column("epoch", numbers)
