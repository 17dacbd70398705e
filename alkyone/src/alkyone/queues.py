"""The leased queues, each used in the same way: for tests of what all of them promise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import (
    ChannelSeen,
    Discovery,
    Failure,
    PollOutcome,
    SourceOutcome,
    SourceSeed,
    Stage,
    TermOutcome,
    TrackOutcome,
    WatchEntry,
)

DEAD_AFTER = 5
"""Failed attempts that end a stage for good."""


class Queue(NamedTuple):
    """How to use one of the queues, whatever it holds. Rows are numbered; their keys begin and end as they like.

    ``state`` reads all rows: key, due_at, lease_token, leased_until, attempts.
    """

    fill: Callable[[MaiaDAO, Sequence[int], datetime], Awaitable[object]]  # rows due at that time
    claim: Callable[[MaiaDAO, int, datetime], Awaitable[list[Any]]]
    done: Callable[[MaiaDAO, Sequence[Any], UUID, datetime, datetime], Awaitable[object]]  # keys, next time, now
    fail: Callable[[MaiaDAO, list[Failure]], Awaitable[object]]
    release: Callable[[MaiaDAO, UUID, datetime], Awaitable[int]]
    key: str
    table: LiteralString
    state: LiteralString
    goes_away: bool = False  # what is done has no next time
    dead_after: int | None = None


async def _fill_stages(dao: MaiaDAO, rows: Sequence[int], now: datetime, stage: Stage) -> None:
    later = now + timedelta(hours=1)
    found = [
        Discovery(f"video{number:06}", "UC1", "A video", now, tracking_tier="HOURLY", next_track_at=later)
        for number in rows
    ]
    await dao.ingest_video_metadata(found, stages=(stage,), now=now)


def _stages(stage: Stage, claim: Callable[[MaiaDAO, int, datetime], Awaitable[list[Any]]]) -> Queue:
    return Queue(
        lambda dao, rows, now: _fill_stages(dao, rows, now, stage),
        claim,
        lambda dao, keys, token, due, now: dao.mark_video_done(keys, stage, token, now=now),
        lambda dao, failures: dao.fail_stage(failures, stage, dead_after=DEAD_AFTER),
        lambda dao, token, now: dao.release_stage(token, now=now),
        "video_id",
        "video_stage",
        "SELECT video_id AS key, next_attempt_at AS due_at, lease_token, leased_until, attempts FROM video_stage",
        goes_away=True,
        dead_after=DEAD_AFTER,
    )


QUEUES = {
    "search terms": Queue(
        lambda dao, rows, now: dao.add_to_search_queue([f"term {number}" for number in rows], now=now),
        lambda dao, size, now: dao.fetch_hunter_batch(size, now=now),
        lambda dao, keys, token, due, now: dao.update_search_state(
            [TermOutcome(key, token, due) for key in keys], now=now
        ),
        lambda dao, failures: dao.fail_searches(failures),
        lambda dao, token, now: dao.release_searches(token),
        "id",
        "search_queue",
        "SELECT id AS key, next_search_at AS due_at, lease_token, leased_until, attempts FROM search_queue",
    ),
    "channels": Queue(
        lambda dao, rows, now: dao.add_channels(
            [ChannelSeen(f"UC{number}") for number in rows], in_roster=True, now=now
        ),
        lambda dao, size, now: dao.fetch_channel_batch(size, now=now),
        lambda dao, keys, token, due, now: dao.update_channel_polls(
            [PollOutcome(key, token, due, 0.5) for key in keys], now=now
        ),
        lambda dao, failures: dao.fail_channel_polls(failures),
        lambda dao, token, now: dao.release_channels(token, now=now),
        "id",
        "channels",
        "SELECT id AS key, next_poll_at AS due_at, lease_token, leased_until, poll_attempts AS attempts FROM channels",
    ),
    "watchlist": Queue(
        lambda dao, rows, now: dao.add_to_watchlist(
            [WatchEntry(f"video{number:06}", now, "HOURLY", now) for number in rows], now=now
        ),
        lambda dao, size, now: dao.fetch_tracking_batch(size, now=now),
        lambda dao, keys, token, due, now: dao.update_watchlist_schedule(
            [TrackOutcome(key, token, "HOURLY", due, 1, None, 0, None) for key in keys], now=now
        ),
        lambda dao, failures: dao.fail_tracking(failures),
        lambda dao, token, now: dao.release_tracking(token, now=now),
        "video_id",
        "watchlist",
        "SELECT video_id AS key, next_track_at AS due_at, lease_token, leased_until, attempts FROM watchlist",
    ),
    "sources": Queue(
        lambda dao, rows, now: dao.add_sources("walk", [SourceSeed(f"UC{number}", now) for number in rows], now=now),
        lambda dao, size, now: dao.fetch_source_batch("walk", size, now=now),
        lambda dao, keys, token, due, now: dao.update_sources(
            "walk", [SourceOutcome(key, token, due) for key in keys], now=now
        ),
        lambda dao, failures: dao.fail_sources("walk", failures),
        lambda dao, token, now: dao.release_sources("walk", token, now=now),
        "name",
        "sources",
        "SELECT name AS key, next_read_at AS due_at, lease_token, leased_until, attempts FROM sources",
    ),
    "painter stages": _stages("painter", lambda dao, size, now: dao.fetch_painter_targets(size, now=now)),
    "scribe stages": _stages("scribe", lambda dao, size, now: dao.fetch_scribe_batch(size, now=now)),
}
