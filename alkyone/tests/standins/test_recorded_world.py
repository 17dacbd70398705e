"""A recorded world: real curves, exactly as they were sampled, and an honest account of what was left out."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alkyone.standins.youtube import YouTubeStandin
from alkyone.worlds import World, open_world
from alkyone.worlds.cells import read_count, read_instant, read_seconds, read_tags
from alkyone.worlds.importer import ImportReport, import_world
from alkyone.worlds.recorded import RecordedWorld
from alkyone.worlds.terms import rewarding_terms

NOW = datetime(2026, 9, 1, tzinfo=UTC)
A, B, C = "aaaaaaaaaaa", "bbbbbbbbbbb", "ccccccccccc"


def write_csv(folder: Path, name: str, *lines: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", "utf-8")


def imported(folder: Path) -> tuple[RecordedWorld, ImportReport]:
    out = folder.parent / "world"
    report = import_world(folder, out, now=NOW)
    return RecordedWorld.open(out), report


def hour(number: float, day: int = 1) -> datetime:
    return datetime(2026, 8, day, tzinfo=UTC) + timedelta(hours=number)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "recordings"


@pytest.fixture(scope="session")
def real(recorded_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordedWorld, ImportReport]:
    out = tmp_path_factory.mktemp("worlds") / "real"
    report = import_world(recorded_data / "youtube/timeseries", out)
    return RecordedWorld.open(out), report


def test_recorded_instants_have_the_recorded_values_and_between_lies_a_line(folder: Path) -> None:
    rows = (f"{A},2026-08-01T10:00:00Z,100,10", f"{A},2026-08-01T12:00:00Z,300,", f"{A},2026-08-01T14:00:00Z,200,30")
    write_csv(folder, "series.csv", "video_id,ts,views,likes", *rows)
    world, _ = imported(folder)

    views = [reading.views for at in (10, 11, 12, 13, 14, 99) if (reading := world.counts(A, hour(at)))]
    likes = [reading.likes for at in (10, 12, 14) if (reading := world.counts(A, hour(at)))]

    assert views == [100, 200, 300, 250, 200, 200]
    assert likes == [10, 20, 30]
    assert world.counts(A, hour(9)) is None
    assert world.readings([A, B], hour(11))[A].comments is None


def test_a_counter_beyond_what_floats_hold_is_exact(folder: Path) -> None:
    huge = 2**60 + 1
    write_csv(
        folder, "s.csv", "video_id,ts,views", f"{A},2026-08-01T10:00:00Z,{huge}", f"{A},2026-08-02T10:00:00Z,{huge + 2}"
    )
    world, _ = imported(folder)

    assert world.counts(A, hour(10)) == (huge, None, None)
    assert world.counts(A, hour(22)) == (huge + 1, None, None)


def test_what_cannot_be_is_dropped_and_named(folder: Path) -> None:
    write_csv(
        folder,
        "series.csv",
        "source,video_id,ts,views,likes,comments",
        f"x,{A},2056-01-01T00:00:00Z,5,,",
        f"x,{A},2026-07-31T00:00:00Z,5,,",
        f"x,{A},2026-08-02T00:00:00Z,5,1,0",
        f"x,{A},2026-08-02T00:00:00Z,6,1,0",
        f"x,{A},2026-08-03T00:00:00Z,4,1,0",
        f"x,{A},someday,4,1,0",
        f"x,{A},2026-08-04T00:00:00Z,,1,0",
        f"x,{A},2026-08-04T00:00:00Z,-4,1,0",
        f"x,{B},1999-08-04T00:00:00Z,4,1,0",
        "x,MIKE_VIEWS,2026-08-04T00:00:00Z,4,1,0",
        "x,too,few",
    )
    write_csv(folder, "meta.csv", "video_id,published_at,title", f"{A},2026-08-01T12:00:00Z,Hello")
    write_csv(folder, "other.csv", "a,b", "1,2")
    (folder / "broken.parquet").write_bytes(b"PAR1 but no")

    world, report = imported(folder)

    assert dict(report.dropped) == {
        "broken CSV line": 1,
        "dated in the future": 1,
        "dated before publication": 1,
        "dated before YouTube": 1,
        "a second row of the same video and instant": 1,
        "no readable time": 1,
        "no view count": 2,
        "not a video id": 1,
        "a video without a usable sample": 1,
    }
    assert report.noticed == {"videos whose views go down, kept": 1}
    assert report.files["other.csv"].startswith("ignored")
    assert report.files["broken.parquet"].startswith("not read")
    assert [views for _, views in world.recorded(A)] == [6, 4]
    assert report.samples == 2


def test_a_synthetic_first_zero_becomes_the_publication_and_a_real_one_stays(folder: Path) -> None:
    write_csv(
        folder,
        "series.csv",
        "video_id,ts,views",
        *(f"{A},2026-08-01T10:00:00Z,0", f"{A},2026-08-02T10:00:00Z,95000"),
        *(f"{B},2026-08-01T10:05:00Z,0", f"{B},2026-08-02T10:00:00Z,500"),
        *(f"{C},2026-08-10T10:05:00Z,0", f"{C},2026-08-10T11:00:00Z,900000"),
    )
    write_csv(folder, "meta.csv", "video_id,published_at", f"{B},2026-08-01T10:00:00Z", f"{C},2026-08-01T10:00:00Z")

    world, report = imported(folder)

    assert report.dropped == {"a synthetic first zero": 2}
    assert {name: len(world.recorded(name)) for name in (A, B, C)} == {A: 1, B: 2, C: 1}
    video = world.video(A, NOW)
    assert video is not None
    assert video.published_at == hour(10)


def test_what_nobody_recorded_gets_a_plain_stand_in(folder: Path) -> None:
    write_csv(folder, "series.csv", "video_id,ts,views", f"{A},2026-08-01T10:00:00Z,7", f"{B},2026-08-01T10:00:00Z,7")
    write_csv(folder, "meta.csv", "videoId,title,channel_title,duration,tags", f"{B},Told,Somebody,PT1M5S,a|b")

    world, report = imported(folder)
    plain, told = world.video(A, NOW), world.video(B, NOW)

    assert plain is not None
    assert told is not None
    assert (plain.title, plain.channel_title) == (f"Untitled video {A}", "Unknown channel 1")
    assert (told.title, told.channel_title, told.duration, told.tags) == (
        "Told",
        "Somebody",
        timedelta(seconds=65),
        ("a", "b"),
    )
    assert report.filled["title"] == 1
    assert world.uploads(plain.channel_id, NOW) == [A]


def test_parquet_with_real_times_is_read_like_text(folder: Path) -> None:
    folder.mkdir()
    times = pa.array([hour(1), hour(2)], pa.timestamp("ms", tz="UTC"))
    table = pa.table({"videoId": [A, A], "timestamp": times, "viewCount": ["1", "2"], "like_count": [None, 1.0]})
    pq.write_table(table, folder / "any.parquet")

    world, _ = imported(folder)

    assert world.recorded(A) == [(hour(1), 1), (hour(2), 2)]
    assert world.counts(A, hour(2)) == (2, 1, None)


@pytest.mark.parametrize("name", ["empty", "details.csv"])
def test_a_folder_without_a_series_is_refused(folder: Path, name: str) -> None:
    folder.mkdir()
    if name == "details.csv":
        write_csv(folder, name, "video_id,title", f"{A},x")

    with pytest.raises(ValueError, match="holds no series"):
        import_world(folder, folder.parent / "world", now=NOW)


def test_a_folder_that_is_no_world_is_never_overwritten_and_a_world_is(folder: Path, tmp_path: Path) -> None:
    write_csv(folder, "s.csv", "video_id,ts,views", f"{A},2026-08-01T10:00:00Z,7")
    precious = tmp_path / "precious"
    write_csv(precious, "thesis.txt", "work of years")

    with pytest.raises(ValueError, match="is no world"):
        import_world(folder, precious, now=NOW)
    import_world(folder, tmp_path / "world", now=NOW)
    import_world(folder, tmp_path / "world", now=NOW)

    assert (precious / "thesis.txt").exists()
    assert open_world(str(tmp_path / "world")).size() == 1


def test_every_real_series_is_imported_in_seconds(real: tuple[RecordedWorld, ImportReport]) -> None:
    world, report = real

    assert isinstance(world, World)
    assert sum(what.startswith("series") for what in report.files.values()) >= 3
    assert report.videos == world.size() > 5_000
    assert report.samples > 100_000
    assert report.seconds < 20
    assert set(report.dropped) >= {"not a video id", "dated before publication"}


def test_real_samples_are_served_exactly(real: tuple[RecordedWorld, ImportReport], recorded_data: Path) -> None:
    world, _ = real
    rows = pq.read_table(recorded_data / "youtube/timeseries/threehourly.parquet").to_pylist()

    for row in random.Random(1).sample(rows, 3_000):
        reading = world.counts(row["video_id"], datetime.fromisoformat(row["ts"]))
        assert reading is not None
        assert reading.views == row["views"]
        assert row["likes"] in (None, reading.likes)


def test_the_liveliest_stretch_of_the_real_world_lies_where_it_was_sampled_finely(
    real: tuple[RecordedWorld, ImportReport],
) -> None:
    world, _ = real

    start = world.stretch(timedelta(days=14))

    assert datetime(2026, 8, 7, tzinfo=UTC) <= start <= datetime(2026, 8, 10, tzinfo=UTC)


def test_the_terms_and_channels_of_the_real_world_lead_to_its_videos(real: tuple[RecordedWorld, ImportReport]) -> None:
    world, _ = real
    at = world.end

    by_term = {name for term in world.terms() for name in world.search(term, at=at)}
    by_channel = {name for channel in world.channels_at(at) for name in world.uploads(channel, at) or ()}

    assert len(by_channel) == world.size()
    assert len(by_term) > 0.8 * world.size()
    fresh = world.stretch(timedelta(days=14)) + timedelta(days=3)
    assert any(world.search(term, fresh - timedelta(days=1), fresh, "date", fresh) for term in world.terms()[:5])


async def test_the_real_world_is_served_over_http(real: tuple[RecordedWorld, ImportReport]) -> None:
    world, _ = real
    at = world.stretch(timedelta(days=14)) + timedelta(days=5, hours=7)
    async with YouTubeStandin(world, validate=True) as standin, aiohttp.ClientSession() as http:
        standin.set_clock(at)

        async def call(path: str, **query: str) -> Any:
            async with http.get(
                f"{standin.endpoint}/youtube/v3/{path}", params={"key": standin.key, **query}
            ) as response:
                assert response.status == 200
                return orjson.loads(await response.read())

        found = await call("search", q=world.terms()[0], part="snippet", type="video", maxResults="50", order="date")
        ids = [item["id"]["videoId"] for item in found["items"]]
        listed = await call("videos", id=",".join(ids), part="snippet,contentDetails,statistics,status,topicDetails")
        channel = listed["items"][0]["snippet"]["channelId"]
        uploads = await call("playlistItems", playlistId="UU" + channel[2:], part="snippet,contentDetails,status")
        channels = await call("channels", id=channel, part="snippet,contentDetails,statistics,topicDetails")

        assert standin.violations == []
    assert [item["id"] for item in listed["items"]] == ids
    assert {item["id"]: int(item["statistics"]["viewCount"]) for item in listed["items"]} == {
        name: reading.views for name, reading in world.readings(ids, at).items()
    }
    assert ids[0] in [item["contentDetails"]["videoId"] for item in uploads["items"]]
    assert channels["items"][0]["statistics"]["hiddenSubscriberCount"] is True


def test_terms_are_chosen_so_that_together_they_lead_far() -> None:
    texts = [["a", "b"], ["a", "b"], ["a", "b"], ["c"], ["c"], ["lonely"]]

    assert rewarding_terms(texts, 2) == ["a", "c"]


@pytest.mark.parametrize(
    ("cell", "instant"),
    [
        pytest.param("2026-08-08T14:04:55Z", datetime(2026, 8, 8, 14, 4, 55, tzinfo=UTC), id="Z"),
        pytest.param(
            "2026-08-08T16:04:55.123+02:00", datetime(2026, 8, 8, 14, 4, 55, 123_000, tzinfo=UTC), id="offset"
        ),
        pytest.param("2026-08-08", datetime(2026, 8, 8, tzinfo=UTC), id="a day"),
        pytest.param("2026-08-08 14:04:55", datetime(2026, 8, 8, 14, 4, 55, tzinfo=UTC), id="a space"),
        pytest.param(1_786_197_895, datetime(2026, 8, 8, 14, 4, 55, tzinfo=UTC), id="seconds"),
        pytest.param("1786197895000", datetime(2026, 8, 8, 14, 4, 55, tzinfo=UTC), id="milliseconds as text"),
        pytest.param("", None, id="blank"),
        pytest.param(None, None, id="absent"),
        pytest.param(float("nan"), None, id="no number"),
    ],
)
def test_times_are_read_in_every_form(cell: Any, instant: datetime | None) -> None:
    assert read_instant(cell) == instant


@given(st.one_of(st.none(), st.text(), st.integers(), st.floats(), st.booleans()))
def test_no_cell_breaks_the_reading(cell: Any) -> None:
    read_instant(cell)
    count = read_count(cell)
    assert count is None or 0 <= count < 2**63
    read_seconds(cell)
    read_tags(cell)
