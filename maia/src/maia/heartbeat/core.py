"""What the heartbeat decides: is the system well, and if not, why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Literal, NamedTuple

from atlas.config import Settings
from atlas.quota import reset_at
from atlas.vitals import Vitals

State = Literal["Healthy", "Attention", "Degraded"]

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MEGABYTE = 1024 * 1024


class Limit(NamedTuple):
    """From where on something wants attention, and from where on it is broken (never, when None)."""

    attention: timedelta
    degraded: timedelta | None


BACKLOG: Mapping[str, Limit] = {
    "tracking": Limit(6 * HOUR, DAY),  # its youngest videos are due every hour
    "channels": Limit(2 * DAY, None),
    "painter": Limit(2 * DAY, None),
    "scribe": Limit(2 * DAY, None),
}
"""How late the oldest work may be. Not of the search terms: there are always more than the day's hundred calls."""

RUNS: Mapping[str, Limit] = {
    "hunter": Limit(3 * HOUR, 12 * HOUR),
    "tracker": Limit(3 * HOUR, 12 * HOUR),
    "painter": Limit(12 * HOUR, None),
    "scribe": Limit(12 * HOUR, None),
    "janitor": Limit(2 * DAY + HOUR, 5 * DAY),
}
"""How long ago an agent that ever completed a run may have done so: several of its intervals in prefect.yaml."""

ARCHIVE = Limit(2 * DAY, 5 * DAY)
"""How much longer than it should a day may stay in SQL."""

EARLY = 3 * HOUR
"""A bucket that is spent so long before its day ends was planned wrong, or is used by others."""

OVERSIZE = 1.5
"""Times the budget from where on the database is too large to go on like this."""

GIVEN_UP = 100
"""Stages given up before somebody should look why."""

TRANSACTION = HOUR
"""An open transaction as old as this keeps the vacuum from its work."""


class Reason(NamedTuple):
    """One thing that is not well; ``kind`` names it whatever the figures are."""

    state: State
    kind: str
    text: str


class Verdict(NamedTuple):
    """How the system is, the gravest reasons first; without any it is Healthy."""

    state: State
    reasons: tuple[Reason, ...]


def judge(seen: Vitals, rules: Settings, *, vault_problem: str | None = None) -> Verdict:
    """Say how the system is; ``vault_problem`` is why the vault cannot be used."""
    reasons = [
        *_of_runs(seen),
        *_of_backlog(seen, rules),
        *_of_quota(seen),
        *_of_archive(seen, rules),
        *_of_the_database(seen, rules),
        *_of_losses(seen),
    ]
    if vault_problem is not None:
        reasons.append(Reason("Degraded", "vault", f"the vault cannot be used: {vault_problem}"))
    return verdict(reasons)


def verdict(reasons: Sequence[Reason]) -> Verdict:
    """Take the gravest of the reasons for the whole."""
    ordered = sorted(reasons, key=lambda reason: reason.state != "Degraded")
    return Verdict(ordered[0].state if ordered else "Healthy", tuple(ordered))


def _of_runs(seen: Vitals) -> Iterator[Reason]:
    for run in seen.runs:
        agent = run["agent"]
        if agent not in RUNS:
            continue
        if run["reason"] is not None:
            yield Reason("Attention", f"{agent} failed", f"the {agent}'s last run failed: {run['reason']}")
        if run["completed_at"] is not None:
            span = seen.at - run["completed_at"]
            yield from _over(RUNS[agent], span, f"{agent} silent", f"the {agent} last completed a run {told(span)} ago")


def _of_backlog(seen: Vitals, rules: Settings) -> Iterator[Reason]:
    for queue, limit in BACKLOG.items():
        if queue in {"painter", "scribe"} and queue not in rules.VIDEO_STAGES:
            continue  # nobody is to do it
        late = seen.late(queue)
        yield from _over(
            limit, late, f"{queue} late", f"the oldest due work of {queue} has been waiting for {told(late)}"
        )
    if (dead := sum(seen.dead_stages.values())) > GIVEN_UP:
        yield Reason("Attention", "stages given up", f"{dead:,} stages of videos were given up")


def _of_quota(seen: Vitals) -> Iterator[Reason]:
    left = reset_at(seen.at) - seen.at
    for usage in seen.quota:
        if usage.limit and not usage.left and left > EARLY:
            yield Reason(
                "Attention",
                f"{usage.bucket} spent",
                f"the {usage.bucket} quota of {usage.project} is spent, {told(left)} before its day ends",
            )


def _of_archive(seen: Vitals, rules: Settings) -> Iterator[Reason]:
    if rules.JANITOR_ENABLED:
        over = seen.oldest_day_age - timedelta(days=rules.JANITOR_RETENTION_DAYS)
        yield from _over(ARCHIVE, over, "archive late", f"{seen.oldest_day} should have left SQL {told(over)} ago")


def _of_the_database(seen: Vitals, rules: Settings) -> Iterator[Reason]:
    budget = rules.JANITOR_SQL_BUDGET_MB * MEGABYTE
    if seen.database_bytes > budget:
        state: State = "Degraded" if seen.database_bytes > OVERSIZE * budget else "Attention"
        size = f"{seen.database_bytes / MEGABYTE:,.0f} MB, {rules.JANITOR_SQL_BUDGET_MB:,} are allowed"
        yield Reason(state, "database size", f"the database has {size}")
    if seen.oldest_transaction > TRANSACTION:
        span = told(seen.oldest_transaction)
        yield Reason("Attention", "old transaction", f"a transaction has been open for {span}: nothing can be vacuumed")


def _of_losses(seen: Vitals) -> Iterator[Reason]:
    for kind, loss in seen.losses.items():
        if seen.at - loss.last_at < DAY:
            yield Reason("Attention", f"{kind} lost", f"{kind}: {loss.lost:,} lost so far, the last within a day")
    for breaker in seen.breakers:
        if breaker["until"] is not None and breaker["until"] > seen.at:
            text = f"{breaker['name']} failed too often and is left in peace until {breaker['until']:%H:%M} UTC"
            yield Reason("Attention", f"{breaker['name']} down", text)


def _over(limit: Limit, span: timedelta, kind: str, text: str) -> Iterator[Reason]:
    if limit.degraded is not None and span > limit.degraded:
        yield Reason("Degraded", kind, text)
    elif span > limit.attention:
        yield Reason("Attention", kind, text)


def told(span: timedelta) -> str:
    """Tell a span to people: hours, or days from two on."""
    hours = span / HOUR
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"
