"""Rows of the packed kinds: their canonical order, a digest of them, and their Parquet form."""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import reduce
from io import BytesIO
from operator import index
from typing import Any, NamedTuple, TypeAlias

import orjson
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from atlas.errors import VaultCorrupt, VaultUnavailable
from atlas.vault.bounds import refuse_bomb, refuse_inflated
from atlas.vault.kinds import EVENTS as EVENTS
from atlas.vault.kinds import INSTANT, SEGMENT
from atlas.vault.kinds import KINDS as KINDS
from atlas.vault.kinds import METADATA as METADATA
from atlas.vault.kinds import METRICS as METRICS
from atlas.vault.kinds import TRANSCRIPTS as TRANSCRIPTS
from atlas.vault.kinds import VISUALS as VISUALS
from atlas.vault.kinds import Kind as Kind
from atlas.vault.manifests import Manifest, shard_path
from atlas.vault.manifests import ShardInfo as ShardInfo
from atlas.vault.ordered import Ordered, gather, give_back, in_order

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight
pq: Any = pyarrow.parquet

ROW_GROUP = 64 * 1024
"""Rows: large enough to compress well, small enough that one video's rows are found by reading little."""

ZSTD_LEVEL = 3
BLOOM_FALSE_POSITIVES = 0.01

Rows: TypeAlias = pa.Table | pa.RecordBatch | pa.RecordBatchReader | Iterable[Mapping[str, Any]]

_DAY_US = 86_400_000_000
_MAX_RANK = 2**63 // _DAY_US


class Shard(NamedTuple):
    """A shard ready to be written, and its description."""

    info: ShardInfo
    data: bytes
    manifest: bytes


def pack(kind: Kind, rows: Rows) -> Iterator[Shard]:
    """Make one shard of each UTC day that ``rows`` touch, oldest first; a reader's are held in memory but once.

    Raises:
        ValueError: a row does not fit the kind's schema, or lacks part of its key.
    """
    if isinstance(rows, pa.RecordBatchReader):
        columns = gather(kind, (conform(kind, batch) for batch in rows))
        ordered = in_order(kind, columns)
        if ordered is not None and ordered.distinct:
            yield pack_day(kind, ordered.day, ordered)
            del columns, ordered
            give_back()
            return
        rows = pa.table(columns) if ordered is None else pa.concat_tables(ordered.tables(ROW_GROUP))
    table = conform(kind, rows)
    for day, part in _by_day(kind, table):
        yield pack_day(kind, day, canonical(kind, part))


def pack_day(kind: Kind, day: date, table: pa.Table | Ordered) -> Shard:
    """Make a shard of canonical rows, all of ``day``."""
    found = digest(kind, table)
    data = encode(kind, table, found)
    extent = pc.min_max(pa.chunked_array(list(table[kind.time].chunks))).as_py()
    info = ShardInfo(
        path=shard_path(kind.name, day, found),
        kind=kind.name,
        day=day,
        digest=found,
        rows=table.num_rows,
        bytes=len(data),
        min_time=extent["min"].astimezone(UTC),
        max_time=extent["max"].astimezone(UTC),
    )
    return Shard(info, data, Manifest(info, hashlib.sha256(data).hexdigest()).to_bytes())


# ---------------------------------------------------------------------------------------------------------------------
# Into the schema
# ---------------------------------------------------------------------------------------------------------------------


def conform(kind: Kind, rows: Rows) -> pa.Table:
    """Bring ``rows`` into the kind's schema; columns that can be absent may be missing.

    Raises:
        ValueError: a value does not fit, part of a key or a time zone is missing, or a column is unknown.
    """
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    try:
        table = _from_table(kind, rows) if isinstance(rows, pa.Table) else _from_mappings(kind, rows)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as exc:
        raise ValueError(f"a row does not fit the schema of {kind.name}: {exc}") from exc
    for name in kind.key:
        if table[name].null_count:
            raise ValueError(f"a row of {kind.name} has no {name}")
    return table


def _from_table(kind: Kind, table: pa.Table) -> pa.Table:
    _refuse_unknown(kind, table.column_names)
    columns = []
    for field in kind.schema:
        if field.name not in table.column_names:
            columns.append(pa.chunked_array([pa.nulls(table.num_rows, field.type)]))
            continue
        column = table[field.name]
        if pa.types.is_timestamp(field.type) and getattr(column.type, "tz", "UTC") is None:
            raise ValueError(f"{field.name} has no time zone")
        columns.append(column.cast(field.type))
    return pa.Table.from_arrays(columns, schema=kind.schema)


def _from_mappings(kind: Kind, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    given = [row if kind.extra is None else _with_extra(kind, kind.extra, row) for row in rows]
    _refuse_unknown(kind, set().union(*given))
    columns = []
    for field in kind.schema:
        values = [row.get(field.name) for row in given]
        if field.name in kind.json:
            values = [None if value is None else _json(value) for value in values]
        elif field.type == pa.list_(SEGMENT):
            _refuse_unknown_segments(values)
        elif pa.types.is_timestamp(field.type):
            values = [_instant(value, field.name) for value in values]
        elif pa.types.is_integer(field.type):  # Arrow would cut off half a view
            values = [None if value is None else _whole(value, f"{field.name} of {kind.name}") for value in values]
        columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=kind.schema)


def _with_extra(kind: Kind, extra: str, row: Mapping[str, Any]) -> dict[str, Any]:
    columns = {name for name in kind.schema.names if name != extra}
    known = {name: value for name, value in row.items() if name in columns}
    if rest := {name: value for name, value in row.items() if name not in columns}:
        known[extra] = _json(rest)
    return known


def as_document(kind: Kind, row: Mapping[str, Any]) -> dict[str, Any]:
    """Give a row as it was put in: without what is absent, and with what had no column of its own."""
    document = {name: value for name, value in row.items() if value is not None and name != kind.extra}
    for name in kind.json:
        if name in document:
            document[name] = orjson.loads(document[name])
    if "segments" in document:
        document["segments"] = [
            {name: value for name, value in segment.items() if value is not None} for segment in document["segments"]
        ]
    rest = row.get(kind.extra) if kind.extra else None
    return document | (orjson.loads(rest) if rest else {})


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError as exc:
        raise ValueError(f"no JSON: {exc}") from exc


def _refuse_unknown_segments(transcripts: Iterable[Iterable[Mapping[str, Any]] | None]) -> None:
    names = {name for transcript in transcripts for segment in transcript or () for name in segment}
    if unknown := sorted(names.difference(field.name for field in SEGMENT)):
        raise ValueError(f"segments of transcripts have no {', '.join(unknown)}")  # Arrow would lose it


def _refuse_unknown(kind: Kind, names: Iterable[str]) -> None:
    if unknown := sorted(set(names).difference(kind.schema.names)):
        raise ValueError(f"{kind.name} have no column {', '.join(map(str, unknown))}")


def _instant(value: Any, name: str) -> datetime | None:
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
        raise ValueError(f"{name} is no time with a zone")
    return value


def _whole(value: Any, name: str) -> int:
    try:
        return index(value)
    except TypeError:
        raise ValueError(f"{name} is no whole number") from None


# ---------------------------------------------------------------------------------------------------------------------
# Canonical rows, and their digest
# ---------------------------------------------------------------------------------------------------------------------


def canonical(kind: Kind, table: pa.Table) -> pa.Table:
    """Put rows of the kind's schema in order, and keep one of each key."""
    table = table.combine_chunks()
    table = table.take(_order(kind, table))
    if not pc.any(_repeats(kind, table)).as_py():
        return table
    table = table.take(_full_order(kind, table))
    repeats = _repeats(kind, table)
    return table.filter(pc.invert(pa.concat_arrays([pa.array([False]), repeats])))


def _order(kind: Kind, table: pa.Table) -> pa.Array:
    """Order rows by key. Id and time fit into one integer when all is of one day: half the work of two keys."""
    if kind.key != ("video_id", kind.time) or not table.num_rows:
        return pc.sort_indices(table, sort_keys=[(name, "ascending") for name in kind.key])
    times = table[kind.time].cast(pa.int64())
    first, last = pc.min_max(times).as_py().values()
    ids = pa.concat_arrays(table["video_id"].chunks).dictionary_encode()
    if last - first >= _DAY_US or len(ids.dictionary) >= _MAX_RANK:
        return pc.sort_indices(table, sort_keys=[(name, "ascending") for name in kind.key])
    ranks = pc.rank(ids.dictionary, tiebreaker="first").cast(pa.int64()).take(ids.indices)
    return pc.sort_indices(pc.add(pc.multiply(ranks, _DAY_US), pc.subtract(times, first)))


def _full_order(kind: Kind, table: pa.Table) -> pa.Array:
    """Order rows by key, the greatest of one key first, so that which one comes first is no accident."""
    keys, rest = [table[name] for name in kind.key], []
    for field in kind.schema:
        if field.type == pa.list_(SEGMENT):
            rest.append(pa.array([None if value is None else _json(value) for value in table[field.name].to_pylist()]))
        elif pa.types.is_list(field.type):  # of strings: lists themselves cannot be sorted
            rest += [pc.list_value_length(table[field.name]), pc.binary_join(table[field.name], "\0")]
        elif field.name not in kind.key:
            rest.append(table[field.name])
    places = pa.table(keys + rest, names=[str(place) for place in range(len(keys + rest))])
    order = ["ascending"] * len(keys) + ["descending"] * len(rest)  # what is absent comes last
    return pc.sort_indices(places, sort_keys=list(zip(places.column_names, order, strict=True)))


def _repeats(kind: Kind, table: pa.Table) -> pa.Array:
    """Say of every sorted row but the first whether the one before has the same key."""
    rows = max(table.num_rows - 1, 0)
    equal = [pc.equal(table[name].slice(1, rows), table[name].slice(0, rows)) for name in kind.key]
    return pa.concat_arrays([*reduce(pc.and_, equal).chunks, pa.array([], pa.bool_())])


def digest(kind: Kind, table: pa.Table | Ordered | Stored) -> str:
    """Name canonical rows by their content: SHA-256 in hexadecimal.

    It covers the kind, each column's name and type, which values are absent, and the values; neither chunks nor
    the encoding of a file it was read from make a difference.
    """
    sha = hashlib.sha256(f"pleiades {kind.name} {table.num_rows}\n".encode())
    for field in kind.schema:
        column = table[field.name]
        if column.null_count == len(column) and field.nullable:
            continue  # as if the column did not exist, so that a column added later renames no shard
        sha.update(f"{field.name} {field.type}\n".encode())
        for stream in _streams(column):
            sha.update(stream)
    return sha.hexdigest()


def _streams(column: pa.ChunkedArray) -> Iterator[Any]:
    """Give a column's content as bytes that do not depend on its chunks."""
    yield b"absent\n" if column.null_count else b"full\n"
    if column.null_count:
        for chunk in column.chunks:
            yield from _fixed(chunk.is_valid().cast(pa.uint8()))
    if pa.types.is_list(column.type):
        for chunk in column.chunks:
            yield from _fixed(pc.list_value_length(chunk).fill_null(0).cast(pa.int64()))
        yield b"\n"
        yield from _streams(pa.chunked_array([chunk.flatten() for chunk in column.chunks], column.type.value_type))
    elif pa.types.is_string(column.type) or pa.types.is_binary(column.type):
        for chunk in column.chunks:
            yield from _fixed(pc.binary_length(chunk).fill_null(0).cast(pa.int64()))
        yield b"\n"
        for chunk in column.chunks:
            yield from _text(chunk.drop_null())
    elif pa.types.is_struct(column.type):
        for place, field in enumerate(column.type):
            sub = pa.chunked_array([chunk.flatten()[place] for chunk in column.chunks], field.type)
            yield f"{field.name} {field.type}\n".encode()
            yield from _streams(sub)
    elif pa.types.is_floating(column.type):
        for chunk in column.chunks:
            yield from _fixed(chunk.fill_null(0.0))
    elif pa.types.is_boolean(column.type):
        for chunk in column.chunks:
            yield from _fixed(chunk.cast(pa.uint8()).fill_null(0))
    elif pa.types.is_integer(column.type) or pa.types.is_timestamp(column.type):
        for chunk in column.chunks:
            # What lies in the place of an absent value is no content.
            yield from _fixed(chunk.cast(pa.int64()).fill_null(0))
    else:
        raise TypeError(f"a column of {column.type} has no canonical bytes yet")


def _fixed(chunk: pa.Array) -> Iterator[memoryview]:
    width = chunk.type.bit_width // 8
    if len(chunk):
        yield memoryview(chunk.buffers()[1])[chunk.offset * width : (chunk.offset + len(chunk)) * width]


def _text(chunk: pa.Array) -> Iterator[memoryview]:
    if len(chunk):
        _, offsets, data = chunk.buffers()
        places = memoryview(offsets).cast("i")
        if data is not None:
            yield memoryview(data)[places[chunk.offset] : places[chunk.offset + len(chunk)]]


def _by_day(kind: Kind, table: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    days = table[kind.time].cast(pa.date32())
    different = sorted(pc.unique(days).to_pylist())
    for day in different:
        yield day, table if len(different) == 1 else table.filter(pc.equal(days, pa.scalar(day, pa.date32())))


# ---------------------------------------------------------------------------------------------------------------------
# Parquet
# ---------------------------------------------------------------------------------------------------------------------


def encode(kind: Kind, table: pa.Table | Ordered, name: str) -> bytes:
    """Write canonical rows as Parquet; ``name`` is their digest, which the file carries along."""
    marks = {"pleiades.kind": kind.name, "pleiades.schema_version": str(kind.version), "pleiades.digest": name}
    rows = kind.row_group or ROW_GROUP
    groups = max(1, -(-table.num_rows // rows))
    many = isinstance(table, Ordered)
    subjects = table.subjects if many else pc.count_distinct(table[kind.subject]).as_py()
    unlike = (*kind.delta, *kind.large)
    plain = [column for column in kind.schema.names if column not in unlike]
    sink = BytesIO()  # it grows by eighths, in place, and its content is not copied: Arrow's doubles, and is
    with pq.ParquetWriter(
        sink,
        kind.schema.with_metadata(marks),
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=plain if unlike else True,
        column_encoding=dict.fromkeys(kind.delta, "DELTA_BINARY_PACKED") or None,
        sorting_columns=[pq.SortingColumn(kind.schema.get_field_index(column)) for column in kind.key],
        bloom_filter_options={kind.subject: {"ndv": max(1, -(-subjects // groups)), "fpp": BLOOM_FALSE_POSITIVES}},
        write_page_index=True,
        write_page_checksum=True,
        use_content_defined_chunking=bool(kind.large),  # a store that keeps equal chunks once keeps them once
    ) as writer:
        for part in table.tables(rows) if many else [table]:
            writer.write_table(part, rows)
    give_back()
    return sink.getvalue()


def decode(kind: Kind, source: Any, path: str) -> pa.Table:
    """Read a whole shard.

    Raises:
        VaultCorrupt: it is not what was written.
    """
    return select(kind, source, path)


def select(
    kind: Kind,
    source: Any,
    path: str,
    *,
    video_ids: Sequence[str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> pa.Table:
    """Read rows of a shard: of the subjects ``video_ids`` (sorted; None: all), from ``start`` to before ``end``.

    Row groups whose statistics exclude what is asked for are not read.

    Raises:
        VaultCorrupt: it is not what was written.
        VaultUnavailable: it could not be read.
    """
    with _readable(path):
        # As a dictionary the ids need not be spelt out for the rows that nobody asked for.
        ids = None if video_ids is None else [kind.subject]
        with pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=ids) as file:
            refuse_bomb(file, path)
            groups = [
                number
                for number in range(file.num_row_groups)
                if video_ids is None or _may_hold(kind, file.metadata.row_group(number), video_ids)
            ]
            names = [name for name in kind.schema.names if name in file.schema_arrow.names]
            refuse_inflated(file, source, path, groups, set(names).difference(ids or ()))
            # Large values that nobody asked for are never in memory together.
            portions = [[number] for number in groups] if kind.large and video_ids is not None else []
            parts = [
                filtered(kind, _rows(file, portion, names), video_ids, start, end) for portion in portions or [groups]
            ]
        if kind.large:
            give_back()
        return conform(kind, pa.concat_tables(parts))


def _rows(file: Any, groups: Sequence[int], names: Sequence[str]) -> pa.Table:
    table = file.read_row_groups(groups, columns=names, use_threads=len(groups) > 1)
    return table.replace_schema_metadata(None)


class Stored:
    """A shard as it is stored; its columns are read as they are asked for, one at a time, and not kept.

    Raises:
        VaultCorrupt: it is not what was written.
        VaultUnavailable: it could not be read.
    """

    def __init__(self, kind: Kind, source: Any, path: str) -> None:
        self._kind = kind
        self._path = path
        self._source = source
        with _readable(path):
            self._file = pq.ParquetFile(source, page_checksum_verification=True)
            refuse_bomb(self._file, path)
            self.num_rows: int = self._file.metadata.num_rows

    def __getitem__(self, name: str) -> pa.ChunkedArray:
        """A whole column."""
        field = self._kind.schema.field(name)
        with _readable(self._path):
            if name not in self._file.schema_arrow.names:
                return pa.chunked_array([pa.nulls(self.num_rows, field.type)])
            give_back()
            refuse_inflated(self._file, self._source, self._path, range(self._file.num_row_groups), [name])
            column = self._file.read([name], use_threads=False)[name]
            return column.cast(field.type)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, KeyError) as exc:
        if getattr(exc, "errno", None):  # the disk's error, not Arrow's about the content
            raise VaultUnavailable(str(exc), path=path) from exc
        raise VaultCorrupt(f"not a readable shard ({type(exc).__name__})", path=path) from exc


def merge(kind: Kind, parts: Iterable[pa.Table]) -> pa.Table:
    """Make one table of rows from several shards, in order, without doubles."""
    return canonical(kind, pa.concat_tables([kind.schema.empty_table(), *parts]))


def _may_hold(kind: Kind, group: Any, video_ids: Sequence[str]) -> bool:
    place = kind.schema.get_field_index(kind.subject)  # also in the file: what comes before it is never nested
    statistics = group.column(place).statistics
    if statistics is None or not statistics.has_min_max:
        return True
    return bisect_left(video_ids, statistics.min) < bisect_right(video_ids, statistics.max)


def filtered(
    kind: Kind, table: pa.Table, video_ids: Sequence[str] | None, start: datetime | None, end: datetime | None
) -> pa.Table:
    """Keep the rows of some subjects, from ``start`` to before ``end``."""
    if video_ids is not None:
        table = table.filter(pc.is_in(table[kind.subject], value_set=pa.array(video_ids, pa.string())))
    if start is not None:
        table = table.filter(pc.greater_equal(table[kind.time], pa.scalar(start, INSTANT)))
    if end is not None:
        table = table.filter(pc.less(table[kind.time], pa.scalar(end, INSTANT)))
    return table
