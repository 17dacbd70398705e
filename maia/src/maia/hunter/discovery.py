"""Where candidates come from: searches, uploads, back catalogues, charts and feeds, behind one interface.

============  =======  =====  =====================================================================================
source        bucket   units  a page
============  =======  =====  =====================================================================================
``Search``    search   1      at most 50 results of a term's window, newest first
``Feed``      none     0      the newest 15 uploads of a channel; unreliable, so nothing rests on it
``Uploads``   general  1      the newest 50 uploads of a channel
``Chart``     general  1      at most 50 of a region's most popular videos, with all that enrichment would ask for
``Walk``      general  1      the next 50 of a channel's uploads, back to its first or to where they are known
============  =======  =====  =====================================================================================

Enrichment costs one general unit more for 50 candidates that we do not know, of any source but a chart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Self, TypeVar
from uuid import UUID

from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import (
    ChannelRow,
    Failure,
    PollHint,
    PollOutcome,
    SourceKind,
    SourceOutcome,
    SourceRow,
    SourceSeed,
    TermOutcome,
    TermRow,
)
from atlas.errors import Bucket, InvalidPageToken
from maia.hunter import core
from maia.youtube.client import YouTube
from maia.youtube.models import Upload, Video, VideoPart

METADATA: tuple[VideoPart, ...] = ("snippet", "contentDetails", "statistics", "topicDetails")
"""Parts of videos.list; the cost is one unit however many (YouTube Data API, "Quota costs", as of November 2026)."""

Purse = Literal["search", "general", "feed"]
"""What a page is paid from: a bucket, or the number of feeds that a cycle may look at."""


@dataclass(frozen=True, slots=True)
class Page:
    """What one claimed source brought: candidates in the order given, each once.

    ``published`` are their times, as far as they are told; ``videos`` the candidates' metadata where it came along.
    """

    candidates: tuple[str, ...]
    next_page_token: str | None = None
    published: tuple[datetime, ...] = ()
    length: int = 0
    """Entries, those included that are no candidates."""
    window: core.Window | None = None
    videos: tuple[Video, ...] = ()
    restarted: bool = False
    """The token was no longer good, and this is the first page."""


class Found(NamedTuple):
    """What became of a page's candidates: how many we did not know, and how many were stored for its sake."""

    unknown: int
    discovered: int


Row = TypeVar("Row", TermRow, ChannelRow, SourceRow)


@dataclass(frozen=True)
class Source(ABC, Generic[Row]):
    """A claimed row that can be read for candidates, a page at a time."""

    row: Row

    purse: ClassVar[Purse]
    counted_as: ClassVar[str]
    """The count of pages in the summary."""
    per_round: ClassVar[int]
    """Pages read at once, at most."""
    brings: ClassVar[int]
    """Candidates of a page, at most, that have to be enriched."""
    longest_retry: ClassVar[timedelta] = core.LONGEST_RETRY
    can_wait: ClassVar[bool] = False
    """Has a share of the general purse while others of it are due, and what they leave when they are not."""

    @property
    @abstractmethod
    def key(self) -> int | str:
        """What the row is known by."""

    @classmethod
    @abstractmethod
    async def claim(cls, dao: MaiaDAO, limit: int) -> Sequence[Self]:
        """Lease what is due."""

    @abstractmethod
    async def read(self, youtube: YouTube, now: datetime) -> Page:
        """Read the next page."""

    @property
    def term_id(self) -> int | None:
        """The number of the search term that this is."""
        return None

    @abstractmethod
    def outcome(self, page: Page, found: Found, pace: core.Pace, now: datetime) -> Any:
        """Schedule the source by what the page brought."""

    @classmethod
    @abstractmethod
    async def settle(cls, dao: MaiaDAO, outcomes: Sequence[Any], now: datetime) -> None:
        """End the leases of sources that were read."""

    @classmethod
    @abstractmethod
    async def fail(cls, dao: MaiaDAO, failures: Sequence[Failure]) -> None:
        """End the leases of sources that could not be read."""

    @classmethod
    @abstractmethod
    async def release(cls, dao: MaiaDAO, token: UUID) -> None:
        """Give back what of a claim nobody settled."""

    @property
    def token(self) -> UUID:
        """The claim's token."""
        return self.row["lease_token"]


class Search(Source[TermRow]):
    """A search term: fresh windows of publication time, newest first."""

    purse: ClassVar[Purse] = "search"
    counted_as: ClassVar[str] = "queries_processed"
    per_round: ClassVar[int] = 10
    brings: ClassVar[int] = core.PAGE_SIZE

    def __str__(self) -> str:
        return f"search {self.row['query_term']!r}"

    @property
    def key(self) -> int:
        """The term's number."""
        return self.row["id"]

    @property
    def term_id(self) -> int:
        """The number of the search term that this is."""
        return self.row["id"]

    @classmethod
    async def claim(cls, dao: MaiaDAO, limit: int) -> Sequence[Self]:
        """Lease due terms."""
        return [cls(row) for row in await dao.fetch_hunter_batch(limit)]

    async def read(self, youtube: YouTube, now: datetime) -> Page:
        """Read the next page of the term's window; when the token went bad, what of the window is left."""
        window = core.search_window(self._state, now)
        try:
            return await self._page(youtube, window)
        except InvalidPageToken:
            return await self._page(youtube, core.Window(window.after, window.rest or window.before, None))

    async def _page(self, youtube: YouTube, window: core.Window) -> Page:
        found = await youtube.search(
            self.row["query_term"],
            published_after=window.after,
            published_before=window.before,
            page_token=window.page_token,
            order="date",
        )
        return Page(
            tuple(dict.fromkeys(hit.video_id for hit in found.hits)),
            found.next_page_token,
            tuple(hit.published_at for hit in found.hits if hit.published_at is not None),
            window=window,
        )

    def outcome(self, page: Page, found: Found, pace: core.Pace, now: datetime) -> TermOutcome:
        """Schedule the term by what the page brought."""
        del pace
        window = page.window or core.search_window(self._state, now)
        hits = core.Hits(len(page.candidates), found.unknown, found.discovered, page.next_page_token, page.published)
        following = core.next_search(self._state, window, hits, now)
        return TermOutcome(
            id=self.row["id"],
            lease_token=self.token,
            next_search_at=following.at,
            searched_until=following.searched_until,
            window_after=following.window.after,
            window_before=following.window.before,
            window_seen=following.window.seen,
            window_rest=following.window.rest,
            next_page_token=following.window.page_token,
            candidates=len(page.candidates),
            discovered=found.discovered,
            yield_=following.yield_,
        )

    @property
    def _state(self) -> core.TermState:
        term = self.row
        return core.TermState(
            pinned=term["pinned"],
            searched_until=term["searched_until"],
            window_after=term["window_after"],
            window_before=term["window_before"],
            window_seen=term["window_seen"],
            window_rest=term["window_rest"],
            next_page_token=term["next_page_token"],
            page_token_at=term["page_token_at"],
            yield_=term["yield_"],
        )

    @classmethod
    async def settle(cls, dao: MaiaDAO, outcomes: Sequence[Any], now: datetime) -> None:
        """Note windows, yields and the next searches."""
        await dao.update_search_state(outcomes, now=now)

    @classmethod
    async def fail(cls, dao: MaiaDAO, failures: Sequence[Failure]) -> None:
        """Put terms off."""
        await dao.fail_searches(failures)

    @classmethod
    async def release(cls, dao: MaiaDAO, token: UUID) -> None:
        """Give terms back."""
        await dao.release_searches(token)


class Polled(NamedTuple):
    """A channel whose uploads were read, and what follows: a walk of what lies behind the page, looks at its feed."""

    poll: PollOutcome
    walk: SourceSeed | None
    feed: SourceSeed | None


class Uploads(Source[ChannelRow]):
    """A channel of the roster: its newest fifty uploads."""

    purse: ClassVar[Purse] = "general"
    counted_as: ClassVar[str] = "channels_polled"
    per_round: ClassVar[int] = 50
    brings: ClassVar[int] = core.PAGE_SIZE

    def __str__(self) -> str:
        return f"uploads of {self.row['id']}"

    @property
    def key(self) -> str:
        """The channel's id."""
        return self.row["id"]

    @classmethod
    async def claim(cls, dao: MaiaDAO, limit: int) -> Sequence[Self]:
        """Lease due channels."""
        return [cls(row) for row in await dao.fetch_channel_batch(limit)]

    async def read(self, youtube: YouTube, now: datetime) -> Page:
        """Read the first page of the uploads playlist."""
        found = await youtube.uploads(self.row["id"])
        return _page_of(found.uploads, found.next_page_token)

    def outcome(self, page: Page, found: Found, pace: core.Pace, now: datetime) -> Polled:
        """Schedule the channel by how often it uploads.

        What lies behind the page is walked once, and again when nothing on the page was known: uploads may have left
        it unseen since the last poll.
        """
        row, last = self.row, self.row["last_polled_at"]
        rate = core.upload_rate(page.published, now)
        newest = max(page.published, default=None)
        due = core.next_poll(rate, now, newest=newest, pinned=row["pinned"], stretch=pace.stretch)
        walk = feed = None
        unseen = last is None or found.unknown == len(page.candidates) > 0
        if pace.walks and page.next_page_token and unseen:
            walk = SourceSeed(row["id"], now, page.next_page_token, page.length, back_to=last)
        if pace.feeds and (look := core.next_feed(rate, now)):
            feed = SourceSeed(row["id"], look)
        return Polled(PollOutcome(row["id"], row["lease_token"], due, rate), walk, feed)

    @classmethod
    async def settle(cls, dao: MaiaDAO, outcomes: Sequence[Any], now: datetime) -> None:
        """Note rates and the next polls, and what follows from them."""
        polled: Sequence[Polled] = outcomes
        await dao.update_channel_polls([each.poll for each in polled], now=now)
        await dao.add_sources("walk", [each.walk for each in polled if each.walk], now=now)
        await dao.add_sources("feed", [each.feed for each in polled if each.feed], now=now)

    @classmethod
    async def fail(cls, dao: MaiaDAO, failures: Sequence[Failure]) -> None:
        """Put channels off."""
        await dao.fail_channel_polls(failures)

    @classmethod
    async def release(cls, dao: MaiaDAO, token: UUID) -> None:
        """Give channels back."""
        await dao.release_channels(token)


class _Queued(Source[SourceRow]):
    """A row of the table that walks, charts and feeds share."""

    kind: ClassVar[SourceKind]

    @property
    def key(self) -> str:
        """The row's name."""
        return self.row["name"]

    @classmethod
    async def claim(cls, dao: MaiaDAO, limit: int) -> Sequence[Self]:
        """Lease due rows of the kind."""
        return [cls(row) for row in await dao.fetch_source_batch(cls.kind, limit)]

    @classmethod
    async def settle(cls, dao: MaiaDAO, outcomes: Sequence[Any], now: datetime) -> None:
        """Note where they go on, or that they ended."""
        await dao.update_sources(cls.kind, outcomes, now=now)

    @classmethod
    async def fail(cls, dao: MaiaDAO, failures: Sequence[Failure]) -> None:
        """Put them off."""
        await dao.fail_sources(cls.kind, failures)

    @classmethod
    async def release(cls, dao: MaiaDAO, token: UUID) -> None:
        """Give them back."""
        await dao.release_sources(cls.kind, token)

    def _ended(self) -> SourceOutcome:
        return SourceOutcome(self.row["name"], self.token, None)

    def _goes_on(self, page: Page, at: datetime) -> SourceOutcome:
        before = 0 if page.restarted else self.row["passed"]
        return SourceOutcome(self.row["name"], self.token, at, page.next_page_token, before + page.length)

    def _begins_anew(self, at: datetime) -> SourceOutcome:
        return SourceOutcome(self.row["name"], self.token, at)


class Walk(_Queued):
    """A channel's back catalogue: its uploads from a page token on."""

    kind: ClassVar[SourceKind] = "walk"
    purse: ClassVar[Purse] = "general"
    counted_as: ClassVar[str] = "pages_walked"
    per_round: ClassVar[int] = 50
    brings: ClassVar[int] = core.PAGE_SIZE
    can_wait: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"back catalogue of {self.row['name']}"

    async def read(self, youtube: YouTube, now: datetime) -> Page:
        """Read the next page of the uploads playlist; the first one when the token went bad."""
        token = self.row["page_token"]
        try:
            found = await youtube.uploads(self.row["name"], token)
        except InvalidPageToken:
            token = None
            found = await youtube.uploads(self.row["name"])
        return _page_of(found.uploads, found.next_page_token, restarted=token is None)

    def outcome(self, page: Page, found: Found, pace: core.Pace, now: datetime) -> SourceOutcome:
        """Go on at once, until the last page, the end of what the playlist shows, or known ground."""
        del found, pace
        following = self._goes_on(page, self.row["next_read_at"])
        back_to = self.row["back_to"]
        known_ground = back_to is not None and min(page.published, default=now) < back_to
        if page.next_page_token is None or following.passed >= core.UPLOADS_CAP or known_ground:
            return self._ended()
        if page.restarted and 0 < self.row["passed"] <= core.PAGE_SIZE:
            # Even the token of the second page was no good: the next one may be as bad.
            return following._replace(next_read_at=now + core.RESTART_AFTER)
        return following


class Chart(_Queued):
    """The most popular videos of a region, ``US``, or of a category there, ``US:10``."""

    kind: ClassVar[SourceKind] = "chart"
    purse: ClassVar[Purse] = "general"
    counted_as: ClassVar[str] = "chart_pages"
    per_round: ClassVar[int] = 10
    brings: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"chart {self.row['name']}"

    async def read(self, youtube: YouTube, now: datetime) -> Page:
        """Read the next page of the chart; the first one when the token went bad."""
        region, _, category = self.row["name"].partition(":")
        token = self.row["page_token"]
        try:
            found = await youtube.most_popular(region, category or None, token)
        except InvalidPageToken:
            token = None
            found = await youtube.most_popular(region, category or None)
        ids = tuple(dict.fromkeys(video.id for video in found.videos))
        restarted = token is None and self.row["page_token"] is not None
        return Page(ids, found.next_page_token, length=len(ids), videos=found.videos, restarted=restarted)

    def outcome(self, page: Page, found: Found, pace: core.Pace, now: datetime) -> SourceOutcome:
        """Go on at once to the chart's end, then begin anew every few hours."""
        del found, pace
        if page.next_page_token is None or page.restarted:
            return self._begins_anew(now + core.CHART_EVERY)
        return self._goes_on(page, self.row["next_read_at"])


class Looked(NamedTuple):
    """A feed that was looked at, and what it says of the channel's next poll."""

    outcome: SourceOutcome
    hint: PollHint


class Feed(_Queued):
    """A channel's RSS feed: its newest fifteen uploads, for nothing."""

    kind: ClassVar[SourceKind] = "feed"
    purse: ClassVar[Purse] = "feed"
    counted_as: ClassVar[str] = "feeds_read"
    per_round: ClassVar[int] = 20
    brings: ClassVar[int] = core.FEED_LENGTH
    longest_retry: ClassVar[timedelta] = core.FEED_LONGEST_RETRY

    def __str__(self) -> str:
        return f"feed of {self.row['name']}"

    async def read(self, youtube: YouTube, now: datetime) -> Page:
        """Look at the feed.

        Raises:
            CircuitOpen: feeds failed several times in a row, and are left in peace.
        """
        entries = await youtube.feed(self.row["name"])
        return Page(
            tuple(dict.fromkeys(entry.video_id for entry in entries)),
            published=tuple(entry.published_at for entry in entries if entry.published_at is not None),
            length=len(entries),
        )

    def outcome(self, page: Page, found: Found, pace: core.Pace, now: datetime) -> Looked:
        """Look again in time for the next upload.

        When none of its videos was known there may be more behind them, and the channel is due; otherwise the feed has
        done what a poll would have done.
        """
        rate = core.upload_rate(page.published, now, full=core.FEED_LENGTH)
        unseen = found.unknown == len(page.candidates) > 0
        poll = core.next_poll(rate, now, newest=max(page.published, default=None), stretch=pace.stretch)
        look = core.next_feed(rate, now) if pace.feeds else None
        outcome = self._ended() if look is None else self._begins_anew(look)
        return Looked(outcome, PollHint(self.row["name"], due=unseen, not_before=poll))

    @classmethod
    async def settle(cls, dao: MaiaDAO, outcomes: Sequence[Any], now: datetime) -> None:
        """Note the next looks, and tell the channels."""
        looked: Sequence[Looked] = outcomes
        await dao.update_sources(cls.kind, [each.outcome for each in looked], now=now)
        await dao.hint_polls([each.hint for each in looked], longest=core.POLL_AT_LEAST, now=now)


SOURCES: tuple[type[Source[Any]], ...] = (Search, Feed, Uploads, Chart, Walk)
"""In the order in which they are served: what expires at midnight and what is free, then the new, then the old."""

BUCKETS: dict[Purse, Bucket] = {"search": "search", "general": "general"}
"""The buckets behind the purses; feeds draw on none."""


def _page_of(uploads: Sequence[Upload], next_page_token: str | None, *, restarted: bool = False) -> Page:
    available = [upload for upload in uploads if upload.available]
    return Page(
        tuple(dict.fromkeys(upload.video_id for upload in available)),
        next_page_token,
        tuple(upload.published_at for upload in available if upload.published_at is not None),
        length=len(uploads),
        restarted=restarted,
    )
