"""The API keys of a pool, and their durable state: a key that was rejected once is not tried again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from atlas import clock, db, events, sql
from atlas import settings as shared_settings
from atlas.config import ApiKey
from atlas.db import DatabaseManager
from atlas.events import EventBus

SQL = sql.load("atlas", "keys.sql")


class KeyState(NamedTuple):
    """What is known of a key; the key itself is never stored."""

    fingerprint: str
    project: str
    first_seen_at: datetime
    disabled_at: datetime | None
    disabled_because: str | None

    @property
    def live(self) -> bool:
        """May it be used?"""
        return self.disabled_at is None


class KeyRing:
    """The keys an agent may use, in order of preference; those of the settings unless ``keys`` are given."""

    def __init__(
        self,
        name: str,
        *,
        keys: Sequence[ApiKey] | None = None,
        database: DatabaseManager = db,
        event_bus: EventBus = events,
    ) -> None:
        self.name = name
        self._given_keys = keys
        self._db = database
        self._events = event_bus

    @cached_property
    def keys(self) -> tuple[ApiKey, ...]:
        """Every key of the pool, disabled ones too; a key that stands twice counts where it stands first.

        Raises:
            ConfigurationError: the settings hold no key.
        """
        keys = self._given_keys if self._given_keys is not None else shared_settings.api_keys
        first: dict[str, ApiKey] = {}
        for key in keys:
            first.setdefault(key.fingerprint, key)
        return tuple(first.values())

    @property
    def projects(self) -> tuple[str, ...]:
        """The projects of the pool, whose quota it draws on."""
        return tuple(dict.fromkeys(key.project for key in self.keys))

    async def live(self, *, now: datetime | None = None) -> list[ApiKey]:
        """Give the keys that are not disabled, in the pool's order; the database learns of them all."""
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(
                SQL["live"],
                fingerprints=[key.fingerprint for key in self.keys],
                projects=[key.project for key in self.keys],
                now=now or clock.now(),
            )
        usable = {row["fingerprint"] for row in rows}
        return [key for key in self.keys if key.fingerprint in usable]

    async def disable(self, key: ApiKey, reason: str, *, now: datetime | None = None) -> bool:
        """Use ``key`` no more, here or elsewhere, until it is enabled; True for the first who says so."""
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            first = await conn.fetchval(
                SQL["disable"], fingerprint=key.fingerprint, project=key.project, reason=reason, now=now
            )
            if first is None:
                return False
            payload = {"project": key.project, "reason": reason}
            await self._events.record(conn, "key.disabled", key.fingerprint, payload, now=now)
        return True

    async def enable(self, fingerprint: str, *, now: datetime | None = None) -> bool:
        """Put a disabled key back to work; False when none of that fingerprint is disabled."""
        async with self._db.get_connection() as conn:
            if await conn.fetchval(SQL["enable"], fingerprint=fingerprint) is None:
                return False
            await self._events.record(conn, "key.enabled", fingerprint, now=now)
        return True

    async def states(self) -> list[KeyState]:
        """Tell the state of every key ever used, whatever the pool."""
        async with self._db.get_connection() as conn:
            return [KeyState(**row) for row in await conn.fetch(SQL["states"])]
