"""A planted burst, followed by real Trackers: raised once, told once, whatever dies and however many there are."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from alkyone import snapshots
from alkyone.agents import Site, run_agent, run_together
from alkyone.scenes import OpenScene, Scene, tools_of, watch
from alkyone.standins.discord import DiscordStandin
from alkyone.worlds.generated import GeneratedWorld
from atlas import clock
from maia.tracker.agent import track

HOUR = timedelta(hours=1)
KINDS = ("video.rising", "video.viral", "video.cooling")
WORLD = "generated:seed=5,channels=8,videos=900,days=31,past=0"
"""Ten days in, when the scene opens, bursts are on their way and others to come."""


@pytest.fixture
def discord() -> Iterator[DiscordStandin]:
    with DiscordStandin("watch") as standin:
        yield standin


async def test_a_planted_burst_is_raised_once_early_and_hardly_anything_else_is(scene: OpenScene) -> None:
    async with scene(WORLD) as here:
        with here.site() as site:
            burst = burst_of(here)
            await follow(here, site, burst, hours=48)

            kinds = [event["event_type"] for event in events(site) if event["entity_id"] == burst.video_id]
            assert kinds.count("video.viral") == 1
            assert kinds[-1] in {"video.viral", "video.cooling"}
            raised = {event["entity_id"]: event for event in events(site) if event["event_type"] == "video.viral"}
            assert len(raised) <= watched(site) / 10
            assert raised[burst.video_id]["payload"]["times"] > 3
            assert raised[burst.video_id]["created_at"] < burst.begin + 20 * HOUR, "it was at its steepest by then"


@pytest.mark.engine
@pytest.mark.timeout(900)
async def test_a_tracker_that_dies_anywhere_raises_and_tells_a_rise_once(
    scene: OpenScene, discord: DiscordStandin
) -> None:
    async with scene(WORLD) as here:
        with here.site(DISCORD_WEBHOOK_SURVEILLANCE=SecretStr(discord.address("watch"))) as before:
            at = await until_it_is_raised(here, before)
            with here.site(like=before) as site:
                undisturbed = await run_agent("tracker", site, at)
                assert undisturbed.error is None
                expected = snapshots.tables(site.conninfo)
                raised = {e["entity_id"] for e in events(site) if e["event_type"] == "video.viral"}
                assert raised
                assert told(discord) == dict.fromkeys(raised, 1)
            for step, name in from_the_reading_on(undisturbed.steps):
                discord.taken.clear()
                with here.site(like=before) as site:
                    assert (await run_agent("tracker", site, at, kill_at=step)).killed, f"step {step}, {name}"
                    snapshots.lapse_leases(site.conninfo)
                    assert (await run_agent("tracker", site, at)).error is None
                    assert snapshots.tables(site.conninfo) == expected, f"killed at step {step}, {name}"
                    heard = told(discord)
                    assert heard.keys() == raised, f"killed at step {step}, {name}"
                    # Killed after the alert went out and before that was noted: it is said again.
                    assert set(heard.values()) <= {1, 2}


@pytest.mark.engine
async def test_two_trackers_at_once_raise_and_tell_every_rise_once(scene: OpenScene, discord: DiscordStandin) -> None:
    async with scene(WORLD) as here:
        with here.site(DISCORD_WEBHOOK_SURVEILLANCE=SecretStr(discord.address("watch"))) as before:
            at = await until_it_is_raised(here, before)
            with here.site(like=before) as site:
                runs = await run_together(["tracker", "tracker"], site, at)

                assert [run.error for run in runs] == [None, None]
                raised = Counter(e["entity_id"] for e in events(site) if e["event_type"] == "video.viral")
                assert raised
                assert set(raised.values()) == {1}
                assert told(discord) == dict(raised)


def from_the_reading_on(steps: Sequence[str]) -> list[tuple[int, str]]:
    """Number the steps after YouTube's last answer, but for those after which the next one follows at once."""
    first = max(number for number, step in enumerate(steps) if step == "after call")
    followed = {
        number for number, (step, then) in enumerate(itertools.pairwise(steps)) if (step[0], then[0]) == ("a", "b")
    }
    return [(n, step) for n, step in enumerate(steps) if n >= first and n not in followed]


class Burst(NamedTuple):
    """A planted burst: of which video, and when to begin reading so that the detector knows its ordinary days."""

    video_id: str
    begin: datetime


def burst_of(here: Scene) -> Burst:
    """The biggest burst to come."""
    world = here.world
    assert isinstance(world, GeneratedWorld)
    opened = world.start + timedelta(days=10)
    for video_id in world.risers(40):
        hours = [opened + hour * HOUR for hour in range(20 * 24)]
        counts = [0 if (found := world.counts(video_id, at)) is None else found.views for at in hours]
        gains = [after - before for before, after in itertools.pairwise(counts)]
        steepest = max(range(len(gains)), key=gains.__getitem__)
        if counts[max(steepest - 20, 0)]:
            return Burst(video_id, hours[steepest - 20])
    raise AssertionError("the world has no burst that begins late enough")


async def follow(here: Scene, site: Site, burst: Burst, *, hours: int) -> None:
    """Read the burst and other videos of its channel every hour."""
    video = here.world.video(burst.video_id, burst.begin)
    assert video is not None
    siblings = list(here.world.uploads(video.channel_id, burst.begin) or ())[:30]
    await watch(site, [*{burst.video_id: None, **dict.fromkeys(siblings)}], here.world, burst.begin)
    async with tools_of(site) as tools:
        for hour in range(hours):
            at = burst.begin + hour * HOUR
            here.youtube.set_clock(at)
            make_due(site, at)
            with clock.stopped(at):
                await track(tools, every=HOUR)


async def until_it_is_raised(here: Scene, before: Site) -> datetime:
    """Follow a burst on a copy until it is raised, then on ``before`` until an hour earlier; says when it will be."""
    burst = burst_of(here)
    with here.site(like=before, DISCORD_WEBHOOK_SURVEILLANCE=None) as rehearsal:
        await follow(here, rehearsal, burst, hours=30)
        first = min(e["created_at"] for e in events(rehearsal) if e["event_type"] == "video.viral")
    await follow(here, before, burst, hours=round((first - burst.begin) / HOUR))
    assert not [e for e in events(before) if e["event_type"] == "video.viral"]
    here.youtube.set_clock(first)
    make_due(before, first)
    return first


def make_due(site: Site, at: datetime) -> None:
    with psycopg.connect(site.conninfo) as conn:
        conn.execute("UPDATE watchlist SET next_track_at = %s", [at])


def events(site: Site) -> list[dict[str, Any]]:
    with psycopg.connect(site.conninfo, row_factory=dict_row) as conn:
        return conn.execute(
            "SELECT * FROM system_events WHERE event_type = ANY(%s) ORDER BY id", [list(KINDS)]
        ).fetchall()


def query(site: Site, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(site.conninfo) as conn:
        return conn.execute(statement.encode()).fetchall()


def watched(site: Site) -> int:
    return int(query(site, "SELECT count(*) FROM watchlist")[0][0])


def told(discord: DiscordStandin) -> dict[str, int]:
    """How often each video was told of."""
    text = json.dumps(discord.embeds)
    return Counter(part[:11] for part in text.split("https://youtu.be/")[1:])
