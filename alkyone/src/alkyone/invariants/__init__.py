"""What must hold of an installation, whatever befell it: each invariant by name, and what breaks it.

Everything is read and nothing is changed: SQL at one moment, then the vault. Agents may go on meanwhile; what they are
in the midst of can then look like a breach, so ask again before you believe one. With a ``Truth``, which only a
stand-in knows, it is also held against what YouTube served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Literal, LiteralString, NamedTuple

from atlas import sql
from atlas.adapters._session import Joined
from atlas.adapters.records import LEASE
from atlas.adapters.vault_index import VaultIndex
from atlas.db import DatabaseManager
from atlas.tiers import LONGEST
from atlas.upkeep import LEASE as WORK_LEASE

if TYPE_CHECKING:
    from alkyone.invariants.cold import Cold
    from alkyone.invariants.truth import Books, Truth
    from atlas.config import Settings
    from atlas.db import Connection
    from atlas.vault import ShardInfo, VaultStrategy

SQL = sql.load("alkyone.invariants", "hot.sql")

PATIENCE = timedelta(days=7)
"""How long what is due, or was held by a dead worker, may lie there: longer than any backlog the heartbeat allows."""

SKEW = timedelta(hours=1)
"""How far clocks may be apart."""

SHOWN = 5
"""Of what breaks an invariant so many are named."""

Scope = Literal["SQL", "SQL at rest", "vault", "truth"]


class Invariant(NamedTuple):
    """A promise in a sentence, and where one looks to see that it is kept."""

    name: str
    promise: str
    scope: Scope


class Breach(NamedTuple):
    """An invariant that does not hold: how often, and the first that break it."""

    name: str
    promise: str
    number: int
    shown: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {self.number - len(self.shown):,} more" if self.number > len(self.shown) else ""
        return f"{self.name} ({self.promise}): {', '.join(self.shown)}{more}"


@dataclass(frozen=True)
class Report:
    """What was looked at, and what came of it.

    ``leftovers`` are what a worker left that died: nobody relies on it, and no promise is broken by it.
    """

    held: tuple[str, ...]
    breaches: tuple[Breach, ...]
    leftovers: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Tell it as plain values."""
        return {
            "held": list(self.held),
            "breaches": [breach._asdict() for breach in self.breaches],
            "leftovers": list(self.leftovers),
        }


@dataclass(frozen=True)
class Hot:
    """What SQL told at one moment, for whoever compares it with the vault or the truth.

    ``days`` are the keys of what is in SQL of the days that the vault has something of, by kind; ``gone`` are the
    videos that left the hot queue, and since when they are tracked.
    """

    now: datetime
    keep_days: int | None
    proves_retired: bool
    index: Sequence[ShardInfo]
    looks: Sequence[Mapping[str, Any]]
    known: Mapping[str, frozenset[str]]
    gone: Mapping[str, datetime]
    events: Sequence[Mapping[str, Any]]
    days: Mapping[tuple[str, date], Sequence[tuple[Any, ...]]]
    samples: Sequence[tuple[Any, ...]]

    def is_kept(self, day: date) -> bool:
        """Is a day young enough to be in the vault still?"""
        return self.keep_days is None or day > (self.now - timedelta(days=self.keep_days)).date()


Broken = Iterable[str]


def _promise(text: str) -> str:
    """Take the sentence that a statement begins with."""
    lines = [line.removeprefix("-- ") for line in text.splitlines() if line.startswith("-- ")]
    return " ".join(lines).rstrip(".")


AT_REST = "nobody_at_work"

IN_SQL = tuple(
    Invariant(name, _promise(SQL[name]), "SQL at rest" if name == AT_REST else "SQL")
    for name in (
        "enrolled",
        "of_a_video",
        "of_a_channel",
        "sample_of_a_tracked_video",
        "rise_of_a_tracked_video",
        "lease_is_whole",
        "lease_is_short",
        "lease_comes_back",
        AT_REST,
        "failure_has_a_reason",
        "scribe_waits_for_a_painter",
        "next_look_in_bounds",
        "nothing_due_for_ever",
        "times_in_order",
        "log_is_immutable",
        "readers_within_the_log",
        "purposes_sum_up",
    )
)

IN_THE_VAULT = (
    Invariant("vault_is_whole", "Every shard and manifest of the vault is there, byte for byte", "vault"),
    Invariant("index_matches_the_vault", "Every shard the index names is in the vault, with its digest", "vault"),
    Invariant("vault_matches_the_index", "No sample or event is in the vault alone, unknown to SQL", "vault"),
    Invariant(
        "nothing_twice", "No sample or event is stored twice, in SQL and what it relies on in the vault", "vault"
    ),
    Invariant("last_look_is_stored", "The counts a video was last seen with are a stored sample", "vault"),
    Invariant("vault_of_tracked_videos", "What the vault holds is of videos on the watchlist", "vault"),
    Invariant("retired_is_in_the_vault", "A video left the hot queue only with its metadata in the vault", "vault"),
    Invariant("log_tells_the_state", "The log names the videos, channels and terms there are, and no others", "vault"),
)

AGAINST_THE_TRUTH = (
    Invariant("served_is_stored", "Every reading that was served is stored as it was", "truth"),
    Invariant("stored_was_served", "Every stored sample was served", "truth"),
    Invariant("ledger_is_youtubes", "The ledger counts the units that YouTube counts", "truth"),
    Invariant("candidates_are_judged", "Every video that was named is tracked, rejected, or still to be read", "truth"),
)

INVARIANTS: tuple[Invariant, ...] = (*IN_SQL, *IN_THE_VAULT, *AGAINST_THE_TRUTH)


async def check(
    database: DatabaseManager,
    vault: VaultStrategy,
    *,
    rules: Settings,
    now: datetime,
    truth: Truth | None = None,
    at_rest: bool = False,
    patience: timedelta = PATIENCE,
    skew: timedelta = SKEW,
) -> Report:
    """Look whether every invariant holds.

    ``at_rest`` says that nobody works, so that no lease may be left; ``patience`` is how long something may be due,
    ``skew`` how far clocks were apart. The whole vault is read.

    Raises:
        DatabaseUnavailable: the database does not answer.
        VaultError: the vault cannot be read.
    """
    from alkyone.invariants.cold import Cold

    broken: dict[Invariant, Broken] = {}
    cold = await asyncio.to_thread(Cold, vault)  # listed first: what is archived meanwhile is in SQL as we see it
    async with database.get_connection() as conn:
        await conn.execute(SQL["snapshot"])
        await conn.execute(SQL["patience"])
        for invariant in IN_SQL:
            if at_rest or invariant.scope == "SQL":
                rows = await conn.fetch(
                    SQL[invariant.name],
                    now=now, lease=LEASE, work_lease=WORK_LEASE, patience=patience, skew=skew,
                    stages=list(rules.VIDEO_STAGES), tiers=list(LONGEST), longest=list(LONGEST.values()),
                )  # fmt: skip
                broken[invariant] = [row["what"] for row in rows]
        hot = await _look(conn, cold, rules, now, samples=truth is not None)
        books = await _books(conn, now) if truth is not None else None
    for invariant in IN_THE_VAULT:
        broken[invariant] = await asyncio.to_thread(getattr(cold, invariant.name), hot)
    if truth is not None and books is not None:
        stored = await asyncio.to_thread(cold.samples, hot)
        broken |= dict(zip(AGAINST_THE_TRUTH, truth.breaches(hot, stored, books), strict=True))
    return _reported(broken, cold.leftovers)


async def _look(conn: Connection, cold: Cold, rules: Settings, now: datetime, *, samples: bool) -> Hot:
    """Read what the vault is compared with, all of it as it was at one moment."""
    from alkyone.invariants.cold import TELLING

    known: dict[str, set[str]] = {"watchlist": set(), "videos": set(), "channels": set(), "search_queue": set()}
    for row in await conn.fetch(SQL["known"]):
        known[row["place"]].add(row["name"])
    days = {}
    for kind, day in sorted(cold.days):
        start = datetime.combine(day, time(), UTC)
        statement: LiteralString = SQL[f"hot_{kind}"]
        rows = await conn.fetch(statement, start=start, stop=start + timedelta(days=1))
        days[kind, day] = [tuple(row.values()) for row in rows]
    return Hot(
        now=now,
        keep_days=rules.vault_retention_days,
        proves_retired=rules.JANITOR_SAFETY_CHECK,
        index=await VaultIndex(Joined(conn)).shards(),
        looks=await conn.fetch(SQL["looks_without_a_hot_sample"]),
        known={place: frozenset(names) for place, names in known.items()},
        gone={row["video_id"]: row["added_at"] for row in await conn.fetch(SQL["gone"])},
        events=await conn.fetch(SQL["events"], types=list(TELLING)),
        days=days,
        samples=[tuple(row.values()) for row in await conn.fetch(SQL["samples"])] if samples else [],
    )


async def _books(conn: Connection, now: datetime) -> Books:
    """Read what the truth is compared with."""
    from alkyone.invariants.truth import Books

    return Books(
        ledger={(row["day"], row["bucket"]): row["used"] for row in await conn.fetch(SQL["ledger"])},
        judged=frozenset(row["video_id"] for row in await conn.fetch(SQL["judged"])),
        pages_to_read=await conn.fetchval(SQL["pages_to_read"], now=now),
    )


def _reported(broken: Mapping[Invariant, Broken], leftovers: Sequence[str]) -> Report:
    held, breaches = [], []
    for invariant in INVARIANTS:
        if invariant not in broken:
            continue
        if found := sorted(broken[invariant]):
            breaches.append(Breach(invariant.name, invariant.promise, len(found), tuple(found[:SHOWN])))
        else:
            held.append(invariant.name)
    return Report(tuple(held), tuple(breaches), tuple(leftovers))
