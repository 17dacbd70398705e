"""One cycle of the Painter: claim videos, read them and their channels, fetch their frames, store it all together."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypedDict, TypeVar

from atlas import clock
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ChannelReading, StageRow
from atlas.adapters.vault_index import VaultIndex
from atlas.errors import (
    ApiError,
    Bucket,
    CircuitOpen,
    LeaseLost,
    NoLiveKey,
    QuotaExhausted,
    RequestRefused,
    ResourceRefused,
    Throttled,
    VaultError,
)
from maia.batches import IDS_PER_CALL, batched
from maia.painter import core
from maia.painter.findings import LIMITS, Findings, Trouble
from maia.painter.frames import BrokenFrame, Frame, FrameSource, FramesUnavailable, NoFrames, open_frames
from maia.reporting import NOTHING_DUE, SHARE_USED
from maia.runs import run_of
from maia.toolbox import Toolbox, open_workshop
from maia.turns import in_turn
from maia.youtube.models import VideoPart

if TYPE_CHECKING:
    from atlas.vault import ShardInfo, VaultStrategy
    from atlas.vault.batch import Batch

T = TypeVar("T")
P = ParamSpec("P")

log = logging.getLogger(__name__)

CALLS_PER_ROUND = 2
"""Calls of videos.list in a round, and at most as many of channels.list."""

UNITS_PER_BATCH = 2
"""Of the general bucket: videos.list for fifty videos, channels.list for their channels."""

VIDEOS_AT_ONCE = 8

PORTION_BYTES = 2 * 2**20
"""Frames that are packed together, those of about 25 videos; it takes six times their size in memory."""

PORTIONS = 6
"""Portions in one write to the vault; packed, each takes its size in memory until then."""

PARTS: tuple[VideoPart, ...] = ("snippet", "contentDetails", "statistics", "topicDetails")


class PainterSummary(TypedDict):
    """What a cycle did; ``quota`` counts the calls by bucket.

    ``videos_painted`` came to their end, of which YouTube did not have ``videos_gone`` any more, and
    ``without_frames`` counts those without a picture by the reason; ``given_up`` failed for the last time.
    """

    videos_painted: int
    videos_gone: int
    videos_renamed: int
    channels_refreshed: int
    channels_gone: int
    channel_changes: int
    samples: int
    frames: int
    without_frames: dict[str, int]
    failed: int
    given_up: int
    quota: dict[Bucket, int]
    stopped_by: str


@dataclass(frozen=True, slots=True)
class Studio:
    """What the Painter works with."""

    tools: Toolbox
    vault: VaultStrategy
    frames: FrameSource


class _Stored(NamedTuple):
    samples: int
    renamed: int
    changes: int


@asynccontextmanager
async def open_studio() -> AsyncIterator[Studio]:
    """Open what the Painter works with, as the settings say.

    Raises:
        ConfigurationError: something that it needs is not set, or cannot be used.
        DatabaseUnavailable: the database does not answer.
    """
    async with open_workshop("painter") as (tools, vault), open_frames() as frames:
        yield Studio(tools, vault, frames)


@in_turn("painter")
@run_of("painter")
async def run_once(*, every: timedelta = timedelta(minutes=30)) -> PainterSummary:
    """Run one cycle with the tools of the settings."""
    async with open_studio() as studio:
        return await paint(studio, every=every)


async def paint(studio: Studio, *, every: timedelta) -> PainterSummary:
    """Enrich what is due within the share of a run that comes round ``every`` so often.

    Raises:
        VaultError: the vault cannot be written; the work was given back.
        NoLiveKey: every key is disabled; what was read before is stored.
    """
    units = (await studio.tools.allowance(every))["paint"]
    return await _Painting(studio, units + units % UNITS_PER_BATCH).run()


class _Painting:
    """One cycle: what it may still spend, and its counts."""

    def __init__(self, studio: Studio, share: int) -> None:
        self._dao = studio.tools.dao
        self._youtube = studio.tools.youtube
        self._vault = studio.vault
        self._source = studio.frames
        self._left = share
        # One thread, for in each one Arrow and the C library keep memory of their own.
        self._thread = ThreadPoolExecutor(1, "painter-vault")
        self._stopped = ""
        self._keyless: NoLiveKey | None = None
        self._summary: PainterSummary = {
            "videos_painted": 0,
            "videos_gone": 0,
            "videos_renamed": 0,
            "channels_refreshed": 0,
            "channels_gone": 0,
            "channel_changes": 0,
            "samples": 0,
            "frames": 0,
            "without_frames": {},
            "failed": 0,
            "given_up": 0,
            "quota": {"general": 0},
            "stopped_by": SHARE_USED,
        }

    async def run(self) -> PainterSummary:
        with self._thread:
            return await self._run()

    async def _run(self) -> PainterSummary:
        while not self._stopped and (calls := self._affordable()):
            rows = await self._dao.fetch_painter_targets(calls * IDS_PER_CALL)
            if not rows:
                self._stopped = NOTHING_DUE
                break
            try:
                await self._round(rows)
            finally:
                # What was neither completed nor failed goes back at once; a lease would run out by itself.
                for token in {row["lease_token"] for row in rows}:
                    await self._dao.release_stage(token)
        if self._keyless is not None:
            raise self._keyless
        self._summary["stopped_by"] = self._stopped or self._summary["stopped_by"]
        return self._summary

    def _affordable(self) -> int:
        """Calls of videos.list that the next round may make, with one of channels.list for each."""
        return min(CALLS_PER_ROUND, self._left // UNITS_PER_BATCH)

    async def _round(self, rows: Sequence[StageRow]) -> None:
        found = Findings(clock.now())
        await self._read_videos(rows, found)
        await self._read_channels(rows, found)
        while True:
            try:
                await self._look_and_keep(rows, found)
            except VaultError:
                # The work goes back as it was; what was read was observed all the same.
                self._count(await _store_readings(self._dao, found), found)
                raise
            ours = await self._store(rows, found)
            if not (ours and found.asked):
                return
            found.forget_stored()

    # -- Reading ------------------------------------------------------------------------------------------------------

    async def _read_videos(self, rows: Sequence[StageRow], found: Findings) -> None:
        async def read(ids: Sequence[str]) -> None:
            videos = await self._ask(lambda: self._youtube.videos(ids, parts=PARTS, description=True, purpose="paint"))
            if isinstance(videos, list):
                answered = {video.id: video for video in videos}
                found.videos.update((video_id, answered[video_id]) for video_id in ids if video_id in answered)
                found.gone.update(video_id for video_id in ids if video_id not in answered)
            elif videos is not None:
                found.troubles.update(dict.fromkeys(ids, videos))

        await asyncio.gather(*(read(ids) for ids in batched([row["video_id"] for row in rows])))
        if found.troubles and not found.videos and not found.gone:
            self._stopped = next(iter(found.troubles.values())).reason

    async def _read_channels(self, rows: Sequence[StageRow], found: Findings) -> None:
        """Read the channels that are due for it; where that fails, their videos do not come to their end either."""
        channel_of = {row["video_id"]: row["channel_id"] for row in rows}
        asked = [video_id for video_id in channel_of if video_id in found.videos or video_id in found.gone]
        stale = await self._dao.stale_channels({channel_of[id_] for id_ in asked}, found.now - core.CHANNEL_AGE)
        unread: dict[str, Trouble | None] = {}

        async def read(ids: Sequence[str]) -> None:
            channels = await self._ask(lambda: self._youtube.channels(ids, purpose="paint"))
            if isinstance(channels, list):
                answered = {channel.id: core.channel_reading(channel) for channel in channels}
                found.channels.update((id_, answered.get(id_, ChannelReading(id_))) for id_ in ids)
                found.channels_gone.update(id_ for id_ in ids if id_ not in answered)
            else:
                unread.update(dict.fromkeys(ids, channels))

        await asyncio.gather(*(read(ids) for ids in batched(stale)))
        found.asked = [video_id for video_id in asked if channel_of[video_id] not in unread]
        for video_id in asked:
            if (trouble := unread.get(channel_of[video_id])) is not None:
                found.troubles[video_id] = trouble
                if not found.channels:
                    self._stopped = self._stopped or trouble.reason

    async def _ask(self, call: Callable[[], Awaitable[list[T]]]) -> list[T] | Trouble | None:
        """Make a call of the general bucket: its answer, why there is none, or None when the quota ended first."""
        if self._left <= 0:
            return None
        try:
            self._left -= 1
            self._summary["quota"]["general"] += 1
            return await call()
        except QuotaExhausted as spent:
            self._left = 0
            self._summary["quota"]["general"] -= 1  # the call was not made
            self._stopped = str(spent)
            return None
        except NoLiveKey as keyless:
            # What was read before the last key went is stored before that is told.
            self._left = 0
            self._keyless = keyless
            return None
        except (RequestRefused, ResourceRefused) as error:
            return Trouble(str(error), "video")
        except ApiError as error:
            return Trouble(str(error), "source")

    # -- Looking ------------------------------------------------------------------------------------------------------

    async def _look(self, found: Findings) -> None:
        """Fetch the frames of a portion of the videos, also of those gone: their pictures often stay."""
        window = asyncio.Semaphore(VIDEOS_AT_ONCE)
        troubles: dict[str, Trouble] = {}
        later: list[str] = []
        held = 0

        async def look(video_id: str) -> None:
            nonlocal held
            async with window:
                if held > PORTION_BYTES:
                    later.append(video_id)
                    return
                answer = await self._frames(video_id)
            if isinstance(answer, Trouble):
                troubles[video_id] = answer
                return
            found.frames[video_id] = answer
            held += 0 if isinstance(answer, NoFrames) else sum(len(frame.data) for frame in answer)

        await asyncio.gather(*map(look, found.asked))
        found.asked = later
        faults = Counter(trouble.fault for trouble in troubles.values())
        if core.source_at_fault(
            answered=len(found.frames) + len(found.done), broken=faults["video"], unreachable=faults["source"]
        ):
            troubles = {video_id: trouble._replace(fault="source") for video_id, trouble in troubles.items()}
            self._stopped = self._stopped or next(iter(troubles.values())).reason
            found.asked = []
        found.troubles.update(troubles)

    async def _frames(self, video_id: str) -> Sequence[Frame] | NoFrames | Trouble:
        try:
            return await self._source.fetch(video_id)
        except BrokenFrame as broken:
            return Trouble(str(broken), "video")
        except (FramesUnavailable, Throttled, CircuitOpen) as unreachable:
            return Trouble(str(unreachable), "source")

    # -- Keeping ------------------------------------------------------------------------------------------------------

    async def _look_and_keep(self, rows: Sequence[StageRow], found: Findings) -> None:
        """Fetch frames, and write what is known of the videos that come to their end to the vault, all at once."""
        from atlas.vault.batch import Batch

        batch = Batch(self._vault, "paint videos")
        portions: list[Batch] = []
        while found.asked and len(portions) < PORTIONS:
            await self._look(found)
            portion = Batch(batch)
            portions.append(portion)
            ending = [row for row in rows if row["video_id"] in found.frames]
            await self._in_thread(self._pack, portion, ending, found)
        last = Batch(batch)
        await self._in_thread(self._pack, last, found.given_up(rows), found)
        await self._in_thread(batch.commit)
        found.shards = [shard for portion in (*portions, last) for shard in portion.stored]
        await self._in_thread(self._verify, found.shards)

    def _pack(self, batch: Batch, ending: Sequence[StageRow], found: Findings) -> None:
        """Pack what is known of videos, so that their frames need not be held twice."""
        for row in ending:
            video_id = row["video_id"]
            frames, video = found.frames.pop(video_id, None), found.videos.get(video_id)
            try:
                if frames is not None and not isinstance(frames, NoFrames):
                    batch.append_visuals(core.visuals(row, frames, self._source.name, found.now))
                if video is not None:
                    batch.append_metadata([core.metadata(row, video, found.now)])
            except ValueError as refused:
                found.troubles[video_id] = Trouble(f"the vault refuses it: {refused}", "video")
                continue
            if frames is not None:
                found.done[video_id] = frames if isinstance(frames, NoFrames) else len(frames)
        batch.commit()

    def _verify(self, shards: Sequence[ShardInfo]) -> None:
        for shard in shards:
            self._vault.verify(shard)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(work, *args, **options))

    async def _store(self, rows: Sequence[StageRow], found: Findings) -> bool:
        """Store what was found and end the stages, all of it or nothing; False when they were ours no longer."""
        done = list(found.done)
        summary = self._summary
        given_up = 0
        try:
            async with self._dao.transaction() as dao:
                stored = await _store_readings(dao, found)
                await dao.mark_video_done(done, "painter", rows[0]["lease_token"], now=found.now)
                for fault, limit in LIMITS.items():
                    failures = found.failures(rows, fault)
                    given_up += await dao.fail_stage(failures, "painter", dead_after=limit, now=found.now)
        except LeaseLost as late:
            # Others have these videos by now; what we read was observed all the same.
            log.warning("%s; what it read is stored all the same", late)
            self._count(await _store_readings(self._dao, found), found)
            return False
        self._count(stored, found)
        summary["videos_painted"] += len(done)
        summary["videos_gone"] += len(found.gone.intersection(done))
        summary["failed"] += len(found.troubles)
        summary["given_up"] += given_up
        for frames in found.done.values():
            if isinstance(frames, NoFrames):
                reasons = summary["without_frames"]
                reasons[frames.reason] = reasons.get(frames.reason, 0) + 1
            else:
                summary["frames"] += frames
        if found.troubles:
            video_id, trouble = next(iter(found.troubles.items()))
            log.warning("%d videos failed, the first, %s: %s", len(found.troubles), video_id, trouble.reason)
        return True

    def _count(self, stored: _Stored, found: Findings) -> None:
        self._summary["samples"] += stored.samples
        self._summary["videos_renamed"] += stored.renamed
        self._summary["channel_changes"] += stored.changes
        self._summary["channels_gone"] += len(found.channels_gone)
        self._summary["channels_refreshed"] += len(found.channels) - len(found.channels_gone)


async def _store_readings(dao: MaiaDAO, found: Findings) -> _Stored:
    """Store what was read, whoever holds the videos by now."""
    async with dao.transaction() as joined:
        await VaultIndex.beside(joined).replace((), found.shards, now=found.now)
        return _Stored(
            samples=await joined.log_video_stats_batch(found.samples()),
            renamed=await joined.update_video_metadata(
                list(map(core.video_reading, found.videos.values())), now=found.now
            ),
            changes=await joined.refresh_channels(list(found.channels.values()), now=found.now),
        )
