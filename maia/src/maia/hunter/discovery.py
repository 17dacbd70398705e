"""Where candidates come from: a page of search results, a page of a channel's uploads, behind one interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

from atlas.adapters.records import ChannelRow, PollOutcome, TermOutcome, TermRow
from atlas.errors import Bucket, InvalidPageToken
from maia.hunter import core
from maia.youtube.client import YouTube


@dataclass(frozen=True, slots=True)
class Page:
    """What one claimed source brought: candidates in the order given, each once."""

    candidates: tuple[str, ...]
    next_page_token: str | None
    published: tuple[datetime, ...] = ()
    window: core.Window | None = None


class Source(Protocol):
    """A claimed row that can be read for candidates; one call of ``bucket`` a page."""

    bucket: ClassVar[Bucket]

    @property
    def row(self) -> TermRow | ChannelRow:
        """The claimed row."""
        ...

    async def read(self, youtube: YouTube, now: datetime) -> Page:
        """Read the next page."""
        ...


@dataclass(frozen=True, slots=True)
class Search:
    """A search term: fresh windows of publication time, newest first."""

    bucket: ClassVar[Bucket] = "search"
    row: TermRow

    async def read(self, youtube: YouTube, now: datetime) -> Page:
        """Read the next page of the term's window; a token that went bad restarts the window."""
        window = core.search_window(self._state, now)
        try:
            return await self._page(youtube, window)
        except InvalidPageToken:
            return await self._page(youtube, window._replace(page_token=None))

    async def _page(self, youtube: YouTube, window: core.Window) -> Page:
        found = await youtube.search(
            self.row["query_term"],
            published_after=window.after,
            published_before=window.before,
            page_token=window.page_token,
            order="date",
        )
        ids = dict.fromkeys(hit.video_id for hit in found.hits)
        return Page(tuple(ids), found.next_page_token, window=window)

    def outcome(self, page: Page, discovered: int, now: datetime) -> TermOutcome:
        """Schedule the term by what the page brought."""
        following = core.next_search(
            self._state,
            candidates=len(page.candidates),
            discovered=discovered,
            next_page_token=page.next_page_token,
            now=now,
        )
        window = page.window or core.search_window(self._state, now)
        return TermOutcome(
            id=self.row["id"],
            lease_token=self.row["lease_token"],
            next_search_at=following.at,
            window_after=window.after,
            window_before=window.before,
            next_page_token=following.page_token,
            candidates=len(page.candidates),
            discovered=discovered,
            yield_=following.yield_,
            asleep=following.asleep,
        )

    @property
    def _state(self) -> core.TermState:
        term = self.row
        return core.TermState(
            pinned=term["pinned"],
            window_after=term["window_after"],
            window_before=term["window_before"],
            next_page_token=term["next_page_token"],
            page_token_at=term["page_token_at"],
            last_mentioned_at=term["last_mentioned_at"],
            yield_=term["yield_"],
        )


@dataclass(frozen=True, slots=True)
class Uploads:
    """A channel of the roster: its newest fifty uploads."""

    bucket: ClassVar[Bucket] = "general"
    row: ChannelRow

    async def read(self, youtube: YouTube, now: datetime) -> Page:
        """Read the first page of the uploads playlist."""
        found = await youtube.uploads(self.row["id"])
        uploads = [upload for upload in found.uploads if upload.available]
        published = tuple(upload.published_at for upload in uploads if upload.published_at is not None)
        return Page(
            tuple(dict.fromkeys(upload.video_id for upload in uploads)),
            found.next_page_token,
            published=published,
        )

    def outcome(self, page: Page, now: datetime) -> PollOutcome:
        """Schedule the channel by how often it uploads."""
        rate = core.upload_rate(page.published, now)
        return PollOutcome(
            id=self.row["id"],
            lease_token=self.row["lease_token"],
            next_poll_at=core.next_poll(rate, now),
            upload_rate=rate,
        )


def candidates_of(pages: Sequence[Page]) -> list[str]:
    """All candidates, each once, in the order found."""
    return list(dict.fromkeys(video_id for page in pages for video_id in page.candidates))
