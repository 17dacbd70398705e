"""One cycle of the Tracker: claim what is due on the watchlist, read counts, store samples and schedule together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, TypedDict

from atlas import clock
from atlas.adapters.records import Failure, Miss, Sample, TrackingRow, TrackOutcome
from atlas.errors import ApiError, Bucket, LeaseLost, NoLiveKey, QuotaExhausted
from atlas.tiers import CONFIRMED_MISSES, Tier, next_track
from maia.backoff import retry_at
from maia.batches import IDS_PER_CALL, batched
from maia.reporting import NOTHING_DUE, SHARE_USED
from maia.runs import run_of
from maia.toolbox import Toolbox, open_toolbox
from maia.tracker import core
from maia.tracker.market import schedule_of, seen_of
from maia.tracker.schedule import Schedule
from maia.turns import in_turn
from maia.virality import alerts
from maia.virality.detector import Detector, Findings

log = logging.getLogger(__name__)

CALLS_PER_ROUND = 10


class TrackerSummary(TypedDict):
    """What a cycle did; ``viral`` counts the rises raised, ``quota`` the calls by bucket."""

    videos_tracked: int
    samples: int
    missing: int
    failed: int
    viral: int
    quota: dict[Bucket, int]
    stopped_by: str


@in_turn("tracker")
@run_of("tracker")
async def run_once(*, every: timedelta = timedelta(minutes=15)) -> TrackerSummary:
    """Run one cycle with the tools of the settings."""
    async with open_toolbox("tracker") as tools:
        return await track(tools, every=every)


async def track(tools: Toolbox, *, every: timedelta) -> TrackerSummary:
    """Read what is due within the share of a run that comes round ``every`` so often, and tell what has gone viral."""
    allowance = await tools.allowance(every)
    schedule = await schedule_of(tools.dao, allowance["track"] * IDS_PER_CALL, every)
    summary = await _Tracking(tools, {"stats": allowance["track"], "general": allowance["probe"]}, schedule).run()
    await alerts.tell(tools.dao)
    return summary


class Reading(NamedTuple):
    """The counts of a video; None where they are hidden."""

    views: int | None
    likes: int | None
    comments: int | None


class _Look(NamedTuple):
    """What follows a reading: the tier, the next look, and the rate that was seen."""

    tier: Tier
    at: datetime
    rate: float | None


@dataclass(slots=True)
class _Answers:
    """What became of the ids of a round; an id in none of these was not asked about, for want of quota."""

    read: dict[str, Reading] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)


class _Tracking:
    """One cycle: what it may still spend, and its counts."""

    def __init__(self, tools: Toolbox, share: dict[Bucket, int], schedule: Schedule) -> None:
        self._tools = tools
        self._schedule = schedule
        self._dao = tools.dao
        self._youtube = tools.youtube
        self._left = share
        self._instead = False  # read by the dearer road, since the stats bucket is spent?
        self._summary: TrackerSummary = {
            "videos_tracked": 0,
            "samples": 0,
            "missing": 0,
            "failed": 0,
            "viral": 0,
            "quota": {"stats": 0, "general": 0},
            "stopped_by": SHARE_USED,
        }
        self._keyless: NoLiveKey | None = None
        self._detector: Detector | None = None

    async def run(self) -> TrackerSummary:
        while calls := await self._affordable():
            rows = await self._dao.fetch_tracking_batch(calls * IDS_PER_CALL, ahead=self._schedule.ahead)
            if not rows:
                self._summary["stopped_by"] = NOTHING_DUE
                break
            try:
                await self._round(rows)
            finally:
                # What was neither completed nor failed goes back at once; a lease would run out by itself.
                for token in {row["lease_token"] for row in rows}:
                    await self._dao.release_tracking(token, ahead=self._schedule.ahead)
        if self._keyless is not None:
            raise self._keyless
        return self._summary

    async def _affordable(self) -> int:
        """Calls the next round may make: of the stats bucket, or of the general one when that is spent for today."""
        if not self._left["stats"] and not self._instead:
            self._instead = not await self._tools.ledger.left("stats", self._tools.keys.projects)
        return min(CALLS_PER_ROUND, self._left["general" if self._instead else "stats"])

    async def _round(self, rows: Sequence[TrackingRow]) -> None:
        answers = _Answers()
        unaccounted: list[str] = []
        for chunk in await asyncio.gather(
            *(self._read(chunk, answers) for chunk in batched([r["video_id"] for r in rows]))
        ):
            unaccounted += chunk
        # An id that did not come back is no proof of deletion: ask for its status.
        await asyncio.gather(*(self._probe(chunk, answers) for chunk in batched(unaccounted)))
        for video_id in unaccounted:
            if self._keyless is None and video_id not in answers.read and video_id not in answers.missing:
                answers.failed.setdefault(video_id, "not accounted for, and no quota left to ask for its status")
        await self._store(rows, answers)

    async def _read(self, ids: Sequence[str], answers: _Answers) -> Sequence[str]:
        """Read counts into ``answers``; returns the ids YouTube did not account for."""
        if self._left["stats"] > 0:
            try:
                self._spend("stats")
                batch = await self._youtube.batch_stats(ids)
            except QuotaExhausted as spent:
                self._stop(spent)
            except NoLiveKey as keyless:
                self._end(keyless)
            except ApiError as error:
                answers.failed.update(dict.fromkeys(ids, str(error)))
                return ()
            else:
                answers.read.update(
                    (video_id, Reading(stats.views, stats.likes, stats.comment_count))
                    for video_id, stats in batch.returned.items()
                )
                answers.failed.update(batch.failed)
                return [video_id for video_id in ids if video_id in batch.unaccounted]
        # The dearer road, with the status probe included: an id it leaves out is missing.
        await self._probe(ids, answers)
        return ()

    async def _probe(self, ids: Sequence[str], answers: _Answers) -> None:
        """Ask whether videos exist, and read their counts on the way; one unit of the general bucket."""
        if self._left["general"] <= 0:
            return
        try:
            self._spend("general")
            answer = await self._youtube.videos(ids, parts=("status", "statistics"), purpose="probe")
            videos = {video.id: video for video in answer}
        except QuotaExhausted as spent:
            self._stop(spent)
            return
        except NoLiveKey as keyless:
            self._end(keyless)
            return
        except ApiError as error:
            answers.failed.update(dict.fromkeys(ids, str(error)))
            return
        for video_id in ids:
            video = videos.get(video_id)
            if video is None or video.upload_status in core.GONE:
                answers.missing.add(video_id)
            else:
                answers.read[video_id] = Reading(video.views, video.likes, video.comment_count)

    async def _store(self, rows: Sequence[TrackingRow], answers: _Answers) -> None:
        now = clock.now()
        findings = await self._judge([row for row in rows if row["video_id"] in answers.read], answers, now)
        samples, outcomes, misses, failures = [], [], [], []
        looks = self._next_looks([row for row in rows if row["video_id"] in answers.read], answers, now)
        for row in rows:
            video_id = row["video_id"]
            if (reading := answers.read.get(video_id)) is not None:
                samples.append(Sample(video_id, now, *reading))
                tier, at, rate = looks[video_id]
                given_up = row["misses"] >= CONFIRMED_MISSES
                outcomes.append(
                    TrackOutcome(
                        video_id,
                        row["lease_token"],
                        tier,
                        at,
                        *reading,
                        rate,
                        revived=given_up,
                        **findings.memory[video_id]._asdict(),
                    )
                )
            elif video_id in answers.missing:
                tier, at = core.after_miss(row["tracking_tier"], row["misses"], now)
                misses.append(Miss(video_id, row["lease_token"], tier, at))
            elif (reason := answers.failed.get(video_id)) is not None:
                at = retry_at(row["attempts"], now, longest=core.LONGEST_RETRY)
                failures.append(Failure(video_id, row["lease_token"], reason, at))
        summary = self._summary
        try:
            async with self._dao.transaction() as dao:
                stored = await dao.log_video_stats_batch(samples)
                await dao.update_watchlist_schedule(outcomes, now=now)
                await dao.record_rises(findings.rises, findings.over, now=now)
                await dao.record_misses(misses, now=now)
                await dao.fail_tracking(failures)
            summary["videos_tracked"] += len(outcomes)
            summary["viral"] += sum(rise.turned and rise.state == "VIRAL" for rise in findings.rises)
            summary["missing"] += len(misses)
            summary["failed"] += len(failures)
        except LeaseLost as late:
            # Others have these videos by now, and their schedule; what we read was observed all the same.
            log.warning("%s; what it read is stored all the same", late)
            stored = await self._dao.log_video_stats_batch(samples)
        summary["samples"] += stored
        if failures:
            log.warning("%d readings failed, the first: %s", len(failures), failures[0].reason)

    def _next_looks(self, rows: Sequence[TrackingRow], answers: _Answers, now: datetime) -> dict[str, _Look]:
        """For each video that was read: its tier by its age, its next look by the schedule, its smoothed rate."""
        rates = [
            core.smoothed_rate(
                row["rate"],
                last_views=row["last_views"],
                last_at=row["last_tracked_at"],
                views=answers.read[row["video_id"]].views,
                now=now,
            )
            for row in rows
        ]
        seen = seen_of(
            [row["video_id"] for row in rows],
            published=[row["published_at"] for row in rows],
            added=[row["added_at"] for row in rows],
            read=[now] * len(rows),
            views=[answers.read[row["video_id"]].views for row in rows],
            rates=rates,
        )
        waits = self._schedule.waits(seen).tolist()
        return {
            row["video_id"]: _Look(next_track(row["published_at"], now).tier, now + timedelta(hours=wait), rate)
            for row, rate, wait in zip(rows, rates, waits, strict=True)
        }

    async def _judge(self, rows: Sequence[TrackingRow], answers: _Answers, now: datetime) -> Findings:
        """Let the detector look at what was read."""
        if self._detector is None:
            self._detector = await Detector.open(self._dao)
        return self._detector.look(
            rows,
            [answers.read[row["video_id"]].views for row in rows],
            await self._dao.fetch_expectations({row["channel_id"] for row in rows if row["channel_id"]}),
            await self._dao.fetch_rises([row["video_id"] for row in rows]),
            now,
        )

    def _spend(self, bucket: Bucket) -> None:
        self._left[bucket] = max(self._left[bucket] - 1, 0)
        self._summary["quota"][bucket] += 1

    def _stop(self, spent: QuotaExhausted) -> None:
        self._left[spent.bucket] = 0
        self._instead = self._instead or spent.bucket == "stats"
        self._summary["quota"][spent.bucket] -= 1  # the call was not made
        self._summary["stopped_by"] = str(spent)

    def _end(self, keyless: NoLiveKey) -> None:
        """Make no more calls; what was read before the last key went is stored before that is told."""
        self._left = dict.fromkeys(self._left, 0)
        self._keyless = keyless
