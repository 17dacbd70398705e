"""What runs leave behind for those who watch, in a real database."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from alkyone import snapshots
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import LEASE, AgentRun
from atlas.breakers import BreakerState
from atlas.clock import VirtualClock

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def now(frozen_clock: VirtualClock) -> VirtualClock:
    return frozen_clock


def run_at(now: VirtualClock, *, agent: str = "hunter", **more: Any) -> AgentRun:
    facts: dict[str, Any] = {"reason": None, "summary": {"videos": 3}} | more
    return AgentRun(agent=agent, run_id="id", started_at=now() - MINUTE, ended_at=now(), **facts)


async def test_the_last_run_of_each_agent_is_kept_and_when_one_last_completed(dao: MaiaDAO, now: VirtualClock) -> None:
    await dao.report_run(run_at(now))
    completed = now()
    now.advance(MINUTE)
    failed = run_at(now, reason="it " + "failed" * 200, summary={})
    await dao.report_run(failed)
    await dao.report_run(run_at(now, agent="janitor"))

    hunter, janitor = await dao.runs()

    assert (hunter["agent"], hunter["completed_at"], hunter["ended_at"]) == ("hunter", completed, now())
    assert hunter["reason"] == failed["reason"][:500] if failed["reason"] else False
    assert (janitor["reason"], janitor["summary"], janitor["completed_at"]) == (None, {"videos": 3}, now())


async def test_a_run_that_ended_earlier_does_not_replace_a_later_one(dao: MaiaDAO, now: VirtualClock) -> None:
    late = run_at(now)
    now.advance(MINUTE)
    await dao.report_run(run_at(now))
    await dao.report_run(late)

    (run,) = await dao.runs()
    assert run["ended_at"] == now()


async def test_losses_of_all_processes_add_up(dao: MaiaDAO, now: VirtualClock) -> None:
    from atlas.vitals import read

    await asyncio.gather(*(dao.report_run(run_at(now), {"alert": 2, "event": n}) for n in range(1, 5)))

    seen = await read(dao._db)  # type: ignore[arg-type]
    assert {kind: loss.lost for kind, loss in seen.losses.items()} == {"alert": 8, "event": 10}


async def test_breakers_are_kept_as_a_run_last_left_them(dao: MaiaDAO, now: VirtualClock) -> None:
    await dao.report_run(run_at(now), breakers={"discord ops": BreakerState("opened", 0, now() + MINUTE)})
    now.advance(MINUTE)
    await dao.report_run(run_at(now), breakers={"feeds": BreakerState("closed", 2, None)})

    discord, feeds = await dao.breakers()
    assert (discord["name"], discord["state"], discord["until"]) == ("discord ops", "opened", now())
    assert (feeds["name"], feeds["failures"], feeds["until"]) == ("feeds", 2, None)


async def tells(dao: MaiaDAO, state: str, *reasons: str) -> bool:
    """Beat, and tell OPS if that is to be done."""
    token = (await dao.beat(state, reasons, every=DAY)).token
    if token is not None:
        await dao.beat_told(state, reasons, token=token)
    return token is not None


async def test_ops_is_told_of_changes_and_once_a_day(dao: MaiaDAO, now: VirtualClock) -> None:
    async def beat(state: str, *reasons: str, after: timedelta = MINUTE) -> bool:
        now.advance(after)
        return await tells(dao, state, *reasons)

    assert await beat("Healthy")
    assert not await beat("Healthy")
    assert await beat("Attention", "janitor late")
    assert not await beat("Attention", "janitor late")
    assert await beat("Attention", "janitor late", "quota"), "a reason is new"
    assert not await beat("Attention", "quota"), "a reason less is no news"
    assert await beat("Attention", "janitor late", "quota"), "it had gone, and is news again"
    assert await beat("Degraded", "quota")
    assert await beat("Healthy")
    assert not await beat("Healthy", after=DAY - MINUTE)
    assert await beat("Healthy")


async def test_it_is_known_since_when_the_state_holds(dao: MaiaDAO, now: VirtualClock) -> None:
    first = await dao.beat("Healthy", [], every=DAY)
    now.advance(MINUTE)
    second = await dao.beat("Healthy", [], every=DAY)
    third = await dao.beat("Degraded", ["vault"], every=DAY)

    assert (first.since, second.since, third.since) == (now() - MINUTE, now() - MINUTE, now())


@pytest.mark.parametrize("first", [True, False], ids=["the first ever", "a later one"])
async def test_of_many_that_beat_at_once_one_tells(dao: MaiaDAO, now: VirtualClock, first: bool) -> None:
    if not first:
        await tells(dao, "Healthy")

    beats = await asyncio.gather(*(dao.beat("Degraded", ["vault"], every=DAY) for _ in range(8)))

    assert sum(beat.token is not None for beat in beats) == 1


async def test_what_a_heartbeat_did_not_come_to_tell_is_told_by_the_next(dao: MaiaDAO, now: VirtualClock) -> None:
    await tells(dao, "Healthy")
    now.advance(MINUTE)
    dead = await dao.beat("Degraded", ["vault"], every=DAY)
    now.advance(LEASE - MINUTE)
    assert (await dao.beat("Degraded", ["vault"], every=DAY)).token is None, "somebody may still be at it"
    now.advance(MINUTE)
    heir = await dao.beat("Degraded", ["vault"], every=DAY)
    assert None not in (dead.token, heir.token)

    await dao.beat_told("Degraded", ["vault"], token=dead.token)  # type: ignore[arg-type] # it lives, and is late
    assert (await dao.beat("Degraded", ["vault"], every=DAY)).token is None, "the heir is at it"
    await dao.beat_told("Degraded", ["vault"], token=heir.token)  # type: ignore[arg-type]
    now.advance(LEASE)
    assert (await dao.beat("Degraded", ["vault"], every=DAY)).token is None, "OPS knows"
    assert (heir.since, now() - heir.since) == (dead.since, 2 * LEASE)


async def test_what_nobody_told_and_is_over_is_no_news(dao: MaiaDAO, now: VirtualClock, conninfo: str) -> None:
    await tells(dao, "Healthy")
    assert (await dao.beat("Degraded", ["vault"], every=DAY)).token is not None
    now.advance(LEASE)

    assert (await dao.beat("Healthy", [], every=DAY)).token is None
    assert snapshots.leased(conninfo) == 0


async def test_a_reason_that_came_up_while_another_was_told_is_told_next(dao: MaiaDAO) -> None:
    first = await dao.beat("Attention", ["janitor late"], every=DAY)
    assert first.token is not None
    assert (await dao.beat("Attention", ["quota"], every=DAY)).token is None
    await dao.beat_told("Attention", ["janitor late"], token=first.token)

    assert (await dao.beat("Attention", ["quota"], every=DAY)).token is not None
