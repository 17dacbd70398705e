"""A discovery is one transaction; the watchlist outlives the hot queue; a track is samples and schedule."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from alkyone import snapshots
from alkyone.databases import NOON
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import (
    ChannelSeen,
    Discovery,
    Failure,
    Miss,
    PollHint,
    PollOutcome,
    Rejected,
    Sample,
    SourceOutcome,
    SourceSeed,
    TermOutcome,
    TrackOutcome,
    WatchEntry,
)
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


async def test_what_a_known_channel_gains_is_told_once(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.add_channels([ChannelSeen("UC1")], in_roster=False, now=NOON)
    for _ in range(2):
        await dao.add_channels([ChannelSeen("UC1", "Name")], in_roster=True, now=NOON)
        await dao.add_channels([ChannelSeen("UC1", "Other")], in_roster=True, pinned=True, now=NOON)
    told = await table(database, "SELECT event_type, payload FROM system_events ORDER BY id")
    assert [(row["event_type"], row["payload"]) for row in told] == [
        ("channel.discovered", {"title": None, "in_roster": False, "pinned": False}),
        ("channel.updated", {"title": "Name", "in_roster": True}),
        ("channel.updated", {"pinned": True}),
    ]


async def test_terms_that_are_added_mentioned_asleep_and_awake_are_told_in_batches(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.add_to_search_queue(["b", "a"], now=NOON)
    await dao.add_to_search_queue(["a", "c"], priority=5, now=NOON)
    await dao.sleep_terms(NOON + HOUR, now=NOON)
    await dao.add_to_search_queue(["a", "b"], pinned=True, now=NOON)
    told = await table(database, "SELECT event_type, payload FROM system_events ORDER BY id")
    assert [(row["event_type"], row["payload"]) for row in told] == [
        ("terms.added", {"terms": ["a", "b"]}),
        ("terms.added", {"terms": ["c"], "priority": 5}),
        ("terms.mentioned", {"terms": ["a"], "priority": 5}),
        ("terms.slept", {"terms": ["a", "b", "c"]}),
        ("terms.mentioned", {"terms": ["a", "b"], "pinned": True}),
        ("terms.woken", {"terms": ["a", "b"]}),
    ]


async def test_a_search_that_ends_late_does_not_wake_a_term(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.add_to_search_queue(["tired"], now=NOON)
    (row,) = await dao.fetch_hunter_batch(now=NOON)
    late = NOON + HOUR  # its lease ran out, but nobody else has it
    assert await dao.sleep_terms(late, now=late) == 1
    await dao.update_search_state([TermOutcome(row["id"], row["lease_token"], NOON)], now=late)
    assert await dao.fetch_hunter_batch(now=late) == []
    assert ("terms.woken", None) not in await happened(database)


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
    assert await happened(database) == [("video.watched", "v"), ("video.unavailable", "v")]

    back = TrackOutcome("v", row["lease_token"], "DAILY", NOON, 2**33, 0, None, 1.5, revived=True)
    await dao.update_watchlist_schedule([back], now=NOON)
    (row,) = await dao.fetch_tracking_batch(now=NOON)
    assert (row["misses"], row["attempts"], row["tracking_tier"]) == (0, 0, "DAILY")
    assert (row["last_views"], row["last_likes"], row["last_comments"], row["rate"]) == (2**33, 0, None, 1.5)
    assert row["last_tracked_at"] == NOON
    assert (await happened(database))[1:] == [("video.unavailable", "v"), ("video.revived", "v")]


async def test_a_dormant_video_that_stays_missing_is_not_reported_again(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.add_to_watchlist([WatchEntry("v", NOON, "DORMANT", NOON)], now=NOON)
    (row,) = await dao.fetch_tracking_batch(now=NOON)
    await dao.record_misses([Miss("v", row["lease_token"], "DORMANT", NOON)], now=NOON)
    assert await happened(database) == [("video.watched", "v")]


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
    assert (term["mention_count"], term["priority"], term["pinned"]) == (3, 7, True)


async def test_pinned_terms_go_first_and_priority_is_worth_a_day_of_waiting_each_point(dao: MaiaDAO) -> None:
    day = timedelta(days=1)
    await dao.add_to_search_queue(["waits three days"], now=NOON - 3 * day)
    await dao.add_to_search_queue(["priority two"], priority=2, now=NOON)
    await dao.add_to_search_queue(["priority four"], priority=4, now=NOON)
    await dao.add_to_search_queue(["pinned"], pinned=True, now=NOON)
    await dao.add_to_search_queue(["not due"], pinned=True, priority=100, now=NOON + day)
    order = [row["query_term"] for _ in range(5) for row in await dao.fetch_hunter_batch(1, now=NOON)]
    assert order == ["pinned", "priority four", "waits three days", "priority two"]


async def test_a_search_leaves_what_the_next_one_goes_by(dao: MaiaDAO) -> None:
    await dao.add_to_search_queue(["jazz"], now=NOON)
    (row,) = await dao.fetch_hunter_batch(now=NOON)
    outcome = TermOutcome(
        row["id"], row["lease_token"], NOON, searched_until=NOON, window_after=NOON - HOUR, window_before=NOON,
        window_seen=150, window_rest=NOON - HOUR / 2, next_page_token="CAUQAA", candidates=50, discovered=3, yield_=3.0,
    )  # fmt: skip
    await dao.update_search_state([outcome], now=NOON)
    (again,) = await dao.fetch_hunter_batch(now=NOON)
    assert (again["next_page_token"], again["page_token_at"], again["last_searched_at"]) == ("CAUQAA", NOON, NOON)
    assert (again["result_count_total"], again["new_count_total"], again["yield_"]) == (50, 3, 3.0)
    assert (again["window_after"], again["window_before"], again["searched_until"]) == (NOON - HOUR, NOON, NOON)
    assert (again["window_seen"], again["window_rest"]) == (150, NOON - HOUR / 2)


async def test_a_term_falls_asleep_unless_pinned_and_wakes_when_it_is_mentioned(dao: MaiaDAO) -> None:
    await dao.add_to_search_queue(["tired"], now=NOON)
    await dao.add_to_search_queue(["pinned"], pinned=True, now=NOON)
    assert await dao.sleep_terms(NOON + HOUR, now=NOON) == 1
    assert [row["query_term"] for row in await dao.fetch_hunter_batch(now=NOON)] == ["pinned"]
    assert await dao.add_to_search_queue(["Tired"], at_most=0, now=NOON) == 0
    assert [row["query_term"] for row in await dao.fetch_hunter_batch(now=NOON)] == ["tired"]


async def test_each_occurrence_is_a_mention_and_new_terms_are_bounded(dao: MaiaDAO) -> None:
    assert await dao.add_to_search_queue(["jazz"], now=NOON) == 1
    given = ["rare", "often", "often", "jazz", "late", "Jazz"]
    assert await dao.add_to_search_queue(given, at_most=2, now=NOON) == 2
    mentions = {row["query_term"]: row["mention_count"] for row in await dao.fetch_hunter_batch(now=NOON)}
    assert mentions == {"jazz": 3, "rare": 1, "often": 2}


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


async def test_hunters_that_mention_what_the_other_searched_never_deadlock(dao: MaiaDAO) -> None:
    terms = [f"term {number}" for number in range(40)]
    await dao.add_to_search_queue(terms, now=NOON)

    async def search() -> None:
        rows = await dao.fetch_hunter_batch(10, now=NOON)
        async with dao.transaction() as tx:
            await tx.hold_terms(terms[::-1], [row["id"] for row in rows])
            for term in terms[::-1]:
                await tx.add_to_search_queue([term], now=NOON)
            outcomes = [TermOutcome(row["id"], row["lease_token"], NOON) for row in rows]
            await tx.update_search_state(outcomes, now=NOON)

    await asyncio.gather(*(search() for _ in range(4)))
    assert {row["mention_count"] for row in await dao.fetch_hunter_batch(99, now=NOON)} == {5}


async def test_a_stage_dies_after_its_last_attempt_and_keeps_its_reason(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.ingest_video_metadata([video()], now=NOON)
    dead = []
    for _ in range(3):
        (row,) = await dao.fetch_painter_targets(now=NOON)
        failure = Failure(row["video_id"], row["lease_token"], "no frames", NOON)
        dead.append(await dao.fail_stage([failure], "painter", dead_after=3, now=NOON))
    assert dead == [0, 0, 1]
    assert await dao.fetch_painter_targets(now=NOON) == []
    (stage,) = await table(database, "SELECT state, reason FROM video_stage WHERE stage = 'painter'")
    assert stage == {"state": "DEAD", "reason": "no frames"}
    assert len(await dao.fetch_scribe_targets(now=NOON)) == 1


async def test_the_scribe_waits_until_the_painter_has_ended_well_or_not(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await dao.ingest_video_metadata([video(id=name) for name in ("done", "dead", "failed", "waiting")], now=NOON)
    assert await dao.fetch_scribe_targets(now=NOON + timedelta(days=99)) == []
    backlog = (await dao.overview(now=NOON))["backlog"]
    assert (backlog["scribe"]["total"], backlog["scribe"]["due"], backlog["scribe"]["oldest_due_at"]) == (4, 0, None)

    token = (await dao.fetch_painter_targets(now=NOON))[0]["lease_token"]
    later = NOON + timedelta(minutes=5)
    await dao.mark_video_done(["done"], "painter", token, now=later)
    await dao.fail_stage([Failure("dead", token, "no more", later)], "painter", dead_after=1, now=later)
    await dao.fail_stage([Failure("failed", token, "once more", later)], "painter", now=later)

    assert await dao.fetch_scribe_targets(now=later - timedelta(seconds=1)) == []
    assert {row["video_id"] for row in await dao.fetch_scribe_targets(now=later)} == {"done", "dead"}
    backlog = (await dao.overview(now=later))["backlog"]
    assert (backlog["scribe"]["total"], backlog["scribe"]["due"]) == (4, 2)
    assert snapshots.tables(database.conninfo)["video_stage"]


async def test_without_a_painter_the_scribe_may_begin_at_once(dao: MaiaDAO) -> None:
    await dao.ingest_video_metadata([video()], stages=("scribe",), now=NOON)
    assert [row["video_id"] for row in await dao.fetch_scribe_targets(now=NOON)] == [video().id]


async def test_what_was_rejected_needs_no_looking_up_until_its_time(dao: MaiaDAO) -> None:
    await dao.ingest_video_metadata([video(1)], now=NOON)
    await dao.reject_videos([Rejected("v2", "duration", NOON + HOUR), Rejected("v3", "language", NOON + 3 * HOUR)])
    await dao.reject_videos([Rejected("v2", "duration", NOON + 2 * HOUR)])
    ids = ["video000001", "v2", "v3", "v4"]
    assert await dao.judged_videos(ids, now=NOON + HOUR) == {"video000001", "v2", "v3"}
    assert await dao.judged_videos(ids, now=NOON + 2 * HOUR) == {"video000001", "v3"}
    assert await dao.known_videos(ids) == {"video000001"}
    assert await dao.forget_rejected(now=NOON + 2 * HOUR) == 1
    assert await dao.forget_rejected(now=NOON + 2 * HOUR) == 0


async def test_a_walk_goes_on_where_it_stopped_and_goes_away_at_its_end(dao: MaiaDAO) -> None:
    seeds = [SourceSeed("UC1", NOON, "EAAaBlBUOkNESQ", 50, back_to=NOON - HOUR), SourceSeed("UC2", NOON + HOUR)]
    assert await dao.add_sources("walk", seeds, now=NOON) == 2
    assert await dao.add_sources("walk", [SourceSeed("UC1", NOON)], now=NOON) == 0
    assert await dao.add_sources("feed", [SourceSeed("UC1", NOON)], now=NOON) == 1
    (walk,) = await dao.fetch_source_batch("walk", now=NOON)
    assert (walk["page_token"], walk["passed"], walk["back_to"]) == ("EAAaBlBUOkNESQ", 50, NOON - HOUR)
    going_on = SourceOutcome("UC1", walk["lease_token"], NOON, "EAAaB1BUOkNHUQ", 100)
    await dao.update_sources("walk", [going_on], now=NOON)
    (walk,) = await dao.fetch_source_batch("walk", now=NOON)
    assert (walk["page_token"], walk["passed"], walk["last_read_at"]) == ("EAAaB1BUOkNHUQ", 100, NOON)
    await dao.update_sources("walk", [SourceOutcome("UC1", walk["lease_token"], None)], now=NOON)
    assert [row["name"] for row in await dao.fetch_source_batch("walk", now=NOON + HOUR)] == ["UC2"]
    backlog = (await dao.overview(now=NOON + HOUR))["backlog"]
    assert (backlog["walk"]["leased"], backlog["feed"]["due"], backlog["chart"]["total"]) == (1, 1, 0)


async def test_a_feed_moves_the_next_poll_but_not_past_the_longest_wait(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    day = timedelta(days=1)
    await dao.add_channels([ChannelSeen(f"UC{n}") for n in range(4)], in_roster=True, now=NOON - HOUR)
    rows = await dao.fetch_channel_batch(now=NOON)
    polls = [PollOutcome(row["id"], row["lease_token"], NOON + day, 1.0) for row in rows]
    await dao.update_channel_polls(polls, now=NOON)
    hints = [
        PollHint("UC0", due=True, not_before=NOON + 2 * day),
        PollHint("UC1", due=False, not_before=NOON + 2 * day),
        PollHint("UC2", due=False, not_before=NOON + 9 * day),
        PollHint("UC3", due=False, not_before=NOON + HOUR),
        PollHint("unknown", due=True, not_before=NOON),
    ]
    await dao.hint_polls(hints, longest=7 * day, now=NOON + HOUR)
    due = {row["id"]: row["next_poll_at"] for row in await table(database, "SELECT id, next_poll_at FROM channels")}
    assert due == {"UC0": NOON + HOUR, "UC1": NOON + 2 * day, "UC2": NOON + 7 * day, "UC3": NOON + day}
    assert await dao.roster_demand(per_upload=2.0, least=0.1, most=24.0) == pytest.approx(8.0)


async def test_a_channel_that_is_being_polled_needs_no_hint(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.add_channels([ChannelSeen("UC1")], in_roster=True, now=NOON)
    assert len(await dao.fetch_channel_batch(now=NOON)) == 1
    await dao.hint_polls([PollHint("UC1", due=False, not_before=NOON + HOUR)], longest=HOUR, now=NOON)
    assert (await table(database, "SELECT next_poll_at FROM channels"))[0]["next_poll_at"] == NOON
