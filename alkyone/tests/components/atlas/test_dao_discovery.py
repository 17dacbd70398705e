"""A discovery is one transaction; the watchlist outlives the hot queue; a track is samples and schedule."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from alkyone.databases import NOON
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ChannelSeen, Discovery, Failure, Miss, Sample, TermOutcome, TrackOutcome, WatchEntry
from atlas.db import DatabaseManager

HOUR = timedelta(hours=1)


def video(number: int = 1, **changes: Any) -> Discovery:
    found = Discovery(
        id=f"video{number:06}", channel_id="UC1", channel_title="Chännel", title="A {title}, \\ 'quoted' \"twice\" 🎈",
        published_at=NOON - HOUR, tracking_tier="HOURLY", next_track_at=NOON + HOUR, duration=93784,
        tags=("lo-fi", 'a "tag", {odd}', ""), category_id="10", default_language="en",
        wiki_topics=("https://en.wikipedia.org/wiki/Music",), source="search:lofi",
        observed_at=NOON, views=2**40, likes=None, comment_count=0,
    )  # fmt: skip
    return replace(found, **changes)


async def table(database: DatabaseManager, query: str) -> list[Any]:
    async with database.get_connection() as conn:
        return await conn.fetch(query)  # type: ignore[arg-type]


async def happened(database: DatabaseManager) -> list[tuple[str, str | None]]:
    rows = await table(database, "SELECT event_type, entity_id FROM system_events ORDER BY id")
    return [(row["event_type"], row["entity_id"]) for row in rows]


async def test_a_discovery_fills_every_table_it_belongs_to(dao: MaiaDAO, database: DatabaseManager) -> None:
    assert await dao.ingest_video_metadata([video()], now=NOON) == ["video000001"]

    (stored,) = await table(database, "SELECT * FROM videos")
    assert stored == {
        "id": "video000001", "channel_id": "UC1", "title": video().title, "published_at": NOON - HOUR,
        "duration": 93784, "tags": list(video().tags), "category_id": "10", "default_language": "en",
        "wiki_topics": list(video().wiki_topics), "discovered_at": NOON,
    }  # fmt: skip
    (watched,) = await table(database, "SELECT * FROM watchlist")
    assert (watched["last_views"], watched["last_likes"], watched["last_comments"]) == (2**40, None, 0)
    assert (watched["tracking_tier"], watched["next_track_at"]) == ("HOURLY", NOON + HOUR)
    assert watched["last_tracked_at"] == NOON
    assert await table(database, "SELECT * FROM video_stats_log") == [
        {"video_id": "video000001", "timestamp": NOON, "views": 2**40, "likes": None, "comment_count": 0}
    ]
    assert {row["stage"] for row in await table(database, "SELECT stage FROM video_stage")} == {"painter", "scribe"}
    (channel,) = await dao.fetch_channel_batch(now=NOON)
    assert (channel["id"], channel["title"]) == ("UC1", "Chännel")
    assert await happened(database) == [("channel.discovered", "UC1"), ("video.discovered", "video000001")]


async def test_the_event_of_a_discovery_says_all_it_takes_to_make_it_again(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.ingest_video_metadata([video()], now=NOON)
    (row,) = await table(database, "SELECT payload FROM system_events WHERE event_type = 'video.discovered'")
    made_again = row["payload"] | {
        "id": "video000001",
        "published_at": datetime.fromisoformat(row["payload"]["published_at"]),
        "next_track_at": datetime.fromisoformat(row["payload"]["next_track_at"]),
        "tags": tuple(row["payload"]["tags"]),
        "wiki_topics": tuple(row["payload"]["wiki_topics"]),
    }
    without_sample = {"observed_at": None, "views": None, "likes": None, "comment_count": None}
    assert Discovery(**made_again) == video(**without_sample)


async def test_a_known_video_is_not_discovered_again_but_its_sample_counts(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.ingest_video_metadata([video(1)], now=NOON)
    later = NOON + HOUR
    seen = [video(1, observed_at=later, title="Renamed"), video(2, observed_at=later), video(2, observed_at=later)]
    assert await dao.ingest_video_metadata(seen, now=later) == ["video000002"]
    assert len(await table(database, "SELECT FROM video_stats_log")) == 3
    assert "Renamed" not in {row["title"] for row in await table(database, "SELECT title FROM videos")}
    assert len(await table(database, "SELECT FROM video_stage")) == 4
    assert (await happened(database)).count(("video.discovered", "video000002")) == 1


async def test_a_video_that_left_the_hot_queue_does_not_come_back_as_new(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.ingest_video_metadata([video()], now=NOON)
    async with database.get_connection() as conn:
        await conn.execute("DELETE FROM videos")
    assert await dao.known_videos(["video000001", "nobody"]) == {"video000001"}
    assert await dao.ingest_video_metadata([video()], now=NOON) == []
    assert await table(database, "SELECT FROM videos") == []
    assert len(await table(database, "SELECT FROM watchlist")) == 1
    assert len(await table(database, "SELECT FROM video_stats_log")) == 1


async def test_a_video_without_a_reading_has_no_sample(dao: MaiaDAO, database: DatabaseManager) -> None:
    bare = Discovery("v", "UC1", "Live", NOON, tracking_tier="HOURLY", next_track_at=NOON)
    assert await dao.ingest_video_metadata([bare], stages=(), roster=False, now=NOON) == ["v"]
    assert await table(database, "SELECT FROM video_stats_log") == []
    assert await table(database, "SELECT FROM video_stage") == []
    assert await dao.fetch_channel_batch(now=NOON) == []


async def test_a_discovery_that_fails_half_way_leaves_nothing(dao: MaiaDAO, database: DatabaseManager) -> None:
    with pytest.raises(Exception, match="stage"):
        await dao.ingest_video_metadata([video()], stages=("barber",), now=NOON)  # type: ignore[arg-type]
    for name in ("channels", "videos", "watchlist", "video_stage", "video_stats_log", "system_events"):
        assert await table(database, f"SELECT FROM {name}") == [], name


async def test_hunters_that_find_the_same_videos_at_once_discover_each_once(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    found = [video(number, channel_id=f"UC{number % 7}") for number in range(300)]
    news = await asyncio.gather(
        *(dao.ingest_video_metadata(found[::step], now=NOON) for step in (1, -1, 1, -1, 1, -1, 1, -1))
    )
    assert sorted(video_id for ids in news for video_id in ids) == sorted(video.id for video in found)
    events = await happened(database)
    assert len(events) == len(set(events)) == 307
    assert len(await table(database, "SELECT FROM video_stats_log")) == 300
    lost = "SELECT FROM videos WHERE id NOT IN (SELECT video_id FROM watchlist)"
    assert await table(database, lost) == []


async def test_a_channel_joins_the_roster_late_and_gets_the_title_it_lacked(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    assert await dao.add_channels([ChannelSeen("UC1")], in_roster=False, now=NOON) == 1
    assert await dao.fetch_channel_batch(now=NOON) == []
    assert await dao.add_channels([ChannelSeen("UC1", "Name"), ChannelSeen("UC2")], in_roster=True, now=NOON) == 1
    assert await dao.add_channels([ChannelSeen("UC1", "Other")], in_roster=False, pinned=True, now=NOON) == 0
    rows = {row["id"]: row for row in await dao.fetch_channel_batch(now=NOON)}
    assert rows.keys() == {"UC1", "UC2"}
    assert (rows["UC1"]["title"], rows["UC1"]["pinned"]) == ("Name", True)


async def test_a_sample_is_stored_once_however_often_it_is_reported(dao: MaiaDAO, database: DatabaseManager) -> None:
    samples = [Sample(f"v{n}", NOON, n, None if n % 2 else n, None) for n in range(100)]
    counts = await asyncio.gather(*(dao.log_video_stats_batch(samples[::step]) for step in (1, -1, 1, -1)))
    assert sum(counts) == 100
    assert await dao.log_video_stats_batch([Sample("v0", NOON, 999, 999, 999)]) == 0
    (first,) = await table(database, "SELECT views FROM video_stats_log WHERE video_id = 'v0'")
    assert first["views"] == 0


async def test_a_track_remembers_the_counters_and_forgets_misses_and_failures(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.add_to_watchlist([WatchEntry("v", NOON, "HOURLY", NOON)], now=NOON)
    for miss in range(3):
        (row,) = await dao.fetch_tracking_batch(now=NOON)
        tier = "DORMANT" if miss == 2 else "DAILY"
        await dao.record_misses([Miss("v", row["lease_token"], tier, NOON, "gone")], now=NOON)
    (row,) = await dao.fetch_tracking_batch(now=NOON)
    assert (row["misses"], row["tracking_tier"]) == (3, "DORMANT")
    assert await happened(database) == [("video.unavailable", "v")]

    back = TrackOutcome("v", row["lease_token"], "DAILY", NOON, 2**33, 0, None, 1.5, revived=True)
    await dao.update_watchlist_schedule([back], now=NOON)
    (row,) = await dao.fetch_tracking_batch(now=NOON)
    assert (row["misses"], row["attempts"], row["tracking_tier"]) == (0, 0, "DAILY")
    assert (row["last_views"], row["last_likes"], row["last_comments"], row["rate"]) == (2**33, 0, None, 1.5)
    assert row["last_tracked_at"] == NOON
    assert await happened(database) == [("video.unavailable", "v"), ("video.revived", "v")]


async def test_a_dormant_video_that_stays_missing_is_not_reported_again(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.add_to_watchlist([WatchEntry("v", NOON, "DORMANT", NOON)], now=NOON)
    (row,) = await dao.fetch_tracking_batch(now=NOON)
    await dao.record_misses([Miss("v", row["lease_token"], "DORMANT", NOON)], now=NOON)
    assert await happened(database) == []


async def test_the_longest_overdue_videos_are_claimed_first(dao: MaiaDAO) -> None:
    due = [WatchEntry(f"v{n}", NOON, "HOURLY", NOON - n * HOUR) for n in range(10)]
    await dao.add_to_watchlist([*due, WatchEntry("x", NOON, "DAILY", NOON + HOUR)], now=NOON)
    assert {row["video_id"] for row in await dao.fetch_tracking_batch(3, now=NOON)} == {"v9", "v8", "v7"}
    assert len(await dao.fetch_tracking_batch(100, now=NOON)) == 7


async def test_a_batch_may_mix_whole_numbers_and_fractions_and_be_all_null(dao: MaiaDAO) -> None:
    await dao.add_to_watchlist([WatchEntry(f"v{n}", NOON, "DAILY", NOON) for n in range(3)], now=NOON)
    rows = await dao.fetch_tracking_batch(now=NOON)
    rates = [0, 1.5, None]
    await dao.update_watchlist_schedule(
        [
            TrackOutcome(row["video_id"], row["lease_token"], "DAILY", NOON, None, None, None, rate)
            for row, rate in zip(rows, rates, strict=True)
        ],
        now=NOON,
    )
    assert {row["rate"] for row in await dao.fetch_tracking_batch(now=NOON)} == {0.0, 1.5, None}


async def test_terms_are_told_apart_by_words_only(dao: MaiaDAO) -> None:
    assert await dao.add_to_search_queue(["Lofi  Beats", "lofi beats ", "", " ", "x" * 999, "jazz"], now=NOON) == 2
    assert await dao.add_to_search_queue(["LOFI BEATS"], priority=7, pinned=True, now=NOON + HOUR) == 0
    rows = {row["query_term"]: row for row in await dao.fetch_hunter_batch(now=NOON)}
    assert rows.keys() == {"lofi beats", "jazz"}
    term = rows["lofi beats"]
    assert (term["mention_count"], term["priority"], term["pinned"]) == (2, 7, True)


async def test_pinned_terms_go_first_and_priority_is_worth_a_day_of_waiting_each_point(dao: MaiaDAO) -> None:
    day = timedelta(days=1)
    await dao.add_to_search_queue(["waits three days"], now=NOON - 3 * day)
    await dao.add_to_search_queue(["priority two"], priority=2, now=NOON)
    await dao.add_to_search_queue(["priority four"], priority=4, now=NOON)
    await dao.add_to_search_queue(["pinned"], pinned=True, now=NOON)
    await dao.add_to_search_queue(["not due"], pinned=True, priority=100, now=NOON + day)
    order = [row["query_term"] for _ in range(5) for row in await dao.fetch_hunter_batch(1, now=NOON)]
    assert order == ["pinned", "priority four", "waits three days", "priority two"]


async def test_a_term_falls_asleep_unless_pinned_and_wakes_when_it_is_mentioned(dao: MaiaDAO) -> None:
    await dao.add_to_search_queue(["tired"], now=NOON)
    await dao.add_to_search_queue(["pinned"], pinned=True, now=NOON)
    rows = await dao.fetch_hunter_batch(now=NOON)
    await dao.update_search_state(
        [
            TermOutcome(row["id"], row["lease_token"], NOON, NOON - HOUR, NOON, "CAUQAA", 50, 3, 3.0, asleep=True)
            for row in rows
        ],
        now=NOON,
    )
    (awake,) = await dao.fetch_hunter_batch(now=NOON)
    assert awake["query_term"] == "pinned"
    assert (awake["next_page_token"], awake["page_token_at"], awake["last_searched_at"]) == ("CAUQAA", NOON, NOON)
    assert (awake["result_count_total"], awake["new_count_total"], awake["yield_"]) == (50, 3, 3.0)
    assert (awake["window_after"], awake["window_before"]) == (NOON - HOUR, NOON)
    assert await dao.add_to_search_queue(["Tired"], now=NOON) == 0
    assert [row["query_term"] for row in await dao.fetch_hunter_batch(now=NOON)] == ["tired"]


async def test_terms_that_nobody_feeds_are_put_to_sleep(dao: MaiaDAO) -> None:
    await dao.add_to_search_queue(["old", "held", "rich"], now=NOON)
    await dao.add_to_search_queue(["old pinned"], pinned=True, now=NOON)
    await dao.add_to_search_queue(["young"], now=NOON + 2 * HOUR)
    rows = {row["query_term"]: row for row in await dao.fetch_hunter_batch(now=NOON)}
    await dao.update_search_state(
        [TermOutcome(rows["rich"]["id"], rows["rich"]["lease_token"], NOON, yield_=9.0)], now=NOON
    )
    await dao.update_search_state([TermOutcome(rows["old"]["id"], rows["old"]["lease_token"], NOON)], now=NOON)
    assert await dao.sleep_terms(NOON + HOUR, now=NOON) == 1
    assert (await dao.overview(now=NOON))["asleep_terms"] == 1


async def test_hunters_that_mention_the_same_terms_in_any_order_never_deadlock(dao: MaiaDAO) -> None:
    terms = [f"term {number}" for number in range(200)]
    for _ in range(5):
        await asyncio.gather(*(dao.add_to_search_queue(terms[::step], now=NOON) for step in (1, -1) * 5))
    assert {row["mention_count"] for row in await dao.fetch_hunter_batch(999, now=NOON)} == {50}


async def test_a_stage_dies_after_its_last_attempt_and_keeps_its_reason(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.ingest_video_metadata([video()], now=NOON)
    dead = []
    for _ in range(3):
        (row,) = await dao.fetch_painter_targets(now=NOON)
        failure = Failure(row["video_id"], row["lease_token"], "no frames", NOON)
        dead.append(await dao.fail_stage([failure], "painter", dead_after=3))
    assert dead == [0, 0, 1]
    assert await dao.fetch_painter_targets(now=NOON) == []
    (stage,) = await table(database, "SELECT state, reason FROM video_stage WHERE stage = 'painter'")
    assert stage == {"state": "DEAD", "reason": "no frames"}
    assert len(await dao.fetch_scribe_targets(now=NOON)) == 1
