"""``maia similar``: re-uploads are found by their frames, as a person and a script want it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import orjson
import pytest
from typer.testing import CliRunner, Result

from alkyone.databases import NOON
from alkyone.pictures import TRANSFORMATIONS, combined, frame
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery, Duplicate, FrameVector
from atlas.db import DatabaseManager
from atlas.testing import override
from maia.cli import app
from maia.scribe.duplicates import groups
from maia.scribe.embedders.perceptual import SAME_PICTURE, SOURCE_TYPE, PerceptualEmbedder

Maia = Callable[..., Result]

ORIGINALS = [f"original{number:03}" for number in range(12)]
COPIES = {f"reupload{number:03}": number for number in range(4)}
AGAIN = "reupload004"
"""A re-upload of the first re-upload."""


@pytest.fixture(scope="module")
def looks() -> list[FrameVector]:
    """Four frames of every video; a re-upload has another cover, and the other frames handled."""
    frames = {(id_, n): frame(seed, n) for seed, id_ in enumerate(ORIGINALS) for n in range(4)}
    handle = list(TRANSFORMATIONS.values())
    for copy, seed in COPIES.items():
        frames |= {(copy, 0): frame(1000 + seed, 0)}
        frames |= {(copy, n): handle[n + seed](frames[ORIGINALS[seed], n], n) for n in (1, 2, 3)}
    frames |= {(AGAIN, n): combined(frames["reupload000", n], n) for n in range(4)}
    vectors = PerceptualEmbedder().embed(list(frames.values()))
    return [FrameVector(*place, SOURCE_TYPE, vector) for place, vector in zip(frames, vectors, strict=True)]


@pytest.fixture
def maia(conninfo: str, looks: list[FrameVector]) -> Iterator[Maia]:
    """Run ``maia similar`` where there are originals and re-uploads, and one video that nobody has described."""

    async def fill() -> None:
        async with DatabaseManager(conninfo) as database:
            dao = MaiaDAO(database)
            await dao.ingest_video_metadata(
                [
                    Discovery(
                        id=id_, channel_id="UC", title=f"The [film] of {id_}", published_at=NOON,
                        tracking_tier="HOURLY", next_track_at=NOON,
                    )
                    for id_ in [*ORIGINALS, *COPIES, AGAIN, "undescribed"]
                ],
                now=NOON,
            )  # fmt: skip
            await dao.store_features(looks, now=NOON)

    asyncio.run(fill())

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["similar", *arguments], catch_exceptions=False)

    with override(db_=DatabaseManager(conninfo)):
        yield call


def test_a_reupload_is_found_though_its_cover_is_another(maia: Maia) -> None:
    found = orjson.loads(maia("https://youtu.be/reupload002", "-k", "3", "--json").stdout)

    assert (found["video_id"], found["source_type"]) == ("reupload002", SOURCE_TYPE)
    first, second, third = found["similar"]
    assert first["video_id"] == "original002"
    assert first["own_frame_index"] == first["frame_index"] > 0
    assert first["similarity"] >= found["same_picture"] == SAME_PICTURE
    assert third["similarity"] <= second["similarity"] < SAME_PICTURE


def test_a_person_sees_a_table(maia: Maia) -> None:
    shown = maia("reupload002", "-k", "2").stdout
    assert "original002" in shown
    assert "The [film] of original002" in shown
    assert f"from {SAME_PICTURE} on it is the same picture" in shown


def test_a_video_without_vectors_is_told_apart_from_one_without_likes(maia: Maia) -> None:
    assert "no frame of undescribed has been described" in maia("undescribed").stdout
    found = orjson.loads(maia("undescribed", "--json").stdout)
    assert (found["source_type"], found["similar"]) == (None, [])
    assert "no frame of original002 has been described" in maia("original002", "--model", "clip:x/y").stdout


def test_every_group_of_reuploads_is_reported_and_nothing_else(maia: Maia) -> None:
    report = orjson.loads(maia("--duplicates", "--json").stdout)

    named = [[video["video_id"] for video in group["videos"]] for group in report["groups"]]
    assert named[0] == ["original000", "reupload000", "reupload004"]
    assert sorted(named[1:]) == [[f"original00{n}", f"reupload00{n}"] for n in (1, 2, 3)]
    assert report["videos_compared"] == len(ORIGINALS) + len(COPIES) + 1
    assert "4 groups among 17 videos" in maia("--duplicates").stdout
    assert orjson.loads(maia("--duplicates", "--at-least", "0.9999", "--json").stdout)["at_least"] == 0.9999


def test_nothing_described_is_no_failure(maia: Maia) -> None:
    assert "no frames have been described yet" in maia("--duplicates", "--model", "clip:x/y").stdout


@pytest.mark.parametrize("arguments", [(), ("original002", "--duplicates"), ("nonsense",)])
def test_wrong_usage_is_refused(maia: Maia, arguments: tuple[str, ...]) -> None:
    assert maia(*arguments).exit_code == 2


def test_pairs_with_a_video_in_common_are_one_group() -> None:
    def pair(one: str, other: str, similarity: float) -> Duplicate:
        return Duplicate(one, other, similarity, one.upper(), other.upper())

    found = groups([pair("x", "y", 0.99), pair("b", "c", 0.9), pair("d", "c", 0.8), pair("a", "d", 0.85)])

    assert [[video["video_id"] for video in group["videos"]] for group in found] == [["a", "b", "c", "d"], ["x", "y"]]
    assert [group["similarity"] for group in found] == [0.8, 0.99]
    assert found[1]["videos"][0] == {"video_id": "x", "title": "X"}
    assert groups([]) == []
