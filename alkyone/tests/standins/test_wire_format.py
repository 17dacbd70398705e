"""The stand-in's answers: as the discovery document says, and as recorded ones look."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from alkyone.discovery_schema import document, violations
from alkyone.standins.youtube import YouTubeStandin, captions, oauth, tokens, wire
from alkyone.standins.youtube.api import METHODS
from alkyone.standins.youtube.fields import parse_fields, select
from alkyone.worlds.base import Video


class Caller:
    """Calls one stand-in as curl would."""

    def __init__(self, standin: YouTubeStandin, http: aiohttp.ClientSession) -> None:
        self.standin = standin
        self._http = http

    async def __call__(self, path: str, *, token: str = "", **query: str) -> tuple[int, Any]:
        address = f"{self.standin.endpoint}/youtube/v3/{path}"
        who = {"params": query, "headers": {"Authorization": f"Bearer {token}"}}
        if not token:
            who = {"params": {"key": self.standin.key, **query}}
        async with self._http.get(address, **who) as response:
            return response.status, orjson.loads(await response.read())


@pytest_asyncio.fixture
async def call() -> AsyncIterator[Caller]:
    async with (
        YouTubeStandin("generated:channels=60,videos=4000", validate=True) as standin,
        aiohttp.ClientSession() as http,
    ):
        standin.set_clock(standin.world.start + timedelta(days=9))
        yield Caller(standin, http)
        assert standin.violations == []


def some_ids(call: Caller, count: int = 50) -> list[str]:
    return list(call.standin.world.search("", order="viewCount", at=call.standin.now()))[:count]


def video_of(call: Caller, name: str) -> Video:
    video = call.standin.world.video(name, call.standin.now())
    assert video is not None
    return video


def field_paths(node: Any, path: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, inner in node.items():
            yield from field_paths(inner, f"{path}.{name}")
    elif isinstance(node, list):
        for inner in node:
            yield from field_paths(inner, f"{path}[]")
    else:
        yield path


def recorded(data: Path, kind: str) -> list[Any]:
    index = [orjson.loads(line) for line in (data / "youtube/api/index.jsonl").read_bytes().splitlines()]
    return [orjson.loads((data / "youtube" / entry["file"]).read_bytes()) for entry in index if entry["kind"] == kind]


async def every_answer(call: Caller) -> dict[str, Any]:
    """One full answer of every method, by the name of its schema."""
    ids, channels = some_ids(call), call.standin.world.channels_at(call.standin.now())
    parts = "snippet,contentDetails,statistics,status,topicDetails,liveStreamingDetails"
    calls = {
        "VideoListResponse": ("videos", {"id": ",".join(ids), "part": parts}),
        "BatchGetStatsResponse": (
            "videos:batchGetStats",
            {"id": ",".join(ids), "part": "snippet,contentDetails,statistics"},
        ),
        "SearchListResponse": ("search", {"q": "", "part": "snippet", "pageToken": tokens.search_token(5)}),
        "ChannelListResponse": (
            "channels",
            {"id": ",".join(channels[:50]), "part": "snippet,contentDetails,statistics,status,topicDetails"},
        ),
        "PlaylistItemListResponse": (
            "playlistItems",
            {"playlistId": "UU" + channels[0][2:], "part": "snippet,contentDetails,status", "maxResults": "2"},
        ),
    }
    _, granted = call.standin.authority.grant(oauth.FORM, call.standin.now())
    token = granted["access_token"]
    captioned = next(name for name in ids if captions.tracks(video_of(call, name)))
    calls["CaptionListResponse"] = ("captions", {"videoId": captioned, "part": "snippet", "token": token})
    bodies = {}
    for schema, (path, query) in calls.items():
        status, bodies[schema] = await call(path, **query)
        assert status == 200
    return bodies


async def test_every_method_answers_as_the_discovery_document_says(call: Caller) -> None:
    bodies = await every_answer(call)

    assert sorted(bodies) == sorted(method.response for method in METHODS.values() if method.response)
    for schema, body in bodies.items():
        assert body["items"]
        assert violations(schema, body) == []
    assert document()["revision"] >= "20260101"


@pytest.mark.parametrize(
    ("schema", "kind", "known"),
    [
        # Fields that today's API has and the recordings are too old for.
        pytest.param(
            "VideoListResponse", "youtube#videoListResponse", {".items[].topicDetails.topicCategories[]"}, id="videos"
        ),
        pytest.param("SearchListResponse", "youtube#searchListResponse", set(), id="search"),
        pytest.param("ChannelListResponse", "youtube#channelListResponse", set(), id="channels"),
        pytest.param(
            "PlaylistItemListResponse",
            "youtube#playlistItemListResponse",
            {".items[].snippet.videoOwnerChannelId", ".items[].snippet.videoOwnerChannelTitle"},
            id="playlist items",
        ),
    ],
)
async def test_no_field_is_sent_that_real_answers_lack(
    call: Caller, recorded_data: Path, schema: str, kind: str, known: set[str]
) -> None:
    real = {path for body in recorded(recorded_data, kind) for path in field_paths(body)}

    ours = set(field_paths((await every_answer(call))[schema]))

    live = {path for path in ours if ".liveStreamingDetails." in path}
    assert ours - real - known - live == set()


async def test_an_unknown_key_is_refused_word_for_word_as_recorded(call: Caller, recorded_data: Path) -> None:
    found = next((recorded_data / "youtube/api").glob("*/error_400_badRequest*.json"))

    status, body = await call("videos", key="nobody's", id="x", part="id")

    assert status == 400
    assert body == orjson.loads(found.read_bytes())


async def test_a_spent_general_bucket_is_refused_word_for_word_as_recorded(call: Caller, recorded_data: Path) -> None:
    call.standin.quota.limits["general"] = 0

    status, body = await call("videos", id="x", part="id")

    assert status == 403
    assert body == orjson.loads((recorded_data / "youtube/errors_verbatim/quotaExceeded_403_2020.json").read_bytes())


@pytest.mark.parametrize(
    ("path", "query", "status", "reason"),
    [
        pytest.param("videos", {"id": "x"}, 400, "required", id="no part"),
        pytest.param("videos", {"part": "snippet"}, 400, "missingRequiredParameter", id="no filter"),
        pytest.param("videos", {"part": "snippet,soul", "id": "x"}, 400, "unknownPart", id="unknown part"),
        pytest.param("videos", {"part": "id", "id": ",".join(map(str, range(51)))}, 400, "invalidFilters", id="51 ids"),
        pytest.param(
            "videos", {"part": "id", "id": "x", "chart": "mostPopular"}, 400, "invalidFilters", id="two filters"
        ),
        pytest.param(
            "videos", {"part": "id", "id": "x", "fields": "items("}, 400, "invalidParameter", id="broken fields"
        ),
        pytest.param("videos:batchGetStats", {"part": "statistics"}, 400, "required", id="stats of nobody"),
        pytest.param("search", {"part": "snippet", "maxResults": "51"}, 400, "invalidParameter", id="51 results"),
        pytest.param("search", {"part": "snippet", "order": "luck"}, 400, "invalidParameter", id="unknown order"),
        pytest.param("search", {"part": "snippet", "publishedAfter": "today"}, 400, "invalidParameter", id="no time"),
        pytest.param("search", {"part": "snippet", "pageToken": "CAUQ"}, 400, "invalidPageToken", id="broken token"),
        pytest.param("playlistItems", {"part": "id"}, 400, "missingRequiredParameter", id="no playlist"),
        pytest.param(
            "playlistItems", {"part": "id", "playlistId": "UUnobody"}, 404, "playlistNotFound", id="unknown playlist"
        ),
        pytest.param("channels", {"part": "id"}, 400, "missingRequiredParameter", id="no channel"),
        pytest.param("nothing", {}, 404, "notFound", id="unknown method"),
    ],
)
async def test_a_wrong_request_is_refused_with_its_reason(
    call: Caller, path: str, query: dict[str, str], status: int, reason: str
) -> None:
    got, body = await call(path, **query)

    assert (got, body["error"]["code"]) == (status, status)
    assert [entry["reason"] for entry in body["error"]["errors"]] == [reason]
    assert set(body["error"]["errors"][0]) <= {"message", "domain", "reason", "location", "locationType"}


async def test_ids_that_are_not_there_are_silently_absent(call: Caller) -> None:
    known = some_ids(call, 2)

    _, listed = await call("videos", id=",".join([known[0], "doesNotExi5", known[1]]), part="id")
    _, stats = await call("videos:batchGetStats", id=",".join(["doesNotExi5", *known]), part="statistics")
    _, nobody = await call("channels", id="UCnobody", part="id")

    assert [item["id"] for item in listed["items"]] == known
    assert [item["id"] for item in stats["items"]] == known
    assert "items" not in nobody


async def test_counts_are_strings_and_absent_where_they_are_hidden(call: Caller) -> None:
    world, now = call.standin.world, call.standin.now()
    ids = world.search("", at=now)
    counts = world.readings(ids, now)
    hides_likes = next(name for name, reading in counts.items() if reading.likes is None)
    hides_comments = next(name for name, reading in counts.items() if reading.comments is None)

    _, body = await call("videos:batchGetStats", id=f"{hides_likes},{hides_comments}", part="statistics")

    first, second = (item["statistics"] for item in body["items"])
    assert "likeCount" not in first
    assert "commentCount" not in second
    assert first["viewCount"] == str(counts[hides_likes].views)


async def test_search_escapes_titles_and_videos_list_does_not(call: Caller) -> None:
    world, now = call.standin.world, call.standin.now()
    name = next(
        name
        for name in world.search("", at=now)
        if (video := world.video(name, now)) and {"&", "<", "'"} & set(video.title)
    )
    video = world.video(name, now)
    assert video is not None

    assert "&" in wire.search_item(video)["snippet"]["title"]
    assert wire.search_item(video)["snippet"]["title"] != video.title
    _, listed = await call("videos", id=name, part="snippet")
    assert listed["items"][0]["snippet"]["title"] == video.title


async def test_pages_of_uploads_follow_each_other_to_the_end(call: Caller) -> None:
    world, now = call.standin.world, call.standin.now()
    channel = world.channels_at(now)[0]
    seen: list[str] = []
    query = {"playlistId": "UU" + channel[2:], "part": "snippet", "maxResults": "7"}

    while True:
        _, body = await call("playlistItems", **query)
        seen += [item["snippet"]["resourceId"]["videoId"] for item in body["items"]]
        if "nextPageToken" not in body:
            break
        query["pageToken"] = body["nextPageToken"]

    assert seen == world.uploads(channel, now)


async def test_a_private_upload_shows_only_that_it_is_there(call: Caller) -> None:
    world, now = call.standin.world, call.standin.now()
    uploads = ((channel, name) for channel in world.channels_at(now) for name in world.uploads(channel, now) or ())
    channel, private = next(
        (channel, name) for channel, name in uploads if (video := world.video(name, now)) and video.private
    )
    position = list(world.uploads(channel, now) or ()).index(private)

    _, page = await call(
        "playlistItems",
        playlistId="UU" + channel[2:],
        part="snippet,contentDetails,status",
        maxResults="1",
        pageToken=tokens.playlist_token(position),
    )
    _, listed = await call("videos", id=private, part="status")

    item = page["items"][0]
    assert (item["snippet"]["title"], item["snippet"]["thumbnails"]) == ("Private video", {})
    assert item["contentDetails"] == {"videoId": private}
    assert listed["items"] == []


async def test_search_ends_near_five_hundred_and_some_queries_wrap_round(call: Caller) -> None:
    lengths: set[int] = set()
    call.standin.quota.limits["search"] = 1_000
    for q in ("", "-nothing", "-nobody", "-none"):
        seen: list[str] = []
        query = {"q": q, "part": "id", "type": "video", "order": "date", "maxResults": "50"}
        for _ in range(25):
            _, body = await call("search", **query)
            seen += [item["id"]["videoId"] for item in body["items"]]
            if "nextPageToken" not in body:
                break
            query["pageToken"] = body["nextPageToken"]
        lengths.add(len(seen))
        assert len(set(seen)) == 500

    assert lengths == {500, 1_000}


async def test_partial_answers_hold_what_was_asked_for_and_no_kind(call: Caller) -> None:
    name = some_ids(call, 1)[0]

    _, body = await call(
        "videos", id=name, part="snippet,statistics", fields="items(id,snippet/title),pageInfo/totalResults"
    )

    assert set(body) == {"items", "pageInfo"}
    assert body["pageInfo"] == {"totalResults": 1}
    assert set(body["items"][0]) == {"id", "snippet"}
    assert set(body["items"][0]["snippet"]) == {"title"}


async def test_the_chart_has_music_films_and_games_only(call: Caller) -> None:
    _, body = await call("videos", chart="mostPopular", part="snippet,statistics", maxResults="20")
    _, music = await call("videos", chart="mostPopular", part="snippet", maxResults="20", videoCategoryId="10")

    assert {item["snippet"]["categoryId"] for item in body["items"]} <= {"1", "10", "20"}
    assert {item["snippet"]["categoryId"] for item in music["items"]} == {"10"}


async def test_an_answer_is_packed_for_who_accepts_it_and_plain_for_others(call: Caller) -> None:
    address = f"{call.standin.endpoint}/youtube/v3/videos"
    query = {"key": call.standin.key, "id": ",".join(some_ids(call)), "part": "snippet"}

    bodies = []
    async with aiohttp.ClientSession(auto_decompress=False) as http:
        for accepted in ("gzip", "identity"):
            async with http.get(address, params=query, headers={"Accept-Encoding": accepted}) as response:
                bodies.append((response.headers.get("Content-Encoding"), len(await response.read())))

    (packing, packed), (none, plain) = bodies
    assert (packing, none) == ("gzip", None)
    assert packed < plain / 3


@pytest.mark.parametrize(
    ("length", "text"),
    [
        pytest.param(None, "P0D", id="live"),
        pytest.param(timedelta(0), "PT0S", id="nothing"),
        pytest.param(timedelta(seconds=59), "PT59S", id="a short"),
        pytest.param(timedelta(hours=1), "PT1H", id="an hour"),
        pytest.param(timedelta(days=1, hours=2, seconds=3), "P1DT2H3S", id="a marathon"),
        pytest.param(timedelta(days=1), "P1D", id="a day"),
    ],
)
def test_durations_are_written_as_youtube_does(length: timedelta | None, text: str) -> None:
    assert wire.iso_duration(length) == text


@pytest.mark.parametrize(
    ("token", "offset"),
    [
        pytest.param("CAUQAA", 5, id="search, as recorded"),
        pytest.param("CBkQAA", 25, id="search, another recorded one"),
        pytest.param("CAUQAQ", 0, id="the page before, as recorded"),
        pytest.param("EAAaBlBUOkNBVQ", 5, id="playlist"),
        pytest.param("", None, id="empty"),
        pytest.param("CAUQAAA", None, id="longer"),
        pytest.param("not a token!", None, id="nonsense"),
    ],
)
def test_page_tokens_read_as_the_real_ones_do(token: str, offset: int | None) -> None:
    assert tokens.offset_of(token, 5) == offset


@given(st.integers(0, 50_000))
def test_a_page_token_leads_where_it_was_made_for(offset: int) -> None:
    assert tokens.offset_of(tokens.search_token(offset), 50) == offset
    assert tokens.offset_of(tokens.playlist_token(offset), 50) == offset


@given(st.text(max_size=30))
def test_no_text_breaks_the_reading_of_tokens(text: str) -> None:
    offset = tokens.offset_of(text, 50)
    assert offset is None or offset >= 0


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        pytest.param("a", {"a": {"b": 1, "c": [{"d": 2, "e": 3}]}}, id="all of a field"),
        pytest.param("a/b", {"a": {"b": 1}}, id="a path"),
        pytest.param("a(b,c/e)", {"a": {"b": 1, "c": [{"e": 3}]}}, id="a list within"),
        pytest.param("a/b,a/c(d)", {"a": {"b": 1, "c": [{"d": 2}]}}, id="one field twice"),
        pytest.param("*/b", {"a": {"b": 1}}, id="any name"),
        pytest.param("nothing", {}, id="nothing there"),
    ],
)
def test_fields_select_parts_of_an_answer(fields: str, kept: dict[str, Any]) -> None:
    assert select({"a": {"b": 1, "c": [{"d": 2, "e": 3}]}, "z": 0}, parse_fields(fields)) == kept
