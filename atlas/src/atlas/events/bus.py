"""The bus: what happened is recorded with the change itself, or emitted in passing; observers are told of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from atlas import clock, sql
from atlas._besteffort import best_effort
from atlas.config import Settings
from atlas.db import DatabaseManager, db
from atlas.events.event import Event
from atlas.events.listener import PAGE, Listener, Position
from atlas.events.observers import O, Observer, Observers
from atlas.events.patterns import ALL
from atlas.events.writer import PATIENCE, QUEUE_LIMIT, Queued, Writer

if TYPE_CHECKING:
    from atlas.db import Connection  # psycopg is not worth an import of atlas

SQL = sql.load("atlas.events", "bus.sql")


class EventBus:
    """Writes events to ``system_events``, and tells observers of them."""

    def __init__(
        self, database: DatabaseManager = db, *, settings: Settings | None = None, queue_limit: int = QUEUE_LIMIT
    ) -> None:
        self._db = database
        self._settings = settings
        self._writer = Writer(lambda: database.conninfo, limit=queue_limit)
        self._observers = Observers()
        self._follows = 0

    # -- Recording with a change --------------------------------------------------------------------------------------

    async def record(
        self,
        conn: Connection,
        event_type: str,
        entity_id: str | None = None,
        payload: Mapping[str, Any] | None = None,
        *,
        now: datetime | None = None,
    ) -> None:
        """Write an event in the transaction of ``conn``: it is there exactly when the change is."""
        await self.record_many(conn, [Event(event_type, entity_id, payload)], now=now)

    async def record_many(self, conn: Connection, rows: Iterable[Event], *, now: datetime | None = None) -> None:
        """Write events, in their order, in the transaction of ``conn`` and with one statement."""
        events = list(rows)
        if not events:
            return
        now = now or clock.now()
        payloads = [_json(event.payload) for event in events]
        await conn.execute(
            SQL["record_many"],
            {
                "now": now,
                "event_types": [event.event_type for event in events],
                "entity_ids": [event.entity_id for event in events],
                "payloads": [payload.decode() for payload in payloads],
            },
        )
        if self._tells and any(self._observers.wants(event.event_type) for event in events):
            for event, payload in zip(events, payloads, strict=True):
                conn.after_commit(partial(self._tell, event.event_type, event.entity_id, payload, now))

    # -- Emitting in passing ------------------------------------------------------------------------------------------

    def emit(
        self,
        event_type: str,
        entity_id: str | Mapping[str, Any] | None = None,
        payload: Mapping[str, Any] | None = None,
    ) -> None:
        """Let an event be stored soon; callable from any thread, with an event loop or without one.

        A mapping in the second place is the payload, and the entity is then its ``video_id`` or ``channel_id``.
        It returns at once and never raises: what cannot be stored is logged and counted (``lost``).
        """
        with best_effort("event"):
            if not self.enabled:
                return
            if isinstance(entity_id, Mapping):
                payload = entity_id
                entity_id = payload.get("video_id") or payload.get("channel_id")
            entity = None if entity_id is None else str(entity_id)
            text, now = _json(payload), clock.now()
            self._writer.put(Queued(str(event_type), entity, text, now))
            if self._tells and self._observers.wants(event_type):
                self._tell(event_type, entity, text, now)

    @property
    def enabled(self) -> bool:
        """Is emitting switched on?"""
        return self._rules.EVENT_BUS_ENABLED

    @property
    def stored(self) -> int:
        """Emitted events that were stored since the process began."""
        return self._writer.stored

    @property
    def lost(self) -> int:
        """Emitted events that were lost since the process began."""
        return self._writer.lost

    @property
    def waiting(self) -> int:
        """Emitted events that are not known to be stored yet."""
        return self._writer.waiting

    def drain(self, patience: timedelta = PATIENCE) -> bool:
        """Wait, without an event loop, until what was emitted is stored or the patience ends; say which."""
        return self._writer.drain(patience)

    async def close(self, patience: timedelta = PATIENCE) -> None:
        """Store what was emitted and let the observers finish, each within the patience; what is left counts as lost.

        The bus may be used again.
        """
        await self._observers.drain(patience)
        await asyncio.to_thread(self._writer.close, patience)

    # -- Being told ---------------------------------------------------------------------------------------------------

    def on(self, pattern: str = ALL) -> Callable[[O], O]:
        """Register an async observer of a type (``video.discovered``), of several (``video.*``) or of all (``*``).

        It is told of what this process emits, and of what it records once that is committed, in order per entity;
        inside ``following`` of what every process does. What it raises is logged and counted, and harms nobody.
        """
        return self._observers.on(pattern)

    def off(self, observer: Observer) -> None:
        """Tell an observer of nothing more."""
        self._observers.off(observer)

    def listen(self, *patterns: str, after: Position | None = None) -> Listener:
        """Read the events of every process as they are committed, from now on or after a position of before.

        ``async for event in events.listen("video.*"): …`` gives each once, in order per entity.
        """
        return Listener(self._db, patterns or (ALL,), after=after)

    @asynccontextmanager
    async def following(self, *, after: Position | None = None) -> AsyncIterator[Listener]:
        """Tell the observers, for the length of the block, of the events of every process, each once.

        What was committed before the block ends is told before it ends. The listener that is lent says, as its
        ``position``, where a later one would go on.

        Raises:
            DatabaseUnavailable: it did not answer at the beginning; later it is waited for.
        """
        listener = self.listen(after=after)
        await listener.begin()

        async def tell() -> None:
            async with aclosing(listener):
                told = 0
                async for event in listener:
                    self._observers.tell(event)
                    told += 1
                    if told % PAGE == 0:  # no faster than they are
                        await self._observers.drain()

        self._follows += 1
        task = asyncio.create_task(tell())
        try:
            yield listener
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE.total_seconds()):
                    await listener.caught_up()
        finally:
            self._follows -= 1
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await self._observers.drain(PATIENCE)

    @property
    def _tells(self) -> bool:
        """Are observers told by whoever acts? Those who follow the log find it there."""
        return not self._follows

    @property
    def _rules(self) -> Settings:
        if self._settings is not None:
            return self._settings
        from atlas import settings  # bound after this module

        return settings

    def _tell(self, event_type: str, entity_id: str | None, payload: bytes, now: datetime) -> None:
        with best_effort("observed event"):
            self._observers.tell(Event(event_type, entity_id, orjson.loads(payload), now))


def _json(payload: Mapping[str, Any] | None) -> bytes:
    if payload is None:
        return b"{}"
    return orjson.dumps(payload if isinstance(payload, dict) else dict(payload))


events = EventBus()
