"""What the Hunter decides: when to search a term again, when to read a channel's uploads, which tags become terms."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from maia.hunter.stoplist import GENERIC

# Findable videos drop sharply from 20 days after publication, and a fresh window fills for about two days
# (search.list as observed up to November 2026): so search young windows, and each moment twice within 48 hours.
WINDOW = timedelta(days=1)
REPEAT_WITHIN = timedelta(hours=48)

SEARCH_CAP = 500
"""Results that search.list shows of a query, about; then it ends, or begins again (observed up to November 2026)."""
NEAR_CAP = 450
"""A window that ends after this many results was cut, and not exhausted."""
REST_LIFE = timedelta(hours=72)
"""The rest of a window that begins longer ago is given up: what is there is found by other ways, or forgotten."""

PAGE_TOKEN_LIFE = timedelta(hours=6)  # older tokens point into a result list that has moved on
PAGE_SIZE = 50
GO_ON_SHARE = 0.5  # a page at least half new is worth the next one

SEARCH_FASTEST = timedelta(hours=6)
SEARCH_SLOWEST = timedelta(hours=48)
SEARCH_SLOWEST_IDLE = timedelta(days=7)  # for a term that nobody pinned and that finds nothing
YIELD_PER_DAY = 10.0  # a term with this many new videos a call is searched once a day
YIELD_MEMORY = 0.6  # weight of the past in the smoothed yield

POLLS_PER_UPLOAD = 2.0
POLL_FASTEST = timedelta(hours=1)
POLL_SLOWEST = timedelta(days=3)
POLL_SLOWEST_IDLE = timedelta(days=28)  # for a channel that nobody pinned and that has long been silent
POLL_AT_LEAST = timedelta(days=7)  # also for a channel whose feed keeps saying that there is no need
SILENCE_SHARE = 1 / 8  # a silent channel is looked at again after this share of its silence
RATE_WINDOW = timedelta(days=28)

UPLOADS_CAP = 20_000
"""Videos that an uploads playlist shows, about (observed up to November 2026)."""
RESTART_AFTER = timedelta(hours=6)
"""A walk that has to begin again and again does so after this time, not at once."""

CHART_EVERY = timedelta(hours=6)

FEED_LENGTH = 15
FEED_FASTEST = timedelta(hours=1)
"""Feeds may be cached for 15 minutes, say their headers (Cache-Control: max-age=900, as of July 2026), and know no
conditional request: asking more often, or with a validator, gains nothing."""
FEED_SLOWEST = timedelta(hours=12)
FEED_LONGEST_RETRY = timedelta(hours=6)
"""All feeds answer 404 for hours on most days (as observed since December 2025): that says nothing of a channel."""

LONGEST_RETRY = timedelta(days=7)
GONE_FIRST_RETRY = timedelta(days=1)
GONE_LONGEST_RETRY = timedelta(days=28)
"""What YouTube says is not there may come back, but no one waits for it."""

ABSENT = "not_available"
"""Why a candidate is not stored that YouTube did not return, or not with what tracking needs."""
PASSING = frozenset({ABSENT, "live", "upcoming", "min_rate"})
"""Reasons that may be gone tomorrow; so may any fact that is unknown."""
REJECTED_FOR = timedelta(days=7)
"""How long a refused video is not looked up again: a unit a week for a channel whose uploads are all refused."""
REJECTED_FOR_NOW = timedelta(days=1)
"""The same, where the reason may pass."""

TERM_LENGTH = range(2, 61)  # characters
TERMS_PER_VIDEO = 3
_ADDRESS = re.compile(r"https?:|www\.|\.(?:com|net|org|tv|io|ly|be)\b")
_LETTER = re.compile(r"[^\W\d_]")


class Pace(NamedTuple):
    """How a cycle goes about it."""

    stretch: float = 1.0
    """Waits between polls are this many times as long as they should be: the roster wants more than there is."""
    walks: bool = True
    feeds: bool = True


class Window(NamedTuple):
    """A span of publication times to search, and where to go on in it."""

    after: datetime
    before: datetime
    page_token: str | None
    seen: int = 0
    """Results passed in it."""
    rest: datetime | None = None
    """Results down to this moment were passed; None at the beginning."""


class TermState(NamedTuple):
    """What is known of a term when it is claimed."""

    pinned: bool
    searched_until: datetime | None
    window_after: datetime | None
    window_before: datetime | None
    window_seen: int
    window_rest: datetime | None
    next_page_token: str | None
    page_token_at: datetime | None
    yield_: float


class Hits(NamedTuple):
    """What a page of a window brought: candidates, those we did not know, those that were stored; its times."""

    candidates: int
    unknown: int
    discovered: int
    next_page_token: str | None
    published: Sequence[datetime] = ()


class NextSearch(NamedTuple):
    """When a term is due again, and with what memory; ``window.rest`` is None when the window is done with."""

    at: datetime
    window: Window
    searched_until: datetime
    yield_: float


def search_window(term: TermState, now: datetime) -> Window:
    """Choose the window: the rest of the last one, or a fresh one, from a day before its end until now.

    The rest is read on with its token while that lives, and else as a window of its own.
    """
    after, before, rest = term.window_after, term.window_before, term.window_rest
    if after and before and rest and after < rest and now - after < REST_LIFE:
        if term.next_page_token and term.page_token_at and now - term.page_token_at < PAGE_TOKEN_LIFE:
            return Window(after, before, term.next_page_token, term.window_seen, rest)
        return Window(after, rest, None)
    after = now - WINDOW
    if term.searched_until is not None:
        after = max(min(after, term.searched_until - WINDOW), now - REPEAT_WITHIN)
    return Window(after, now, None)


def next_search(term: TermState, window: Window, hits: Hits, now: datetime) -> NextSearch:
    """Decide from what a page brought when the term is due again.

    A page that was mostly new is followed at once by the next one. Where search ends though there is more, or begins
    again from the newest (a page we know whole, younger than what was passed), the rest becomes a window of its own.
    """
    smoothed = YIELD_MEMORY * term.yield_ + (1 - YIELD_MEMORY) * hits.discovered
    searched_until = max(term.searched_until or window.before, window.before)
    seen = window.seen + hits.candidates
    oldest = min((*hits.published, *filter(None, (window.rest,))), default=None)
    wrapped = (
        window.rest is not None and hits.unknown == 0 and bool(hits.published) and max(hits.published) > window.rest
    )
    cut = wrapped or seen >= (SEARCH_CAP if hits.next_page_token else NEAR_CAP)
    worthwhile = wrapped or (hits.candidates > 0 and hits.discovered >= GO_ON_SHARE * hits.candidates)
    if worthwhile and oldest is not None:
        if not cut and hits.next_page_token:
            following = Window(window.after, window.before, hits.next_page_token, seen, oldest)
            return NextSearch(now, following, searched_until, smoothed)
        rest = oldest + timedelta(seconds=1)  # the window's end is exclusive, and others may be of that second
        if cut and window.after < rest < window.before:
            return NextSearch(now, Window(window.after, rest, None, 0, rest), searched_until, smoothed)
    slowest = SEARCH_SLOWEST if term.pinned else SEARCH_SLOWEST_IDLE
    wait = min(max(timedelta(days=YIELD_PER_DAY / max(smoothed, 0.01)), SEARCH_FASTEST), slowest)
    return NextSearch(now + wait, Window(window.after, window.before, None), searched_until, smoothed)


def upload_rate(published: Iterable[datetime], now: datetime, *, full: int = PAGE_SIZE) -> float:
    """Count the uploads a day over the last four weeks, from the newest ``full`` uploads of a channel.

    A full list younger than that covers a shorter span, and the rate is taken over what it covers.
    """
    recent = sorted(at for at in published if timedelta(0) <= now - at <= RATE_WINDOW)
    if not recent:
        return 0.0
    span = now - recent[0] if len(recent) >= full else RATE_WINDOW
    return len(recent) / max(span / timedelta(days=1), 1 / 24)


def next_poll(
    rate: float, now: datetime, *, newest: datetime | None = None, pinned: bool = False, stretch: float = 1.0
) -> datetime:
    """Look at a channel's uploads twice per expected upload, between hourly and every three days.

    One that has been silent for four weeks waits for an eighth of its silence, four weeks at most. ``stretch`` makes
    waits longer, but not so long that an upload could leave the first page unseen.
    """
    if rate > 0:
        wait = min(max(timedelta(days=1 / (POLLS_PER_UPLOAD * rate)), POLL_FASTEST), POLL_SLOWEST)
        return now + max(wait, min(wait * stretch, timedelta(days=PAGE_SIZE / 2 / rate), POLL_SLOWEST_IDLE))
    if pinned:
        return now + POLL_SLOWEST
    silence = POLL_SLOWEST_IDLE / SILENCE_SHARE if newest is None else now - newest
    return now + min(max(silence * SILENCE_SHARE, POLL_SLOWEST) * stretch, POLL_SLOWEST_IDLE)


def stretch(wanted: float, affordable: float) -> float:
    """Tell how much longer waits between polls must be, when the roster wants so many polls a day of so many."""
    return max(1.0, wanted / max(affordable, 1.0))


def next_feed(rate: float, now: datetime) -> datetime | None:
    """Look at a channel's feed four times per expected upload; None when it is silent, and polls will do."""
    if rate <= 0:
        return None
    return now + min(max(timedelta(days=1 / (2 * POLLS_PER_UPLOAD * rate)), FEED_FASTEST), FEED_SLOWEST)


def look_again(reason: str, now: datetime) -> datetime:
    """Tell until when a candidate that was refused is not looked up again."""
    return now + (REJECTED_FOR_NOW if reason in PASSING or reason.endswith("_unknown") else REJECTED_FOR)


def first_look(video_id: str, interval: timedelta, now: datetime) -> datetime:
    """Spread the first looks of videos found together over one interval, the same for a video each time."""
    return now + interval * ((zlib.crc32(video_id.encode()) % 997 + 1) / 997)


def terms_of(tags: Sequence[str], *, limit: int = TERMS_PER_VIDEO) -> list[str]:
    """Pick up to ``limit`` search terms from the tags of a video, in the uploader's order.

    Tags are folded. Those that say nothing of what a video is about are passed over: generic ones, single letters,
    numbers, addresses.
    """
    folded = dict.fromkeys(" ".join(tag.replace("#", " ").split()).casefold() for tag in tags)
    return [term for term in folded if _is_telling(term)][:limit]


def snowball(tagged: Iterable[tuple[str, Sequence[str]]]) -> list[str]:
    """Turn the tags of videos, each with its channel, into mentions of terms: first those of the most channels.

    A term is listed once for each video that mentions it.
    """
    mentions: Counter[str] = Counter()
    channels: dict[str, set[str]] = {}
    for channel, tags in tagged:
        for term in terms_of(tags):
            mentions[term] += 1
            channels.setdefault(term, set()).add(channel)
    ranked = sorted(mentions, key=lambda term: (-len(channels[term]), term))
    return [term for term in ranked for _ in range(mentions[term])]


def _is_telling(term: str) -> bool:
    return (
        len(term) in TERM_LENGTH
        and term not in GENERIC
        and _LETTER.search(term) is not None
        and _ADDRESS.search(term) is None
    )
