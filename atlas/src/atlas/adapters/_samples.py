"""Reading many samples at once: COPY hands them over as CSV, and Arrow turns that into columns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import TYPE_CHECKING, LiteralString

import pyarrow as pa
from psycopg.sql import SQL, Literal
from pyarrow import csv

from atlas.adapters._partitions import Partition

if TYPE_CHECKING:
    from atlas.db import Connection

BATCH_BYTES = 4 << 20
"""CSV for one record batch, about 60,000 samples."""

READ_TIMEOUT = timedelta(minutes=30)
"""A day's samples, with the reader's own pace in it."""

SCHEMA = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("timestamp", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("views", pa.int64()),
        pa.field("likes", pa.int64()),
        pa.field("comment_count", pa.int64()),
    ]
)
_READ = csv.ReadOptions(column_names=SCHEMA.names, use_threads=False, block_size=2 * BATCH_BYTES)
_CONVERT = csv.ConvertOptions(
    column_types=SCHEMA, null_values=[""], strings_can_be_null=False, timestamp_parsers=[csv.ISO8601]
)


async def read(conn: Connection, query: LiteralString, day: Partition) -> AsyncGenerator[pa.RecordBatch, None]:
    """Copy the rows of ``query`` between the bounds of ``day``, in batches of about ``BATCH_BYTES``."""
    await conn.execute(
        SQL("SET LOCAL statement_timeout = {}").format(Literal(READ_TIMEOUT // timedelta(milliseconds=1)))
    )
    bounds = {"start": day.start, "stop": day.stop}
    async with (
        conn.cursor() as cursor,
        cursor.copy(SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(SQL(query)), bounds) as copy,
    ):
        buffer = bytearray()
        # PostgreSQL sends whole rows, so a batch never ends within one.
        while data := await copy.read():
            buffer += data
            if len(buffer) >= BATCH_BYTES:
                yield await asyncio.to_thread(_parse, bytes(buffer))
                buffer.clear()
        if buffer:
            yield await asyncio.to_thread(_parse, bytes(buffer))


def _parse(text: bytes) -> pa.RecordBatch:
    table = csv.read_csv(pa.py_buffer(text), read_options=_READ, convert_options=_CONVERT)
    return table.cast(SCHEMA).combine_chunks().to_batches()[0]
