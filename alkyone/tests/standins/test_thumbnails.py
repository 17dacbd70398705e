"""The stand-in's thumbnails: what YouTube publishes of a video, and how a picture that is not there looks."""

from __future__ import annotations

from io import BytesIO

import aiohttp
import pytest
from PIL import Image

from alkyone.standins.youtube import YouTubeStandin
from alkyone.worlds import open_world


async def fetched(standin: YouTubeStandin, video_id: str, name: str) -> tuple[int, str, bytes]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{standin.endpoint}/vi/{video_id}/{name}.jpg", allow_redirects=False) as answer,
    ):
        return answer.status, answer.content_type, await answer.read()


def size(data: bytes) -> tuple[int, int]:
    return Image.open(BytesIO(data)).size


def some_video(standin: YouTubeStandin) -> str:
    world, at = standin.world, standin.now()
    videos = (name for channel in world.channels_at(at) for name in world.uploads(channel, at) or ())
    return next(
        name for name in videos
        if (video := world.video(name, at)) is not None and video.live == "none" and (world.look(name) or 99) % 100 < 85
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("maxresdefault", (1280, 720)),
        ("sddefault", (640, 480)),
        ("hqdefault", (480, 360)),
        ("hqdefault_live", (480, 360)),
        ("mqdefault", (320, 180)),
        ("default", (120, 90)),
        ("0", (480, 360)),
        ("hq2", (480, 360)),
        ("3", (120, 90)),
    ],
)
async def test_each_file_has_its_size(youtube_standin: YouTubeStandin, name: str, expected: tuple[int, int]) -> None:
    status, kind, data = await fetched(youtube_standin, some_video(youtube_standin), name)

    assert (status, kind, size(data)) == (200, "image/jpeg", expected)


async def test_the_frames_of_a_video_differ_and_stay_the_same(youtube_standin: YouTubeStandin) -> None:
    names = ("hqdefault", "hq1", "hq2", "hq3")
    video_id = some_video(youtube_standin)

    once, again = [[await fetched(youtube_standin, video_id, name) for name in names] for _ in range(2)]

    assert once == again
    assert len({data for _, _, data in once}) == 4


@pytest.mark.parametrize(("video_id", "name"), [("unknown-one", "hqdefault"), (None, "hq4"), (None, "beautiful")])
async def test_a_picture_that_does_not_exist_is_a_404_that_shows_a_small_grey_one(
    youtube_standin: YouTubeStandin, video_id: str | None, name: str
) -> None:
    status, kind, data = await fetched(youtube_standin, video_id or some_video(youtube_standin), name)

    assert (status, kind, size(data)) == (404, "image/jpeg", (120, 90))


async def test_faults_strike_the_thumbnails_of_the_videos_they_name(youtube_standin: YouTubeStandin) -> None:
    video_id = some_video(youtube_standin)
    fault = youtube_standin.faults.add("html", method="thumbnail", ids=(video_id,))

    assert (await fetched(youtube_standin, video_id, "hqdefault"))[1] == "text/html"
    assert (await fetched(youtube_standin, "another-one", "hqdefault"))[1] == "image/jpeg"
    assert fault.hits == 1


def test_a_few_per_cent_are_uploaded_again_and_look_like_their_originals() -> None:
    world = open_world("generated:seed=7,channels=100")
    at = world.end
    ids = [name for channel in world.channels_at(at) for name in world.uploads(channel, at) or ()]

    copies = {name: original for name in ids if (original := world.original(name)) is not None}

    assert 0.02 < len(copies) / len(ids) < 0.04
    for name, original in copies.items():
        assert world.look(name) == world.look(original)
        assert world.original(original) is None, "a copy of a copy is one of the original"
    assert len({world.look(name) for name in set(ids) - copies.keys()}) == len(set(ids) - copies.keys())
    assert world.look("unknown-one") is None
