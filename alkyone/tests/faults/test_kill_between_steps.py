"""kill -9 of any agent between any two of its steps, then a re-run: the state is as if nothing had happened."""

from __future__ import annotations

from datetime import timedelta

import pytest

from alkyone import snapshots
from alkyone.agents import Agent, Site, run_agent
from alkyone.scenes import SMALL, TINY, OpenScene, seed

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)

LED_UP_TO: dict[Agent, list[tuple[Agent, timedelta]]] = {
    "hunter": [],
    "tracker": [("hunter", timedelta(0)), ("tracker", HOUR)],
    "janitor": [("hunter", timedelta(0)), ("tracker", HOUR), ("tracker", timedelta(days=1)), ("tracker", WEEK)],
}
"""The cycles that make work for each agent, and how long after the beginning each comes."""

AT: dict[Agent, timedelta] = {"hunter": timedelta(0), "tracker": timedelta(hours=3), "janitor": timedelta(days=9)}
"""When the agent that is to be killed runs."""


@pytest.mark.engine
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("agent", "world"),
    [
        pytest.param("hunter", TINY, id="hunter"),
        pytest.param("tracker", SMALL, id="tracker"),
        pytest.param("janitor", SMALL, id="janitor"),
    ],
)
async def test_a_kill_between_any_two_steps_leaves_no_trace_after_a_rerun(
    scene: OpenScene, agent: Agent, world: str
) -> None:
    async with scene(world) as here:
        begin = here.youtube.now()
        at = begin + AT[agent]
        with here.site() as before:
            await seed(before, here.world, begin)
            for earlier, after in LED_UP_TO[agent]:
                here.youtube.set_clock(begin + after)
                assert (await run_agent(earlier, before, begin + after)).error is None
            here.youtube.set_clock(at)

            with here.site(like=before) as site:
                undisturbed = await run_agent(agent, site, at)
                assert undisturbed.error is None
                expected = stored(site)
            assert len(undisturbed.steps) > 10, "the scene gives the agent too little to do"

            for step, name in enumerate(undisturbed.steps):
                with here.site(like=before) as site:
                    assert (await run_agent(agent, site, at, kill_at=step)).killed, f"step {step}, {name}"
                    snapshots.lapse_leases(site.conninfo)
                    assert (await run_agent(agent, site, at)).error is None
                    assert stored(site) == expected, f"killed at step {step} of {len(undisturbed.steps)}, {name}"


def stored(site: Site) -> tuple[object, object]:
    return snapshots.tables(site.conninfo), snapshots.files(site.vault)
