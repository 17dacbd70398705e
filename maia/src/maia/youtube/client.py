"""Ask the YouTube Data API: typed, asynchronous, one HTTP attempt per try of the executor."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from maia.youtube.models import (
    BatchStats,
    Channel,
    FeedEntry,
    SearchPage,
    StatsPart,
    UploadsPage,
    Video,
    VideoPage,
    VideoPart,
)

if TYPE_CHECKING:
    from atlas.hydra import Executor

PAGE = 50
"""Ids or results in one call, at most (YouTube Data API reference, as of November 2026)."""

SearchOrder = Literal["date", "rating", "relevance", "title", "viewCount"]


class YouTube:
    """A client of the API; use it as ``async with YouTube(executor) as youtube``.

    ``executor`` supplies keys, quota and retries. At most ``concurrency`` requests are in flight, each for at most
    ``timeout``. Every call raises ``atlas.errors.ApiError``s and what the executor raises.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        endpoint: str | None = None,
        concurrency: int = 8,
        timeout: timedelta = timedelta(seconds=30),
    ) -> None:
        raise NotImplementedError

    @classmethod
    def with_key(
        cls,
        key: str,
        *,
        endpoint: str | None = None,
        concurrency: int = 8,
        timeout: timedelta = timedelta(seconds=30),
    ) -> Self:
        """Make a client that uses one key, keeps no ledger and needs no database."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def search(
        self,
        q: str,
        *,
        published_after: datetime | None = None,
        published_before: datetime | None = None,
        page_token: str | None = None,
        order: SearchOrder = "date",
        max_results: int = PAGE,
        region: str | None = None,
        language: str | None = None,
    ) -> SearchPage:
        """Find videos: one page, one call of the search bucket.

        The window is half open, to the second: [after, before). ``region`` is ISO 3166-1, ``language`` ISO 639-1.
        """
        raise NotImplementedError

    async def videos(
        self,
        ids: Iterable[str],
        *,
        parts: Sequence[VideoPart] = ("snippet", "contentDetails", "statistics"),
        description: bool = False,
    ) -> list[Video]:
        """Read up to 50 videos, one general unit; those that are gone or private are absent from the answer."""
        raise NotImplementedError

    async def batch_stats(
        self, ids: Iterable[str], *, parts: Sequence[StatsPart] = ("statistics",)
    ) -> BatchStats:
        """Read the counts of up to 50 videos, one call of the stats bucket; each id is accounted for."""
        raise NotImplementedError

    async def channels(self, ids: Iterable[str]) -> list[Channel]:
        """Read up to 50 channels, one general unit; those that are gone are absent from the answer."""
        raise NotImplementedError

    async def uploads(
        self, channel_id: str, page_token: str | None = None, *, max_results: int = PAGE
    ) -> UploadsPage:
        """Read a page of a channel's uploads, newest first, one general unit.

        Raises:
            ResourceRefused: there is no such playlist, because the channel is gone or never published.
            InvalidPageToken: start from the first page.
        """
        raise NotImplementedError

    async def most_popular(
        self, region: str, category: str | None = None, page_token: str | None = None
    ) -> VideoPage:
        """Read a page of a region's chart, one general unit; the chart covers music, films and games only."""
        raise NotImplementedError

    async def feed(self, channel_id: str) -> list[FeedEntry]:
        """Read a channel's newest fifteen videos from its RSS feed: free, without key, executor or retry.

        Raises:
            ApiUnavailable: also for 404, which feeds answer now and then for channels that live.
        """
        raise NotImplementedError
