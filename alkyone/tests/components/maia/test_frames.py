"""Where frames come from: the thumbnails YouTube publishes, a folder of one's own; and what is no frame."""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from alkyone import pictures
from alkyone.standins.youtube import YouTubeStandin
from atlas import Settings
from atlas.breakers import Breakers
from atlas.clock import VirtualClock
from atlas.errors import CircuitOpen, ConfigurationError, Throttled
from maia.painter import frames as module
from maia.painter.frames import (
    FRAME_BYTES,
    BrokenFrame,
    Frame,
    FrameSource,
    FramesUnavailable,
    LocalFrames,
    NoFrames,
    WithoutFrames,
    YouTubeThumbnails,
    open_frames,
    picture,
)

VIDEO = "dQw4w9WgXcQ"


async def no_wait(seconds: float) -> None:
    del seconds


@pytest_asyncio.fixture
async def thumbnails(youtube_standin: YouTubeStandin) -> AsyncIterator[YouTubeThumbnails]:
    async with source(youtube_standin) as opened:
        yield opened


def source(standin: YouTubeStandin, width: int = 480, timeout: timedelta = timedelta(seconds=20)) -> YouTubeThumbnails:
    return YouTubeThumbnails(standin.endpoint, width=width, timeout=timeout, breakers=Breakers(), sleep=no_wait)


def videos(standin: YouTubeStandin, *, live: bool = False, wide: bool = True) -> list[str]:
    world, at = standin.world, standin.now()
    names = [name for channel in world.channels_at(at) for name in world.uploads(channel, at) or ()]
    return [
        name for name in names
        if (video := world.video(name, at)) is not None
        and (video.live != "none") is live and ((world.look(name) or 0) % 100 < 85) is wide
    ]  # fmt: skip


# -- YouTube's --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "sizes"),
    [
        pytest.param(480, [(480, 360)] * 4, id="as usual"),
        pytest.param(320, [(320, 180)] * 4, id="small"),
        pytest.param(500, [(480, 360)] * 4, id="between two"),
        pytest.param(1280, [(1280, 720)] * 4, id="wide"),
    ],
)
async def test_the_cover_and_the_quarter_points_are_fetched(
    youtube_standin: YouTubeStandin, width: int, sizes: list[tuple[int, int]]
) -> None:
    async with source(youtube_standin, width) as thumbnails:
        found = await thumbnails.fetch(videos(youtube_standin)[0])

    assert not isinstance(found, NoFrames)
    assert [frame.index for frame in found] == [0, 1, 2, 3]
    assert [(frame.width, frame.height) for frame in found] == sizes
    assert {frame.media_type for frame in found} == {"image/jpeg"}
    assert [Image.open(BytesIO(frame.data)).size for frame in found] == sizes


async def test_where_the_widest_does_not_exist_the_next_one_is_taken(youtube_standin: YouTubeStandin) -> None:
    async with source(youtube_standin, 1280) as thumbnails:
        found = await thumbnails.fetch(videos(youtube_standin, wide=False)[0])

    assert not isinstance(found, NoFrames)
    assert {frame.width for frame in found} <= {640, 480}


async def test_a_video_without_a_recording_yet_has_a_cover_only(
    youtube_standin: YouTubeStandin, thumbnails: YouTubeThumbnails
) -> None:
    found = await thumbnails.fetch(videos(youtube_standin, live=True)[0])

    assert not isinstance(found, NoFrames)
    assert [frame.index for frame in found] == [0]


@pytest.mark.parametrize("video_id", ["unknown-one", "../../etc/x", "", "a" * 12])
async def test_no_pictures_are_an_answer_with_a_reason(thumbnails: YouTubeThumbnails, video_id: str) -> None:
    assert isinstance(answer := await thumbnails.fetch(video_id), NoFrames)
    assert answer.reason


async def test_the_grey_picture_is_never_taken_for_one_of_the_video(
    youtube_standin: YouTubeStandin, thumbnails: YouTubeThumbnails
) -> None:
    youtube_standin.faults.add("placeholder", method="thumbnail", times=4)

    found = await thumbnails.fetch(videos(youtube_standin)[0])

    assert not isinstance(found, NoFrames)
    assert {frame.width for frame in found} == {320}, "of each the next smaller file is taken"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        pytest.param("html", "text/html in the place", id="a page"),
        pytest.param("truncated", "no whole picture", id="half a picture"),
        pytest.param("huge", "more than 2097152 bytes", id="too much"),
        pytest.param("redirect", "HTTP 302", id="elsewhere"),
    ],
)
async def test_what_is_no_picture_is_the_trouble_of_its_video(
    youtube_standin: YouTubeStandin, thumbnails: YouTubeThumbnails, kind: str, says: str
) -> None:
    broken, well, *_ = videos(youtube_standin)
    youtube_standin.faults.replace([{"kind": kind, "method": "thumbnail", "ids": [broken]}])

    with pytest.raises(BrokenFrame, match=says):
        await thumbnails.fetch(broken)

    assert len(await thumbnails.fetch(well)) == 4


@pytest.mark.parametrize("kind", ["status_503", "reset", "burst_429"])
async def test_a_blip_heals(youtube_standin: YouTubeStandin, thumbnails: YouTubeThumbnails, kind: str) -> None:
    youtube_standin.faults.replace([{"kind": kind, "method": "thumbnail", "times": 2}])

    assert len(await thumbnails.fetch(videos(youtube_standin)[0])) == 4


@pytest.mark.parametrize(
    ("kind", "error"),
    [("status_500", FramesUnavailable), ("reset", FramesUnavailable), ("burst_429", Throttled)],
)
async def test_a_source_that_does_not_answer_is_left_in_peace(
    youtube_standin: YouTubeStandin, thumbnails: YouTubeThumbnails, kind: str, error: type[Exception]
) -> None:
    fault = youtube_standin.faults.replace([{"kind": kind, "method": "thumbnail"}])
    (fault,) = youtube_standin.faults.active
    first, second, *_ = videos(youtube_standin)

    with pytest.raises(error):  # the cause, whichever of the pictures found the source left in peace for it
        await thumbnails.fetch(first)
    hits = fault.hits
    with pytest.raises(CircuitOpen):
        await thumbnails.fetch(second)

    assert hits == fault.hits < 10


async def test_after_a_while_it_is_asked_again(
    youtube_standin: YouTubeStandin, thumbnails: YouTubeThumbnails, frozen_clock: VirtualClock
) -> None:
    youtube_standin.faults.add("status_500", method="thumbnail")
    name = videos(youtube_standin)[0]
    for _ in range(2):
        with pytest.raises((FramesUnavailable, CircuitOpen)):
            await thumbnails.fetch(name)
    youtube_standin.faults.clear()
    frozen_clock.advance(timedelta(minutes=2))

    with pytest.raises(CircuitOpen):  # one is let through, the others wait for what it learns
        await thumbnails.fetch(name)
    assert len(await thumbnails.fetch(name)) == 4


async def test_a_source_that_hangs_is_given_up(youtube_standin: YouTubeStandin) -> None:
    youtube_standin.faults.add("hang", method="thumbnail")
    async with source(youtube_standin, timeout=timedelta(milliseconds=50)) as thumbnails:
        with pytest.raises((FramesUnavailable, CircuitOpen)):
            await thumbnails.fetch(videos(youtube_standin)[0])


async def test_a_cancelled_fetch_leaves_nothing_running(
    youtube_standin: YouTubeStandin, thumbnails: YouTubeThumbnails
) -> None:
    youtube_standin.faults.add("hang", method="thumbnail")
    before = asyncio.all_tasks()
    task = asyncio.ensure_future(thumbnails.fetch(videos(youtube_standin)[0]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert {left for left in asyncio.all_tasks() - before if not left.done() and "_best" in repr(left)} == set()


# -- One's own --------------------------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    """A PNG that says it has so many pixels, and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def saved(kind: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (64, 48), (200, 30, 30)).save(out, kind)
    return out.getvalue()


async def test_frames_of_ones_own_lie_in_a_folder_for_each_video_or_beside_each_other(tmp_path: Path) -> None:
    (tmp_path / VIDEO).mkdir()
    (tmp_path / VIDEO / "2.PNG").write_bytes(saved("PNG"))
    (tmp_path / VIDEO / "notes.txt").write_text("not a frame")
    (tmp_path / f"{VIDEO}_0.jpg").write_bytes(pictures.frame(1, 0))
    (tmp_path / f"{VIDEO}_11.webp").write_bytes(saved("WEBP"))
    (tmp_path / "-_-_-_-_-_-_7.jpeg").write_bytes(pictures.frame(1, 1))

    async with LocalFrames(tmp_path) as local:
        found = await local.fetch(VIDEO)
        other = await local.fetch("-_-_-_-_-_-")

    assert not isinstance(found, NoFrames)
    assert not isinstance(other, NoFrames)
    assert [(frame.index, frame.media_type, frame.width) for frame in found] == [
        (0, "image/jpeg", 480), (2, "image/png", 64), (11, "image/webp", 64),
    ]  # fmt: skip
    assert [frame.index for frame in other] == [7]


async def test_no_id_leads_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "0.jpg").write_bytes(pictures.frame(1, 0))
    inside = tmp_path / "frames"
    inside.mkdir()
    (inside / VIDEO).symlink_to(tmp_path / "secret")
    local = LocalFrames(inside)

    assert isinstance(await local.fetch("../secret"), NoFrames)
    with pytest.raises(BrokenFrame, match="out of the folder"):
        await local.fetch(VIDEO)


async def test_a_video_without_frames_of_ones_own_is_an_answer(tmp_path: Path) -> None:
    assert await LocalFrames(tmp_path).fetch(VIDEO) == NoFrames("no frames of it in the folder")
    assert isinstance(await WithoutFrames().fetch(VIDEO), NoFrames)


async def test_a_folder_that_goes_away_is_no_answer(tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    local = LocalFrames(folder)
    folder.rmdir()

    with pytest.raises(FramesUnavailable):
        await local.fetch(VIDEO)


async def test_a_video_has_no_more_frames_than_can_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VIDEO_BYTES", 30_000)
    for number in range(3):
        (tmp_path / f"{VIDEO}_{number}.jpg").write_bytes(pictures.frame(1, number))

    with pytest.raises(BrokenFrame, match="together"):
        await LocalFrames(tmp_path).fetch(VIDEO)


# -- Pictures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xd8\xff\xe0 not a JPEG", id="the magic alone"),
        pytest.param(b"<!DOCTYPE html>", id="a page"),
        pytest.param(b"GIF89a" + bytes(100), id="another kind"),
        pytest.param(pictures.frame(1, 0)[:-2000], id="cut short"),
        pytest.param(png(5_000, 5_000), id="more pixels than can be held"),
        pytest.param(png(12_000, 12_000), id="so many that Pillow warns"),
        pytest.param(png(40_000, 40_000), id="so many that Pillow refuses"),
        pytest.param(png(8, 4_000), id="a line"),
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenFrame):
        picture(0, data)


@pytest.mark.parametrize(("kind", "media_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")])
def test_a_picture_tells_what_it_is_by_its_content(kind: str, media_type: str) -> None:
    data = saved(kind)
    assert picture(3, data) == Frame(3, data, media_type, 64, 48)


# -- The settings' ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "is_it"),
    [
        pytest.param({}, lambda it: it._root == "https://i.ytimg.com", id="YouTube's"),
        pytest.param(
            {"YOUTUBE_API_ENDPOINT": "http://127.0.0.1:1"},
            lambda it: it._root == "http://127.0.0.1:1",
            id="where the API is",
        ),
        pytest.param(
            {"YOUTUBE_IMAGE_ENDPOINT": "http://127.0.0.1:2/"},
            lambda it: it._root == "http://127.0.0.1:2",
            id="elsewhere",
        ),
        pytest.param({"FRAME_SOURCE": "none"}, lambda it: isinstance(it, WithoutFrames), id="none"),
        pytest.param({"FRAME_SOURCE": "local"}, lambda it: isinstance(it, LocalFrames), id="one's own"),
    ],
)
async def test_the_settings_say_where_frames_come_from(
    changes: dict[str, str], is_it: Callable[[FrameSource], bool], tmp_path: Path
) -> None:
    async with open_frames(Settings(_env_file=None, FRAME_FOLDER=tmp_path, **changes)) as opened:  # type: ignore[arg-type]
        assert is_it(opened)


async def test_a_folder_that_is_none_is_told_before_anything_is_claimed(tmp_path: Path) -> None:
    rules = Settings(_env_file=None, FRAME_SOURCE="local", FRAME_FOLDER=tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match="FRAME_FOLDER"):
        async with open_frames(rules):
            pass


def test_a_picture_may_be_as_large_as_youtube_takes_them() -> None:
    assert FRAME_BYTES == 2 * 1024 * 1024
