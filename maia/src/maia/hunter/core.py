"""What the Hunter decides: when to search a term again, when to read a channel's uploads, which tags become terms."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

# Findable videos drop sharply from 20 days after publication, and a fresh window fills for about two days
# (search.list as observed up to November 2026): so search young windows, and each moment twice within 48 hours.
WINDOW = timedelta(days=1)
REPEAT_WITHIN = timedelta(hours=48)

PAGE_TOKEN_LIFE = timedelta(hours=6)  # older tokens point into a result list that has moved on
PAGE_SIZE = 50
GO_ON_SHARE = 0.5  # a page at least half new is worth the next one

SEARCH_FASTEST = timedelta(hours=6)
SEARCH_SLOWEST = timedelta(hours=48)
SEARCH_SLOWEST_IDLE = timedelta(days=7)  # for a term that nobody pinned and that finds nothing
YIELD_PER_DAY = 10.0  # a term with this many new videos a call is searched once a day
YIELD_MEMORY = 0.6  # weight of the past in the smoothed yield
ASLEEP_BELOW = 0.5  # new videos a call
ASLEEP_AFTER = timedelta(days=14)  # without a mention

POLL_FASTEST = timedelta(hours=1)
POLL_SLOWEST = timedelta(days=3)
RATE_WINDOW = timedelta(days=28)

LONGEST_RETRY = timedelta(days=7)

TERM_LENGTH = range(2, 61)  # characters


class Window(NamedTuple):
    """A span of publication times to search, and where to go on in it."""

    after: datetime
    before: datetime
    page_token: str | None


class TermState(NamedTuple):
    """What is known of a term when it is claimed."""

    pinned: bool
    window_after: datetime | None
    window_before: datetime | None
    next_page_token: str | None
    page_token_at: datetime | None
    last_mentioned_at: datetime
    yield_: float


class NextSearch(NamedTuple):
    """When a term is due again, and with what memory."""

    at: datetime
    page_token: str | None
    yield_: float
    asleep: bool


def search_window(term: TermState, now: datetime) -> Window:
    """Choose the window: the rest of the last one while its token lives, else from a day before its end until now."""
    if (
        term.next_page_token
        and term.window_after
        and term.window_before
        and term.page_token_at
        and now - term.page_token_at < PAGE_TOKEN_LIFE
    ):
        return Window(term.window_after, term.window_before, term.next_page_token)
    after = now - WINDOW
    if term.window_before is not None:
        after = max(min(after, term.window_before - WINDOW), now - REPEAT_WITHIN)
    return Window(after, now, None)


def next_search(
    term: TermState, *, candidates: int, discovered: int, next_page_token: str | None, now: datetime
) -> NextSearch:
    """Decide from what a page brought when the term is due again.

    A page that was mostly new is followed at once by the next one. A page with nothing new ends the window, also when
    there is a token: search caps at about 500 results and can wrap round.
    """
    smoothed = YIELD_MEMORY * term.yield_ + (1 - YIELD_MEMORY) * discovered
    if next_page_token and candidates and discovered >= GO_ON_SHARE * candidates:
        return NextSearch(now, next_page_token, smoothed, asleep=False)
    slowest = SEARCH_SLOWEST if term.pinned else SEARCH_SLOWEST_IDLE
    wait = timedelta(days=YIELD_PER_DAY / max(smoothed, 0.01))
    asleep = not term.pinned and smoothed < ASLEEP_BELOW and now - term.last_mentioned_at > ASLEEP_AFTER
    return NextSearch(now + min(max(wait, SEARCH_FASTEST), slowest), None, smoothed, asleep)


def upload_rate(published: Iterable[datetime], now: datetime) -> float:
    """Count the uploads a day over the last four weeks, from one page of a channel's uploads.

    A full page younger than that covers a shorter span, and the rate is taken over what it covers.
    """
    recent = sorted(at for at in published if timedelta(0) <= now - at <= RATE_WINDOW)
    if not recent:
        return 0.0
    span = now - recent[0] if len(recent) >= PAGE_SIZE else RATE_WINDOW
    return len(recent) / max(span / timedelta(days=1), 1 / 24)


def next_poll(rate: float, now: datetime) -> datetime:
    """Look at a channel's uploads twice per expected upload, between hourly and every three days."""
    wait = timedelta(days=0.5 / rate) if rate > 0 else POLL_SLOWEST
    return now + min(max(wait, POLL_FASTEST), POLL_SLOWEST)


def first_look(video_id: str, interval: timedelta, now: datetime) -> datetime:
    """Spread the first looks of videos found together over one interval, the same for a video each time."""
    return now + interval * ((zlib.crc32(video_id.encode()) % 997 + 1) / 997)


def snowball(tags: Sequence[str], known: Collection[str], *, limit: int = 3) -> list[str]:
    """Pick up to ``limit`` search terms we do not know yet, in the uploader's order."""
    fresh = dict.fromkeys(" ".join(tag.split()).casefold() for tag in tags)
    return [term for term in fresh if len(term) in TERM_LENGTH and term not in known][:limit]
