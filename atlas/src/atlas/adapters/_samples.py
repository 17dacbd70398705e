"""Reading many rows at once, samples or events: PostgreSQL copies them out in binary, its ADBC driver into Arrow."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from threading import Lock

# Not its dbapi: it imports pandas and Polars where they are installed, a second and 100 MB for nothing.
import adbc_driver_postgresql as driver
import pyarrow as pa
from adbc_driver_manager import AdbcConnection, AdbcStatement, Error, OperationalError

from atlas._connection import address
from atlas.errors import DatabaseUnavailable

BATCH_BYTES = 4 << 20
"""For one record batch, about 90,000 samples; two are on their way at any time."""

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


class Reading:
    """The rows of a query on their way, over a connection of their own, opened when the first batch is asked for.

    All that touches the connection happens in one thread, a batch ahead of whoever reads.
    """

    def __init__(self, where: Callable[[], str], query: str, schema: pa.Schema = SCHEMA) -> None:
        self._schema = schema
        self._thread = ThreadPoolExecutor(1, "samples")
        self._batches = self._copy(where, query)
        self._statement: AdbcStatement | None = None
        self._lock = Lock()  # of the statement

    @property
    def reader(self) -> pa.RecordBatchReader:
        """The rows; to be read once.

        Reading raises ``DatabaseUnavailable`` when the database does not answer, or no longer.
        """
        return pa.RecordBatchReader.from_batches(self._schema, self._ahead())

    def close(self) -> None:
        """End it, read to the end or not; whoever still waits for a batch is told that there is none."""
        with self._lock, suppress(Error):
            if self._statement is not None:
                self._statement.cancel()
        with self._thread:
            self._thread.submit(self._batches.close).result()

    def _ahead(self) -> Iterator[pa.RecordBatch]:
        coming = self._thread.submit(next, self._batches, None)
        while (batch := coming.result()) is not None:
            coming = self._thread.submit(next, self._batches, None)
            yield batch

    def _copy(self, where: Callable[[], str], query: str) -> Generator[pa.RecordBatch, None, None]:
        try:
            with (
                driver.connect(address(where(), statement_timeout=READ_TIMEOUT)) as database,
                AdbcConnection(database) as connection,
                self._open(AdbcStatement(connection)) as statement,
            ):
                statement.set_options(**{driver.StatementOptions.BATCH_SIZE_HINT_BYTES.value: str(BATCH_BYTES)})
                statement.set_sql_query(query)
                stream, _ = statement.execute_query()
                for batch in pa.RecordBatchReader.from_stream(stream):
                    yield batch.cast(self._schema)
        except (OperationalError, OSError) as exc:  # the driver's, and Arrow's about its stream
            raise DatabaseUnavailable(f"the database does not answer ({type(exc).__name__})") from exc

    @contextmanager
    def _open(self, statement: AdbcStatement) -> Iterator[AdbcStatement]:
        """Let ``close`` cancel the statement for as long as it is open."""
        self._statement = statement
        try:
            yield statement
        finally:
            with self._lock:
                self._statement = None
                statement.close()
