"""The audit trail: what happened to channels, videos, keys and quota, written with the change itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from atlas import clock, sql

if TYPE_CHECKING:
    from atlas.db import Connection  # psycopg is not worth an import of atlas

SQL = sql.load("atlas", "events.sql")


class Event(NamedTuple):
    """``event_type`` happened to ``entity_id``; ``payload`` is JSON, dates and UUIDs included."""

    event_type: str
    entity_id: str | None = None
    payload: Mapping[str, Any] | None = None


class EventBus:
    """Writes events to ``system_events``."""

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

    async def record_many(
        self,
        conn: Connection,
        rows: Iterable[tuple[str, str | None, Mapping[str, Any] | None]],
        *,
        now: datetime | None = None,
    ) -> None:
        """Write events, in their order, in the transaction of ``conn`` and with one statement."""
        events = [Event(*row) for row in rows]
        if not events:
            return
        await conn.execute(
            SQL["record_many"],
            {
                "now": now or clock.now(),
                "event_types": [event.event_type for event in events],
                "entity_ids": [event.entity_id for event in events],
                "payloads": [orjson.dumps(dict(event.payload or {})).decode() for event in events],
            },
        )


events = EventBus()
