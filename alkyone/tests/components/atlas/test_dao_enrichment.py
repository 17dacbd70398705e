"""Videos and channels are read again: what became different is noted once, what was not told stays."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from alkyone.databases import NOON
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ChannelReading, ChannelSeen, Discovery, VideoReading
from atlas.db import DatabaseManager
from atlas.events.catalogue import check

HOUR = timedelta(hours=1)


async def table(database: DatabaseManager, query: str) -> list[dict[str, Any]]:
    async with database.get_connection() as conn:
        return await conn.fetch(query)  # type: ignore[arg-type]


def discovered(number: int, **changes: Any) -> Discovery:
    facts: dict[str, Any] = {"title": "Old", "duration": 60, "tags": ("a",), "category_id": "10"} | changes
    return Discovery(f"video{number:06}", "UC1", published_at=NOON, tracking_tier="DAILY", next_track_at=NOON, **facts)


def reading(number: int, **changes: Any) -> VideoReading:
    facts: dict[str, Any] = {"title": "New", "duration": None, "tags": (), "category_id": None}
    facts |= {"default_language": "de", "wiki_topics": ("w",)}
    return VideoReading(f"video{number:06}", **facts | changes)


async def test_a_video_has_its_new_title_and_keeps_what_was_not_told(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.ingest_video_metadata([discovered(1), discovered(2, title="")], now=NOON)

    renamed = await dao.update_video_metadata([reading(1), reading(2), reading(3)], now=NOON + HOUR)

    assert renamed == 1, "what had no title before is not renamed, and what is not here is no matter"
    (row, _) = await table(database, "SELECT * FROM videos ORDER BY id")
    assert (row["title"], row["duration"], row["tags"], row["category_id"]) == ("New", 60, [], "10")
    assert (row["default_language"], row["wiki_topics"]) == ("de", ["w"])
    assert await table(database, "SELECT * FROM video_history") == [
        {"video_id": "video000001", "changed_at": NOON + HOUR, "old_title": "Old", "new_title": "New"}
    ]
    (event,) = await table(database, "SELECT * FROM system_events WHERE event_type = 'video.renamed'")
    assert (event["entity_id"], event["payload"]) == ("video000001", {"old": "Old", "new": "New"})
    check(event["event_type"], event["payload"])
    told = await table(database, "SELECT * FROM system_events WHERE event_type = 'video.updated' ORDER BY entity_id")
    learned = {"tags": [], "default_language": "de", "wiki_topics": ["w"]}
    assert [event["payload"] for event in told] == [learned, {"title": "New", **learned}]


async def test_a_video_that_stayed_the_same_is_not_written(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.ingest_video_metadata([discovered(1)], now=NOON)
    await dao.update_video_metadata([reading(1)], now=NOON)
    before = await table(database, "SELECT ctid, xmin FROM videos")

    assert await dao.update_video_metadata([reading(1)], now=NOON + HOUR) == 0

    assert await table(database, "SELECT ctid, xmin FROM videos") == before


@pytest.mark.parametrize(
    ("field", "event"),
    [
        ("title", "channel.renamed"),
        ("custom_url", "channel.handle_changed"),
        ("country", "channel.country_changed"),
    ],
)
async def test_a_change_of_a_channel_is_noted_with_its_event(
    dao: MaiaDAO, database: DatabaseManager, field: str, event: str
) -> None:
    await dao.add_channels([ChannelSeen("UC1")], in_roster=False, now=NOON)

    counts = [
        await dao.refresh_channels([ChannelReading("UC1", **{field: value})], now=NOON + n * HOUR)
        for n, value in enumerate(("one", "one", None, "two"))
    ]

    assert counts == [0, 0, 0, 1], "first knowledge is no change, and what was not told is none"
    (row,) = await table(database, "SELECT * FROM channel_history")
    assert (row["old_title"], row["new_title"], row["changed_at"]) == ("one", "two", NOON + 3 * HOUR)
    assert f"channel.{row['event_type']}" == event
    (told,) = await table(database, f"SELECT * FROM system_events WHERE event_type = '{event}'")
    assert (told["entity_id"], told["payload"]) == ("UC1", {"old": "one", "new": "two"})
    check(event, told["payload"])


async def test_two_who_read_the_same_change_note_it_once(dao: MaiaDAO, database: DatabaseManager) -> None:
    ids = [f"UC{number:03}" for number in range(60)]
    await dao.add_channels([ChannelSeen(id_, "Old") for id_ in ids], in_roster=False, now=NOON)
    readings = [ChannelReading(id_, "New", views=1) for id_ in ids]

    counts = await asyncio.gather(
        *(dao.refresh_channels(readings[::step], now=NOON + n * HOUR) for n, step in enumerate((1, -1, 1, -1)))
    )

    assert sum(counts) == 60
    assert len(await table(database, "SELECT FROM channel_history")) == 60
    assert len(await table(database, "SELECT FROM channel_stats_log")) == 240


async def test_a_channel_that_is_gone_was_read_and_has_no_counts(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.add_channels([ChannelSeen("UC1", "Known")], in_roster=False, now=NOON)
    assert await dao.stale_channels(["UC1", "UC2"], NOON) == ["UC1"]

    await dao.refresh_channels([ChannelReading("UC1")], now=NOON)

    assert await dao.stale_channels(["UC1"], NOON) == []
    assert await dao.stale_channels(["UC1"], NOON + HOUR) == ["UC1"]
    assert await table(database, "SELECT title FROM channels") == [{"title": "Known"}]
    assert await table(database, "SELECT FROM channel_stats_log") == []
