"""One cycle of the Hunter: claim what is due, read it, enrich what is new, store and acknowledge in one transaction."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypedDict
from uuid import UUID

from atlas import clock, settings
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery, Failure, PollOutcome, TermOutcome
from atlas.config import Stage
from atlas.errors import ApiError, Bucket, LeaseLost, NoLiveKey, QuotaExhausted
from atlas.tiers import next_track
from maia.backoff import retry_at
from maia.batches import batched
from maia.hunter import core
from maia.hunter.discovery import Page, Search, Uploads, candidates_of
from maia.toolbox import Toolbox, open_toolbox
from maia.youtube.models import Video, VideoPart

log = logging.getLogger(__name__)

TERMS_PER_ROUND = 10
CHANNELS_PER_ROUND = 40

METADATA: tuple[VideoPart, ...] = ("snippet", "contentDetails", "statistics", "topicDetails")
"""Parts of videos.list; the cost is one unit however many (YouTube Data API, "Quota costs", as of November 2026)."""

Sources = Sequence[Search | Uploads]
Refusals = dict[int, str]
"""Why a source of the round failed, by its place in the round."""


class HunterSummary(TypedDict):
    """What a cycle did; ``quota`` counts the calls by bucket."""

    queries_processed: int
    channels_polled: int
    videos_discovered: int
    videos_known: int
    terms_added: int
    failed: int
    quota: dict[Bucket, int]
    stopped_by: str


class Enrolment(TypedDict):
    """What became of videos named by hand; ``not_found`` are unknown to YouTube, private or deleted."""

    added: int
    already_tracked: int
    not_found: list[str]


async def run_once(*, every: timedelta = timedelta(minutes=30)) -> HunterSummary:
    """Run one cycle with the tools of the settings."""
    async with open_toolbox("hunter") as tools:
        return await hunt(tools, every=every, stages=settings.VIDEO_STAGES)


async def hunt(tools: Toolbox, *, every: timedelta, stages: Sequence[Stage] = ()) -> HunterSummary:
    """Drain the due terms and channels within the share of a run that comes round ``every`` so often."""
    share: dict[Bucket, int] = {
        "search": await tools.share("search", every),
        "general": await tools.share("general", every),
    }
    return await _Hunt(tools, stages, share).run()


async def enrol(tools: Toolbox, ids: Sequence[str], *, stages: Sequence[Stage] = ()) -> Enrolment:
    """Look up videos by id and track them from now on, whatever a gate would say; a general unit for fifty."""
    now = clock.now()
    known = await tools.dao.known_videos(ids)
    wanted = [video_id for video_id in dict.fromkeys(ids) if video_id not in known]
    videos = [video for chunk in batched(wanted) for video in await tools.youtube.videos(chunk, parts=METADATA)]
    found = [discovery for video in videos if (discovery := discovery_of(video, now, source="watch")) is not None]
    new = await tools.dao.ingest_video_metadata(found, stages=stages, now=now)
    return {
        "added": len(new),
        "already_tracked": len(known),
        "not_found": sorted(set(wanted) - {video.id for video in found}),
    }


class _Hunt:
    """One cycle: what it may still spend, and its counts."""

    def __init__(self, tools: Toolbox, stages: Sequence[Stage], share: dict[Bucket, int]) -> None:
        self._dao = tools.dao
        self._youtube = tools.youtube
        self._stages = stages
        self._left = share
        self._exhausted = ""
        self._keyless: NoLiveKey | None = None
        self._summary: HunterSummary = {
            "queries_processed": 0,
            "channels_polled": 0,
            "videos_discovered": 0,
            "videos_known": 0,
            "terms_added": 0,
            "failed": 0,
            "quota": {"search": 0, "general": 0},
            "stopped_by": "nothing due",
        }

    async def run(self) -> HunterSummary:
        while sources := await self._claim():
            try:
                await self._round(sources)
            finally:
                # What was neither completed nor failed goes back at once; a lease would run out by itself.
                await self._give_back(sources)
        if self._keyless is not None:
            raise self._keyless
        if 0 in self._left.values():
            self._summary["stopped_by"] = self._exhausted or "share of the day's quota used"
        return self._summary

    async def _claim(self) -> list[Search | Uploads]:
        """Lease what the rest of the share can pay for: a page each, and the enrichment of what it brings."""
        terms = min(TERMS_PER_ROUND, self._left["search"], self._left["general"])
        channels = min(CHANNELS_PER_ROUND, (self._left["general"] - terms) // 2)
        claimed: list[Search | Uploads] = []
        if terms > 0:
            claimed += [Search(row) for row in await self._dao.fetch_hunter_batch(terms)]
        if channels > 0:
            claimed += [Uploads(row) for row in await self._dao.fetch_channel_batch(channels)]
        return claimed

    async def _round(self, sources: Sources) -> None:
        now = clock.now()
        answers = await asyncio.gather(*(self._read(source, now) for source in sources))
        pages = {n: answer for n, answer in enumerate(answers) if isinstance(answer, Page)}
        refusals = {n: answer for n, answer in enumerate(answers) if isinstance(answer, str)}

        candidates = candidates_of(list(pages.values()))
        known = await self._dao.known_videos(candidates)
        videos, unresolved = await self._enrich([video_id for video_id in candidates if video_id not in known])
        for n, page in list(pages.items()):
            if missing := unresolved.keys() & page.candidates:
                del pages[n]
                if reason := unresolved[missing.pop()]:
                    refusals[n] = reason
        read = [videos[video_id] for video_id in candidates if video_id in videos]
        await self._store(sources, pages, refusals, read, now)
        self._summary["videos_known"] += len(known)

    async def _read(self, source: Search | Uploads, now: datetime) -> Page | str | None:
        """Read a source: a page, why it failed, or None when the quota ended first."""
        try:
            self._spend(source.bucket)
            return await source.read(self._youtube, now)
        except QuotaExhausted as spent:
            self._stop(spent)
            return None
        except NoLiveKey as keyless:
            self._end(keyless)
            return None
        except ApiError as error:
            return str(error)

    async def _enrich(self, ids: Sequence[str]) -> tuple[dict[str, Video], dict[str, str | None]]:
        """Read the metadata of new candidates.

        Returns what YouTube knows of them, and those it was not asked about in the end: why, or None for want of quota.
        """
        videos: dict[str, Video] = {}
        unresolved: dict[str, str | None] = {}

        async def read(chunk: Sequence[str]) -> None:
            try:
                self._spend("general")
                videos.update((video.id, video) for video in await self._youtube.videos(chunk, parts=METADATA))
            except QuotaExhausted as spent:
                self._stop(spent)
                unresolved.update(dict.fromkeys(chunk))
            except NoLiveKey as keyless:
                self._end(keyless)
                unresolved.update(dict.fromkeys(chunk))
            except ApiError as error:
                unresolved.update(dict.fromkeys(chunk, str(error)))

        await asyncio.gather(*(read(chunk) for chunk in batched(ids)))
        return videos, unresolved

    async def _store(
        self,
        sources: Sources,
        pages: dict[int, Page],
        refusals: Refusals,
        videos: Sequence[Video],
        now: datetime,
    ) -> None:
        """Store what was read and acknowledge the complete pages, all of it or nothing.

        What was read of a page that is not complete is stored too: it has been observed, and the page is read again.
        """
        found = [discovery for video in videos if (discovery := discovery_of(video, now)) is not None]
        summary = self._summary
        try:
            async with self._dao.transaction() as dao:
                new, added = await self._keep(dao, found, now)
                searched, polled = _outcomes(sources, pages, new, now)
                await dao.update_search_state(searched, now=now)
                await dao.update_channel_polls(polled, now=now)
                await dao.fail_searches(_failures(sources, refusals, Search, now))
                await dao.fail_channel_polls(_failures(sources, refusals, Uploads, now))
            summary["queries_processed"] += len(searched)
            summary["channels_polled"] += len(polled)
            summary["failed"] += len(refusals)
        except LeaseLost as late:
            # Others have these sources by now, and will read them; what we read was observed all the same.
            log.warning("%s; what it read is stored all the same", late)
            async with self._dao.transaction() as dao:
                new, added = await self._keep(dao, found, now)
        summary["videos_discovered"] += len(new)
        summary["terms_added"] += added
        for n, reason in refusals.items():
            log.warning("%s failed: %s", _name(sources[n]), reason)

    async def _keep(self, dao: MaiaDAO, found: Sequence[Discovery], now: datetime) -> tuple[list[str], int]:
        """Store discoveries and the terms their tags give; returns the new ids, and how many terms were new."""
        new = await dao.ingest_video_metadata(found, stages=self._stages, now=now)
        fresh = frozenset(new)
        terms = [term for video in found if video.id in fresh for term in core.snowball(video.tags, ())]
        return new, await dao.add_to_search_queue(terms, now=now)

    async def _give_back(self, sources: Sources) -> None:
        for token in _tokens(sources, Search):
            await self._dao.release_searches(token)
        for token in _tokens(sources, Uploads):
            await self._dao.release_channels(token)

    def _spend(self, bucket: Bucket) -> None:
        self._left[bucket] = max(self._left[bucket] - 1, 0)
        self._summary["quota"][bucket] += 1

    def _stop(self, spent: QuotaExhausted) -> None:
        self._left[spent.bucket] = 0
        self._summary["quota"][spent.bucket] -= 1  # the call was not made
        self._exhausted = str(spent)

    def _end(self, keyless: NoLiveKey) -> None:
        """Make no more calls; what was read before the last key went is stored before that is told."""
        self._left = dict.fromkeys(self._left, 0)
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


def _outcomes(
    sources: Sources, pages: dict[int, Page], new: Sequence[str], now: datetime
) -> tuple[list[TermOutcome], list[PollOutcome]]:
    """Schedule the sources that were read; a new video counts for the first page that brought it."""
    unclaimed = set(new)
    searched, polled = [], []
    for n, page in pages.items():
        source = sources[n]
        first_here = unclaimed.intersection(page.candidates)
        unclaimed -= first_here
        if isinstance(source, Search):
            searched.append(source.outcome(page, len(first_here), now))
        else:
            polled.append(source.outcome(page, now))
    return searched, polled


def _failures(sources: Sources, refusals: Refusals, kind: type[Search | Uploads], now: datetime) -> list[Failure]:
    return [
        Failure(
            sources[n].row["id"],
            sources[n].row["lease_token"],
            reason,
            retry_at(sources[n].row["attempts"], now, longest=core.LONGEST_RETRY),
        )
        for n, reason in refusals.items()
        if isinstance(sources[n], kind)
    ]


def _tokens(sources: Sources, kind: type[Search | Uploads]) -> set[UUID]:
    return {source.row["lease_token"] for source in sources if isinstance(source, kind)}


def _name(source: Search | Uploads) -> str:
    return f"search {source.row['query_term']!r}" if isinstance(source, Search) else f"uploads of {source.row['id']}"
