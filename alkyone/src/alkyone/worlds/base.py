"""What a world is: the YouTube that a stand-in serves, asked at an instant and never changed by the asking."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol, runtime_checkable

Order = Literal["date", "rating", "relevance", "title", "viewCount"]
Live = Literal["none", "live", "upcoming"]

_WORDS = re.compile(r"[^\W_]+", re.UNICODE)


class Counts(NamedTuple):
    """A reading; ``likes`` and ``comments`` are None where the uploader hides them or nobody recorded them."""

    views: int
    likes: int | None
    comments: int | None


@dataclass(frozen=True, slots=True)
class Video:
    """A video as it stands at an instant; a ``duration`` of None is YouTube's ``P0D`` (live or upcoming)."""

    id: str
    channel_id: str
    channel_title: str
    title: str
    description: str
    published_at: datetime
    duration: timedelta | None
    tags: tuple[str, ...]
    category_id: str
    language: str | None
    topics: tuple[str, ...] = ()
    live: Live = "none"
    private: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel as it stands at an instant; ``subscribers`` is None where they are hidden."""

    id: str
    title: str
    description: str
    handle: str
    created_at: datetime
    country: str | None
    subscribers: int | None
    views: int
    videos: int
    topics: tuple[str, ...] = ()


@runtime_checkable
class World(Protocol):
    """Everything a stand-in needs to know, for any instant, in any order, always the same answer."""

    start: datetime
    end: datetime

    def terms(self) -> list[str]:
        """Search terms that lead to videos, the most rewarding first."""
        ...

    def stretch(self, length: timedelta) -> datetime:
        """Where the liveliest stretch of that length begins."""
        ...

    def size(self) -> int:
        """How many videos there are in all."""
        ...

    def channels_at(self, at: datetime) -> list[str]:
        """The ids of the channels that exist, the biggest first."""
        ...

    def channel(self, channel_id: str, at: datetime) -> Channel | None:
        """The channel; None when there is none."""
        ...

    def video(self, video_id: str, at: datetime) -> Video | None:
        """The video; None when it is unknown, not published yet, or deleted. It may be private."""
        ...

    def counts(self, video_id: str, at: datetime) -> Counts | None:
        """Its counters; None when the public cannot see the video."""
        ...

    def readings(self, video_ids: Sequence[str], at: datetime) -> dict[str, Counts]:
        """The counters of those the public can see."""
        ...

    def search(
        self,
        q: str,
        after: datetime | None = None,
        before: datetime | None = None,
        order: Order = "relevance",
        at: datetime | None = None,
    ) -> Sequence[str]:
        """Ids of videos published in [after, before) that match every word of ``q``."""
        ...

    def uploads(self, channel_id: str, at: datetime) -> Sequence[str] | None:
        """Ids of a channel's uploads, newest first, private ones among them; None when there is no such channel."""
        ...

    def popular(self, at: datetime) -> Sequence[str]:
        """Ids of the chart, most popular first."""
        ...

    def look(self, video_id: str) -> int | None:
        """What it looks like, as a seed of ``alkyone.pictures``; None when it is unknown. It outlives the video."""
        ...

    def original(self, video_id: str) -> str | None:
        """The id of the video that this one is a re-upload of; None when it is its own. Both have one look."""
        ...


def words(text: str) -> list[str]:
    """Split a text into what search compares: folded words without punctuation."""
    return _WORDS.findall(text.casefold())


class Query(NamedTuple):
    """A search, as YouTube reads it: ``a b|c -d`` wants a, and b or c, and not d."""

    wanted: tuple[tuple[str, ...], ...]
    unwanted: tuple[str, ...]


def parse_query(q: str) -> Query:
    """Read a search box."""
    wanted: list[tuple[str, ...]] = []
    unwanted: list[str] = []
    for part in re.sub(r"\s*\|\s*", "|", q).split():
        if part.startswith("-") and words(part):
            unwanted += words(part)
        elif "|" in part:
            wanted.append(tuple(word for option in part.split("|") for word in words(option)))
        else:
            wanted += [(word,) for word in words(part)]
    return Query(tuple(group for group in wanted if group), tuple(unwanted))
