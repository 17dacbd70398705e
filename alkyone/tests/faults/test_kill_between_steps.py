"""kill -9 of any agent between any two of its steps, then a re-run: the state is as if nothing had happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from pydantic import SecretStr

from alkyone import snapshots
from alkyone.agents import Agent, Site, run_agent
from alkyone.scenes import SMALL, TINY, OpenScene, Scene, assert_sound, dao_of, seed
from alkyone.standins.discord import DiscordStandin
from atlas.adapters.records import SourceSeed

QUARTER = timedelta(minutes=15)
"""How often a heartbeat comes round."""
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)

LED_UP_TO: dict[Agent, list[tuple[Agent, timedelta]]] = {
    "hunter": [],
    "tracker": [("hunter", timedelta(0)), ("tracker", HOUR)],
    "painter": [("hunter", timedelta(0))],
    "scribe": [("hunter", timedelta(0)), ("painter", HOUR)],
    "janitor": [("hunter", timedelta(0)), ("tracker", HOUR), ("tracker", timedelta(days=1)), ("tracker", WEEK)],
}
"""The cycles that make work for each agent, and how long after the beginning each comes."""

AT: dict[Agent, timedelta] = {
    "hunter": timedelta(0),
    "tracker": timedelta(hours=3),
    "painter": timedelta(days=4),
    "scribe": timedelta(hours=2),
    "janitor": timedelta(days=9),
}
"""When the agent that is to be killed runs."""


CATALOGUE = "generated:seed=11,channels=1,videos=190,past=20"
"""One channel, whose uploads fill three pages."""


@pytest.mark.engine
@pytest.mark.timeout(900)
async def test_a_hunter_that_dies_on_a_walk_goes_on_where_it_was_acknowledged(scene: OpenScene) -> None:
    async with scene(CATALOGUE) as here:
        at = here.youtube.now()
        with here.site(HUNTER_NEW_TERMS=0) as before:
            await seed(before, here.world, at, terms=0, channels=1)
            async with dao_of(before) as dao:
                await dao.add_sources("chart", [SourceSeed("US", at)], now=at)
            with here.site(like=before) as site:
                undisturbed = await run_agent("hunter", site, at)
                assert undisturbed.error is None
                assert undisturbed.summary is not None
                assert (undisturbed.summary["pages_walked"], undisturbed.summary["chart_pages"]) == (2, 1)
                expected = stored(site)
            for step, name in to_die_at(undisturbed.steps):
                with here.site(like=before) as site:
                    assert (await run_agent("hunter", site, at, kill_at=step)).killed, f"step {step}, {name}"
                    snapshots.lapse_leases(site.conninfo)
                    quota = here.quota()["general"]
                    assert (await run_agent("hunter", site, at)).error is None
                    assert stored(site) == expected, f"killed at step {step} of {len(undisturbed.steps)}, {name}"
                    assert here.quota()["general"] - quota <= undisturbed.summary["quota"]["general"]


@pytest.mark.engine
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("agent", "world"),
    [
        pytest.param("hunter", TINY, id="hunter"),
        pytest.param("tracker", SMALL, id="tracker"),
        pytest.param("painter", TINY, id="painter"),
        pytest.param("scribe", TINY, id="scribe"),
        pytest.param("janitor", SMALL, id="janitor"),
    ],
)
async def test_a_kill_between_any_two_steps_leaves_no_trace_after_a_rerun(
    scene: OpenScene, agent: Agent, world: str
) -> None:
    async with scene(world) as here:
        begin = here.youtube.now()
        at = begin + AT[agent]
        with here.site(**settings_of(agent, here)) as before:
            await seed(before, here.world, begin)
            for earlier, after in LED_UP_TO[agent]:
                here.youtube.set_clock(begin + after)
                assert (await run_agent(earlier, before, begin + after)).error is None
            here.youtube.set_clock(at)

            with here.site(like=before) as site:
                undisturbed = await run_agent(agent, site, at)
                assert undisturbed.error is None
                expected = stored(site)
                # And so is every site that comes to the same; what this agent does not do may be due since the start.
                await assert_sound(site, now=at, patience=AT[agent] + timedelta(days=1))
            assert len(undisturbed.steps) > 12, "the scene gives the agent too little to do"

            for step, name in to_die_at(undisturbed.steps):
                with here.site(like=before) as site:
                    assert (await run_agent(agent, site, at, kill_at=step)).killed, f"step {step}, {name}"
                    snapshots.lapse_leases(site.conninfo)
                    assert (await run_agent(agent, site, at)).error is None
                    assert stored(site) == expected, f"killed at step {step} of {len(undisturbed.steps)}, {name}"


@pytest.mark.engine
@pytest.mark.timeout(300)
async def test_a_heartbeat_that_dies_is_followed_by_one_that_tells_ops_the_same(scene: OpenScene) -> None:
    async with scene(TINY) as here:
        at = here.youtube.now()
        times: list[int] = []
        untold: list[str] = []
        with DiscordStandin("ops") as ops, here.site(DISCORD_WEBHOOK_OPS=SecretStr(ops.address("ops"))) as before:
            await seed(before, here.world, at)
            with here.site(like=before) as site:
                undisturbed = await run_agent("heartbeat", site, at)
                assert undisturbed.error is None
                assert (await run_agent("heartbeat", site, at + QUARTER)).error is None
                expected = said(site)
                assert [embed["title"] for embed in ops.embeds] == ["Pleiades: Healthy"]
            for step, name in enumerate(undisturbed.steps):  # OPS is told between a commit and the next
                heard = len(ops.embeds)
                with here.site(like=before) as site:
                    assert (await run_agent("heartbeat", site, at, kill_at=step)).killed, f"step {step}, {name}"
                    if said(site) == [UNTOLD] and len(ops.embeds) == heard:
                        untold.append(name)
                    assert (await run_agent("heartbeat", site, at + QUARTER)).error is None
                    assert said(site) == expected, f"killed at step {step}, {name}"
                    times.append(len(ops.embeds) - heard)
                    await assert_sound(site, now=at + QUARTER)
        assert untold == ["after commit"], "a heartbeat dies between noting and telling"
        assert sorted(times) == [1] * (len(times) - 1) + [2], "what was told and not noted is told again, and no other"


UNTOLD = "(Healthy,,{})"


def said(site: Site) -> list[Any]:
    """How the heartbeat found the system, what OPS was told of it, and how its run ended."""
    query = "SELECT (state, told_state, told_reasons)::text FROM heartbeat UNION ALL SELECT agent FROM agent_runs"
    return snapshots.column(site.conninfo, query)


def to_die_at(steps: Sequence[str]) -> list[tuple[int, str]]:
    """Number the steps, but for those after which the next one follows: between the two nothing happens outside."""
    followed = {
        n for n, (step, then) in enumerate(pairwise(steps)) if step.startswith("after") and then.startswith("b")
    }
    return [(n, step) for n, step in enumerate(steps) if n not in followed]


def settings_of(agent: Agent, here: Scene) -> dict[str, Any]:
    """What the scene needs to give the agent something to do."""
    if agent == "hunter":
        return {"HUNTER_NEW_TERMS": 1_000}  # a run that is killed would take up its share twice
    if agent == "scribe":
        return {"FRAME_WIDTH": 320} | here.owner()
    if agent == "janitor":
        return {"VIDEO_STAGES": ()}  # nobody paints here, and a video with work left stays
    return {}


def stored(site: Site) -> tuple[object, object]:
    return snapshots.tables(site.conninfo), snapshots.files(site.vault)
