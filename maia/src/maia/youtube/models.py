"""What YouTube answers, as plain data.

``None`` is "not in the answer": hidden by the owner, not asked for (``parts``), or not a value of its kind.
It is never zero. Times are UTC. Counts are whole numbers from 0 to 2^63 - 1, as in ``bigint``.

What an answer holds fifty of is a named tuple: a frozen dataclass of this width takes seven times as long to make,
which is a third of reading an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

VideoPart = Literal["snippet", "contentDetails", "statistics", "status", "topicDetails"]
StatsPart = Literal["snippet", "contentDetails", "statistics"]


class SearchHit(NamedTuple):
    """A video that a search found; ``title`` is plain text, though the wire has it HTML-escaped."""

    video_id: str
    channel_id: str | None
    channel_title: str | None
    title: str | None
    published_at: datetime | None
    live: str | None  # "none", "live" or "upcoming"


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of hits. ``total_results`` is YouTube's guess, up to 1,000,000, and no count of anything."""

    hits: tuple[SearchHit, ...]
    next_page_token: str | None
    total_results: int | None


class Video(NamedTuple):
    """A video as ``videos.list`` tells it; what belongs to a part that was not asked for is None or empty."""

    id: str
    # snippet
    channel_id: str | None
    channel_title: str | None
    title: str | None
    published_at: datetime | None
    tags: tuple[str, ...]
    category_id: str | None
    default_language: str | None
    default_audio_language: str | None
    live: str | None  # "none", "live" or "upcoming"
    description: str | None  # only when asked for
    # contentDetails
    duration: timedelta | None  # None also for live and upcoming videos, which the wire calls P0D
    # statistics
    views: int | None
    likes: int | None
    comment_count: int | None
    # status
    privacy: str | None  # "public", "unlisted" or "private"
    upload_status: str | None  # "processed", "uploaded", "deleted", "failed" or "rejected"
    # topicDetails
    wiki_topics: tuple[str, ...]  # Wikipedia addresses


@dataclass(frozen=True, slots=True)
class VideoPage:
    """A page of videos, such as a chart's."""

    videos: tuple[Video, ...]
    next_page_token: str | None
    total_results: int | None


class Stats(NamedTuple):
    """A reading of one video by ``videos.batchGetStats``; times only with their parts."""

    views: int | None
    likes: int | None
    comment_count: int | None
    published_at: datetime | None
    duration: timedelta | None


@dataclass(frozen=True, slots=True)
class BatchStats:
    """A batch of readings in which every id asked for is in exactly one place.

    ``failed`` names ids whose reading came back unusable, with the reason. ``unaccounted`` ids did not come
    back, which is no proof of deletion: ask ``videos(ids, parts=("status",))``.
    """

    returned: dict[str, Stats]
    failed: dict[str, str]
    unaccounted: frozenset[str]


class Channel(NamedTuple):
    """A channel as ``channels.list`` tells it; ``subscribers`` is None when the owner hides them."""

    id: str
    title: str | None
    country: str | None
    custom_url: str | None  # with or without "@", as it came
    published_at: datetime | None  # when it was opened
    uploads_playlist: str | None
    views: int | None
    subscribers: int | None
    video_count: int | None
    wiki_topics: tuple[str, ...]


class Upload(NamedTuple):
    """An entry of an uploads playlist; ``published_at`` is None for a video that is private or deleted."""

    video_id: str
    title: str | None
    published_at: datetime | None  # of the video
    added_at: datetime | None  # to the playlist

    @property
    def available(self) -> bool:
        """Tell whether the public can see the video, as far as the playlist says."""
        return self.published_at is not None or self.title not in UNAVAILABLE_TITLES


UNAVAILABLE_TITLES = frozenset({"Private video", "Deleted video"})
"""What a playlist shows in the place of a video that it may not name."""


@dataclass(frozen=True, slots=True)
class UploadsPage:
    """A page of a channel's uploads, newest first."""

    uploads: tuple[Upload, ...]
    next_page_token: str | None
    total_results: int | None


class FeedEntry(NamedTuple):
    """A video in a channel's RSS feed; its counts are minutes to hours old."""

    video_id: str
    channel_id: str | None
    channel_title: str | None
    title: str | None
    published_at: datetime | None
    updated_at: datetime | None
    views: int | None


class CaptionTrack(NamedTuple):
    """Captions of a video, as ``captions.list`` tells of them."""

    id: str
    language: str | None  # BCP 47
    kind: str | None  # "standard", "ASR" or "forced"
    name: str | None
    status: str | None  # "serving", "syncing" or "failed"
    draft: bool
