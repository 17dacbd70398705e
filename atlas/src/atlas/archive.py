"""Rows on their way into the vault: as many as there are, in memory that has a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.vault import ShardInfo

SAMPLES = 5_000_000
"""Samples in memory at once, and at most in a shard: ten times what the quota of one project can read in a day."""

EVENTS = 20_000
"""Events, likewise: a discovery has about half a kilobyte, some have more, and several times that on its way."""


class Stored(NamedTuple):
    """What was written, and of how many rows that came in."""

    shards: list[ShardInfo]
    rows: int


def store(
    append: Callable[[pa.RecordBatchReader], list[ShardInfo]], rows: pa.RecordBatchReader, *, shard_rows: int = SAMPLES
) -> Stored:
    """Hand rows to ``append``, of a vault, as they come: a day with more than ``shard_rows`` becomes several shards.

    Raises:
        ValueError: a row does not fit.
        VaultError: as ``append_metrics``; whatever the reader raises.
    """
    import pyarrow as pa

    source = _Counted(rows)
    shards: list[ShardInfo] = []
    while not source.ended:
        portion = pa.RecordBatchReader.from_batches(rows.schema, source.portion(shard_rows))
        shards += append(portion)
    return Stored(shards, source.rows)


class _Counted:
    """A reader that is read in portions."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader
        self.rows = 0
        self.ended = False

    def portion(self, limit: int) -> Iterator[pa.RecordBatch]:
        """Give batches until there are ``limit`` rows, or more by less than a batch."""
        given = 0
        while given < limit:
            batch = next(self._reader, None)
            if batch is None:
                self.ended = True
                return
            given += batch.num_rows
            self.rows += batch.num_rows
            yield batch
