"""How the system is run and seen: leases on work without a queue, reports of runs, counts of everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from atlas import clock, sql
from atlas.adapters import _reports
from atlas.adapters._session import Database, count
from atlas.adapters.records import (
    LEASE,
    AgentRun,
    Backlog,
    Beat,
    BreakerSeen,
    DayAhead,
    Fastest,
    Incident,
    LastRun,
    Overview,
)
from atlas.errors import LeaseLost
from atlas.tiers import INTERVALS, Tier

if TYPE_CHECKING:
    from atlas.breakers import BreakerState

SQL = sql.load("atlas.adapters", "maia_operations.sql")

QUEUES = ("search", "channels", "walk", "chart", "feed", "tracking", "painter", "scribe")


class OperationsMixin:
    """Leases on work, reports, overview. It uses ``self._db`` and nothing else."""

    _db: Database

    # -- Work that has no queue ---------------------------------------------------------------------------------------

    async def claim_work(self, name: str, *, lease: timedelta = LEASE, now: datetime | None = None) -> UUID | None:
        """Claim the sole right to do ``name`` for the length of ``lease``; None when somebody else has it."""
        async with self._db.get_connection() as conn:
            token: UUID | None = await conn.fetchval(
                SQL["claim_work"], name=name, token=uuid4(), lease=lease, now=now or clock.now()
            )
        return token

    async def renew_work(
        self, name: str, token: UUID, *, lease: timedelta = LEASE, now: datetime | None = None
    ) -> None:
        """Hold a claim for another ``lease`` from now.

        Raises:
            LeaseLost: somebody else has it.
        """
        if not await count(self._db, SQL["renew_work"], name=name, token=token, lease=lease, now=now or clock.now()):
            raise LeaseLost(name, 1)

    async def release_work(self, name: str, token: UUID) -> bool:
        """Give a claim back; False when it was no longer ours."""
        return bool(await count(self._db, SQL["release_work"], name=name, token=token))

    async def forget_lapsed_work(self, *, now: datetime | None = None) -> int:
        """Remove leases on work that ran out and return how many; whoever died with one will not give it back."""
        return await count(self._db, SQL["forget_lapsed_work"], now=now or clock.now())

    # -- What runs leave behind ---------------------------------------------------------------------------------------

    async def report_run(
        self,
        run: AgentRun,
        lost: Mapping[str, int] | None = None,
        breakers: Mapping[str, BreakerState] | None = None,
        *,
        fault: str = "failure",
        now: datetime | None = None,
    ) -> Incident | None:
        """Note how an agent's run ended, what its process lost since it last told, and how its breakers stand.

        ``fault`` names the kind of failure of a run that failed. What is returned OPS has not heard of yet: that the
        agent began to fail, or to fail in another way, or that it completes again.
        """
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            incident = await _reports.report_run(conn, run, fault)
            await _reports.report_losses(conn, lost or {}, now)
            await _reports.report_breakers(conn, breakers or {}, now)
        return incident

    async def runs(self) -> list[LastRun]:
        """Tell the last run of each agent."""
        async with self._db.get_connection() as conn:
            return await _reports.runs(conn)

    async def breakers(self) -> list[BreakerSeen]:
        """Tell how each circuit breaker stood when a run last ended that had used it."""
        async with self._db.get_connection() as conn:
            return await _reports.breakers(conn)

    async def beat(self, state: str, reasons: Sequence[str], *, every: timedelta, now: datetime | None = None) -> Beat:
        """Note how the system is, and learn whether to tell OPS; ``beat_told`` says that it was done.

        To be told is a change of the state, a new reason, or that nothing was told for as long as ``every``; of any
        number that ask at once, one is to tell. Who does not within ten minutes leaves it to the next who asks.
        """
        async with self._db.get_connection() as conn:
            return await _reports.beat(conn, state, reasons, every, now or clock.now())

    async def beat_told(self, state: str, reasons: Sequence[str], *, token: UUID, now: datetime | None = None) -> None:
        """Note that OPS was told what ``beat`` gave the token for."""
        async with self._db.get_connection() as conn:
            await _reports.beat_told(conn, state, reasons, token, now or clock.now())

    # -- Overview -----------------------------------------------------------------------------------------------------

    async def fetch_fastest(self, limit: int = 10) -> list[Fastest]:
        """List the videos with the most views an hour, the fastest first."""
        async with self._db.get_connection() as conn:
            return await conn.fetch(SQL["fetch_fastest"], limit=limit)

    async def day_ahead(self, until: datetime, *, limit: int, now: datetime | None = None) -> DayAhead:
        """Count what will be due before ``until``, readings and stages up to ``limit`` each.

        A channel counts as often as it comes round, twice per expected upload.
        """
        async with self._db.get_connection() as conn:
            row = await conn.fetchrow(SQL["day_ahead"], until=until, limit=limit, now=now or clock.now())
        return DayAhead(**row)

    async def overview(self, *, now: datetime | None = None) -> Overview:
        """Count what there is, what waits, and what the vault is proven to hold."""
        now = now or clock.now()
        async with self._db.get_connection() as conn:
            totals = await conn.fetchrow(SQL["overview"])
            tiers = await conn.fetch(SQL["overview__tiers"])
            backlog = await conn.fetch(SQL["overview__backlog"], now=now)
            vault = await conn.fetch(SQL["overview__vault"])
        nothing = Backlog(total=0, due=0, leased=0, oldest_due_at=None)
        population: dict[Tier, int] = dict.fromkeys(INTERVALS, 0) | {row["tier"]: row["videos"] for row in tiers}
        return Overview(
            videos=totals["videos"],
            channels=totals["channels"],
            samples_hot=totals["samples_hot"],
            asleep_terms=totals["asleep_terms"],
            dead_stages=totals["dead_stages"],
            sql_bytes=totals["sql_bytes"],
            watchlist=sum(population.values()),
            tiers=population,
            backlog=dict.fromkeys(QUEUES, nothing) | {row.pop("queue"): row for row in backlog},
            vault={row.pop("kind"): row for row in vault},
        )
