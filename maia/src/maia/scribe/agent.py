"""One cycle of the Scribe: claim videos, ask what is said in them, describe their frames, store it all together."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypedDict

from atlas import clock, settings
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import MOST_VECTORS, Failure, FrameVector, StageRow, TextFeatures
from atlas.adapters.vault_index import VaultIndex
from atlas.errors import (
    ApiError,
    Bucket,
    CircuitOpen,
    ConfigurationError,
    LeaseLost,
    ModelUnavailable,
    QuotaExhausted,
    VaultCorrupt,
    VaultNotFound,
)
from maia.backoff import retry_at
from maia.batches import batched
from maia.reporting import NOTHING_DUE, TIME_IS_UP
from maia.runs import run_of
from maia.scribe import core
from maia.scribe.core import LIMITS, Fault, Pause, Trouble
from maia.scribe.embedders import Embedder, get_embedder
from maia.scribe.features import text_features
from maia.scribe.transcripts import (
    MalformedTranscript,
    NoTranscript,
    Postponed,
    SourceFailed,
    Transcript,
    TranscriptSource,
)
from maia.scribe.transcripts.sources import open_source
from maia.toolbox import open_stores
from maia.turns import in_turn

if TYPE_CHECKING:
    from atlas.vault import ShardInfo, VaultStrategy

log = logging.getLogger(__name__)

# Read when Arrow is first loaded, which nothing above does. Its own allocator keeps what pictures took.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

VIDEOS_PER_ROUND = 200
"""A round is one commit in the vault and one transaction."""

ROUND_TIME = timedelta(minutes=5)
"""Half a lease: a source that is slow gets no further videos in this round after that."""

ROUND_BYTES = 4 * 2**20
"""Text of a round, held twenty times in pieces; videos that find no room wait for the next round."""

VIDEOS_AT_ONCE = 8
"""Whose frames are in memory together: 3 MB as YouTube publishes them, several times that while they are read."""


class ScribeSummary(TypedDict):
    """What a cycle did; ``quota`` counts the units by bucket.

    ``videos_described`` came to their end, ``without_transcript`` counts those without one by the reason. ``failed``
    are due again, but for those ``given_up``; ``postponed`` wait for quota, or for a source that is left in peace.
    """

    videos_described: int
    transcripts: int
    without_transcript: dict[str, int]
    frames: int
    failed: int
    given_up: int
    postponed: int
    quota: dict[Bucket, int]
    stopped_by: str


@dataclass(frozen=True, slots=True)
class Desk:
    """What the Scribe works with."""

    dao: MaiaDAO
    vault: VaultStrategy
    source: TranscriptSource
    embedder: Embedder | None
    most_vectors: int = MOST_VECTORS
    """That stay in SQL; the oldest make room."""


@dataclass(slots=True)
class _Findings:
    """What a round found out. A video without answer, trouble and pause was not looked at: it is given back."""

    rows: dict[str, StageRow]
    now: datetime
    answers: dict[str, Transcript | NoTranscript] = field(default_factory=dict)
    troubles: dict[str, Trouble] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    vectors: list[FrameVector] = field(default_factory=list)
    texts: dict[str, TextFeatures] = field(default_factory=dict)
    shards: list[ShardInfo] = field(default_factory=list)

    def spoil(self, video_id: str, trouble: Trouble) -> None:
        """Let a video that was answered for fail after all."""
        del self.answers[video_id]
        self.troubles[video_id] = trouble


@asynccontextmanager
async def open_desk(every: timedelta) -> AsyncIterator[Desk]:
    """Open what the Scribe works with, as the settings say, for a run that comes round ``every`` so often.

    Raises:
        ConfigurationError: something that it needs is not set, not installed, or cannot be used.
        DatabaseUnavailable: the database does not answer.
    """
    embedder = get_embedder(settings)
    async with open_stores() as stores, open_source(stores.dao, every) as source:
        yield Desk(stores.dao, stores.vault, source, embedder, settings.MAX_VECTORS)


@in_turn("scribe")
@run_of("scribe")
async def run_once(*, every: timedelta = timedelta(minutes=30)) -> ScribeSummary:
    """Run one cycle with what the settings ask for."""
    async with open_desk(every) as desk:
        return await describe(desk, every=every)


async def describe(desk: Desk, *, every: timedelta) -> ScribeSummary:
    """Describe what is due, for no longer than until the next run, which comes ``every`` so often.

    Raises:
        VaultError: the vault cannot be read or written; the work was given back.
        ConfigurationError: source or model can never be used as they are set up.
    """
    return await _Describing(desk, every).run()


class _Describing:
    """One cycle, and its counts."""

    def __init__(self, desk: Desk, every: timedelta) -> None:
        self._dao = desk.dao
        self._vault = desk.vault
        self._source = desk.source
        self._embedder = desk.embedder
        self._most_vectors = desk.most_vectors
        self._every = every
        self._units = desk.source.units  # used before this cycle
        self._useless: ConfigurationError | None = None
        self._summary: ScribeSummary = {
            "videos_described": 0,
            "transcripts": 0,
            "without_transcript": {},
            "frames": 0,
            "failed": 0,
            "given_up": 0,
            "postponed": 0,
            "quota": {"general": 0},
            "stopped_by": NOTHING_DUE,
        }

    async def run(self) -> ScribeSummary:
        end = clock.now() + self._every
        while self._useless is None:
            if clock.now() >= end:
                self._summary["stopped_by"] = TIME_IS_UP
                break
            rows = await self._dao.fetch_scribe_targets(VIDEOS_PER_ROUND)
            if not rows:
                break
            try:
                await self._round(rows)
            finally:
                # What was neither completed nor failed goes back at once; a lease would run out by itself.
                for token in {row["lease_token"] for row in rows}:
                    await self._dao.release_stage(token)
                self._summary["quota"]["general"] = self._source.units - self._units
        if self._useless is not None:
            raise self._useless
        return self._summary

    async def _round(self, rows: Sequence[StageRow]) -> None:
        found = _Findings({row["video_id"]: row for row in rows}, clock.now())
        if self._embedder is not None:
            await self._look(self._embedder, found)
        await self._ask(found)
        await asyncio.to_thread(self._read_words, found)
        await asyncio.to_thread(self._keep, found)
        await self._store(found)

    # -- What is seen -------------------------------------------------------------------------------------------------

    async def _look(self, embedder: Embedder, found: _Findings) -> None:
        """Describe the frames that the vault has of the videos."""
        for ids in batched(list(found.rows), VIDEOS_AT_ONCE):
            frames = await asyncio.to_thread(self._frames, ids, found)
            pictures = [data for shown in frames.values() for _, data in shown]
            try:
                vectors = await asyncio.to_thread(embedder.embed, pictures)
            except ModelUnavailable as unavailable:
                found.troubles.update(dict.fromkeys(frames, Trouble(str(unavailable), "source")))
            else:
                found.vectors += core.frame_vectors(frames, vectors, embedder.source_type)

    def _frames(self, ids: Sequence[str], found: _Findings) -> dict[str, list[tuple[int, bytes]]]:
        """Read the frames of several videos in one go; where that meets damage, find out whose they are."""
        start = min(found.rows[video_id]["discovered_at"] for video_id in ids)
        try:
            return self._vault.read_visual_evidence(ids, start)
        except (VaultCorrupt, VaultNotFound) as damage:
            if len(ids) == 1:
                found.troubles[ids[0]] = Trouble(f"its frames: {damage}", "video")
                return {}
        return {name: frames for video_id in ids for name, frames in self._frames([video_id], found).items()}

    # -- What is said -------------------------------------------------------------------------------------------------

    async def _ask(self, found: _Findings) -> None:
        window = asyncio.Semaphore(self._source.at_once)
        held = 0

        async def ask(row: StageRow) -> None:
            nonlocal held
            async with window:
                if self._useless is not None or held > ROUND_BYTES or clock.now() >= found.now + ROUND_TIME:
                    return
                await self._transcript(row, found)
            if isinstance(answer := found.answers.get(row["video_id"]), Transcript):
                held += sum(len(segment.text) for segment in answer.segments)

        await asyncio.gather(*(ask(row) for row in found.rows.values() if row["video_id"] not in found.troubles))

    async def _transcript(self, row: StageRow, found: _Findings) -> None:
        video_id = row["video_id"]
        try:
            found.answers[video_id] = await self._source.fetch(core.wanted(row))
        except MalformedTranscript as malformed:
            found.troubles[video_id] = Trouble(str(malformed), "video")
        except (SourceFailed, ApiError) as failed:
            found.troubles[video_id] = Trouble(str(failed), "source")
        except CircuitOpen as left_in_peace:
            found.pauses[video_id] = Pause(str(left_in_peace), left_in_peace.until)
        except QuotaExhausted as spent:
            found.pauses[video_id] = Pause(str(spent), spent.reset_at)
        except Postponed as postponed:
            found.pauses[video_id] = Pause(str(postponed), found.now + self._every)
        except ConfigurationError as useless:
            self._useless = useless
        except Exception as error:
            # Whatever it is about this video, it is no other's trouble.
            log.exception("no transcript of %s", video_id)
            found.troubles[video_id] = Trouble(type(error).__name__, "video")

    def _read_words(self, found: _Findings) -> None:
        for video_id, answer in found.answers.items():
            said = answer.text if isinstance(answer, Transcript) else None
            found.texts[video_id] = text_features(found.rows[video_id]["title"], said)

    # -- Keeping ------------------------------------------------------------------------------------------------------

    def _keep(self, found: _Findings) -> None:
        """Write the answers to the vault in one commit, and read them back."""
        with self._vault.batch(f"transcripts of {len(found.answers)} videos") as batch:
            for video_id, answer in list(found.answers.items()):
                try:
                    batch.append_transcripts([core.transcript(found.rows[video_id], answer, found.now)])
                except ValueError as refused:
                    found.spoil(video_id, Trouble(f"the vault refuses it: {refused}", "video"))
        for shard in batch.stored:
            self._vault.verify(shard)
        found.shards = batch.stored

    async def _store(self, found: _Findings) -> None:
        """Store what was found and end the stages, all of it or nothing."""
        vectors = [vector for vector in found.vectors if vector.video_id in found.answers]
        texts = {video_id: text for video_id, text in found.texts.items() if video_id in found.answers}
        failures = _failures(found)
        token = next(iter(found.rows.values()))["lease_token"]
        given_up = 0
        try:
            async with self._dao.transaction() as dao:
                await VaultIndex.beside(dao).replace((), found.shards, now=found.now)
                await dao.store_features(vectors, texts, most_vectors=self._most_vectors, now=found.now)
                await dao.mark_video_done(list(found.answers), "scribe", token)
                for fault, limit in LIMITS.items():
                    given_up += await dao.fail_stage(failures[fault], "scribe", dead_after=limit)
                await dao.put_off_stage(_postponed(found), "scribe")
        except LeaseLost as late:
            # Others have these videos by now; what is in the vault was found all the same.
            log.warning("%s; what it found stays in the vault", late)
            await VaultIndex.beside(self._dao).replace((), found.shards, now=found.now)
            return
        self._count(found, frames=len(vectors), given_up=given_up)

    def _count(self, found: _Findings, *, frames: int, given_up: int) -> None:
        summary = self._summary
        summary["videos_described"] += len(found.answers)
        summary["frames"] += frames
        summary["failed"] += len(found.troubles)
        summary["given_up"] += given_up
        summary["postponed"] += len(found.pauses)
        for answer in found.answers.values():
            if isinstance(answer, NoTranscript):
                kind = core.kind_of(answer.reason)
                summary["without_transcript"][kind] = summary["without_transcript"].get(kind, 0) + 1
            else:
                summary["transcripts"] += 1
        if found.troubles:
            video_id, trouble = next(iter(found.troubles.items()))
            log.warning("%d videos failed, the first, %s: %s", len(found.troubles), video_id, trouble.reason)


def _failures(found: _Findings) -> dict[Fault, list[Failure]]:
    failures: dict[Fault, list[Failure]] = {fault: [] for fault in LIMITS}
    for video_id, trouble in found.troubles.items():
        row = found.rows[video_id]
        again = retry_at(row["attempts"], found.now, longest=core.LONGEST_RETRY)
        failures[trouble.fault].append(Failure(video_id, row["lease_token"], trouble.reason, again))
    return failures


def _postponed(found: _Findings) -> list[Failure]:
    return [
        Failure(video_id, found.rows[video_id]["lease_token"], pause.reason, pause.until)
        for video_id, pause in found.pauses.items()
    ]
