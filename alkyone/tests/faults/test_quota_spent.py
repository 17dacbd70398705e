"""Every bucket spent in turn: runs end well, nothing is lost, the ledger agrees with YouTube, the next day goes on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from alkyone import snapshots
from alkyone.agents import Agent, Site, run_together
from alkyone.scenes import AMPLE, OpenScene, Scene, seed, tools_of, watch
from alkyone.standins.discord import DiscordStandin
from atlas import clock
from atlas.errors import Bucket
from atlas.notifications import DiscordNotifier
from atlas.quota import pacific_day
from maia.hunter.agent import hunt
from maia.planner import PURPOSES, Purpose
from maia.toolbox import Toolbox
from maia.tracker.agent import track

DAY = timedelta(days=1)
PLENTY = "generated:seed=5,channels=40,videos=1600,past=20"

SPENT = [
    pytest.param("hunter", {"search": 4}, id="hunter without search"),
    pytest.param("hunter", {"general": 28}, id="hunter without general"),
    pytest.param("tracker", {"stats": 3}, id="tracker without stats"),
    pytest.param("tracker", {"general": 2}, id="tracker without general"),
    pytest.param("tracker", {"stats": 3, "general": 4}, id="tracker with neither"),
]


class Unaware(Toolbox):
    """A toolbox of an agent that learned its share before others spent the quota."""

    async def allowance(self, every: timedelta) -> dict[Purpose, int]:
        """A share that is long gone."""
        return dict.fromkeys(PURPOSES, 1_000)


@pytest.fixture
def discord() -> Iterator[DiscordStandin]:
    """Listen at a webhook's address."""
    with DiscordStandin("ops") as standin:
        yield standin


@pytest.mark.parametrize("who_knows", ["ledger", "server"])
@pytest.mark.parametrize(("agent", "limits"), SPENT)
async def test_a_spent_bucket_ends_the_run_and_loses_nothing(
    scene: OpenScene,
    discord: DiscordStandin,
    agent: Agent,
    limits: Mapping[Bucket, int],
    who_knows: str,
) -> None:
    served = {**AMPLE, **limits} if who_knows == "server" else AMPLE
    async with scene(PLENTY, served) as here:
        ours = limits if who_knows == "ledger" else {}
        changes: dict[str, Any] = {
            f"QUOTA_{bucket.upper()}_PER_DAY": limit for bucket, limit in {**AMPLE, **ours}.items()
        }
        at = here.youtube.now()
        with here.site(**changes, DISCORD_WEBHOOK_OPS=SecretStr(discord.address("ops"))) as site:
            await work_for(agent, here, site, at)

            summary = await cycle(agent, here, site, at, kind=Unaware)

            has_no_other_road = agent == "hunter" or len(limits) == 2
            assert ("spent" in summary["stopped_by"]) is has_no_other_road
            assert (before := done(site)) > 0
            here.assert_nothing_is_lost(site)
            assert spent(here, at, limits) == dict(limits)
            assert len(discord.embeds) == len(limits)
            assert untouched_is_due(site, at)

            again = await cycle(agent, here, site, at + timedelta(minutes=30))

            here.assert_nothing_is_lost(site)
            assert spent(here, at, limits) == dict(limits), "a bucket known to be spent was asked again"
            assert len(discord.embeds) == len(limits), "OPS was told twice on one day"
            assert {bucket: again["quota"][bucket] for bucket in limits} == dict.fromkeys(limits, 0)

            await cycle(agent, here, site, at + DAY, kind=Unaware)

            assert done(site) > before
            here.assert_nothing_is_lost(site)
            assert len(discord.embeds) <= 2 * len(limits), "OPS was told twice on one day"


@pytest.mark.engine
async def test_two_hunters_that_both_count_on_the_last_units_share_them(
    scene: OpenScene, discord: DiscordStandin
) -> None:
    async with scene(PLENTY) as here:
        at = here.youtube.now()
        with here.site(QUOTA_SEARCH_PER_DAY=12, DISCORD_WEBHOOK_OPS=SecretStr(discord.address("ops"))) as site:
            await seed(site, here.world, at, terms=20, channels=0)

            runs = await run_together(["hunter", "hunter"], site, at, every=DAY)

            assert [run.error for run in runs] == [None, None]
            assert spent(here, at, ["search"]) == {"search": 12}
            here.assert_nothing_is_lost(site)
            assert untouched_is_due(site, at)
            assert len(discord.embeds) == 1


async def work_for(agent: Agent, here: Scene, site: Site, at: datetime) -> None:
    """Make more work than the quota allows; for the Tracker with videos that YouTube does not have."""
    if agent == "hunter":
        await seed(site, here.world, at, terms=12, channels=20)
        return
    uploads = [v for channel in here.world.channels_at(at) for v in here.world.uploads(channel, at) or ()]
    await watch(site, uploads, here.world, at)
    here.youtube.faults.add("missing_ids", ids=tuple(uploads[::3]))


async def cycle(agent: Agent, here: Scene, site: Site, at: datetime, *, kind: type[Toolbox] = Toolbox) -> Any:
    """Run a cycle as a process of its own would: with a notifier that remembers nothing."""
    here.youtube.set_clock(at)
    notifier = DiscordNotifier(site.settings())
    with clock.stopped(at):
        async with tools_of(site, notifier=notifier) as tools:
            toolbox = kind(tools.dao, tools.youtube, tools.ledger, tools.keys)
            summary = await (hunt if agent == "hunter" else track)(toolbox, every=DAY)
        await notifier.close()
    return summary


def spent(here: Scene, at: datetime, buckets: Iterable[str]) -> dict[str, int]:
    """Tell what YouTube charged on the Pacific day of ``at``."""
    charged = next(iter(here.youtube.quota.usage(pacific_day(at)).values()), {})
    (of_day,) = charged.values() or [{}]
    return {bucket: of_day.get(bucket, 0) for bucket in buckets}


def done(site: Site) -> int:
    """Count what was brought to an end: searches, polls, samples, misses."""
    (count,) = snapshots.column(
        site.conninfo,
        """
        SELECT (SELECT count(last_searched_at) FROM search_queue)
             + (SELECT count(last_polled_at) FROM channels)
             + (SELECT count(*) FROM video_stats_log)
             + (SELECT coalesce(sum(misses), 0) FROM watchlist)
        """,
    )
    return int(count)


def untouched_is_due(site: Site, at: datetime) -> bool:
    """Is all that was not brought to an end due again, and none of it counted as failed?

    But a video that YouTube left out has failed when there is no quota to ask why: it waits for its turn.
    """
    with psycopg.connect(site.conninfo) as conn:
        rows = conn.execute(
            """
            SELECT next_search_at, attempts, reason FROM search_queue WHERE last_searched_at IS NULL
             UNION ALL
            SELECT next_poll_at, poll_attempts, poll_reason FROM channels WHERE last_polled_at IS NULL AND in_roster
             UNION ALL
            SELECT next_track_at, attempts, reason FROM watchlist WHERE last_tracked_at IS NULL AND misses = 0
            """
        ).fetchall()
    unexplained = [row for row in rows if row[2] is None or "no quota" not in row[2]]
    return all(due <= at and attempts == 0 for due, attempts, _ in unexplained)
