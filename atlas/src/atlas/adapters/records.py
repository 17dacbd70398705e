"""What goes into and comes out of the DAO: rows are ``TypedDict``s, batches are sequences of ``NamedTuple``s.

All times are aware and in UTC. A ``lease_token`` is shown by whoever ends the work that a claim began.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

from atlas.tiers import Tier

Stage = Literal["painter", "scribe"]

# ---------------------------------------------------------------------------------------------------------------------
# Every queue
# ---------------------------------------------------------------------------------------------------------------------

LEASE = timedelta(minutes=10)
"""How long a claim holds; what is not settled by then is anybody's again."""


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
    searched_until: datetime | None
    window_after: datetime | None
    window_before: datetime | None
    window_seen: int
    window_rest: datetime | None
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
    searched_until: datetime | None = None
    window_after: datetime | None = None
    window_before: datetime | None = None
    window_seen: int = 0
    window_rest: datetime | None = None
    next_page_token: str | None = None
    candidates: int = 0
    discovered: int = 0
    yield_: float = 0.0


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


class PollHint(NamedTuple):
    """What a feed says of a channel's next poll: due now, or not before ``not_before``."""

    id: str
    due: bool
    not_before: datetime


# ---------------------------------------------------------------------------------------------------------------------
# Walks, charts, feeds
# ---------------------------------------------------------------------------------------------------------------------

SourceKind = Literal["walk", "chart", "feed"]


class SourceSeed(NamedTuple):
    """A source to read from ``next_read_at`` on, beginning at ``page_token`` behind ``passed`` videos."""

    name: str
    next_read_at: datetime
    page_token: str | None = None
    passed: int = 0
    back_to: datetime | None = None


class SourceRow(TypedDict):
    """A leased walk, chart or feed."""

    name: str
    next_read_at: datetime
    page_token: str | None
    passed: int
    back_to: datetime | None
    last_read_at: datetime | None
    attempts: int
    lease_token: UUID


class SourceOutcome(NamedTuple):
    """A source that was read, and where it goes on; without ``next_read_at`` it has come to its end."""

    name: str
    lease_token: UUID
    next_read_at: datetime | None
    page_token: str | None = None
    passed: int = 0


# ---------------------------------------------------------------------------------------------------------------------
# Discovery
# ---------------------------------------------------------------------------------------------------------------------


class Rejected(NamedTuple):
    """A candidate that was looked up and not stored, and until when it is not looked up again."""

    video_id: str
    reason: str
    until: datetime


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
    short: bool | None
    older_at: datetime | None
    older_views: int | None
    newer_at: datetime | None
    newer_views: int | None
    level: float | None
    evidence: float
    misses: int
    attempts: int
    added_at: datetime
    lease_token: UUID


class SurveyRow(TypedDict):
    """A video of the watchlist, as a sample for the price of a look."""

    video_id: str
    published_at: datetime
    last_tracked_at: datetime | None
    last_views: int | None
    rate: float | None
    added_at: datetime


class Demand(NamedTuple):
    """How many videos are tracked, DORMANT ones apart, and how many are late."""

    videos: int
    late: int


class MarketRow(TypedDict):
    """What a look must be worth, and the measures of worth, as ``maia.tracker.schedule.Market`` has them."""

    price: float
    flow: float
    growth: float
    newcomer: float
    appraised_at: datetime


class Sample(NamedTuple):
    """The counters of a video at an instant; None is hidden, not zero."""

    video_id: str
    timestamp: datetime
    views: int | None
    likes: int | None
    comment_count: int | None


class TrackOutcome(NamedTuple):
    """A video that was read; ``revived`` when it had been given up for unavailable.

    The last six are what the virality detector remembers of it (``maia.virality.core.Memory``).
    """

    video_id: str
    lease_token: UUID
    tier: Tier
    next_track_at: datetime
    views: int | None
    likes: int | None
    comment_count: int | None
    rate: float | None
    revived: bool = False
    older_at: datetime | None = None
    older_views: int | None = None
    newer_at: datetime | None = None
    newer_views: int | None = None
    level: float | None = None
    evidence: float = 0.0


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


class VideoReading(NamedTuple):
    """A video as YouTube tells it now; what is None or empty was not in the answer, but a video may have no tags."""

    id: str
    title: str | None
    duration: int | None  # seconds
    tags: Sequence[str]
    category_id: str | None
    default_language: str | None
    wiki_topics: Sequence[str]


class ChannelReading(NamedTuple):
    """A channel as YouTube tells it now; None was not in the answer, and one that is gone has nothing but its id."""

    id: str
    title: str | None = None
    country: str | None = None
    custom_url: str | None = None  # its handle
    created_at: datetime | None = None
    views: int | None = None
    subscribers: int | None = None  # None when hidden
    video_count: int | None = None


# ---------------------------------------------------------------------------------------------------------------------
# What videos look and sound like
# ---------------------------------------------------------------------------------------------------------------------


MOST_VECTORS = 40_000
"""That stay in SQL unless told otherwise: 104 MB of the half gigabyte, indexes included."""


class FrameVector(NamedTuple):
    """What a frame looks like to the model ``source_type``: 512 numbers, of length 1 as a vector.

    All of them zero says that the frame shows nothing; such a vector is not kept.
    """

    video_id: str
    frame_index: int
    source_type: str
    vector: Collection[float]


class TextFeatures(NamedTuple):
    """What the words of a video tell: its title, and the transcript when there is one."""

    language: str | None  # ISO 639, of title and transcript; None when unsure
    title_length: int  # characters
    title_words: int
    caps_share: float  # of the title's letters that have case, 0 … 1
    emoji: int
    question: bool
    exclamations: int
    numerals: int  # numbers, not digits
    hashtags: int
    spoken_words: int | None = None  # None without a transcript


class Similar(TypedDict):
    """A video with a frame that looks like one of the video asked about."""

    video_id: str
    title: str
    channel_id: str
    published_at: datetime
    similarity: float  # cosine of the best pair of frames, 1 for the same picture
    frame_index: int  # of this video, in that pair
    own_frame_index: int  # of the video asked about
    source_type: str  # the model


class Duplicate(NamedTuple):
    """Two videos with frames that look alike; ``similarity`` is that of their best pair."""

    video_id: str
    other_id: str
    similarity: float
    title: str
    other_title: str


class DuplicatePage(NamedTuple):
    """What came of comparing some videos with all others; ``after`` is where to go on, None when all were compared."""

    pairs: list[Duplicate]
    compared: int  # videos
    after: str | None


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


RiseState = Literal["QUIET", "RISING", "VIRAL", "COOLING"]
"""Where a video is in a rise: none, one window above, raised, over for less than a day."""


class Expectation(TypedDict):
    """What a channel lets expect of its videos of a format, over the curve of the format; the spread is a scaled MAD.

    An empty ``channel_id`` is all videos of the format.
    """

    channel_id: str
    short: bool
    videos: int
    level: float
    spread: float
    week_videos: int
    week: float | None


class ExpectedRate(TypedDict):
    """A point of a format's curve: the median log rate (views an hour) at an age in hours, and of how many videos."""

    short: bool
    age: float
    log_rate: float
    videos: int


class RateAtAge(TypedDict):
    """The median log rate of a format's videos in one of the given stretches of age, counted from 1."""

    short: bool
    place: int
    log_rate: float
    videos: int


class RiseRow(TypedDict):
    """Where a video is in a rise; ``raised_at`` is None while it is only RISING."""

    video_id: str
    state: RiseState
    since: datetime
    began_at: datetime
    raised_at: datetime | None
    score: float
    rate: float  # views an hour over the window
    times: float  # how many times what was expected that is


class Rise(NamedTuple):
    """Where a video is in a rise from now on; ``turned`` when it has just come to that state."""

    video_id: str
    state: RiseState
    turned_at: datetime
    began_at: datetime
    raised_at: datetime | None
    score: float
    rate: float
    times: float
    views: int
    turned: bool


class Riser(TypedDict):
    """A video that rises: figures as of ``seen_at``."""

    video_id: str
    title: str | None  # None once it has left the hot queue
    channel_id: str | None
    channel_title: str | None
    short: bool | None
    published_at: datetime
    state: RiseState
    since: datetime
    began_at: datetime
    raised_at: datetime | None
    score: float
    rate: float  # views an hour over the window
    times: float  # how many times what was expected that is
    views: int
    seen_at: datetime


class UntoldRise(Riser):
    """A rise that nobody was told of, leased."""

    lease_token: UUID


class Fastest(TypedDict):
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


class DayAhead(NamedTuple):
    """What will be due by the end of a day, what is late included."""

    terms: int = 0
    polls: int = 0
    """Pages of uploads, a channel counted as often as it comes round, a back catalogue as ten; charts."""
    tracking: int = 0
    painter: int = 0
    scribe: int = 0


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
    backlog: dict[str, Backlog]  # search, channels, walk, chart, feed, tracking, painter, scribe
    asleep_terms: int
    dead_stages: int
    sql_bytes: int
    vault: dict[str, Archived]  # by kind


# ---------------------------------------------------------------------------------------------------------------------
# What runs leave behind for those who watch
# ---------------------------------------------------------------------------------------------------------------------


class AgentRun(TypedDict):
    """How an agent's run ended."""

    agent: str
    run_id: str
    started_at: datetime
    ended_at: datetime
    reason: str | None  # why it failed; None when it completed
    summary: dict[str, Any]


class LastRun(AgentRun):
    """The last run of an agent, and when one last completed."""

    completed_at: datetime | None


class Incident(NamedTuple):
    """An agent fails since then, in a way that OPS has not heard of; or it did, and completes again."""

    since: datetime
    is_over: bool


class Loss(NamedTuple):
    """How much of a kind was lost, ever, and when a run last told so."""

    lost: int
    last_at: datetime


class BreakerSeen(TypedDict):
    """How a circuit breaker stood when a process last told."""

    name: str
    state: Literal["closed", "opened", "half-opened"]
    failures: int  # in a row
    until: datetime | None
    told_at: datetime


class Beat(NamedTuple):
    """What became of a heartbeat: since when the state is as it is, and a token when it is ours to tell OPS."""

    since: datetime
    token: UUID | None
