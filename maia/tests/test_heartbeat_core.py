"""When the heartbeat says Healthy, Attention or Degraded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from atlas.adapters.records import LastRun, Loss
from atlas.config import Settings
from atlas.quota import Usage, pacific_day
from atlas.vitals import Queue, Vitals
from maia.heartbeat.core import Reason, State, judge, verdict

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)  # four in the morning in California
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WELL = Vitals(
    at=NOON,
    queues=dict.fromkeys(("search", "channels", "tracking", "painter", "scribe"), Queue()),
    tiers={"HOURLY": 1, "DAILY": 0, "WEEKLY": 0, "DORMANT": 0},
    dead_stages={"painter": 0, "scribe": 0},
    samples_lately=10,
    discoveries_lately=1,
    quota=[],
    oldest_day=date(2026, 11, 3),
    vault={},
    tables={},
    database_bytes=100_000_000,
    oldest_transaction=timedelta(0),
    losses={},
    runs=[],
    breakers=[],
    heartbeat=None,
)


def rules(**settings: Any) -> Settings:
    return Settings(**settings | {"_env_file": None})


def ran(agent: str, ago: timedelta, *, reason: str | None = None) -> LastRun:
    return LastRun(
        agent=agent, run_id="x", started_at=NOON - ago, ended_at=NOON - ago, reason=reason, summary={},
        completed_at=NOON - ago,
    )  # fmt: skip


def queue(name: str, late: timedelta) -> dict[str, Any]:
    return {"queues": {**WELL.queues, name: Queue(due=1, oldest_due_at=NOON - late)}}


def quota(used: int, *, at: datetime = NOON, refused_at: datetime | None = None) -> dict[str, Any]:
    usage = Usage(
        project="moon", bucket="search", day=pacific_day(at), used=used, limit=100, refused_at=refused_at, purposes={}
    )
    return {"quota": [usage], "at": at}


LATE_IN_CALIFORNIA = datetime(2026, 11, 11, 6, tzinfo=UTC)  # two hours before midnight there

CASES: list[tuple[str, dict[str, Any], State, list[str]]] = [
    ("nothing speaks against it", {}, "Healthy", []),
    ("agents ran lately", {"runs": [ran("hunter", 2 * HOUR), ran("janitor", DAY)]}, "Healthy", []),
    ("a silent agent", {"runs": [ran("tracker", 4 * HOUR)]}, "Attention", ["tracker silent"]),
    ("a long silent one", {"runs": [ran("tracker", 13 * HOUR)]}, "Degraded", ["tracker silent"]),
    ("a silent janitor", {"runs": [ran("janitor", 3 * DAY)]}, "Attention", ["janitor silent"]),
    ("a failed run", {"runs": [ran("hunter", HOUR, reason="no key")]}, "Attention", ["hunter failed"]),
    ("the heartbeat itself", {"runs": [ran("heartbeat", 9 * DAY)]}, "Healthy", []),
    ("readings hours late", queue("tracking", 7 * HOUR), "Attention", ["tracking late"]),
    ("readings a day late", queue("tracking", 25 * HOUR), "Degraded", ["tracking late"]),
    ("terms wait for quota", queue("search", 99 * DAY), "Healthy", []),
    ("a stage that somebody does", queue("painter", 3 * DAY), "Attention", ["painter late"]),
    ("many stages given up", {"dead_stages": {"painter": 60, "scribe": 41}}, "Attention", ["stages given up"]),
    ("quota is left", quota(99), "Healthy", []),
    ("quota spent early", quota(100), "Attention", ["search spent"]),
    ("quota refused by YouTube", quota(3, refused_at=NOON), "Attention", ["search spent"]),
    ("quota spent late", quota(100, at=LATE_IN_CALIFORNIA), "Healthy", []),
    ("a day stays too long", {"oldest_day": date(2026, 10, 30)}, "Attention", ["archive late"]),
    ("a day stays far too long", {"oldest_day": date(2026, 10, 20)}, "Degraded", ["archive late"]),
    ("over its budget", {"database_bytes": 600 * 1024**2}, "Attention", ["database size"]),
    ("far over its budget", {"database_bytes": 800 * 1024**2}, "Degraded", ["database size"]),
    ("an old transaction", {"oldest_transaction": 2 * HOUR}, "Attention", ["old transaction"]),
    ("losses of today", {"losses": {"alert": Loss(3, NOON - HOUR)}}, "Attention", ["alert lost"]),
    ("losses of long ago", {"losses": {"alert": Loss(3, NOON - DAY)}}, "Healthy", []),
]


@pytest.mark.parametrize(("facts", "state", "kinds"), [pytest.param(*case[1:], id=case[0]) for case in CASES])
def test_how_the_system_is(facts: dict[str, Any], state: State, kinds: list[str]) -> None:
    found = judge(replace(WELL, **facts), rules(VIDEO_STAGES=["painter"]))

    assert (found.state, [reason.kind for reason in found.reasons]) == (state, kinds)


def test_a_vault_that_cannot_be_used_is_grave_and_comes_first() -> None:
    found = judge(replace(WELL, oldest_transaction=2 * HOUR), rules(), vault_problem="denied")

    assert found.state == "Degraded"
    assert found.reasons[0].text == "the vault cannot be used: denied"


@pytest.mark.parametrize(("until", "state"), [(NOON + HOUR, "Attention"), (NOON, "Healthy"), (None, "Healthy")])
def test_a_service_left_in_peace_is_told_as_long_as_it_is(until: datetime | None, state: State) -> None:
    breaker: Any = {"name": "feeds", "state": "opened", "failures": 0, "until": until, "told_at": NOON}

    assert judge(replace(WELL, breakers=[breaker]), rules()).state == state


def test_what_nobody_is_to_do_is_not_late() -> None:
    assert judge(replace(WELL, **queue("painter", 3 * DAY)), rules(VIDEO_STAGES=[])).state == "Healthy"


def test_a_janitor_that_is_to_do_nothing_is_not_late() -> None:
    seen = replace(WELL, oldest_day=date(2026, 1, 1))

    assert judge(seen, rules(JANITOR_ENABLED=False)).state == "Healthy"


def test_the_gravest_reason_decides() -> None:
    reasons = [Reason("Attention", "a", ""), Reason("Degraded", "b", ""), Reason("Attention", "c", "")]

    assert verdict(reasons).state == "Degraded"
    assert [reason.kind for reason in verdict(reasons).reasons] == ["b", "a", "c"]
