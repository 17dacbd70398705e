"""A generated world: the same everywhere, lively, and as awkward as the real one."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from alkyone.worlds import World, open_world
from alkyone.worlds.base import parse_query
from alkyone.worlds.chance import mix, name_of, number_of, unmix
from alkyone.worlds.generated import FORGET_AFTER, GeneratedWorld, Spec
from atlas.ids import validate_channel_id, validate_youtube_id

SPEC = Spec(seed=3, channels=80, videos=6_000)


@pytest.fixture(scope="module")
def world() -> GeneratedWorld:
    return GeneratedWorld(SPEC)


def all_ids(world: GeneratedWorld) -> list[str]:
    return [world._video_id(number) for number in range(world.size())]


def test_it_is_a_world(world: GeneratedWorld) -> None:
    assert isinstance(world, World)
    assert 5_500 < world.size() < 6_500
    assert all(validate_youtube_id(name) for name in all_ids(world))
    assert all(validate_channel_id(name) for name in world.channels_at(world.start))


def test_the_same_seed_gives_the_same_world_in_another_process(world: GeneratedWorld) -> None:
    program = (
        "from alkyone.worlds import open_world\n"
        "world = open_world('generated:seed=3,channels=80,videos=6000')\n"
        "found = world.search('', at=world.end)[:200]\n"
        "print([(name, *world.counts(name, world.end)) for name in found])\n"
    )

    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    found = world.search("", at=world.end)[:200]
    here = [(name, *counts) for name in found if (counts := world.counts(name, world.end))]
    assert there.strip() == str(here)


def test_another_seed_gives_another_world(world: GeneratedWorld) -> None:
    assert not set(GeneratedWorld(Spec(seed=4, channels=80, videos=6_000)).channels_at(world.start)) & set(
        world.channels_at(world.start)
    )


def test_a_reading_depends_on_nothing_but_the_video_and_the_instant(world: GeneratedWorld) -> None:
    at = world.start + timedelta(days=9, minutes=17)
    ids = world.search("", at=at)[:300]

    together = world.readings(ids, at)
    backwards = {name: world.counts(name, at) for name in reversed(ids)}

    assert together == backwards


def test_views_only_fall_where_an_audit_or_a_correction_makes_them(world: GeneratedWorld) -> None:
    ids = list(world.search("", world.start, world.start + timedelta(days=3), at=world.end))
    falling = 0
    for name in ids:
        born = video.published_at if (video := world.video(name, world.end)) else world.start
        views = [
            reading.views for hour in range(0, 300, 3) if (reading := world.counts(name, born + timedelta(hours=hour)))
        ]
        falls = [(before, after) for before, after in pairwise(views) if after < before]
        falling += bool(falls)
        assert len(falls) <= 1
        assert views[0] == 0

    assert 0 < falling < len(ids) * 0.1


def test_counts_are_heavy_tailed_and_some_videos_burst(world: GeneratedWorld) -> None:
    views = sorted(reading.views for reading in world.readings(all_ids(world), world.end).values())

    assert views[-1] > 300 * np.median(views)
    riser = world.risers(1)[0]
    video = world.video(riser, world.end)
    assert video is not None
    steps = [
        after.views - before.views
        for hour in range(6, 400, 6)
        if (before := world.counts(riser, video.published_at + timedelta(hours=hour - 6)))
        and (after := world.counts(riser, video.published_at + timedelta(hours=hour)))
    ]
    assert max(steps[1:]) > 10 * np.median(steps)


def test_videos_are_deleted_hidden_brought_back_and_renamed(world: GeneratedWorld) -> None:
    days = [world.start + timedelta(days=day) for day in range(0, SPEC.days + 1, 2)]
    states: set[str] = set()
    for name in all_ids(world)[::3]:
        seen = [
            "absent" if (video := world.video(name, day)) is None else "private" if video.private else video.title
            for day in days
        ]
        first = next((number for number, state in enumerate(seen) if state != "absent"), len(seen))
        later = list(dict.fromkeys(seen[first:]))
        states |= {"deleted"} if "absent" in later else set()
        states |= {"hidden"} if "private" in later else set()
        states |= {"brought back"} if "private" in later and later[-1] not in {"private", "absent"} else set()
        states |= {"renamed"} if len(set(later) - {"private", "absent"}) > 1 else set()
        assert all(
            (world.counts(name, day) is None) == (state in {"absent", "private"})
            for day, state in zip(days, seen, strict=True)
        )
    titles = {
        name: {channel.title for day in days if (channel := world.channel(name, day))}
        for name in world.channels_at(world.end)
    }

    assert states == {"deleted", "hidden", "brought back", "renamed"}
    assert any(len(names) > 1 for names in titles.values())


def test_live_and_upcoming_videos_have_no_duration_yet(world: GeneratedWorld) -> None:
    instants = [world.start + timedelta(days=12, hours=9 * turn) for turn in range(16)]
    fresh = world.search("", instants[0] - timedelta(days=3), at=instants[-1])
    videos = [video for at in instants for name in fresh if (video := world.video(name, at))]

    lives = {video.live for video in videos}

    assert lives == {"none", "upcoming", "live"}
    assert all((video.duration is None) == (video.live != "none") for video in videos)
    assert any(video.duration and video.duration <= timedelta(seconds=60) for video in videos)


def test_search_finds_what_matches_in_its_window_newest_first(world: GeneratedWorld) -> None:
    at = world.start + timedelta(days=10)
    after, before = at - timedelta(days=3), at - timedelta(days=2)

    for term in world.terms()[:10]:
        found = [video for name in world.search(term, after, before, "date", at) if (video := world.video(name, at))]
        assert all(after <= video.published_at < before for video in found)
        assert [video.published_at for video in found] == sorted((video.published_at for video in found), reverse=True)


def test_every_term_leads_to_videos(world: GeneratedWorld) -> None:
    assert all(world.search(term) for term in world.terms())


def test_search_finds_a_video_minutes_after_its_publication_and_forgets_most_after_weeks(world: GeneratedWorld) -> None:
    day = timedelta(days=1)
    born = world.start
    everything = {
        name for name in all_ids(world) if (video := world.video(name, born + day)) and born <= video.published_at
    }

    soon = set(world.search("", born, born + day, at=born + day))
    later = set(world.search("", born, born + day, at=born + 3 * day))
    late = set(world.search("", born, born + day, at=born + 2 * day + timedelta(seconds=FORGET_AFTER)))

    assert len(everything) * 0.75 < len(soon) < len(later)
    assert len(late) < len(later) * 0.4


@pytest.mark.parametrize(
    ("q", "wanted", "unwanted"),
    [
        pytest.param("street food", (("street",), ("food",)), (), id="both words"),
        pytest.param("cats|dogs -box", (("cats", "dogs"),), ("box",), id="either, but not"),
        pytest.param("cats | dogs", (("cats", "dogs"),), (), id="spaced bar"),
        pytest.param("HIP-HOP!", (("hip",), ("hop",)), (), id="marks and case"),
        pytest.param(" - ", (), (), id="nothing"),
    ],
)
def test_a_query_is_read_as_youtube_reads_it(q: str, wanted: tuple[object, ...], unwanted: tuple[str, ...]) -> None:
    assert parse_query(q) == (wanted, unwanted)


def test_uploads_are_newest_first_and_lose_what_was_deleted(world: GeneratedWorld) -> None:
    channel = world.channels_at(world.end)[0]
    before, after = (world.uploads(channel, at) for at in (world.start, world.end))
    assert before is not None
    assert after is not None

    videos = [video for name in after if (video := world.video(name, world.end))]

    assert len(videos) == len(after)
    assert [video.published_at for video in videos] == sorted((video.published_at for video in videos), reverse=True)
    assert len(after) > len(before)
    assert world.uploads("UCnobody", world.end) is None


def test_a_hundred_thousand_videos_are_drawn_in_a_moment() -> None:
    world = GeneratedWorld(Spec(channels=2_000, videos=100_000))

    assert world.size() > 95_000
    assert world.video(world._video_id(99), world.end) is not None


@pytest.mark.parametrize("number", [0, 1, 12_345, 2**63, 2**64 - 1])
def test_scattered_bits_can_be_gathered_again(number: int) -> None:
    assert unmix(mix(number)) == number
    assert number_of(name_of(number, 5, 6), 5, 6) == number


@pytest.mark.parametrize("name", ["", "short", "!!!!!!!!!!!", "ÄÖÜäöüßÄÖÜä", "a" * 400])
def test_a_name_that_was_never_given_has_no_number(name: str, world: GeneratedWorld) -> None:
    assert world.video(name, world.end) is None
    assert world.channel(name, world.end) is None


def test_a_spec_is_read_from_text() -> None:
    spec = Spec.parse("seed=9, channels=400,days=7,start=2026-01-02")

    assert spec == Spec(seed=9, channels=400, videos=12_000, days=7, start=datetime(2026, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize("text", ["seed", "sead=1", "seed=x", "channels=0", "start=soon"])
def test_a_spec_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        open_world(f"generated:{text}")
