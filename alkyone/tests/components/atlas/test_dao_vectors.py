"""Vectors of frames are stored once, searched a model at a time, and go with their video or when they are too many."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from alkyone.databases import NOON
from atlas.adapters import _vectors
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery, Duplicate, FrameVector, TextFeatures
from atlas.db import DatabaseManager

LOOK = "perceptual-1"
OTHER = "clip:somebody/clip"
TEXT = TextFeatures("en", 20, 4, 0.25, 1, question=True, exclamations=2, numerals=3, hashtags=0, spoken_words=1000)
HOUR = timedelta(hours=1)


def looks(count: int, seed: int = 1) -> Any:
    vectors = np.random.default_rng(seed).standard_normal((count, 512)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def blend(one: Any, other: Any, cosine: float) -> Any:
    """Make a vector with this cosine to ``one``."""
    across = other - one * float(one @ other)
    return one * cosine + across / np.linalg.norm(across) * (1 - cosine**2) ** 0.5


async def discover(dao: MaiaDAO, *video_ids: str) -> None:
    await dao.ingest_video_metadata(
        [
            Discovery(
                id=id_, channel_id=f"UC{id_}", title=f"Video {id_}", published_at=NOON, tracking_tier="HOURLY",
                next_track_at=NOON,
            )
            for id_ in video_ids
        ],
        now=NOON,
    )  # fmt: skip


async def stored(database: DatabaseManager, table: str = "video_vectors") -> list[Any]:
    async with database.get_connection() as conn:
        query = f"SELECT * FROM {table} ORDER BY 1, 2"
        return await conn.fetch(query)  # type: ignore[arg-type]


async def test_what_is_stored_twice_is_there_once_and_as_it_was_the_first_time(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await discover(dao, "a", "b")
    vectors = [FrameVector(id_, number, LOOK, look) for number, look in enumerate(looks(2)) for id_ in "ab"]

    await dao.store_features(vectors, {"a": TEXT}, now=NOON)
    first = await stored(database)
    await dao.store_features([*vectors, *vectors], {"a": TEXT}, now=NOON + HOUR)

    assert await stored(database) == first
    assert [(row["video_id"], row["frame_index"]) for row in first] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert [row["video_id"] for row in await stored(database, "video_features")] == ["a"]


async def test_a_frame_and_a_title_that_changed_are_described_anew(dao: MaiaDAO, database: DatabaseManager) -> None:
    await discover(dao, "a")
    old, new = looks(2)
    await dao.store_features([FrameVector("a", 0, LOOK, old)], {"a": TEXT}, now=NOON)
    await dao.store_features(
        [FrameVector("a", 0, LOOK, new)], {"a": TEXT._replace(language=None, spoken_words=None)}, now=NOON + HOUR
    )

    [vector], [text] = await stored(database), await stored(database, "video_features")
    assert vector["created_at"] == text["created_at"] == NOON + HOUR
    assert np.allclose(np.fromstring(vector["vector"][1:-1], sep=","), new, atol=1e-3)
    assert (text["language"], text["spoken_words"], text["numerals"]) == (None, None, 3)


async def test_videos_that_left_and_frames_that_show_nothing_are_left_out(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    await discover(dao, "a")
    [look] = looks(1)
    gone, blank = FrameVector("gone", 0, LOOK, look), FrameVector("a", 1, LOOK, np.zeros(512))

    await dao.store_features([FrameVector("a", 0, LOOK, look), gone, blank], {"a": TEXT, "gone": TEXT}, now=NOON)

    assert [(row["video_id"], row["frame_index"]) for row in await stored(database)] == [("a", 0)]
    assert [row["video_id"] for row in await stored(database, "video_features")] == ["a"]
    with pytest.raises(ValueError, match="512 numbers, not 3"):
        await dao.store_features([FrameVector("a", 0, LOOK, [1.0, 0, 0])], now=NOON)


async def test_features_belong_to_the_transaction_they_are_stored_in(dao: MaiaDAO, database: DatabaseManager) -> None:
    await discover(dao, "a")

    async def fail() -> None:
        async with dao.transaction() as joined:
            await joined.store_features([FrameVector("a", 0, LOOK, looks(1)[0])], {"a": TEXT}, now=NOON)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail()
    assert await stored(database) == await stored(database, "video_features") == []


async def test_the_most_alike_come_first_each_by_its_best_pair_of_frames(dao: MaiaDAO) -> None:
    await discover(dao, "a", "b", "c", "d")
    one, two, *rest = looks(6)
    await dao.store_features(
        [
            FrameVector("a", 0, LOOK, one), FrameVector("a", 3, LOOK, two),
            FrameVector("b", 0, LOOK, rest[0]), FrameVector("b", 1, LOOK, blend(two, rest[1], 0.9)),
            FrameVector("c", 2, LOOK, blend(one, rest[2], 0.95)), FrameVector("c", 1, LOOK, blend(one, rest[2], 0.8)),
            FrameVector("d", 0, LOOK, rest[3]),
        ],
        now=NOON,
    )  # fmt: skip

    found = await dao.find_similar("a", 2)

    assert [(row["video_id"], row["own_frame_index"], row["frame_index"]) for row in found] == [
        ("c", 0, 2),
        ("b", 3, 1),
    ]
    assert [row["similarity"] for row in found] == pytest.approx([0.95, 0.9], abs=2e-3)
    assert (found[0]["title"], found[0]["channel_id"], found[0]["source_type"]) == ("Video c", "UCc", LOOK)
    assert [row["video_id"] for row in await dao.find_similar("a", 10)] == ["c", "b", "d"]
    assert await dao.find_similar("unknown") == []


async def test_a_search_never_mixes_models(dao: MaiaDAO) -> None:
    await discover(dao, "a", "b", "c")
    look, strange = looks(2)
    await dao.store_features([FrameVector("a", 0, LOOK, look), FrameVector("b", 0, LOOK, strange)], now=NOON)
    await dao.store_features([FrameVector("a", 0, OTHER, look), FrameVector("c", 0, OTHER, look)], now=NOON + HOUR)

    assert await dao.models_of("a") == [OTHER, LOOK]
    assert await dao.models_of("unknown") == []
    assert [row["video_id"] for row in await dao.find_similar("a")] == ["c"]
    assert [row["video_id"] for row in await dao.find_similar("a", source_type=LOOK)] == ["b"]


MANY = """
INSERT INTO channels (id, added_at) VALUES ('UC', %(now)s);
INSERT INTO videos (id, channel_id, title, published_at, discovered_at)
SELECT 'v' || n, 'UC', '', %(now)s, %(now)s FROM generate_series(1, 3000) AS n;
SELECT setseed(0.5);
INSERT INTO video_vectors (video_id, frame_index, source_type, vector, created_at)
SELECT 'v' || n, 0, CASE WHEN n %% 60 = 0 THEN 'rare' ELSE 'usual' END,
       (SELECT array_agg(random() - 0.5) FROM generate_series(1, 512 + n * 0))::real[]::vector(512)::halfvec(512),
       %(now)s
  FROM generate_series(1, 3000) AS n;
ANALYZE
"""


async def test_a_search_runs_through_the_graph_and_finds_enough_of_a_rare_model(
    dao: MaiaDAO, database: DatabaseManager
) -> None:
    params = {"effort": 100, "source_type": "usual", "video_id": "v1", "own_frames": 16, "frames": 40, "k": 10}
    params |= {"after": "", "at_least": 0.5, "batch_size": 100}
    async with database.get_connection() as conn:
        for statement in MANY.split(";\n"):
            await conn.execute(statement.encode(), {"now": NOON})
        for name in ("find_similar", "find_duplicates"):
            cursor = await conn.execute(f"EXPLAIN {_vectors.SQL[name]}".encode(), params)
            plan = "\n".join(row["QUERY PLAN"] for row in await cursor.fetchall())
            assert "Index Scan using video_vectors_nearest" in plan, plan
    exact = [row["video_id"] for row in await dao.find_similar("v60", 10)]  # few frames: PostgreSQL compares them all
    async with database.get_connection() as conn:
        await conn.execute("SET LOCAL enable_sort = off")  # nor are they sorted, then, but met in the graph
        met = await _vectors.find_similar(conn, "v60", 10, "rare")

    assert len(exact) == 10
    assert all(int(video_id[1:]) % 60 == 0 for video_id in exact)
    assert [row["video_id"] for row in met] == exact


async def test_every_pair_of_duplicates_is_found_page_by_page(dao: MaiaDAO) -> None:
    await discover(dao, *"abcdef")
    one, two, three, other, unlike = looks(5)
    await dao.store_features(
        [
            FrameVector("a", 0, LOOK, one), FrameVector("d", 1, LOOK, blend(one, other, 0.97)),
            FrameVector("b", 0, LOOK, two), FrameVector("e", 0, LOOK, blend(two, other, 0.7)),
            FrameVector("c", 0, LOOK, three), FrameVector("f", 0, OTHER, three), FrameVector("d", 0, LOOK, unlike),
        ],
        now=NOON,
    )  # fmt: skip

    pairs: list[Duplicate] = []
    compared: list[int] = []
    after: str | None = ""
    while after is not None:
        page = await dao.find_duplicates(LOOK, 0.8, after=after, batch_size=2)
        pairs += page.pairs
        compared.append(page.compared)
        after = page.after

    assert compared == [2, 2, 1, 0]
    assert [pair[:2] for pair in pairs] == [("a", "d"), ("d", "a")]
    assert pairs[0].similarity == pytest.approx(0.97, abs=2e-3)
    assert pairs[0][3:] == ("Video a", "Video d")
    assert await dao.models() == {LOOK: 6, OTHER: 1}


async def test_the_oldest_vectors_make_room(dao: MaiaDAO, database: DatabaseManager) -> None:
    ids = [f"v{number}" for number in range(8)]
    await discover(dao, *ids)
    vectors = [FrameVector(id_, 0, LOOK, look) for id_, look in zip(ids, looks(8), strict=True)]

    async def left_after(batch: list[FrameVector], hour: int, most: int) -> list[str]:
        await dao.store_features(batch, most_vectors=most, now=NOON + hour * HOUR)
        return [row["video_id"] for row in await stored(database)]

    assert await left_after(vectors[:2], 0, 4) == ids[:2]
    assert await left_after(vectors[2:4], 1, 4) == ids[:4]
    assert await left_after(vectors[4:5], 2, 4) == ids[2:5], "what was stored together goes together"
    assert await left_after(vectors[5:], 3, 2) == ids[5:], "what has just been stored stays"


async def test_two_that_store_at_once_make_room_together(dao: MaiaDAO, database: DatabaseManager) -> None:
    ids = [f"v{number:02}" for number in range(60)]
    await discover(dao, *ids)
    vectors = [FrameVector(id_, 0, LOOK, look) for id_, look in zip(ids, looks(60), strict=True)]
    for start in range(0, 60, 10):
        batch = vectors[start : start + 10]
        halves = (dao.store_features(half, most_vectors=20, now=NOON + start * HOUR) for half in (batch[:5], batch[5:]))
        await asyncio.gather(*halves)

    left = [row["video_id"] for row in await stored(database)]
    assert left[-20:] == ids[-20:]
    assert len(left) <= 30


async def test_what_is_known_of_a_video_goes_with_it(dao: MaiaDAO, database: DatabaseManager) -> None:
    await discover(dao, "a", "b")
    await dao.store_features([FrameVector(id_, 0, LOOK, looks(1)[0]) for id_ in "ab"], {"a": TEXT, "b": TEXT}, now=NOON)
    token = await dao.claim_work("janitor", now=NOON)
    assert token is not None

    assert await dao.run_janitor(["a"], [], token=token, stages_ended=False, now=NOON) == 1

    for table in ("video_vectors", "video_features"):
        assert [row["video_id"] for row in await stored(database, table)] == ["b"]
