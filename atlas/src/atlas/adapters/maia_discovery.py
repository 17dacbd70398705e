"""What the Hunter works on: search terms, channels, other sources, and what it found there before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from atlas import clock, sql
from atlas.adapters import _sources
from atlas.adapters._session import REASON_LENGTH, Database, columns, count, settle
from atlas.adapters.records import (
    LEASE,
    ChannelRow,
    ChannelSeen,
    Failure,
    PollHint,
    PollOutcome,
    Rejected,
    SourceKind,
    SourceOutcome,
    SourceRow,
    SourceSeed,
    TermOutcome,
    TermRow,
)
from atlas.events import Event, events

if TYPE_CHECKING:
    from atlas.db import Connection

SQL = sql.load("atlas.adapters", "maia_discovery.sql")

MAX_TERM_LENGTH = 200
"""Longer texts are no search terms; the longest tag YouTube takes has 100 characters."""


class DiscoveryMixin:
    """Search terms, the roster, sources, rejected candidates. It uses ``self._db`` and nothing else."""

    _db: Database

    # -- Search terms -------------------------------------------------------------------------------------------------

    async def add_to_search_queue(
        self,
        terms: Iterable[str],
        *,
        priority: int = 0,
        pinned: bool = False,
        at_most: int | None = None,
        now: datetime | None = None,
    ) -> int:
        """Add search terms, due at once, and return how many were new.

        Case and surplus space do not tell terms apart. Each occurrence is a mention. A known term wakes when asleep,
        and keeps the higher priority. A point of ``priority`` (0 to 100) is worth a day of waiting; pinned terms go
        first. Of terms that are new the first ``at_most`` are added.
        """
        mentions = Counter(normalise_term(term) for term in terms)
        texts = [term for term in mentions if 0 < len(term) <= MAX_TERM_LENGTH]
        if not texts:
            return 0
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(
                SQL["add_to_search_queue"],
                terms=texts, mentions=list(map(mentions.__getitem__, texts)),
                priority=priority, pinned=pinned, at_most=at_most, now=now,
            )  # fmt: skip
            # A term is named as often as it was mentioned.
            told = [(row["query_term"], row["new"]) for row in rows for _ in range(mentions[row["query_term"]])]
            mark = {"priority": priority, "pinned": pinned}
            await _record_terms(conn, "terms.added", [term for term, is_new in told if is_new], now, **mark)
            await _record_terms(conn, "terms.mentioned", [term for term, is_new in told if not is_new], now, **mark)
            await _record_terms(conn, "terms.woken", [row["query_term"] for row in rows if row["woken"]], now)
        return sum(row["new"] for row in rows)

    async def hold_terms(self, terms: Iterable[str], ids: Iterable[int]) -> None:
        """Lock these terms until the transaction ends: before it mentions the ones and settles the others.

        Two Hunters that do so never wait for each other in a circle.
        """
        async with self._db.get_connection() as conn:
            texts = sorted({normalise_term(term) for term in terms})
            await conn.execute(SQL["hold_terms"], {"terms": texts, "ids": list(ids)})

    async def fetch_hunter_batch(self, batch_size: int = 10, *, now: datetime | None = None) -> list[TermRow]:
        """Lease up to ``batch_size`` due terms: pinned ones first, then by waiting time and priority."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["fetch_hunter_batch"],
                now=now or clock.now(), batch_size=batch_size, token=uuid4(), lease=LEASE,
            )  # fmt: skip

    async def update_search_state(self, outcomes: Sequence[TermOutcome], *, now: datetime | None = None) -> None:
        """End the leases of terms that were searched; failures are forgotten.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["update_search_state"], "search terms", outcomes, now=now or clock.now())

    async def fail_searches(self, failures: Sequence[Failure]) -> None:
        """End the leases of terms whose search failed: one failed attempt more, due again as given.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["fail_searches"], "search terms", failures, length=REASON_LENGTH)

    async def release_searches(self, token: UUID) -> int:
        """Give back the terms of a claim that nobody settled, due as before; return how many."""
        return await count(self._db, SQL["release_searches"], token=token)

    async def count_idle_terms(self, before: datetime, *, below: float = 1.0, now: datetime | None = None) -> int:
        """Count the terms that ``sleep_terms`` would put to sleep."""
        async with self._db.get_connection() as conn:
            idle = await conn.fetchval(SQL["count_idle_terms"], before=before, below=below, now=now or clock.now())
        return int(idle)

    async def sleep_terms(self, before: datetime, *, below: float = 1.0, now: datetime | None = None) -> int:
        """Put terms to sleep that nobody mentioned since ``before`` and whose yield is below ``below``.

        Pinned and leased terms stay awake. Returns how many fell asleep.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["sleep_terms"], before=before, below=below, now=now)
            await _record_terms(conn, "terms.slept", [row["query_term"] for row in rows], now)
        return len(rows)

    # -- Channels -----------------------------------------------------------------------------------------------------

    async def add_channels(
        self,
        channels: Iterable[ChannelSeen],
        *,
        in_roster: bool,
        pinned: bool = False,
        now: datetime | None = None,
    ) -> int:
        """Add channels and return how many were new, each with an event ``channel.discovered``.

        With ``in_roster`` new and known ones are polled from now on; a known channel never leaves the roster by this.
        What a known one gains is an event ``channel.updated``.
        """
        unique = {channel.id: channel for channel in reversed(list(channels))}
        if not unique:
            return 0
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(
                SQL["add_channels"],
                **columns(list(unique.values())), in_roster=in_roster, pinned=pinned, now=now,
            )  # fmt: skip
            await events.record_many(
                conn,
                [
                    Event(
                        "channel.discovered",
                        row["id"],
                        {"title": row["title"], "in_roster": in_roster, "pinned": pinned},
                    )
                    for row in rows
                ],
                now=now,
            )
            if len(rows) < len(unique):
                known = await conn.fetch(
                    SQL["add_channels__known"],
                    **columns(list(unique.values())), in_roster=in_roster, pinned=pinned, now=now,
                )  # fmt: skip
                await events.record_many(
                    conn, [Event("channel.updated", row["id"], _gained(row)) for row in known], now=now
                )
        return len(rows)

    async def fetch_channel_batch(self, batch_size: int = 10, *, now: datetime | None = None) -> list[ChannelRow]:
        """Lease up to ``batch_size`` channels of the roster that are due, oldest first."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(
                SQL["fetch_channel_batch"],
                now=now or clock.now(), batch_size=batch_size, token=uuid4(), lease=LEASE,
            )  # fmt: skip

    async def update_channel_polls(self, outcomes: Sequence[PollOutcome], *, now: datetime | None = None) -> None:
        """End the leases of channels whose uploads were read; failures are forgotten.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["update_channel_polls"], "channels", outcomes, now=now or clock.now())

    async def fail_channel_polls(self, failures: Sequence[Failure]) -> None:
        """End the leases of channels whose poll failed: one failed attempt more, due again as given.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await settle(conn, SQL["fail_channel_polls"], "channels", failures, length=REASON_LENGTH)

    async def release_channels(self, token: UUID, *, now: datetime | None = None) -> int:
        """Give back the channels of a claim that nobody settled, due as before; return how many."""
        return await count(self._db, SQL["release_channels"], token=token, now=now or clock.now())

    async def roster_demand(self, *, per_upload: float, least: float, most: float) -> float:
        """Sum up the polls a day that the roster wants: ``per_upload``, for each channel from ``least`` to ``most``."""
        async with self._db.get_connection() as conn:
            return float(
                await conn.fetchval(SQL["roster_demand"], per_upload=per_upload, least=least, most=most)
            )  # fmt: skip

    async def hint_polls(self, hints: Sequence[PollHint], *, longest: timedelta, now: datetime | None = None) -> None:
        """Move the next polls of channels, but never further back than ``longest`` after the last."""
        if hints:
            await count(self._db, SQL["hint_polls"], **columns(hints), longest=longest, now=now or clock.now())

    # -- Walks, charts, feeds -----------------------------------------------------------------------------------------

    async def add_sources(self, kind: SourceKind, seeds: Sequence[SourceSeed], *, now: datetime | None = None) -> int:
        """Read these sources from now on and return how many were new; known ones stay as they are."""
        async with self._db.get_connection() as conn:
            return await _sources.add(conn, kind, seeds, now or clock.now())

    async def fetch_source_batch(
        self, kind: SourceKind, batch_size: int = 10, *, now: datetime | None = None
    ) -> list[SourceRow]:
        """Lease up to ``batch_size`` due sources of a kind, oldest first."""
        async with self._db.get_connection() as conn:
            return await _sources.claim(conn, kind, batch_size, now or clock.now())

    async def update_sources(
        self, kind: SourceKind, outcomes: Sequence[SourceOutcome], *, now: datetime | None = None
    ) -> None:
        """End the leases of sources that were read; failures are forgotten, and what came to its end goes away.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await _sources.update(conn, kind, outcomes, now or clock.now())

    async def fail_sources(self, kind: SourceKind, failures: Sequence[Failure]) -> None:
        """End the leases of sources that could not be read: one failed attempt more, due again as given.

        Raises:
            LeaseLost: some were no longer ours; then none of them changes.
        """
        async with self._db.get_connection() as conn:
            await _sources.fail(conn, kind, failures)

    async def release_sources(self, kind: SourceKind, token: UUID, *, now: datetime | None = None) -> int:
        """Give back the sources of a claim that nobody settled, due as before; return how many."""
        async with self._db.get_connection() as conn:
            return await _sources.release(conn, kind, token, now or clock.now())

    # -- Discovery ----------------------------------------------------------------------------------------------------

    async def known_videos(self, video_ids: Iterable[str]) -> set[str]:
        """Pick the ids that are on the watchlist."""
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["known_videos"], video_ids=list(video_ids))
        return {row["video_id"] for row in rows}

    async def judged_videos(self, video_ids: Iterable[str], *, now: datetime | None = None) -> set[str]:
        """Pick the ids that need no looking up: on the watchlist, or rejected and not to be looked at again yet."""
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["judged_videos"], video_ids=list(video_ids), now=now or clock.now())
        return {row["video_id"] for row in rows}

    async def reject_videos(self, rejected: Sequence[Rejected]) -> None:
        """Remember candidates that are not stored; one rejected before is rejected anew."""
        if rejected:
            await count(self._db, SQL["reject_videos"], **columns(rejected))

    async def forget_rejected(self, *, limit: int = 10_000, now: datetime | None = None) -> int:
        """Forget up to ``limit`` rejected candidates whose time is up and return how many."""
        return await count(self._db, SQL["forget_rejected"], limit=limit, now=now or clock.now())


async def _record_terms(conn: Connection, event_type: str, terms: Sequence[str], now: datetime, **facts: Any) -> None:
    """Tell of terms in one event; of none there is nothing to tell."""
    if terms:
        payload = {"terms": sorted(terms), **{name: fact for name, fact in facts.items() if fact}}
        await events.record(conn, event_type, None, payload, now=now)


def _gained(channel: Any) -> dict[str, Any]:
    """Say what a known channel has now that it had not before."""
    gained = {"title": channel["titled"], "in_roster": channel["enrolled"], "pinned": channel["pinned"]}
    return {name: channel["title"] if name == "title" else True for name, is_new in gained.items() if is_new}


def normalise_term(term: str) -> str:
    """Fold case and surplus space, so that two spellings of a term are one."""
    return " ".join(term.replace("\0", " ").casefold().split())
