"""The queue of walks, charts and feeds: one table, one set of statements, told apart by their kind."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from atlas.adapters._session import REASON_LENGTH, columns, settle
from atlas.adapters.records import LEASE, Failure, SourceKind, SourceOutcome, SourceRow, SourceSeed
from atlas.sql import load

if TYPE_CHECKING:
    from atlas.db import Connection

STATEMENTS = load("atlas.adapters", "_sources.sql")


async def add(conn: Connection, kind: SourceKind, seeds: Sequence[SourceSeed], now: datetime) -> int:
    """Add what is not there; returns how many that were."""
    unique = list({seed.name: seed for seed in reversed(seeds)}.values())
    if not unique:
        return 0
    return (await conn.execute(STATEMENTS["add"], {**columns(unique), "kind": kind, "now": now})).rowcount


async def claim(conn: Connection, kind: SourceKind, batch_size: int, now: datetime) -> list[SourceRow]:
    """Lease what is due, oldest first."""
    return await conn.fetch(STATEMENTS["claim"], kind=kind, now=now, batch_size=batch_size, token=uuid4(), lease=LEASE)


async def update(conn: Connection, kind: SourceKind, outcomes: Sequence[SourceOutcome], now: datetime) -> None:
    """End the leases of what was read; what came to its end goes away.

    Raises:
        LeaseLost: some were no longer ours.
    """
    going_on = [outcome for outcome in outcomes if outcome.next_read_at is not None]
    ended = [outcome for outcome in outcomes if outcome.next_read_at is None]
    await settle(conn, STATEMENTS["settle"], "sources", going_on, kind=kind, now=now)
    await settle(conn, STATEMENTS["end"], "sources", ended, kind=kind)


async def fail(conn: Connection, kind: SourceKind, failures: Sequence[Failure]) -> None:
    """End the leases of what failed: one failed attempt more, due again as given.

    Raises:
        LeaseLost: some were no longer ours.
    """
    await settle(conn, STATEMENTS["fail"], "sources", failures, kind=kind, length=REASON_LENGTH)


async def release(conn: Connection, kind: SourceKind, token: UUID, now: datetime) -> int:
    """Give back what of a claim nobody settled, due as before; returns how many."""
    return (await conn.execute(STATEMENTS["release"], {"kind": kind, "token": token, "now": now})).rowcount
