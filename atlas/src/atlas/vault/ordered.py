"""Many rows in canonical order without a second copy of them: sorted by one integer each, a column at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute

from atlas.vault.kinds import Kind

pc: Any = pyarrow.compute

SLAB = 1 << 17
"""Rows that are worked on together; what they came in is given back before the next ones come."""

Columns: TypeAlias = dict[str, pa.ChunkedArray]

_DAY_US = 86_400_000_000
_MAX_RANK = 2**63 // _DAY_US


class Ordered:
    """Rows of one UTC day, in the order of their keys; otherwise like a table.

    Ids and times are made when they are asked for, from one integer: an id's rank, then the time of day.
    """

    def __init__(self, kind: Kind, ids: pa.Array, midnight: int, places: pa.Array, columns: Columns) -> None:
        self._kind = kind
        self._ids = ids  # all that there are, in order
        self._midnight = midnight  # in microseconds
        self._places = places
        self._columns = columns  # the others
        self.num_rows = len(places)
        self.subjects = len(ids)

    @property
    def day(self) -> date:
        """The day of the rows."""
        return datetime.fromtimestamp(self._midnight // 1_000_000, UTC).date()

    @property
    def distinct(self) -> bool:
        """Have no two rows the same key?"""
        return not pc.any(pc.equal(self._places[1:], self._places[:-1])).as_py()

    def __getitem__(self, name: str) -> Column:
        """A whole column."""
        absent = self._columns[name].null_count if name in self._columns else 0
        return Column(self, name, self._kind.schema.field(name).type, absent)

    def tables(self, rows: int) -> Iterator[pa.Table]:
        """All rows, so many at a time."""
        for start in range(0, self.num_rows, rows):
            columns = [self.piece(name, start, rows) for name in self._kind.schema.names]
            yield pa.Table.from_arrays(columns, schema=self._kind.schema)
            give_back()

    def piece(self, name: str, start: int, rows: int) -> pa.Array:
        """The values of a column from a row on, up to so many."""
        if name in self._columns:
            return self._columns[name].chunk(0)[start : start + rows]
        places = self._places[start : start + rows]
        ranks = pc.divide(places, _DAY_US)
        if name == self._kind.subject:
            return self._ids.take(ranks)
        since = pc.subtract(places, pc.multiply(ranks, _DAY_US))
        return pc.add(since, self._midnight).cast(self._kind.schema.field(name).type)


@dataclass(frozen=True, slots=True)
class Column:
    """As much of Arrow's chunked array as a digest needs; its chunks are made for whoever asks, and not kept."""

    rows: Ordered
    name: str
    type: pa.DataType
    null_count: int

    def __len__(self) -> int:
        return self.rows.num_rows

    @property
    def chunks(self) -> Iterator[pa.Array]:
        """The column, a slab at a time."""
        return (self.rows.piece(self.name, start, SLAB) for start in range(0, len(self), SLAB))


def gather(kind: Kind, tables: Iterable[pa.Table]) -> Columns:
    """Copy the rows of ``tables`` as they come; the ids become a dictionary, the same one in all chunks."""
    slabs: list[pa.Table] = []
    fresh: list[pa.Table] = []
    for table in tables:
        fresh.append(table)
        if sum(table.num_rows for table in fresh) >= SLAB:
            slabs.append(_slab(kind, fresh))
            fresh.clear()
    whole = pa.concat_tables([*slabs, _slab(kind, fresh)]).unify_dictionaries()
    columns = dict(zip(whole.column_names, whole.columns, strict=True))
    del slabs, fresh, whole
    give_back()
    return columns


def in_order(kind: Kind, columns: Columns) -> Ordered | None:
    """Make what ``gather`` gave into ordered rows, taking the columns out of it; None when they are not of one day."""
    times = columns[kind.time].cast(pa.int64())
    if kind.key != (kind.subject, kind.time) or not len(times):
        return None
    midnight = pc.min(times).as_py() // _DAY_US * _DAY_US
    ids = columns[kind.subject].chunk(0).dictionary
    if pc.max(times).as_py() >= midnight + _DAY_US or len(ids) > _MAX_RANK:
        return None
    del times
    ranks = pc.subtract(pc.rank(ids, tiebreaker="first").cast(pa.int64()), 1)
    begins = pc.subtract(pc.multiply(ranks, _DAY_US), midnight)
    places = _places(begins, columns.pop(kind.subject), columns.pop(kind.time))
    order = pc.sort_indices(places)
    places = places.take(order)
    others = {}
    for name in [*columns]:  # one after the other, so that only one is there twice
        flat = _flat(columns.pop(name))
        others[name] = pa.chunked_array([flat.take(order)])
        del flat
        give_back()
    return Ordered(kind, ids.take(pc.sort_indices(ids)), midnight, places, others)


def give_back() -> None:
    """Let the system have what Arrow freed: left to itself it keeps as much again as it uses."""
    pa.default_memory_pool().release_unused()


def _slab(kind: Kind, tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables([kind.schema.empty_table(), *tables])
    place = kind.schema.get_field_index(kind.subject)
    slab = table.set_column(place, kind.subject, table[kind.subject].dictionary_encode()).combine_chunks()
    give_back()
    return slab


def _places(begins: pa.Array, ids: pa.ChunkedArray, times: pa.ChunkedArray) -> pa.Array:
    slabs = list(zip(ids.chunks, times.cast(pa.int64()).chunks, strict=True))[::-1]
    del ids, times
    places = []
    while slabs:  # what was made of a slab takes its place
        id_, time = slabs.pop()
        places.append(pc.add(begins.take(id_.indices), time))
        del id_, time
    return _flat(pa.chunked_array(places))


def _flat(column: pa.ChunkedArray) -> pa.Array:
    flat = pa.concat_arrays(column.chunks)
    give_back()
    return flat
