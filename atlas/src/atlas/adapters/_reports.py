"""What runs leave behind for those who watch the system: how they ended, what they lost, what they gave up on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import orjson

from atlas.adapters._session import REASON_LENGTH
from atlas.adapters.records import LEASE, AgentRun, Beat, BreakerSeen, Incident, LastRun, Loss
from atlas.sql import load

if TYPE_CHECKING:
    from atlas.breakers import BreakerState
    from atlas.db import Connection

SQL = load("atlas.adapters", "_reports.sql")


async def report_run(conn: Connection, run: AgentRun, fault: str) -> Incident | None:
    """Note a run, unless a later one of its agent is noted; an incident is returned to one who is to tell OPS of it."""
    reason = None if run["reason"] is None else run["reason"][:REASON_LENGTH]
    row = await conn.fetchrow(
        SQL["report_run"],
        **{**run, "reason": reason, "summary": orjson.dumps(run["summary"], default=str).decode()},
        faults=[] if reason is None else [fault],
        token=uuid4(),
    )
    return Incident(row["faults_since"], is_over=reason is None) if row and row["is_ours"] else None


async def report_losses(conn: Connection, lost: Mapping[str, int], now: datetime) -> None:
    """Add what a process lost, by kind."""
    if lost:
        await conn.execute(SQL["report_losses"], {"kinds": list(lost), "counts": list(lost.values()), "now": now})


async def report_breakers(conn: Connection, states: Mapping[str, BreakerState], now: datetime) -> None:
    """Note how the breakers of a process stand."""
    if states:
        columns = zip(*((name, *state) for name, state in states.items()), strict=True)
        names = ("names", "states", "failures", "untils")
        await conn.execute(SQL["report_breakers"], dict(zip(names, map(list, columns), strict=True)) | {"now": now})


async def runs(conn: Connection) -> list[LastRun]:
    """Tell the last run of each agent."""
    return await conn.fetch(SQL["runs"])


async def losses(conn: Connection) -> dict[str, Loss]:
    """Tell what was lost, ever, by kind."""
    return {row.pop("kind"): Loss(**row) for row in await conn.fetch(SQL["losses"])}


async def breakers(conn: Connection) -> list[BreakerSeen]:
    """Tell how each breaker was last seen."""
    return await conn.fetch(SQL["breakers"])


async def beat(conn: Connection, state: str, reasons: Sequence[str], every: timedelta, now: datetime) -> Beat:
    """Note how the system is, and decide who tells."""
    row: dict[str, Any] = await conn.fetchrow(
        SQL["beat"], state=state, reasons=sorted(set(reasons)), every=every, token=uuid4(), lease=LEASE, now=now
    )
    return Beat(**row)


async def beat_told(conn: Connection, state: str, reasons: Sequence[str], token: UUID, now: datetime) -> None:
    """Note that OPS was told."""
    await conn.execute(SQL["beat_told"], {"state": state, "reasons": list(reasons), "token": token, "now": now})
