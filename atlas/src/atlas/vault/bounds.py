"""What a shard may become when it is read: a file of kilobytes can hold billions of rows, or gigabytes of text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import product
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

from atlas.errors import VaultCorrupt

pc: Any = pyarrow.compute  # its functions are made at run time, out of a type checker's sight
pq: Any = pyarrow.parquet

MOST_ROWS = 20_000_000
"""Rows that a shard may hold; the Janitor writes at most 5 M, compaction 4 M."""

MOST_TEXT = 2 * 1024**3
"""Bytes that the texts of a shard may take when each is spelt out, be they stored but once."""

BATCH = 256 * 1024
"""Rows that are measured at a time."""


def refuse_bomb(file: pyarrow.parquet.ParquetFile, path: str) -> None:
    """Refuse a file of more than ``MOST_ROWS``, whose rows may be all alike.

    Raises:
        VaultCorrupt: it has more.
    """
    if file.metadata.num_rows > MOST_ROWS:
        raise VaultCorrupt(f"{file.metadata.num_rows:,} rows, more than any shard has", path=path)


def refuse_inflated(file: Any, source: Any, path: str, groups: Sequence[int], names: Collection[str]) -> None:
    """Refuse the columns ``names`` of some row groups when their texts come to more than ``MOST_TEXT``.

    A text is stored once in a row group, and named by each row that has it. Where the file's own account does not
    rule out that they come to so much, they are measured without being spelt out.

    Raises:
        VaultCorrupt: they do.
    """
    leaves = _inflatable(file.metadata, groups, names)
    if not leaves:
        return
    total = 0
    with pq.ParquetFile(source, metadata=file.metadata, read_dictionary=leaves) as measured:
        for leaf, number in product(leaves, groups):  # one by one: Arrow has no lists of several dictionaries
            for batch in measured.iter_batches(BATCH, row_groups=[number], columns=[leaf], use_threads=False):
                total += sum(pc.sum(_lengths(texts)).as_py() or 0 for texts in _dictionaries(batch.column(0)))
                if total > MOST_TEXT:
                    problem = f"its texts come to more than {MOST_TEXT / 1024**3:.0f} GB, as those of no shard do"
                    raise VaultCorrupt(problem, path=path)


def _inflatable(metadata: Any, groups: Sequence[int], names: Collection[str]) -> list[str]:
    """Name the columns of texts with a dictionary, if they could come to more than ``MOST_TEXT`` together."""
    most = 0
    found: dict[str, None] = {}
    for number in groups:
        group = metadata.row_group(number)
        for column in map(group.column, range(metadata.num_columns)):
            name = column.path_in_schema.partition(".")[0]
            if name in names and column.physical_type == "BYTE_ARRAY" and column.has_dictionary_page:
                most += column.num_values * column.total_uncompressed_size
                found[column.path_in_schema] = None
    return list(found) if most > MOST_TEXT else []


def _dictionaries(array: Any) -> Iterator[Any]:
    """Find the texts in a column, which may be nested."""
    if pa.types.is_dictionary(array.type):
        yield array
    elif pa.types.is_list(array.type):
        yield from _dictionaries(array.flatten())
    elif pa.types.is_struct(array.type):
        for field in array.flatten():
            yield from _dictionaries(field)


def _lengths(texts: Any) -> Any:
    return pc.binary_length(texts.dictionary).cast(pa.int64()).take(texts.indices)
