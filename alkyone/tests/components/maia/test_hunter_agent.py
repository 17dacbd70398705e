"""The Hunter's sources against a stand-in: what each brings, what it costs, where it goes on, what is never lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alkyone import snapshots
from alkyone.agents import Site
from alkyone.scenes import OpenScene, Scene, dao_of, open_scene, tools_of
from atlas import clock
from atlas.adapters.records import ChannelSeen, SourceKind, SourceSeed
from atlas.embedded import EmbeddedServer
from maia.hunter.agent import HunterSummary, hunt
from maia.planner import PURPOSES, Purpose
from maia.toolbox import Toolbox

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

BACK_CATALOGUES = "generated:seed=5,channels=3,videos=900,past=60"
"""Three channels, whose uploads fill several pages each."""

CROWDED = "generated:seed=5,channels=600,videos=90000,days=12,past=0"
"""More videos a day of the commonest terms than search shows."""


@pytest.fixture
def scene(postgres: EmbeddedServer, template: str, tmp_path: Path) -> OpenScene:
    """Open a world behind a real stand-in, ten days in, with ample quota."""
    return lambda world=BACK_CATALOGUES, limits=None: open_scene(
        postgres, template, tmp_path, world, **({} if limits is None else {"limits": limits})
    )


class Allowed(Toolbox):
    """A toolbox of a run that may spend so much for each purpose."""

    units = 10_000

    async def allowance(self, every: timedelta) -> dict[Purpose, int]:
        """The same for each."""
        return dict.fromkeys(PURPOSES, self.units)


async def cycle(here: Scene, site: Site, at: datetime, *, units: int = 10_000, **rules: Any) -> HunterSummary:
    """Run the Hunter at ``at``, with so many units for each purpose, and settings that differ from the site's."""
    here.youtube.set_clock(at)
    settings = site.settings().model_copy(update=rules)
    with clock.stopped(at):
        async with tools_of(site, timeout=timedelta(seconds=5)) as tools:
            toolbox = Allowed(tools.dao, tools.youtube, tools.ledger, tools.keys)
            Allowed.units = units
            return await hunt(toolbox, every=HOUR, rules=settings)


async def follow(site: Site, channels: Sequence[str], at: datetime) -> None:
    async with dao_of(site) as dao:
        await dao.add_channels([ChannelSeen(channel) for channel in channels], in_roster=True, pinned=True, now=at)


async def add(site: Site, kind: SourceKind, names: Sequence[str], at: datetime) -> None:
    async with dao_of(site) as dao:
        await dao.add_sources(kind, [SourceSeed(name, at) for name in names], now=at)


def busiest(here: Scene, at: datetime) -> str:
    """The channel with the most uploads."""
    return max(here.world.channels_at(at), key=lambda channel: len(here.world.uploads(channel, at) or ()))


def uploads(here: Scene, at: datetime) -> list[str]:
    """Every upload that the public can see."""
    every = (here.world.uploads(channel, at) or () for channel in here.world.channels_at(at))
    return [name for names in every for name in names if here.world.counts(name, at) is not None]


def stored(site: Site) -> set[str]:
    return set(snapshots.column(site.conninfo, "SELECT video_id FROM watchlist"))


def left_of(site: Site, kind: SourceKind) -> int:
    rows: list[str] = snapshots.column(site.conninfo, "SELECT kind FROM sources")
    return rows.count(kind)


def pages(videos: int) -> int:
    return math.ceil(videos / 50)


NO_TERMS = {"HUNTER_NEW_TERMS": 0}


async def test_a_back_catalogue_is_walked_to_its_end_and_enriched_in_full_batches(scene: OpenScene) -> None:
    async with scene() as here:
        at = here.youtube.now()
        channels = here.world.channels_at(at)
        with here.site() as site:
            await follow(site, channels, at)

            summary = await cycle(here, site, at, **NO_TERMS)

            listed = [len(here.world.uploads(channel, at) or ()) for channel in channels]
            assert min(listed) > 50
            assert summary["channels_polled"] == len(channels)
            assert summary["pages_walked"] == sum(map(pages, listed)) - len(channels)
            assert stored(site) == set(uploads(here, at))
            assert here.quota()["general"] == sum(map(pages, listed)) + pages(len(stored(site)))
            assert left_of(site, "walk") == 0
            here.assert_nothing_is_lost(site)


async def test_a_walk_goes_on_by_its_token_in_the_next_run_and_reads_no_page_twice(scene: OpenScene) -> None:
    async with scene() as here:
        at = here.youtube.now()
        channel = busiest(here, at)
        with here.site() as site:
            await follow(site, [channel], at)
            walked = [(await cycle(here, site, at, units=2, **NO_TERMS))["pages_walked"] for _ in range(9)]

            listed = here.world.uploads(channel, at) or ()
            assert sum(walked) == pages(len(listed)) - 1
            assert max(walked) < sum(walked), "one run walked it all: nothing went on"
            assert stored(site) == {name for name in listed if here.world.counts(name, at) is not None}
            assert left_of(site, "walk") == 0
            here.assert_nothing_is_lost(site)


async def test_a_walk_whose_token_went_bad_begins_again_and_ends(scene: OpenScene) -> None:
    async with scene() as here:
        at = here.youtube.now()
        channel = busiest(here, at)
        with here.site() as site:
            await follow(site, [channel], at)
            await cycle(here, site, at, units=2, **NO_TERMS)
            assert left_of(site, "walk") == 1
            snapshots.spoil_page_tokens(site.conninfo)

            summary = await cycle(here, site, at + HOUR, **NO_TERMS)

            assert summary["failed"] == 0
            listed = here.world.uploads(channel, at) or ()
            assert stored(site) >= {name for name in listed if here.world.counts(name, at + HOUR) is not None}
            assert left_of(site, "walk") == 0


async def test_back_catalogues_have_their_share_while_new_uploads_wait(scene: OpenScene) -> None:
    async with scene("generated:seed=5,channels=40,videos=4000,past=20") as here:
        at = here.youtube.now()
        with here.site() as site:
            await follow(site, here.world.channels_at(at), at)
            some = await cycle(here, site, at, units=10, **NO_TERMS)
            assert some["channels_polled"] > 4 * some["pages_walked"]
            none = await cycle(here, site, at, HUNTER_WALK_SHARE=0.0, **NO_TERMS)
            assert none["channels_polled"] == 40 - some["channels_polled"]
            assert none["pages_walked"] == 0


async def test_uploads_that_left_the_page_unseen_are_walked_back_to_the_last_poll(scene: OpenScene) -> None:
    async with scene("generated:seed=5,channels=2,videos=900,past=20") as here:
        at = here.youtube.now()
        later = at + 10 * DAY
        channel = busiest(here, at)
        with here.site() as site:
            await follow(site, [channel], at)
            await cycle(here, site, at, HUNTER_WALK_SHARE=0.0, HUNTER_FEEDS=0, **NO_TERMS)

            summary = await cycle(here, site, later, HUNTER_FEEDS=0, **NO_TERMS)

            listed = here.world.uploads(channel, later) or ()
            fresh = [name for name in listed if (video := here.world.video(name, later)) and video.published_at > at]
            assert len(fresh) > 50
            assert summary["pages_walked"] == pages(len(fresh) + 1) - 1
            assert stored(site) >= {name for name in fresh if here.world.counts(name, later) is not None}


async def test_channels_that_are_gone_cost_almost_nothing(scene: OpenScene) -> None:
    async with scene() as here:
        at = here.youtube.now()
        gone = [f"UC{number:022}" for number in range(5)]
        with here.site() as site:
            await follow(site, gone, at)
            for hours in range(0, 7 * 24, 2):
                await cycle(here, site, at + hours * HOUR)
            assert here.quota()["general"] == 3 * len(gone), "at once, after a day, after two more"


async def test_a_chart_brings_its_videos_with_all_there_is_to_know_of_them(scene: OpenScene) -> None:
    async with scene() as here:
        at = here.youtube.now()
        with here.site() as site:
            await add(site, "chart", ["US", "DE:10"], at)

            summary = await cycle(here, site, at, HUNTER_WALK_SHARE=0.0, **NO_TERMS)

            charted = here.world.popular(at)
            assert len(charted) > 0
            assert stored(site) >= set(charted)
            assert summary["chart_pages"] >= pages(len(charted)) + 1
            assert here.quota()["general"] == summary["quota"]["general"]
            assert left_of(site, "chart") == 2
            here.assert_nothing_is_lost(site)

            again = await cycle(here, site, at + HOUR, **NO_TERMS)
            assert again["chart_pages"] == 0
            again = await cycle(here, site, at + 7 * HOUR, **NO_TERMS)
            assert again["chart_pages"] == summary["chart_pages"]
            here.assert_nothing_is_lost(site)


async def test_a_feed_brings_new_uploads_without_a_poll_and_puts_the_poll_off(scene: OpenScene) -> None:
    async with scene() as here:
        at = here.youtube.now()
        channels = here.world.channels_at(at)
        with here.site() as site:
            await follow(site, channels, at)
            await cycle(here, site, at, **NO_TERMS)
            assert left_of(site, "feed") == len(channels)
            spent = here.quota()["general"]
            found = 0
            for hours in range(1, 25):
                summary = await cycle(here, site, at + hours * HOUR, **NO_TERMS)
                assert (summary["channels_polled"], summary["failed"]) == (0, 0)
                found += summary["videos_discovered"]
            assert found > 3
            assert here.quota()["general"] - spent <= found, "no more than the enrichment"
            here.assert_nothing_is_lost(site)


async def test_a_feed_that_is_not_found_says_nothing_of_its_channel(scene: OpenScene) -> None:
    async with scene() as here:
        at = here.youtube.now()
        channels = here.world.channels_at(at)
        with here.site() as site:
            await follow(site, channels, at)
            await cycle(here, site, at, **NO_TERMS)
            here.youtube.faults.add("html", method="feed")
            polled = 0
            for hours in range(1, 13):
                summary = await cycle(here, site, at + hours * HOUR, **NO_TERMS)
                polled += summary["channels_polled"]
            assert polled >= len(channels)
            later = at + 12 * HOUR
            assert stored(site) >= {name for name in uploads(here, later - 6 * HOUR) if here.world.counts(name, later)}
            waits = snapshots.column(site.conninfo, "SELECT next_read_at FROM sources WHERE kind = 'feed'")
            assert max(waits) <= later + 6 * HOUR
            assert snapshots.leased(site.conninfo) == 0


@pytest.mark.parametrize(
    "term",
    [
        pytest.param("speedrunning|gadgets|cats|film|comedy", id="search ends after 500 results"),
        pytest.param("film|comedy|fitness|makeup|racing", id="search begins again from the newest"),
    ],
)
async def test_what_lies_behind_the_results_that_search_shows_is_found(scene: OpenScene, term: str) -> None:
    async with scene(CROWDED) as here:
        at = here.youtube.now()
        with here.site() as site:
            async with dao_of(site) as dao:
                await dao.add_to_search_queue([term], pinned=True, now=at)
            calls = 0
            # Units for one search a run, and none to read the channels that it finds.
            while (await cycle(here, site, at, units=1, HUNTER_FEEDS=0, **NO_TERMS))["queries_processed"]:
                calls += 1

            there = [n for n in here.world.search(term, at - DAY, at, "date", at) if here.world.counts(n, at)]
            assert len(there) > 1_000
            assert set(there) <= stored(site)
            assert calls <= pages(len(there)) + 3
            here.assert_nothing_is_lost(site)


async def test_a_blip_in_enrichment_loses_no_page(scene: OpenScene) -> None:
    async with scene("generated:seed=5,channels=12,videos=1800,past=20") as here:
        at = here.youtube.now()
        with here.site() as site:
            await follow(site, here.world.channels_at(at), at)
            await add(site, "chart", ["US"], at)
            async with dao_of(site) as dao:
                await dao.add_to_search_queue(here.world.terms()[:20], pinned=True, now=at)
            for seed in range(3):
                here.youtube.faults.add("status_503", method="videos.list", probability=0.5, seed=seed)
                here.youtube.faults.add("truncated", probability=0.1, seed=10 + seed)
            failed = 0
            for hours in range(4):
                failed += (await cycle(here, site, at + hours * HOUR, units=60))["failed"]
                assert snapshots.leased(site.conninfo) == 0
            assert failed > 10
            here.youtube.faults.clear()
            for days in range(1, 3):
                await cycle(here, site, at + days * DAY)

            rejected = set(snapshots.column(site.conninfo, "SELECT video_id FROM rejected"))
            assert set(here.youtube.served.candidates) <= stored(site) | rejected
            here.assert_nothing_is_lost(site)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        pytest.param({"GATE_MIN_DURATION_SECONDS": 120}, "min_duration", id="by the video alone"),
        pytest.param({"GATE_REGIONS": ("US",)}, "region", id="by its channel"),
    ],
)
async def test_what_the_gate_refuses_is_counted_and_not_looked_up_again(
    scene: OpenScene, rules: dict[str, Any], reason: str
) -> None:
    async with scene("generated:seed=5,channels=30,videos=1500,past=20") as here:
        at = here.youtube.now()
        with here.site() as site:
            await follow(site, here.world.channels_at(at), at)
            await add(site, "chart", ["US"], at)

            summary = await cycle(here, site, at, **rules, **NO_TERMS)

            rejected = set(snapshots.column(site.conninfo, "SELECT video_id FROM rejected"))
            assert summary["gated"][reason] > 50
            assert sum(summary["gated"].values()) == len(rejected)
            assert stored(site).isdisjoint(rejected)
            assert set(here.youtube.served.candidates) == stored(site) | rejected
            candidates = len(here.youtube.served.candidates)
            read = summary["channels_polled"] + summary["pages_walked"] + summary["chart_pages"]
            # Fifty candidates a unit, and a unit for the channels of each fifty that need it.
            assert here.quota()["general"] <= read + (2 if reason == "region" else 1) * pages(candidates)

            spent = here.quota()["general"]
            again = await cycle(here, site, at + 6 * HOUR, HUNTER_FEEDS=0, **rules, **NO_TERMS)
            read = again["channels_polled"] + again["pages_walked"] + again["chart_pages"]
            new = again["videos_discovered"] + sum(again["gated"].values())
            assert read > 0
            assert here.quota()["general"] - spent <= read + 2 * pages(new)


async def test_a_blip_in_reading_channels_for_the_gate_loses_no_page(scene: OpenScene) -> None:
    async with scene("generated:seed=5,channels=12,videos=900,past=20") as here:
        at = here.youtube.now()
        rules = {"GATE_MIN_SUBSCRIBERS": 10_000, **NO_TERMS}
        with here.site() as site:
            await follow(site, here.world.channels_at(at), at)
            here.youtube.faults.add("status_503", method="channels.list")
            blip = await cycle(here, site, at, HUNTER_FEEDS=0, **rules)
            assert (blip["videos_discovered"], blip["gated"]) == (0, {})
            assert blip["failed"] == 12
            here.youtube.faults.clear()

            await cycle(here, site, at + HOUR, HUNTER_FEEDS=0, **rules)

            rejected = set(snapshots.column(site.conninfo, "SELECT video_id FROM rejected"))
            assert set(here.youtube.served.candidates) == stored(site) | rejected
            assert len(stored(site)) > 50
