"""Running a call with a key: quota reserved first, retried where that heals, another key where that helps.

This is the only owner of a call's retries:

- ``QuotaRefused``: the project's bucket is spent; on to another project, but not in compliance mode.
- ``KeyRejected``: the key is disabled and OPS told; on to the next key.
- ``Throttled``, ``ApiUnavailable``: a wait with jitter, and again with the same key, a few times.
- Any other error is an answer to the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date, datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

from pydantic import SecretStr

from atlas import clock
from atlas import notifier as shared_notifier
from atlas import settings as shared_settings
from atlas.config import ApiKey, Settings
from atlas.errors import (
    ApiUnavailable,
    Bucket,
    KeyRejected,
    NoLiveKey,
    QuotaExhausted,
    QuotaRefused,
    Throttled,
)
from atlas.keys import KeyRing
from atlas.notifications import AlertChannel, AlertLevel, DiscordNotifier
from atlas.quota import UNNAMED, QuotaLedger, pacific_day, reset_at
from atlas.retry import Sleep, can_heal, retry_async

T = TypeVar("T")

FRESH = timedelta(minutes=1)
"""How long the keys' state is taken as known: a key enabled by hand is back in use after that."""


class Executor(Protocol):
    """Whoever can run a call with a key."""

    async def execute_async(
        self,
        make_request: Callable[[str], Awaitable[T]],
        *,
        bucket: Bucket = "general",
        cost: int = 1,
        purpose: str = UNNAMED,
    ) -> T:
        """Await ``make_request(key)``, and again where that heals; ``cost`` units of ``bucket`` a time.

        ``purpose`` says what they are used for.
        """
        ...


class SingleKey:
    """Runs calls with one key: retries only, no ledger, no database."""

    def __init__(self, key: str | SecretStr, *, sleep: Sleep = asyncio.sleep) -> None:
        self._key = key if isinstance(key, SecretStr) else SecretStr(key)
        self._sleep = sleep

    async def execute_async(
        self,
        make_request: Callable[[str], Awaitable[T]],
        *,
        bucket: Bucket = "general",
        cost: int = 1,
        purpose: str = UNNAMED,
    ) -> T:
        """Await ``make_request(key)``, and again where that heals; nothing is counted."""
        return await retry_async(lambda: make_request(self._key.get_secret_value()), when=_heals, sleep=self._sleep)


class HydraExecutor:
    """Runs the calls of ``agent_name`` with the keys of a ring, within the quota of their projects."""

    def __init__(
        self,
        keys: KeyRing,
        agent_name: str,
        *,
        ledger: QuotaLedger | None = None,
        notifier: DiscordNotifier = shared_notifier,
        settings: Settings = shared_settings,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._ring = keys
        self._agent = agent_name
        self._ledger = ledger if ledger is not None else QuotaLedger()
        self._notifier = notifier
        self._settings = settings
        self._sleep = sleep
        self._live: list[ApiKey] = []
        self._live_at: datetime | None = None
        self._announced: set[tuple[str, Bucket, date]] = set()

    async def execute_async(
        self,
        make_request: Callable[[str], Awaitable[T]],
        *,
        bucket: Bucket = "general",
        cost: int = 1,
        purpose: str = UNNAMED,
    ) -> T:
        """Await ``make_request(key)`` with a live key; each attempt first reserves ``cost`` units for ``purpose``.

        ``make_request`` makes one attempt and raises the classified errors of ``atlas.errors``.

        Raises:
            QuotaExhausted: no project that may be used has the units left.
            NoLiveKey: every key is disabled.
            ApiError: what no key and no further attempt would change.
        """
        spent: set[str] = set()
        while True:
            key = await self._key(bucket, spent)
            try:
                return await retry_async(
                    partial(self._attempt, make_request, key, bucket, cost, purpose),
                    when=_heals,
                    sleep=self._sleep,
                )
            except (QuotaExhausted, QuotaRefused):
                spent.add(key.project)
                await self._announce(key.project, bucket)
            except KeyRejected as error:
                await self._disable(key, error)

    async def _attempt(
        self, make_request: Callable[[str], Awaitable[T]], key: ApiKey, bucket: Bucket, cost: int, purpose: str
    ) -> T:
        now = clock.now()
        await self._ledger.reserve(key.project, bucket, cost, purpose=purpose, now=now)
        try:
            return await make_request(key.secret.get_secret_value())
        except QuotaRefused:
            await self._ledger.refused(key.project, bucket, cost, purpose=purpose, now=now)
            raise
        except (KeyRejected, ApiUnavailable) as error:
            # A rejected key is turned away before any project is charged.
            if isinstance(error, KeyRejected) or not error.sent:
                await self._ledger.refund(key.project, bucket, cost, purpose=purpose, now=now)
            raise

    async def _key(self, bucket: Bucket, spent: set[str]) -> ApiKey:
        """Choose the first live key whose project is not spent.

        In compliance mode, or without rotation, one spent project ends it: another project may serve for
        failover, not to get round a quota.
        """
        live = await self._live_keys()
        if not live:
            raise NoLiveKey(f"every API key that {self._agent} may use is disabled; `atlas quota` says why")
        may_move = self._settings.HYDRA_ENABLED and not self._settings.COMPLIANCE_MODE
        if spent and not may_move:
            raise QuotaExhausted(bucket, reset_at(clock.now()))
        for key in live:
            if key.project not in spent:
                return key
        raise QuotaExhausted(bucket, reset_at(clock.now()))

    async def _live_keys(self) -> list[ApiKey]:
        now = clock.now()
        if not self._live or self._live_at is None or not timedelta(0) <= now - self._live_at < FRESH:
            self._live, self._live_at = await self._ring.live(now=now), now
        if not self._settings.HYDRA_ENABLED:
            return [key for key in self._live if key == self._ring.keys[0]]
        return self._live

    async def _disable(self, key: ApiKey, error: KeyRejected) -> None:
        self._live = [other for other in self._live if other.fingerprint != key.fingerprint]
        if await self._ring.disable(key, error.reason):
            await self._notifier.send(
                "An API key was rejected",
                f"YouTube refuses the key {key.fingerprint}: {error.reason}. It is not used any more. "
                f"Mend it, then run `atlas quota enable {key.fingerprint}`.",
                AlertChannel.OPS,
                AlertLevel.CRITICAL,
                {"agent": self._agent, "project": key.project},
            )

    async def _announce(self, project: str, bucket: Bucket) -> None:
        """Tell OPS that a bucket is spent, once a day whoever notices."""
        now = clock.now()
        notice = (project, bucket, pacific_day(now))
        if notice in self._announced:
            return
        self._announced.add(notice)
        if await self._ledger.announce(project, bucket, now=now):
            await self._notifier.send(
                f"The {bucket} quota is spent",
                f"Calls on the {bucket} bucket go on at {reset_at(now):%Y-%m-%d %H:%M} UTC.",
                AlertChannel.OPS,
                AlertLevel.WARNING,
                {"agent": self._agent, "project": project},
            )


def _heals(error: BaseException) -> bool:
    """Only the call itself is tried again, never what the ledger says of it."""
    return isinstance(error, (ApiUnavailable, Throttled)) and can_heal(error)
