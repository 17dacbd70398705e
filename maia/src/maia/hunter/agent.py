"""One cycle of the Hunter: claim what is due, read it, enrich what is new, judge it, store and acknowledge together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict
from uuid import UUID

from atlas import Settings, clock, settings
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import LEASE, Discovery, Failure, Rejected
from atlas.config import Stage
from atlas.errors import ApiError, Bucket, CircuitOpen, LeaseLost, NoLiveKey, QuotaExhausted, ResourceRefused
from atlas.tiers import next_track
from maia.backoff import retry_at
from maia.batches import IDS_PER_CALL, batched
from maia.hunter import core
from maia.hunter.discovery import BUCKETS, METADATA, SOURCES, Found, Page, Purse, Source
from maia.hunter.gate import Gate
from maia.reporting import NOTHING_DUE, SHARE_USED
from maia.runs import run_of
from maia.toolbox import Toolbox, open_toolbox
from maia.tracker.market import first_looks
from maia.turns import in_turn
from maia.youtube.models import Channel, Video

log = logging.getLogger(__name__)

DAY = timedelta(days=1)
PATIENCE = LEASE / 2
"""How long a page may wait for others to fill a batch of its candidates; its lease runs meanwhile."""


class HunterSummary(TypedDict):
    """What a cycle did; ``quota`` counts the calls by bucket, ``gated`` what was not stored, by reason."""

    queries_processed: int
    channels_polled: int
    pages_walked: int
    chart_pages: int
    feeds_read: int
    videos_discovered: int
    videos_known: int
    gated: dict[str, int]
    terms_added: int
    failed: int
    quota: dict[Bucket, int]
    stopped_by: str


class Enrolment(TypedDict):
    """What became of videos named by hand; ``not_found`` are unknown to YouTube, private or deleted."""

    added: int
    already_tracked: int
    not_found: list[str]


@in_turn("hunter")
@run_of("hunter")
async def run_once(*, every: timedelta = timedelta(minutes=30)) -> HunterSummary:
    """Run one cycle with the tools of the settings."""
    async with open_toolbox("hunter") as tools:
        return await hunt(tools, every=every, stages=settings.VIDEO_STAGES)


async def hunt(
    tools: Toolbox, *, every: timedelta, stages: Sequence[Stage] = (), rules: Settings = settings
) -> HunterSummary:
    """Drain what is due within the allowance of a run that comes round ``every`` so often."""
    allowance = await tools.allowance(every)
    wanted = await tools.dao.roster_demand(
        per_upload=core.POLLS_PER_UPLOAD, least=DAY / core.POLL_SLOWEST_IDLE, most=DAY / core.POLL_FASTEST
    )
    polls = allowance["poll"] * (1 - rules.HUNTER_WALK_SHARE) * (DAY / every)
    pace = core.Pace(core.stretch(wanted, polls), walks=rules.HUNTER_WALK_SHARE > 0, feeds=rules.HUNTER_FEEDS > 0)
    # Polls and enrichment share a purse: no page is read whose enrichment could not be paid.
    general = allowance["poll"] + allowance["enrich"]
    purses: dict[Purse, int] = {"search": allowance["search"], "general": general, "feed": rules.HUNTER_FEEDS}
    return await _Hunt(
        tools,
        stages,
        Gate.from_settings(rules),
        pace,
        purses,
        for_walks=int(allowance["poll"] * rules.HUNTER_WALK_SHARE),
        for_terms=rules.HUNTER_NEW_TERMS,
    ).run()


async def enrol(tools: Toolbox, ids: Sequence[str], *, stages: Sequence[Stage] = ()) -> Enrolment:
    """Look up videos by id and track them from now on, whatever a gate would say; a general unit for fifty."""
    now = clock.now()
    known = await tools.dao.known_videos(ids)
    wanted = [video_id for video_id in dict.fromkeys(ids) if video_id not in known]
    videos = [video for chunk in batched(wanted) for video in await tools.youtube.videos(chunk, parts=METADATA)]
    found = [discovery for video in videos if (discovery := discovery_of(video, now, source="watch")) is not None]
    found = await first_looks(tools.dao, found, now)
    new = await tools.dao.ingest_video_metadata(found, stages=stages, now=now)
    return {
        "added": len(new),
        "already_tracked": len(known),
        "not_found": sorted(set(wanted) - {video.id for video in found}),
    }


class _Refusal(NamedTuple):
    """Why a source could not be read; ``is_gone`` when YouTube says that there is no such thing."""

    reason: str
    is_gone: bool = False


class _Reading(NamedTuple):
    """A page that was read and is not settled yet, and those of its candidates that we did not know."""

    source: Source[Any]
    page: Page
    at: datetime
    unknown: tuple[str, ...]


class _Hunt:
    """One cycle: what it may still spend, what it holds, and its counts.

    Candidates are enriched in full batches: those that fill none wait, and their pages with them, until more come, no
    more do, or half their lease is over.
    """

    def __init__(
        self,
        tools: Toolbox,
        stages: Sequence[Stage],
        gate: Gate,
        pace: core.Pace,
        purses: dict[Purse, int],
        *,
        for_walks: int,
        for_terms: int,
    ) -> None:
        self._dao = tools.dao
        self._youtube = tools.youtube
        self._stages = stages
        self._gate = gate
        self._pace = pace
        self._left = purses
        self._for_walks = for_walks  # units they may use while others are due
        self._for_terms = for_terms  # that may yet be added
        self._waiting: list[_Reading] = []
        self._accepted: dict[str, Discovery] = {}  # not stored yet
        self._rejected: dict[str, Rejected] = {}  # not noted yet
        self._settled: set[str] = set()  # stored or noted
        self._unread: dict[str, str | None] = {}  # could not be looked up: why, or None for want of quota
        self._channels: dict[str, Channel | None] = {}  # what the gate may go by; None: YouTube has none
        self._tokens: dict[type[Source[Any]], set[UUID]] = {}
        self._counts: Counter[str] = Counter()
        self._gated: Counter[str] = Counter()
        self._quota: dict[Bucket, int] = {"search": 0, "general": 0}
        self._exhausted = ""
        self._keyless: NoLiveKey | None = None

    async def run(self) -> HunterSummary:
        try:
            while (sources := await self._claim()) or self._waiting:
                await self._round(sources)
        finally:
            # What was neither completed nor failed goes back at once; a lease would run out by itself.
            for kind, tokens in self._tokens.items():
                for token in tokens:
                    await kind.release(self._dao, token)
        await self._dao.forget_rejected()
        if self._keyless is not None:
            raise self._keyless
        return self._summary()

    def _summary(self) -> HunterSummary:
        is_spent = self._left["search"] == 0 or self._left["general"] == 0
        return {
            "queries_processed": self._counts["queries_processed"],
            "channels_polled": self._counts["channels_polled"],
            "pages_walked": self._counts["pages_walked"],
            "chart_pages": self._counts["chart_pages"],
            "feeds_read": self._counts["feeds_read"],
            "videos_discovered": self._counts["videos_discovered"],
            "videos_known": self._counts["videos_known"],
            "gated": dict(sorted(self._gated.items())),
            "terms_added": self._counts["terms_added"],
            "failed": self._counts["failed"],
            "quota": self._quota,
            "stopped_by": (self._exhausted or SHARE_USED) if is_spent else NOTHING_DUE,
        }

    # -- Claiming -----------------------------------------------------------------------------------------------------

    async def _claim(self) -> list[Source[Any]]:
        """Lease what the purses can pay for: pages, and the enrichment of all that they can bring."""
        claimed: list[Source[Any]] = []
        general = self._left["general"] - self._price(len(self._unknown()))
        are_due = False
        for kind in SOURCES:
            limit = min(kind.per_round, self._left[kind.purse])
            if kind.can_wait and (are_due or not self._pace.walks):
                limit = min(limit, self._for_walks)
            limit = next((pages for pages in range(limit, 0, -1) if self._cost(kind, pages) <= general), 0)
            if limit == 0:
                continue
            sources = await kind.claim(self._dao, limit)
            self._tokens.setdefault(kind, set()).update(source.token for source in sources)
            claimed += sources
            general -= self._cost(kind, len(sources))
            if kind.can_wait:
                self._for_walks -= len(sources)
            else:
                are_due |= kind.purse == "general" and len(sources) == limit
        return claimed

    def _cost(self, kind: type[Source[Any]], pages: int) -> int:
        """General units that so many pages can cost, enrichment included."""
        return (pages if kind.purse == "general" else 0) + self._price(pages * kind.brings)

    def _price(self, candidates: int) -> int:
        """General units that the enrichment of candidates can cost: a unit for fifty, and one for their channels."""
        return -(-candidates // IDS_PER_CALL) * (2 if self._gate.needs_channel else 1)

    # -- Reading ------------------------------------------------------------------------------------------------------

    async def _round(self, sources: Sequence[Source[Any]]) -> None:
        """Read pages, enrich what fills batches, or all when there are no more pages, and store what is complete."""
        now = clock.now()
        answers = await asyncio.gather(*(self._read(source, now) for source in sources))
        refused = [
            (source, answer) for source, answer in zip(sources, answers, strict=True) if isinstance(answer, _Refusal)
        ]
        pages = [(source, answer) for source, answer in zip(sources, answers, strict=True) if isinstance(answer, Page)]
        observed = await self._take_in(pages, now)

        unknown = self._unknown()
        must_end = not sources or (bool(self._waiting) and now - self._waiting[0].at > PATIENCE)
        size = len(unknown) if must_end else len(unknown) - len(unknown) % IDS_PER_CALL
        await asyncio.gather(*(self._enrich(chunk, now) for chunk in batched(unknown[:size])))

        complete, incomplete, waiting = [], [], []
        for reading in self._waiting:
            if unread := self._unread.keys() & reading.unknown:
                incomplete.append(reading)
                if reason := next((reason for name in sorted(unread) if (reason := self._unread[name])), None):
                    refused.append((reading.source, _Refusal(reason)))
            elif self._is_open(reading):
                waiting.append(reading)
            else:
                complete.append(reading)
        self._waiting = waiting
        self._unread.clear()
        await self._store(complete, incomplete, refused, observed, now)

    async def _read(self, source: Source[Any], now: datetime) -> Page | _Refusal | None:
        """Read a source: a page, why it failed, or None when the quota, or the service's patience, ended first."""
        try:
            self._spend(source.purse)
            return await source.read(self._youtube, now)
        except QuotaExhausted as spent:
            self._stop(spent)
        except NoLiveKey as keyless:
            self._end(keyless)
        except CircuitOpen as broken:
            log.info("%s", broken)
            self._left[source.purse] = 0
        except ApiError as error:
            return _Refusal(str(error), is_gone=isinstance(error, ResourceRefused))
        return None

    async def _take_in(self, pages: Sequence[tuple[Source[Any], Page]], now: datetime) -> list[Discovery]:
        """Let pages wait for what is not known of them; returns new readings of videos that we track already."""
        candidates = dict.fromkeys(video_id for _, page in pages for video_id in page.candidates)
        known = await self._dao.judged_videos(candidates, now=now) if candidates else set()
        for source, page in pages:
            unknown = tuple(video_id for video_id in page.candidates if video_id not in known)
            self._waiting.append(_Reading(source, page, now, unknown))
        self._counts["videos_known"] += len(known)
        along = {video.id: video for _, page in pages for video in page.videos}
        if not along:
            return []
        fresh = [video for video_id, video in along.items() if video_id not in known]
        for chunk in batched(fresh):
            await self._judge(chunk, [video.id for video in chunk], now)
        tracked = await self._dao.known_videos(along.keys() & known)
        readings = (discovery_of(video, now) for video_id, video in along.items() if video_id in tracked)
        return [reading for reading in readings if reading is not None]

    def _unknown(self) -> list[str]:
        """The candidates of waiting pages that are still to be looked up, in the order found."""
        wanted = dict.fromkeys(video_id for reading in self._waiting for video_id in reading.unknown)
        return [video_id for video_id in wanted if not self._is_judged(video_id)]

    def _is_open(self, reading: _Reading) -> bool:
        return not all(map(self._is_judged, reading.unknown))

    def _is_judged(self, video_id: str) -> bool:
        return any(video_id in those for those in (self._accepted, self._rejected, self._settled, self._unread))

    # -- Enriching and judging ----------------------------------------------------------------------------------------

    async def _enrich(self, ids: Sequence[str], now: datetime) -> None:
        """Look candidates up, and judge them."""
        try:
            self._spend("general")
            videos = await self._youtube.videos(ids, parts=METADATA)
        except QuotaExhausted as spent:
            self._stop(spent)
            self._unread.update(dict.fromkeys(ids))
        except NoLiveKey as keyless:
            self._end(keyless)
            self._unread.update(dict.fromkeys(ids))
        except ApiError as error:
            self._unread.update(dict.fromkeys(ids, str(error)))
        else:
            await self._judge(videos, ids, now)

    async def _judge(self, videos: Sequence[Video], ids: Sequence[str], now: datetime) -> None:
        """Say of each of ``ids`` whether it is stored; who cannot be judged for want of facts is not read."""
        try:
            await self._learn_of_channels(videos, now)
        except QuotaExhausted as spent:
            self._stop(spent)
            self._unread.update(dict.fromkeys(ids))
            return
        except NoLiveKey as keyless:
            self._end(keyless)
            self._unread.update(dict.fromkeys(ids))
            return
        except ApiError as error:
            self._unread.update(dict.fromkeys(ids, str(error)))
            return
        known = {video.id: video for video in videos}
        for video_id in ids:
            video = known.get(video_id)
            discovery = None if video is None else discovery_of(video, now)
            if video is None or discovery is None:
                self._rejected[video_id] = Rejected(video_id, core.ABSENT, core.look_again(core.ABSENT, now))
            elif reason := self._gate.judge(video, now, self._channels.get(discovery.channel_id)):
                self._rejected[video_id] = Rejected(video_id, reason, core.look_again(reason, now))
            else:
                self._accepted[video_id] = discovery

    async def _learn_of_channels(self, videos: Sequence[Video], now: datetime) -> None:
        """Read the channels of fifty videos at most, where the gate has yet to ask for them."""
        if not self._gate.needs_channel:
            return
        hopeful = (video.channel_id for video in videos if self._gate.judge_alone(video, now) is None)
        ids = {channel_id for channel_id in hopeful if channel_id is not None} - self._channels.keys()
        if ids:
            self._spend("general")
            read = await self._youtube.channels(sorted(ids))
            self._channels.update(dict.fromkeys(ids))
            self._channels.update((channel.id, channel) for channel in read)

    # -- Storing ------------------------------------------------------------------------------------------------------

    async def _store(
        self,
        complete: Sequence[_Reading],
        incomplete: Sequence[_Reading],
        refused: Sequence[tuple[Source[Any], _Refusal]],
        observed: Sequence[Discovery],
        now: datetime,
    ) -> None:
        """Store what was read and acknowledge the complete pages, all of it or nothing.

        What was read of a page that is not complete is stored too: it has been observed, and the page is read again.
        """
        judged = dict.fromkeys(video_id for reading in (*complete, *incomplete) for video_id in reading.unknown)
        found = [*(self._accepted[video_id] for video_id in judged if video_id in self._accepted), *observed]
        found = await first_looks(self._dao, found, now)
        rejected = [self._rejected[video_id] for video_id in judged if video_id in self._rejected]
        count = self._counts
        settled = [*(reading.source for reading in complete), *(source for source, _ in refused)]
        searched = [source.term_id for source in settled if source.term_id is not None]
        try:
            async with self._dao.transaction() as dao:
                new, added = await self._keep(dao, found, rejected, searched, now)
                outcomes = self._outcomes(complete, new, now)
                failures = _failures(refused, now)
                for kind in SOURCES:
                    if kind in outcomes:
                        await kind.settle(dao, outcomes[kind], now)
                    if kind in failures:
                        await kind.fail(dao, failures[kind])
            count.update(reading.source.counted_as for reading in complete)
            count["failed"] += len(refused)
        except LeaseLost as late:
            # Others have these sources by now, and will read them; what we read was observed all the same.
            log.warning("%s; what it read is stored all the same", late)
            async with self._dao.transaction() as dao:
                new, added = await self._keep(dao, found, rejected, (), now)
        count["videos_discovered"] += len(new)
        count["terms_added"] += added
        self._for_terms -= added
        self._gated.update(each.reason for each in rejected)
        for judgements in (self._accepted, self._rejected):
            for video_id in judgements.keys() & judged:
                del judgements[video_id]
                self._settled.add(video_id)
        for source, refusal in refused:
            log.warning("%s failed: %s", source, refusal.reason)

    async def _keep(
        self,
        dao: MaiaDAO,
        found: Sequence[Discovery],
        rejected: Sequence[Rejected],
        searched: Sequence[int],
        now: datetime,
    ) -> tuple[list[str], int]:
        """Store discoveries and the terms their tags give; returns the new ids, and how many terms were new.

        The terms that were ``searched`` are settled in the same transaction.
        """
        new = await dao.ingest_video_metadata(found, stages=self._stages, now=now)
        await dao.reject_videos(rejected)
        fresh = frozenset(new)
        terms = core.snowball((video.channel_id, video.tags) for video in found if video.id in fresh)
        await dao.hold_terms(terms, searched)
        return new, await dao.add_to_search_queue(terms, at_most=max(self._for_terms, 0), now=now)

    def _outcomes(
        self, complete: Sequence[_Reading], new: Sequence[str], now: datetime
    ) -> dict[type[Source[Any]], list[Any]]:
        """Schedule the sources that were read; a new video counts for the first page that brought it."""
        unclaimed = set(new)
        outcomes: dict[type[Source[Any]], list[Any]] = {}
        for reading in complete:
            first_here = unclaimed.intersection(reading.unknown)
            unclaimed -= first_here
            outcome = reading.source.outcome(
                reading.page, Found(len(reading.unknown), len(first_here)), self._pace, now
            )
            outcomes.setdefault(type(reading.source), []).append(outcome)
        return outcomes

    # -- Spending -----------------------------------------------------------------------------------------------------

    def _spend(self, purse: Purse) -> None:
        self._left[purse] = max(self._left[purse] - 1, 0)
        if bucket := BUCKETS.get(purse):
            self._quota[bucket] += 1

    def _stop(self, spent: QuotaExhausted) -> None:
        for purse, bucket in BUCKETS.items():
            if bucket == spent.bucket:
                self._left[purse] = 0
        self._quota[spent.bucket] -= 1  # the call was not made
        self._exhausted = str(spent)

    def _end(self, keyless: NoLiveKey) -> None:
        """Make no more calls; what was read before the last key went is stored before that is told."""
        self._left.update(dict.fromkeys(self._left, 0))
        self._keyless = keyless


def discovery_of(video: Video, now: datetime, *, source: str = "hunter") -> Discovery | None:
    """Turn a video into what is stored of it; None when the answer lacks what tracking needs.

    A video without a channel or a publication time cannot be tracked: YouTube sends both for every public video.
    """
    if video.channel_id is None or video.published_at is None:
        return None
    tier, following = next_track(video.published_at, now)
    return Discovery(
        id=video.id,
        channel_id=video.channel_id,
        channel_title=video.channel_title,
        title=video.title or "",
        published_at=video.published_at,
        duration=None if video.duration is None else round(video.duration.total_seconds()),
        tags=video.tags,
        category_id=video.category_id,
        default_language=video.default_language,
        wiki_topics=video.wiki_topics,
        source=source,
        tracking_tier=tier,
        next_track_at=core.first_look(video.id, following - now, now),
        observed_at=now,
        views=video.views,
        likes=video.likes,
        comment_count=video.comment_count,
    )


def _failures(refused: Sequence[tuple[Source[Any], _Refusal]], now: datetime) -> dict[type[Source[Any]], list[Failure]]:
    failures: dict[type[Source[Any]], list[Failure]] = {}
    for source, refusal in refused:
        attempts = source.row["attempts"]
        at = retry_at(attempts, now, longest=source.longest_retry)
        if refusal.is_gone:
            at = retry_at(attempts, now, first=core.GONE_FIRST_RETRY, longest=core.GONE_LONGEST_RETRY)
        failures.setdefault(type(source), []).append(Failure(source.key, source.token, refusal.reason, at))
    return failures
