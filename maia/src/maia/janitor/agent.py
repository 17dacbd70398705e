"""One cycle of the Janitor: plan, then archive, retire, compact, remove; a dry run stops after the plan."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict
from uuid import UUID

from atlas import Settings, archive, clock, settings
from atlas.adapters.records import ClosedDay, ExpiredVideo
from atlas.errors import VaultCorrupt
from atlas.upkeep import RETIRING, Upkeep, archiving, archiving_events
from atlas.vault.audit import Expired, Useless
from atlas.vault.compaction import Merge
from maia.janitor import core
from maia.progress import Progress
from maia.runs import run_of
from maia.toolbox import Stores, open_stores
from maia.turns import in_turn
from maia.virality.detector import learn

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.vault.shards import ShardInfo

log = logging.getLogger(__name__)

# Read when Arrow is first loaded, which nothing above does. Its own allocator keeps 10 MB more of half a million rows.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

MEGABYTE = 1024 * 1024
WORK_LEASE = timedelta(hours=1)
VIDEOS_PER_BATCH = 5_000
DAYS_AHEAD = 7
NOTHING_USELESS = Useless((), (), (), ())

IDLE = timedelta(days=14)
"""A term nobody mentioned for so long falls asleep, unless it finds something."""

IDLE_BELOW = 0.5
"""New videos a search, below which a term finds nothing to speak of."""


class JanitorSummary(TypedDict):
    """What a cycle did, or in a dry run would do.

    ``samples_verified`` counts the rows that were read back from the vault and matched; ``days_left`` are days another
    Janitor is at, or that got more rows meanwhile: the next run takes them. Days of the vault name their kind, as in
    "metrics 2026-11-10"; ``rows_expired`` and, in SQL, ``channel_readings_expired`` were past the time they may be
    kept, ``shards_pruned`` others had replaced.
    """

    dry_run: bool
    days_archived: list[str]
    days_left: list[str]
    samples_archived: int
    samples_verified: int
    event_days_archived: list[str]
    events_archived: int
    videos_retired: int
    terms_asleep: int
    partitions_created: int
    days_compacted: list[str]
    days_expired: list[str]
    rows_expired: int
    channel_readings_expired: int
    shards_pruned: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do, in the order it would do it."""

    partitions: Sequence[str]
    days: Sequence[ClosedDay]
    videos: int
    terms: int
    merges: Sequence[Merge] = ()
    expired: Sequence[Expired] = ()
    useless: Useless = NOTHING_USELESS
    event_days: Sequence[ClosedDay] = ()
    channel_readings: int = 0

    @property
    def rows(self) -> int:
        """Rows to read and write: what the run takes its time for."""
        merged = sum(shard.rows for merge in self.merges for shard in merge.shards)
        return sum(day.rows for day in (*self.days, *self.event_days)) + self.videos + merged

    def summary(self) -> JanitorSummary:
        """The plan as the summary of the run it describes."""
        rows = sum(day.rows for day in self.days)
        return {
            "dry_run": True,
            "days_archived": [day.day.isoformat() for day in self.days],
            "days_left": [],
            "samples_archived": rows,
            "samples_verified": rows,
            "event_days_archived": [day.day.isoformat() for day in self.event_days],
            "events_archived": sum(day.rows for day in self.event_days),
            "videos_retired": self.videos,
            "terms_asleep": self.terms,
            "partitions_created": len(self.partitions),
            "days_compacted": [str(merge) for merge in self.merges],
            "days_expired": [str(past) for past in self.expired],
            "rows_expired": sum(past.rows for past in self.expired),
            "channel_readings_expired": self.channel_readings,
            "shards_pruned": len(set(self.useless.due).difference(*(past.paths for past in self.expired))),
        }


@in_turn("janitor", unless="dry_run")
@run_of("janitor")
async def run_once(*, dry_run: bool = False) -> JanitorSummary:
    """Run one cycle with the stores of the settings."""
    async with open_stores() as stores:
        return await clean(stores, dry_run=dry_run)


async def clean(stores: Stores, *, dry_run: bool = False, rules: Settings = settings) -> JanitorSummary:
    """Archive closed days, retire old videos, put idle terms to sleep, keep partitions ahead."""
    now = clock.now()
    plan = await make_plan(stores, now, rules)
    if dry_run or not rules.JANITOR_ENABLED:
        return plan.summary()
    return await _Janitor(stores, now, rules).carry_out(plan)


async def make_plan(stores: Stores, now: datetime, rules: Settings) -> Plan:
    """Decide what is to be done, without doing it.

    Of the vault's days it knows only what is there now: what this run adds to them is the next run's affair.
    """
    dao, upkeep = stores.dao, Upkeep(stores.vault, stores.dao)
    retention = core.days_in_sql(rules.JANITOR_RETENTION_DAYS, vault_days=rules.vault_retention_days)
    today = (now - core.CLOSING_TIME).date()
    closed = {day.day: day for day in await dao.closed_days(today)}
    closed_events = {day.day: day for day in await dao.closed_event_days(today)}
    size, budget = await dao.database_size(), rules.JANITOR_SQL_BUDGET_MB * MEGABYTE
    # Events go first: nothing waits for them in SQL.
    due_events = core.due_days(
        [core.Day(day.day, day.bytes) for day in closed_events.values()],
        today=today,
        retention_days=rules.JANITOR_EVENT_RETENTION_DAYS,
        database_bytes=size,
        budget_bytes=budget,
    )
    due = core.due_days(
        [core.Day(day.day, day.bytes) for day in closed.values()],
        today=today,
        retention_days=retention,
        database_bytes=size - sum(closed_events[day].bytes for day in due_events),
        budget_bytes=budget,
    )
    expired = now - timedelta(days=rules.JANITOR_RETENTION_DAYS)
    past = await upkeep.expired(keep_days=rules.vault_retention_days, now=now)
    gone = {(day.kind, day.day) for day in past}
    settled = core.settled_before(today, retention_days=rules.JANITOR_RETENTION_DAYS)
    merges = await upkeep.merges(before=settled)
    kept = core.kept_from(now, days=rules.vault_retention_days)
    return Plan(
        partitions=await dao.missing_partitions(now=now, days_ahead=DAYS_AHEAD),
        days=[closed[day] for day in due],
        videos=await dao.count_expired_videos(expired, stages_ended=rules.JANITOR_SAFETY_CHECK),
        terms=await dao.count_idle_terms(now - IDLE, below=IDLE_BELOW, now=now),
        merges=[merge for merge in merges if (merge.kind, merge.day) not in gone],
        expired=past,
        useless=await upkeep.useless(now=now),
        event_days=[closed_events[day] for day in due_events],
        channel_readings=0 if kept is None else await dao.count_expired_channel_readings(kept),
    )


class _Janitor:
    """One real run of a plan."""

    def __init__(self, stores: Stores, now: datetime, rules: Settings) -> None:
        self._dao = stores.dao
        self._vault = stores.vault
        self._upkeep = Upkeep(stores.vault, stores.dao)
        self._now = now
        self._rules = rules
        self._summary = Plan((), (), 0, 0).summary()
        self._summary["dry_run"] = False

    async def carry_out(self, plan: Plan) -> JanitorSummary:
        """Do it, and count what was done."""
        created = await self._dao.ensure_partitions(now=self._now, days_ahead=DAYS_AHEAD)
        self._summary["partitions_created"] = len(created)
        progress = Progress(plan.rows)
        for day in plan.days:
            await progress.next(day.rows, f"archive {day.day}")
            if not await self._exclusively(archiving(day.day), partial(self._archive, day.day)):
                self._summary["days_left"].append(day.day.isoformat())
        for day in plan.event_days:
            await progress.next(day.rows, f"archive the events of {day.day}")
            if not await self._exclusively(archiving_events(day.day), partial(self._archive_events, day.day)):
                self._summary["days_left"].append(f"events {day.day}")
        if plan.videos:
            await progress.next(plan.videos, "retire videos")
            await self._exclusively(RETIRING, self._retire)
        await self._look_after_the_vault(plan, progress)
        self._summary["terms_asleep"] = await self._dao.sleep_terms(self._now - IDLE, below=IDLE_BELOW, now=self._now)
        learned = await learn(self._dao, now=self._now)
        log.info("of %d channels, by format, it is known now what to expect", learned)
        await self._dao.forget_lapsed_work(now=self._now)
        await progress.end()
        return self._summary

    async def _look_after_the_vault(self, plan: Plan, progress: Progress) -> None:
        """Remove what is past its time, in SQL, too, or replaced, and make few shards of many."""
        kept = core.kept_from(self._now, days=self._rules.vault_retention_days)
        if kept is not None:
            self._summary["channel_readings_expired"] = await self._dao.expire_channel_readings(kept, now=self._now)
        for past in plan.expired:
            if await self._upkeep.expire(past, now=self._now):
                self._summary["days_expired"].append(str(past))
                self._summary["rows_expired"] += past.rows
        for merge in plan.merges:
            await progress.next(sum(shard.rows for shard in merge.shards), f"compact {merge}")
            if await self._upkeep.compact(merge, now=self._now):
                self._summary["days_compacted"].append(str(merge))
        await self._upkeep.follow(now=self._now)
        useless = await self._upkeep.useless(now=self._now)  # what was replaced just now is noted at once
        await self._upkeep.prune(useless, now=self._now)
        self._summary["shards_pruned"] = len(useless.due)
        for check in useless.kept:
            log.error("%s is %s: nothing of that day is pruned", check.path, check.problem)

    async def _exclusively(self, name: str, work: Callable[[UUID], Awaitable[bool]]) -> bool:
        """Do ``work`` unless another Janitor is at it; says whether it was done."""
        token = await self._dao.claim_work(name, lease=WORK_LEASE, now=self._now)
        if token is None:
            log.info("another janitor is at %s", name)
            return False
        try:
            return await work(token)
        finally:
            await self._dao.release_work(name, token)

    async def _archive(self, day: date, token: UUID) -> bool:
        """Write a day to the vault, read it back, and only then drop it from SQL."""
        async with self._dao.read_day(day) as samples:
            shards, rows = await asyncio.to_thread(self._store_samples, samples)
        if not await self._dao.archive_cold_stats(day, shards, rows, token=token, now=self._now):
            log.info("more samples of %s came in while it was archived; the next run takes them", day)
            return False
        self._summary["days_archived"].append(day.isoformat())
        self._summary["samples_archived"] += rows
        self._summary["samples_verified"] += sum(shard.rows for shard in shards)
        return True

    async def _archive_events(self, day: date, token: UUID) -> bool:
        """Do the same with a day of events."""
        async with self._dao.read_event_day(day) as events:
            shards, rows = await asyncio.to_thread(self._store_events, events)
        if not await self._dao.archive_cold_events(day, shards, rows, token=token, now=self._now):
            log.info("more events of %s came in while it was archived; the next run takes them", day)
            return False
        self._summary["event_days_archived"].append(day.isoformat())
        self._summary["events_archived"] += rows
        return True

    def _store_samples(self, samples: pa.RecordBatchReader) -> tuple[list[ShardInfo], int]:
        shards, rows = archive.store(self._vault.append_metrics, samples)
        return self._proven(shards, rows), rows

    def _store_events(self, events: pa.RecordBatchReader) -> tuple[list[ShardInfo], int]:
        shards, rows = archive.store(self._vault.append_events, events, shard_rows=archive.EVENTS)
        return self._proven(shards, rows), rows

    def _proven(self, shards: list[ShardInfo], rows: int) -> list[ShardInfo]:
        """Read the shards back; all ``rows`` must be there, byte for byte the same."""
        for shard in shards:
            self._vault.verify(shard)
        stored = sum(shard.rows for shard in shards)
        if stored != rows:
            raise VaultCorrupt(f"{stored} rows read back, {rows} written", provider=self._vault.provider)
        return shards

    async def _retire(self, token: UUID) -> bool:
        """Let old videos leave the hot queue, their metadata proven in the vault first."""
        expired = self._now - timedelta(days=self._rules.JANITOR_RETENTION_DAYS)
        safely = self._rules.JANITOR_SAFETY_CHECK
        while videos := await self._dao.fetch_expired_videos(expired, VIDEOS_PER_BATCH, stages_ended=safely):
            shards = await asyncio.to_thread(self._store_metadata, videos) if safely else []
            ids = [video["id"] for video in videos]
            retired = await self._dao.run_janitor(ids, shards, token=token, stages_ended=safely, now=self._now)
            self._summary["videos_retired"] += retired
            if not retired:
                break
        return True

    def _store_metadata(self, videos: Sequence[ExpiredVideo]) -> list[ShardInfo]:
        return self._proven(self._vault.append_metadata(metadata_rows(videos)), len(videos))


def metadata_rows(videos: Sequence[ExpiredVideo]) -> list[dict[str, Any]]:
    """What SQL knows of the videos, as it was observed when they were discovered."""
    return [
        {"video_id": video["id"], "observed_at": video["discovered_at"]}
        | {name: value for name, value in video.items() if name != "id"}
        for video in videos
    ]
