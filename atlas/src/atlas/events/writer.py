"""Emitted events on their way into the log: a bounded queue, and a thread that stores them in batches.

A thread, not a task: events come from any thread, with an event loop or without one, and outlive the loop.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from atlas import clock, sql
from atlas._besteffort import lost

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

SQL = sql.load("atlas.events", "writer.sql")

QUEUE_LIMIT = 200_000
"""Events that wait at most, about 100 MB at 500 bytes; what comes on top is lost, and counted."""
BATCH = 5_000
"""Events stored by one statement."""
LINGER_S = 0.05
"""How long the first event of a batch waits for others."""
IDLE_S = 30.0
"""How long the connection outlives the last batch."""
RETRY_S = (0.1, 5.0)
"""The first and the longest wait for a database that does not answer; each is twice the one before, with jitter."""
IN_HURRY_S = 0.2
"""The longest such wait while somebody waits for the queue to be stored."""
PATIENCE = timedelta(seconds=5)
"""How long closing waits for the queue to be stored."""
LOST = "events.lost"
"""What the writer tells the log by itself: how many events it lost."""


@dataclass(slots=True)
class Queued:
    """An event that waits; it gets its ``id`` before it is stored, so that storing it again changes nothing."""

    event_type: str
    entity_id: str | None
    payload: bytes
    created_at: datetime
    id: int | None = None


class Writer:
    """Stores what is put into it. Every method may be called from any thread; ``put`` never waits."""

    def __init__(self, where: Callable[[], str], *, limit: int = QUEUE_LIMIT) -> None:
        self._where = where
        self._limit = limit
        self._queue: deque[Queued] = deque()
        self._batch: list[Queued] = []  # taken from the queue, not known to be stored
        self._overflow = 0  # lost, and not yet logged
        self._untold = 0  # lost, and not yet told of in the log of events
        self._stored = 0
        self._lost = 0
        self._lock = threading.Lock()  # of all that is counted, of the batch, and of starting a thread
        self._work = threading.Event()
        self._hurry = threading.Event()
        self._settled = threading.Condition()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    @property
    def stored(self) -> int:
        """Events stored so far."""
        return self._stored

    @property
    def lost(self) -> int:
        """Events lost so far."""
        with self._lock:
            return self._lost + self._overflow

    @property
    def waiting(self) -> int:
        """Events that are not known to be stored yet."""
        with self._lock:  # which is held while some go from the queue into the batch
            return len(self._queue) + _emitted(self._batch)

    def put(self, event: Queued) -> None:
        """Let an event be stored soon; one too many is lost."""
        if self._process != os.getpid():
            # A forked child: what the parent queued is the parent's affair.
            self.__init__(self._where, limit=self._limit)  # type: ignore[misc]
        if len(self._queue) >= self._limit:
            with self._lock:
                self._overflow += 1
        else:
            self._queue.append(event)
        if self._thread is None or not self._work.is_set():
            self._wake()

    def drain(self, patience: timedelta = PATIENCE) -> bool:
        """Wait until all is stored, or until the patience ends; say which."""
        if self._thread is None or self._process != os.getpid():
            return True
        self._hurry.set()
        self._wake()
        with self._settled:
            done = self._settled.wait_for(self._is_settled, patience.total_seconds())
        self._hurry.clear()
        return done

    def close(self, patience: timedelta = PATIENCE) -> bool:
        """Store what waits, and end the thread; False when the patience ended first.

        What is not known to be stored then counts as lost. What is put later begins anew.
        """
        done = self.drain(patience)
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is None:
            return done
        self._work.set()
        if done:
            thread.join(patience.total_seconds())
            return True
        with self._lock:
            abandoned = self._batch + [self._queue.popleft() for _ in range(len(self._queue))]
            self._batch = []
            told = [orjson.loads(event.payload)["count"] for event in abandoned if event.event_type == LOST]
            self._untold += sum(told)
        if number := len(abandoned) - len(told):
            self._lose(number, "the database did not take them in time")
        return False

    # -- The thread ---------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._work.set()
        if self._thread is None or not self._thread.is_alive():
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="atlas-events", daemon=True)
                    self._thread.start()
                    atexit.unregister(self.close)
                    atexit.register(self.close)

    def _run(self) -> None:
        ours = threading.current_thread()
        store = _Store(self._where)
        try:
            while True:
                if not self._work.wait(IDLE_S):
                    store.close()
                    self._work.wait()
                if self._thread is not ours:
                    return
                self._hurry.wait(LINGER_S)
                self._work.clear()
                self._flush(store, ours)
        finally:
            store.close()

    def _flush(self, store: _Store, ours: threading.Thread) -> None:
        """Store all that waits, however long the database takes to come back; stop when the writer is closed."""
        wait = RETRY_S[0]
        while self._thread is ours and not self._is_settled():
            self._log_overflow()
            batch = self._take()
            try:
                refused = store.keep(batch)
            except Exception as exc:
                store.close()
                log.warning("%d events wait: %s", self.waiting, _words(exc))
                self._pause(wait)
                wait = min(2 * wait, RETRY_S[1])
                continue
            wait = RETRY_S[0]
            with self._lock:
                if self._batch is batch:
                    self._batch = []
                    self._stored += _emitted(batch) - len(refused)
            for error in refused:
                self._lose(1, error)
        with self._settled:
            self._settled.notify_all()

    def _pause(self, seconds: float) -> None:
        if self._hurry.is_set():
            time.sleep(min(seconds, IN_HURRY_S))
        else:
            self._hurry.wait(seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _is_settled(self) -> bool:
        return not (self._queue or self._batch or self._overflow or self._untold)

    def _take(self) -> list[Queued]:
        """Take the next batch, unless there is one that has still to be stored."""
        with self._lock:
            if not self._batch:
                self._batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
                if self._untold:
                    self._batch.append(Queued(LOST, None, orjson.dumps({"count": self._untold}), clock.now()))
                    self._untold = 0
            return self._batch

    def _log_overflow(self) -> None:
        with self._lock:
            number, self._overflow = self._overflow, 0
        if number:
            self._lose(number, "the queue is full")

    def _lose(self, number: int, why: object) -> None:
        with self._lock:
            self._lost += number
            self._untold += number
        lost("event", number, why=why)


class _Store:
    """The log of events, over a connection that is opened when it is needed."""

    def __init__(self, where: Callable[[], str]) -> None:
        self._where = where
        self._conn: psycopg.Connection[tuple[Any, ...]] | None = None

    def keep(self, batch: list[Queued]) -> list[Exception]:
        """Store a batch, however often it is tried once; returns why some of it were refused for what is in them."""
        import psycopg

        if self._conn is None:
            from atlas._connection import connect_in_thread

            self._conn = connect_in_thread(self._where())
        unnumbered = [event for event in batch if event.id is None]
        if unnumbered:
            numbers = self._conn.execute(SQL["reserve"], {"count": len(unnumbered)}).fetchall()
            for event, (number,) in zip(unnumbered, numbers, strict=True):
                event.id = number
        try:
            self._conn.execute(
                SQL["store"],
                {
                    "ids": [event.id for event in batch],
                    "event_types": [event.event_type for event in batch],
                    "entity_ids": [event.entity_id for event in batch],
                    "payloads": [event.payload.decode() for event in batch],
                    "times": [event.created_at for event in batch],
                },
            )
        except psycopg.DataError as exc:
            if len(batch) == 1:
                return [exc]
            half = len(batch) // 2
            return self.keep(batch[:half]) + self.keep(batch[half:])
        return []

    def close(self) -> None:
        """Close the connection, if there is one."""
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()


def _emitted(batch: list[Queued]) -> int:
    """Count the events that somebody emitted."""
    return sum(event.event_type != LOST for event in batch)


def _words(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"
