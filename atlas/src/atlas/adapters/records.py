"""What goes into and comes out of the DAO: rows are ``TypedDict``s, batches are sequences of ``NamedTuple``s.

All times are aware and in UTC. A ``lease_token`` is shown by whoever ends the work that a claim began.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, NamedTuple, TypedDict
from uuid import UUID

from atlas.tiers import Tier

Stage = Literal["painter", "scribe"]

# ---------------------------------------------------------------------------------------------------------------------
# Every queue
# ---------------------------------------------------------------------------------------------------------------------


class Failure(NamedTuple):
    """Work that failed for now: why, and when it is due again."""

    id: int | str
    lease_token: UUID
    reason: str
    next_attempt_at: datetime


# ---------------------------------------------------------------------------------------------------------------------
# Search terms
# ---------------------------------------------------------------------------------------------------------------------


class TermRow(TypedDict):
    """A leased search term."""

    id: int
    query_term: str
    priority: int
    pinned: bool
    mention_count: int
    last_searched_at: datetime | None
    window_after: datetime | None
    window_before: datetime | None
    next_page_token: str | None
    page_token_at: datetime | None
    result_count_total: int
    new_count_total: int
    yield_: float  # smoothed new videos per call
    attempts: int
    added_at: datetime
    last_mentioned_at: datetime
    lease_token: UUID


class TermOutcome(NamedTuple):
    """A term that was searched: what came of it, and when to search it again."""

    id: int
    lease_token: UUID
    next_search_at: datetime
    window_after: datetime | None = None
    window_before: datetime | None = None
    next_page_token: str | None = None
    candidates: int = 0
    discovered: int = 0
    yield_: float = 0.0
    asleep: bool = False


# ---------------------------------------------------------------------------------------------------------------------
# Channels
# ---------------------------------------------------------------------------------------------------------------------


class ChannelSeen(NamedTuple):
    """A channel somebody named or a video came from."""

    id: str
    title: str | None = None


class ChannelRow(TypedDict):
    """A leased channel of the roster."""

    id: str
    title: str | None
    pinned: bool
    added_at: datetime
    next_poll_at: datetime
    last_polled_at: datetime | None
    upload_rate: float  # smoothed new videos per day
    attempts: int
    lease_token: UUID


class PollOutcome(NamedTuple):
    """A channel whose uploads were read."""

    id: str
    lease_token: UUID
    next_poll_at: datetime
    upload_rate: float


# ---------------------------------------------------------------------------------------------------------------------
# Discovery
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Discovery:
    """A video as it was found, with the sample that came along when ``observed_at`` is set."""

    id: str
    channel_id: str
    title: str
    published_at: datetime
    tracking_tier: Tier
    next_track_at: datetime
    channel_title: str | None = None
    duration: int | None = None  # seconds; None for live and upcoming videos
    tags: tuple[str, ...] = ()
    category_id: str | None = None
    default_language: str | None = None
    wiki_topics: tuple[str, ...] = ()
    source: str = ""  # how it was found: "search:…", "uploads", …
    observed_at: datetime | None = None
    views: int | None = None
    likes: int | None = field(default=None)  # None when hidden, which is not zero
    comment_count: int | None = None


class WatchEntry(NamedTuple):
    """A video to track, whether or not it is in the hot queue."""

    video_id: str
    published_at: datetime
    tracking_tier: Tier
    next_track_at: datetime
    channel_id: str | None = None


# ---------------------------------------------------------------------------------------------------------------------
# Tracking
# ---------------------------------------------------------------------------------------------------------------------


class TrackingRow(TypedDict):
    """A leased video of the watchlist."""

    video_id: str
    channel_id: str | None
    published_at: datetime
    tracking_tier: Tier
    next_track_at: datetime
    last_tracked_at: datetime | None
    last_views: int | None
    last_likes: int | None
    last_comments: int | None
    rate: float | None  # smoothed views an hour; None before the second sample
    misses: int
    attempts: int
    lease_token: UUID


class Sample(NamedTuple):
    """The counters of a video at an instant; None is hidden, not zero."""

    video_id: str
    timestamp: datetime
    views: int | None
    likes: int | None
    comment_count: int | None


class TrackOutcome(NamedTuple):
    """A video that was read; ``revived`` when it had been given up for unavailable."""

    video_id: str
    lease_token: UUID
    tier: Tier
    next_track_at: datetime
    views: int | None
    likes: int | None
    comment_count: int | None
    rate: float | None
    revived: bool = False


class Miss(NamedTuple):
    """A video that YouTube confirmed not to have; the tier DORMANT gives it up for unavailable."""

    video_id: str
    lease_token: UUID
    tier: Tier
    next_track_at: datetime
    reason: str = "not found"


# ---------------------------------------------------------------------------------------------------------------------
# Stages
# ---------------------------------------------------------------------------------------------------------------------


class StageRow(TypedDict):
    """A leased stage of a video, with what is known of the video."""

    video_id: str
    channel_id: str
    title: str
    published_at: datetime
    duration: int | None
    tags: list[str]
    category_id: str | None
    default_language: str | None
    wiki_topics: list[str]
    discovered_at: datetime
    attempts: int
    lease_token: UUID


# ---------------------------------------------------------------------------------------------------------------------
# Janitor
# ---------------------------------------------------------------------------------------------------------------------


class ClosedDay(NamedTuple):
    """A day with samples to archive, or an empty partition to drop."""

    day: date
    rows: int
    partition: str | None  # None: its rows lie in the default partition only
    bytes: int = 0  # of the partition, indexes included


class ExpiredVideo(TypedDict):
    """A video past its time in the hot queue."""

    id: str
    channel_id: str
    channel_title: str | None
    title: str
    published_at: datetime
    duration: int | None
    tags: list[str]
    category_id: str | None
    default_language: str | None
    wiki_topics: list[str]
    discovered_at: datetime


class Riser(TypedDict):
    """A video that gains views fast."""

    video_id: str
    title: str | None  # None once it has left the hot queue
    published_at: datetime
    views: int | None
    rate: float  # smoothed views an hour


# ---------------------------------------------------------------------------------------------------------------------
# Overview
# ---------------------------------------------------------------------------------------------------------------------


class Backlog(TypedDict):
    """What waits in a queue: all rows, those due, those leased now, and how late the oldest is."""

    total: int
    due: int
    leased: int
    oldest_due_at: datetime | None


class Archived(TypedDict):
    """What the vault is proven to hold of a kind."""

    shards: int
    rows: int
    bytes: int


class Overview(TypedDict):
    """The state of the system at a glance."""

    videos: int
    channels: int
    watchlist: int
    samples_hot: int
    tiers: dict[Tier, int]
    backlog: dict[str, Backlog]  # search, channels, tracking, painter, scribe
    asleep_terms: int
    dead_stages: int
    sql_bytes: int
    vault: dict[str, Archived]  # by kind
