"""A cycle of the Scribe: answers in the vault, features in SQL, the stage ended, all of it together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from alkyone import pictures
from alkyone.databases import NOON
from atlas import clock
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery
from atlas.adapters.vault_index import VaultIndex
from atlas.db import DatabaseManager
from atlas.errors import (
    ApiUnavailable,
    CircuitOpen,
    ConfigurationError,
    ModelUnavailable,
    QuotaExhausted,
    VaultCorrupt,
    VaultUnavailable,
)
from atlas.vault import LocalVault
from maia.scribe import agent
from maia.scribe.agent import Desk, ScribeSummary, describe
from maia.scribe.core import LIMITS
from maia.scribe.embedders.perceptual import PerceptualEmbedder
from maia.scribe.transcripts import (
    MalformedTranscript,
    NoTranscript,
    Postponed,
    Segment,
    SourceFailed,
    Transcript,
    Wanted,
)
from maia.scribe.transcripts.folder import FolderSource
from maia.scribe.transcripts.sources import NoSource

HOUR = timedelta(hours=1)
SAID = Transcript("en", (Segment(0.0, 1.0, "hello"), Segment(1.0, 1.0, "world")), False, "told")


def video(number: int) -> str:
    return f"video{number:06}"


Answer = Transcript | NoTranscript | Exception


@dataclass
class Told:
    """A source that answers as it was told; of the videos it was told nothing about it says that nobody speaks."""

    answers: Mapping[str, Answer] = field(default_factory=dict)
    name: str = "told"
    at_once: int = 8
    units: int = 0
    asked: list[str] = field(default_factory=list)

    async def fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
        self.asked.append(wanted.video_id)
        self.units += 50
        answer = self.answers.get(wanted.video_id, NoTranscript("nobody speaks", self.name))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def desk(dao: MaiaDAO, vault: LocalVault, frozen_clock: clock.VirtualClock) -> Desk:
    vault.provision()
    return Desk(dao, vault, Told(), PerceptualEmbedder())


async def find(dao: MaiaDAO, count: int, **facts: Any) -> list[str]:
    ids = [video(number) for number in range(count)]
    found = [
        Discovery(
            name, "UC1", f"WHAT is in video {name[-1]}?", NOON, tracking_tier="HOURLY", next_track_at=NOON, **facts
        )
        for name in ids
    ]
    return await dao.ingest_video_metadata(found, stages=("scribe",), now=clock.now())


async def stages(database: DatabaseManager) -> list[dict[str, Any]]:
    async with database.get_connection() as conn:
        return await conn.fetch(
            "SELECT video_id, state, attempts, reason, next_attempt_at, lease_token FROM video_stage ORDER BY video_id"
        )


async def features(database: DatabaseManager) -> dict[str, Any]:
    async with database.get_connection() as conn:
        rows = await conn.fetch("SELECT * FROM video_features")
    return {row["video_id"]: row for row in rows}


async def cycle(desk: Desk, answers: Mapping[str, Answer] | None = None, **changes: Any) -> ScribeSummary:
    source = {} if answers is None else {"source": Told(answers)}
    return await describe(replace(desk, **(source | changes)), every=HOUR)


async def test_a_cycle_keeps_what_is_said_and_seen_and_ends_the_stage(
    desk: Desk, database: DatabaseManager, tmp_path: Path
) -> None:
    first, second, third = await find(desk.dao, 3)
    (tmp_path / f"{first}.en.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nHello world, three words\n")
    frames = {
        name: [(index, pictures.frame(seed, index)) for index in range(4)] for seed, name in enumerate((first, third))
    }
    for name, shown in frames.items():
        desk.vault.store_visual_evidence(name, shown)
    before = len(desk.vault.list_strict())

    summary = await cycle(desk, source=FolderSource(tmp_path))

    assert summary == {
        "videos_described": 3,
        "transcripts": 1,
        "without_transcript": {"no file": 2},
        "frames": 8,
        "failed": 0,
        "given_up": 0,
        "postponed": 0,
        "quota": {"general": 0},
        "stopped_by": "nothing due",
    }
    said = desk.vault.fetch_transcript(first)
    assert said is not None
    assert (said["language"], said["text"], said["source"]) == ("en", "Hello world, three words", "folder")
    assert said["segments"] == [{"start": 1.0, "duration": 1.0, "text": "Hello world, three words"}]
    nothing = desk.vault.fetch_transcript(second)
    assert nothing is not None
    assert (nothing["reason"], "text" in nothing) == ("no file", False)
    words = await features(database)
    assert (words[first]["spoken_words"], words[second]["spoken_words"], words[first]["question"]) == (4, None, True)
    assert [found["video_id"] for found in await desk.dao.find_similar(first)] == [third]
    assert await stages(database) == []
    assert len(desk.vault.list_strict()) == before + 2, "one shard and its manifest, for all of them"
    assert [shard.kind for shard in await VaultIndex(database).shards()] == ["transcripts"]
    assert (await cycle(desk))["videos_described"] == 0


async def test_new_vectors_make_the_oldest_go(desk: Desk, frozen_clock: clock.VirtualClock) -> None:
    first, second, third = await find(desk.dao, 3)
    desk.vault.append_visuals(
        {"video_id": name, "observed_at": NOON, "frame_index": 0, "data": pictures.frame(seed, 0)}
        for seed, name in enumerate((first, second, third))
    )
    await cycle(desk, most_vectors=3)
    assert await desk.dao.models() == {"perceptual-1": 3}

    frozen_clock.advance(HOUR)
    (late,) = await desk.dao.ingest_video_metadata(
        [Discovery(video(9), "UC1", "Late", NOON, tracking_tier="HOURLY", next_track_at=NOON)],
        stages=("scribe",), now=clock.now(),
    )  # fmt: skip
    desk.vault.store_visual_evidence(late, [(0, pictures.frame(9, 0))])
    await cycle(desk, most_vectors=3)

    assert await desk.dao.models() == {"perceptual-1": 1}


async def test_without_a_source_the_answer_is_that_nobody_looked(desk: Desk) -> None:
    (name,) = await find(desk.dao, 1)
    assert (await cycle(desk, source=NoSource(), embedder=None))["without_transcript"] == {"nobody looked": 1}
    kept = desk.vault.fetch_transcript(name)
    assert kept is not None
    assert kept["reason"] == "nobody looked: TRANSCRIPT_SOURCE is none"


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        pytest.param(MalformedTranscript("not WebVTT"), "video", id="malformed"),
        pytest.param(RuntimeError("a bug"), "video", id="a bug"),
        pytest.param(SourceFailed("unmounted"), "source", id="source failed"),
        pytest.param(ApiUnavailable("timeout"), "source", id="no answer"),
    ],
)
async def test_a_video_in_trouble_is_due_again_later_and_blocks_no_other(
    desk: Desk, database: DatabaseManager, frozen_clock: clock.VirtualClock, error: Exception, fault: Any
) -> None:
    poison, *others = await find(desk.dao, 4)
    for attempt in range(1, LIMITS[fault] + 1):
        summary = await cycle(desk, {poison: error})
        (left,) = await stages(database)
        assert (left["video_id"], left["attempts"], left["lease_token"]) == (poison, attempt, None)
        assert left["reason"]
        assert left["next_attempt_at"] > frozen_clock()
        assert summary["videos_described"] == (len(others) if attempt == 1 else 0)
        assert summary["failed"] == 1
        assert summary["given_up"] == (attempt == LIMITS[fault])
        frozen_clock.set(left["next_attempt_at"])
    assert left["state"] == "DEAD"
    assert (await cycle(desk))["videos_described"] == 0
    assert desk.vault.fetch_transcript(poison) is None
    assert desk.vault.fetch_transcript(others[0]) is not None


@pytest.mark.parametrize(
    ("error", "until"),
    [
        pytest.param(CircuitOpen("youtube", NOON + 3 * HOUR), NOON + 3 * HOUR, id="left in peace"),
        pytest.param(QuotaExhausted("general", NOON + 9 * HOUR), NOON + 9 * HOUR, id="the day's quota"),
        pytest.param(Postponed("share used"), NOON + HOUR, id="the run's share"),
    ],
)
async def test_what_a_source_puts_off_waits_without_an_attempt_while_others_go_on(
    desk: Desk, database: DatabaseManager, frozen_clock: clock.VirtualClock, error: Exception, until: Any
) -> None:
    late, *others = await find(desk.dao, 3)
    summary = await cycle(desk, {late: error})
    assert (summary["postponed"], summary["videos_described"], summary["failed"]) == (1, len(others), 0)
    (left,) = await stages(database)
    assert (left["attempts"], left["next_attempt_at"], left["lease_token"]) == (0, until, None)
    frozen_clock.set(until)
    assert (await cycle(desk, {late: SAID}))["transcripts"] == 1


async def test_a_source_that_can_never_be_used_ends_the_cycle_and_what_was_found_is_kept(
    desk: Desk, database: DatabaseManager
) -> None:
    first, second, *_ = await find(desk.dao, 5)
    source = Told({first: SAID, second: ConfigurationError("the permission was taken back")}, at_once=1)
    with pytest.raises(ConfigurationError, match="taken back"):
        await cycle(desk, source=source)
    assert source.asked == [first, second]
    assert [(left["video_id"], left["attempts"], left["lease_token"]) for left in await stages(database)] == [
        (video(number), 0, None) for number in range(1, 5)
    ]
    assert desk.vault.fetch_transcript(first) is not None


@dataclass
class Model:
    """A model that fails."""

    error: Exception
    source_type: str = "model"

    def embed(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        if images:
            raise self.error
        return np.zeros((0, 512), np.float32)


async def test_a_model_that_cannot_be_had_now_lets_videos_with_frames_wait(
    desk: Desk, database: DatabaseManager
) -> None:
    first, second = await find(desk.dao, 2)
    desk.vault.store_visual_evidence(first, [(0, pictures.frame(1, 0))])
    summary = await cycle(desk, embedder=Model(ModelUnavailable("no Hub")))
    assert (summary["failed"], summary["videos_described"]) == (1, 1)
    assert [(left["video_id"], left["reason"]) for left in await stages(database)] == [(first, "no Hub")]
    assert desk.vault.fetch_transcript(second) is not None


async def test_a_model_that_can_never_be_used_ends_the_cycle_before_anything_is_asked(
    desk: Desk, database: DatabaseManager
) -> None:
    (name,) = await find(desk.dao, 1)
    desk.vault.store_visual_evidence(name, [(0, pictures.frame(1, 0))])
    source = Told()
    with pytest.raises(ConfigurationError):
        await cycle(desk, source=source, embedder=Model(ConfigurationError("no such model")))
    assert source.asked == []
    assert [left["lease_token"] for left in await stages(database)] == [None]


async def test_damage_in_the_vault_is_the_trouble_of_those_whose_frames_it_hit(
    desk: Desk, database: DatabaseManager
) -> None:
    hit, *others = await find(desk.dao, 3)
    for seed, name in enumerate(others):
        desk.vault.store_visual_evidence(name, [(0, pictures.frame(seed, 0))])

    class Damaged(LocalVault):
        def read_visual_evidence(self, video_ids: Any, start: Any = None) -> dict[str, list[tuple[int, bytes]]]:
            if hit in video_ids:
                raise VaultCorrupt("its bytes have changed", path="visuals/part.parquet")
            return super().read_visual_evidence(video_ids, start)

    summary = await cycle(desk, vault=Damaged(desk.vault.root))  # type: ignore[attr-defined]
    assert (summary["videos_described"], summary["frames"], summary["failed"]) == (2, 2, 1)
    assert [left["video_id"] for left in await stages(database)] == [hit]


class Failing(LocalVault):
    """A vault that cannot be written."""

    def write(self, objects: Mapping[str, bytes], message: str = "") -> None:
        raise VaultUnavailable("out of order")


async def test_a_vault_that_fails_leaves_the_work_as_it_was(desk: Desk, database: DatabaseManager) -> None:
    await find(desk.dao, 3)
    with pytest.raises(VaultUnavailable):
        await cycle(desk, vault=Failing(desk.vault.root))  # type: ignore[attr-defined]
    assert {(left["state"], left["attempts"], left["lease_token"]) for left in await stages(database)} == {
        ("PENDING", 0, None)
    }
    assert await features(database) == {}
    assert (await cycle(desk))["videos_described"] == 3


async def test_who_lost_the_lease_keeps_nothing_but_the_shard(
    desk: Desk, database: DatabaseManager, frozen_clock: clock.VirtualClock
) -> None:
    await find(desk.dao, 2)

    class Slow(Told):
        async def fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
            if not self.asked:
                frozen_clock.advance(timedelta(minutes=10))
                await desk.dao.fetch_scribe_targets()  # somebody else
            return await super().fetch(wanted)

    summary = await cycle(desk, source=Slow())
    assert summary["videos_described"] == 0
    assert [left["lease_token"] is None for left in await stages(database)] == [False, False]
    assert await features(database) == {}
    assert len(await VaultIndex(database).shards()) == 1


async def test_a_slow_source_gets_no_more_videos_than_a_lease_has_time_for(
    desk: Desk, frozen_clock: clock.VirtualClock
) -> None:
    await find(desk.dao, 20)

    class Slow(Told):
        async def fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
            frozen_clock.advance(timedelta(minutes=1))
            return await super().fetch(wanted)

    source = Slow(at_once=1)
    summary = await describe(replace(desk, source=source), every=timedelta(minutes=8))
    assert summary["videos_described"] == len(source.asked) == 10, "two rounds of five minutes"
    assert summary["stopped_by"] == "time for the next run"
    assert summary["quota"] == {"general": 500}
    assert len(desk.vault.shards("transcripts")) == 2


async def test_long_transcripts_wait_for_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "ROUND_BYTES", 8)
    ids = await find(desk.dao, 4)
    summary = await cycle(desk, source=Told(dict.fromkeys(ids, SAID), at_once=1))
    assert summary["transcripts"] == 4
    assert len(desk.vault.shards("transcripts")) == 4, "a round each"


async def test_two_at_once_share_the_work(
    desk: Desk, database: DatabaseManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "VIDEOS_PER_ROUND", 3)
    ids = await find(desk.dao, 20)
    one, two = Told(), Told()
    both = await asyncio.gather(cycle(desk, source=one), cycle(desk, source=two))
    assert sorted(one.asked + two.asked) == ids
    assert sum(summary["videos_described"] for summary in both) == 20
    assert await stages(database) == []
