"""Every recorded answer of YouTube on its road: through our client, beside two clients by others, flows and stores."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import cache
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
import pyyoutube
from aiohttp import web
from psycopg.rows import dict_row

from alkyone.agents import Site
from alkyone.databases import NOON
from alkyone.fixtures import recorded_folder
from alkyone.scenes import AMPLE, dao_of, stores_of, studio_of, tools_of
from alkyone.standins.threads import served
from atlas import clock, history
from atlas.adapters.records import ChannelSeen
from atlas.breakers import Breakers
from atlas.db import DatabaseManager
from atlas.errors import ApiError, ApiUnavailable
from atlas.hydra import SingleKey
from atlas.vault import LocalVault
from maia.hunter.agent import discovery_of, enrol, hunt
from maia.janitor.agent import clean
from maia.painter.agent import paint
from maia.scribe.agent import Desk, describe
from maia.scribe.transcripts.folder import FolderSource
from maia.scribe.transcripts.formats import parse as parse_captions
from maia.tracker.agent import track
from maia.youtube import parse
from maia.youtube.client import YouTube
from maia.youtube.feed import parse_feed
from maia.youtube.models import Video

DAY = timedelta(days=1)
CHANNEL = "UC" + "x" * 22
METHODS = {
    "searchlist": "search",
    "videolist": "videos",
    "channellist": "channels",
    "playlistitemlist": "playlistItems",
    "captionlist": "captions",
}
"""Of the kinds of answers that we ask for: the method."""


# ------------------------------------------------------------------------------------------------------------- roads

Road = str


def road_of(path: Path) -> Road:
    """Say which road a file takes; each is tested below, or where its name says."""
    folder = path.parts[path.parts.index("youtube") + 1]
    if path.name.startswith("index."):
        return "index"  # tells of the others
    if folder == "api":
        return _road_of_answer(path)
    return {"errors_verbatim": "refusal", "feeds": "feed", "captions": "captions", "timeseries": "world"}[folder]


@cache
def _road_of_answer(path: Path) -> Road:
    try:
        answer = json.loads(path.read_bytes())
    except ValueError:
        return "no JSON"
    if "error" in answer:
        return "refusal"
    kind = path.name.partition("__")[0].lower()
    return "answer" if kind in METHODS else "partial" if kind == "partial" else "answer to what we never ask"


HERE = {"answer", "partial", "answer to what we never ask", "refusal", "no JSON", "feed", "captions"}
ELSEWHERE = {
    "index": "nothing to read",
    "world": "standins/test_recorded_world.py makes a world of them, faults/test_recorded_curves.py tracks it",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test of each body, by the road that it takes."""
    if "body" not in metafunc.fixturenames:
        return
    roads = metafunc.definition.get_closest_marker("roads")
    assert roads is not None
    folder = recorded_folder(metafunc.config) / "youtube"
    found = [path for path in sorted(folder.rglob("*.*")) if road_of(path) in roads.args]
    absent = pytest.param(None, marks=pytest.mark.skip(reason="no recorded data here: set PLEIADES_RECORDED_DATA"))
    ids = [path.relative_to(folder).as_posix() for path in found]
    metafunc.parametrize("body", found or [absent], ids=ids or None)


@pytest.fixture
def data(body: Path) -> bytes:
    """What was recorded."""
    return body.read_bytes()


def test_no_file_is_left_out(recorded_data: Path) -> None:
    files = [path for path in (recorded_data / "youtube").rglob("*") if path.is_file()]
    roads = Counter(map(road_of, files))
    assert set(roads) == HERE | set(ELSEWHERE)
    listed = (json.loads(line) for line in (recorded_data / "youtube/api/index.jsonl").read_text().splitlines())
    assert {entry["file"] for entry in listed} == {
        path.relative_to(recorded_data / "youtube").as_posix()
        for path in files
        if path.is_relative_to(recorded_data / "youtube/api") and road_of(path) != "index"
    }


# ------------------------------------------------------------------------------------------------------------ server


class Recorded:
    """A server that gives one body, whatever it is asked."""

    def __init__(self, body: bytes, status: int = 200) -> None:
        self.body, self.status = body, status

    def application(self) -> web.Application:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=self.body, status=self.status, content_type="application/json")

        app = web.Application()
        app.router.add_get("/{path:.*}", answer)
        return app


@contextmanager
def replaying(path: Path) -> Iterator[str]:
    """Serve a recorded body as it came."""
    data = path.read_bytes()
    status = 200
    if road_of(path) == "refusal":
        status = json.loads(data)["error"]["code"]
    elif not data:
        status = 204
    with served(Recorded(data, status).application) as root:
        yield root


async def _no_wait(_: float) -> None:
    return


def client(root: str) -> YouTube:
    """Ours, whose retries do not wait."""
    return YouTube(SingleKey("any", sleep=_no_wait), endpoint=root, breakers=Breakers())


Ask = Callable[[YouTube], Awaitable[Any]]
ASKS: Mapping[str, tuple[Ask, Callable[[Any], Any]]] = {
    "search": (lambda youtube: youtube.search("x"), parse.search_page),
    "videos": (lambda youtube: youtube.videos(["x"]), parse.videos),
    "channels": (lambda youtube: youtube.channels([CHANNEL]), parse.channels),
    "playlistItems": (lambda youtube: youtube.uploads(CHANNEL), parse.uploads_page),
    "chart": (lambda youtube: youtube.most_popular("DE"), parse.video_page),
    "stats": (lambda youtube: youtube.batch_stats(["x"]), lambda answer: parse.batch_stats(answer, ["x"])),
}


@pytest.mark.roads("answer", "partial", "answer to what we never ask")
async def test_the_client_reads_what_was_answered_and_invents_nothing(body: Path, data: bytes) -> None:
    answer = json.loads(data)
    ids = [item["id"] for item in answer.get("items", []) if isinstance(item.get("id"), str)]
    with replaying(body) as root:
        async with client(root) as youtube:
            for ask, read in ASKS.values():
                assert await ask(youtube) == read(answer)
            assert [video.id for video in await youtube.videos(["x"])] == ids
            counted = await youtube.batch_stats(ids[:50])
    assert counted.returned.keys() | counted.failed.keys() | counted.unaccounted == set(ids[:50])


@pytest.mark.roads("refusal", "no JSON")
async def test_the_client_raises_what_was_refused_by_its_reason(body: Path, data: bytes) -> None:
    told = json.loads(data)["error"] if data else {}
    reasons = {entry.get("reason") for entry in (*told.get("errors", ()), *told.get("details", ()))}
    with replaying(body) as root:
        async with client(root) as youtube:
            for ask, _ in ASKS.values():
                with pytest.raises(ApiError) as caught:
                    await ask(youtube)
                assert caught.value.reason in reasons or (not data and isinstance(caught.value, ApiUnavailable))


@pytest.mark.roads("feed")
async def test_the_client_reads_a_feed(body: Path, data: bytes) -> None:
    with replaying(body) as root:
        async with client(root) as youtube:
            entries = await youtube.feed(CHANNEL)
    assert entries == parse_feed(data)
    assert len(entries) == data.count(b"<yt:videoId>")


# ------------------------------------------------------------------------------------------------ beside other clients

Facts = Mapping[str, Any]

KNOWN_DIFFERENCES = {
    "a count that is no string of digits": "they keep what came, we read a number or nothing",
    "an escaped title": "search titles come HTML-escaped: they keep them so, we unescape",
    "an absent text and an empty one": "they tell them apart, to us both are nothing",
    "a time": "they keep the text, we read an instant in UTC",
    "a hit that is no video": "they give it, a search of ours is for videos",
    "a hidden subscriber count": "they give the 0 that comes with it, we give nothing",
}
"""Where ours reads otherwise on purpose; what is compared below is normalised by these and by nothing else."""


def ours_of_video(video: Video) -> Facts:
    return {
        "id": video.id,
        "title": video.title,
        "channel": video.channel_id,
        "published": video.published_at,
        "tags": video.tags,
        "category": video.category_id,
        "views": video.views,
        "likes": video.likes,
        "comments": video.comment_count,
        "duration": video.duration,
        "privacy": video.privacy,
    }


def theirs_of_video(item: Mapping[str, Any]) -> Facts:
    snippet, counts = item.get("snippet") or {}, item.get("statistics") or {}
    details, status = item.get("contentDetails") or {}, item.get("status") or {}
    return {
        "id": item["id"],
        "title": snippet.get("title") or None,
        "channel": snippet.get("channelId"),
        "published": parse.instant(snippet.get("publishedAt")),
        "tags": tuple(snippet.get("tags") or ()),
        "category": snippet.get("categoryId"),
        "views": _number(counts.get("viewCount")),
        "likes": _number(counts.get("likeCount")),
        "comments": _number(counts.get("commentCount")),
        "duration": parse.duration(details.get("duration")),
        "privacy": status.get("privacyStatus"),
    }


def theirs_of_channel(item: Mapping[str, Any]) -> Facts:
    snippet, counts = item.get("snippet") or {}, item.get("statistics") or {}
    hidden = counts.get("hiddenSubscriberCount")
    return {
        "id": item["id"],
        "title": snippet.get("title") or None,
        "country": snippet.get("country"),
        "opened": parse.instant(snippet.get("publishedAt")),
        "views": _number(counts.get("viewCount")),
        "subscribers": None if hidden else _number(counts.get("subscriberCount")),
        "videos": _number(counts.get("videoCount")),
    }


def theirs_of_hit(item: Mapping[str, Any]) -> Facts:
    snippet = item.get("snippet") or {}
    return {
        "id": item["id"]["videoId"],
        "title": parse.unescape(snippet["title"]) if snippet.get("title") else None,
        "channel": snippet.get("channelId"),
        "published": parse.instant(snippet.get("publishedAt")),
    }


def theirs_of_upload(item: Mapping[str, Any]) -> Facts:
    snippet, details = item.get("snippet") or {}, item.get("contentDetails") or {}
    named = (snippet.get("resourceId") or {}).get("videoId")
    return {"id": details.get("videoId") or named, "title": snippet.get("title") or None}


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, str | int) and str(value).isdigit() else None


def read_by_ours(method: str, page: Any) -> list[Facts]:
    match method:
        case "videos":
            return [ours_of_video(video) for video in page]
        case "channels":
            return [
                {
                    "id": one.id, "title": one.title, "country": one.country, "opened": one.published_at,
                    "views": one.views, "subscribers": one.subscribers, "videos": one.video_count,
                }
                for one in page
            ]  # fmt: skip
        case "search":
            return [
                {"id": hit.video_id, "title": hit.title, "channel": hit.channel_id, "published": hit.published_at}
                for hit in page.hits
            ]
        case _:
            return [{"id": upload.video_id, "title": upload.title} for upload in page.uploads]


def read_by_others(method: str, items: Sequence[Mapping[str, Any]]) -> list[Facts]:
    match method:
        case "videos":
            return [theirs_of_video(item) for item in items]
        case "channels":
            return [theirs_of_channel(item) for item in items]
        case "search":
            return [theirs_of_hit(item) for item in items if item["id"].get("videoId")]
        case _:
            return [facts for item in items if (facts := theirs_of_upload(item))["id"]]


def by_google(root: str, method: str) -> list[Mapping[str, Any]]:
    """Ask by google-api-python-client."""
    build = import_module("googleapiclient.discovery").build
    options = {"api_endpoint": root}
    with closing(build("youtube", "v3", developerKey="any", static_discovery=True, client_options=options)) as google:
        asked: dict[str, Any] = {"part": "snippet"} | {
            "videos": {"id": "x"}, "channels": {"id": "x"}, "search": {"q": "x"}, "playlistItems": {"playlistId": "x"},
        }[method]  # fmt: skip
        items: list[Mapping[str, Any]] = getattr(google, method)().list(**asked).execute().get("items", [])
    return items


def by_python_youtube(root: str, method: str) -> list[Mapping[str, Any]]:
    """Ask by python-youtube, and take what is in its models."""

    class Elsewhere(pyyoutube.Client):  # type: ignore[misc]
        BASE_URL = f"{root}/youtube/v3/"

    other = Elsewhere(api_key="any")
    with closing(other.session):
        asked: dict[str, Any] = {"parts": "snippet"} | {
            "videos": {"video_id": "x"}, "channels": {"channel_id": "x"}, "search": {"q": "x"},
            "playlistItems": {"playlist_id": "x"},
        }[method]  # fmt: skip
        found = getattr(other, method).list(**asked)
    return [item.to_dict() for item in found.items or ()]


@pytest.mark.roads("answer")
async def test_three_clients_read_the_same_in_an_answer(body: Path) -> None:
    method = METHODS[body.name.partition("__")[0].lower()]
    if method == "captions":
        pytest.skip("captions are asked for in an owner's name: maia's parser tests read these")
    ask, _ = ASKS[method]
    with replaying(body) as root:
        async with client(root) as youtube:
            ours = read_by_ours(method, await ask(youtube))
        google = read_by_others(method, await asyncio.to_thread(by_google, root, method))
        peer = read_by_others(method, await asyncio.to_thread(by_python_youtube, root, method))
    assert ours == google
    assert ours == peer


# -------------------------------------------------------------------------------------------------- flows and stores


class YouTubeOfRecordings:
    """Answers with what was recorded: a search, a playlist or a feed by its number, videos and channels by id."""

    def __init__(self, folder: Path) -> None:
        bodies = [json.loads(path.read_bytes()) for path in sorted((folder / "api").rglob("*.json"))]
        self.searches = _of_kind(bodies, "searchlist")
        self.playlists = _of_kind(bodies, "playlistitemlist")
        self.videos: dict[str, dict[str, Any]] = {}
        self.channels: dict[str, dict[str, Any]] = {}
        for answer in _of_kind(bodies, "videolist"):
            self._learn(self.videos, answer)
        for answer in _of_kind(bodies, "channellist"):
            self._learn(self.channels, answer)
        self.full = set(self.videos)
        for answer in (*self.searches, *self.playlists):
            for item in answer["items"]:
                self._learn_from_snippet(item)
        self.feeds = [path.read_bytes() for path in sorted((folder / "feeds").glob("*.xml"))]
        for feed in self.feeds:
            for entry in parse_feed(feed):
                snippet = {"channelId": entry.channel_id, "title": entry.title, "publishedAt": str(entry.published_at)}
                self.videos.setdefault(entry.video_id, {"id": entry.video_id, "snippet": snippet})

    @staticmethod
    def _learn(into: dict[str, dict[str, Any]], answer: Mapping[str, Any]) -> None:
        for item in answer["items"]:
            into.setdefault(item["id"], {}).update({name: value for name, value in item.items() if value})

    def _learn_from_snippet(self, item: Mapping[str, Any]) -> None:
        """Of most candidates there are no details: then what named them tells what it knows."""
        snippet, named = item.get("snippet", {}), item["id"] if isinstance(item["id"], dict) else {}
        name = named.get("videoId") or item.get("contentDetails", {}).get("videoId")
        if name and snippet.get("title") not in {None, "Private video", "Deleted video"}:
            self.videos.setdefault(name, {"id": name, "snippet": snippet})

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/youtube/v3/{method}", self._answer)
        app.router.add_get("/feeds/videos.xml", self._feed)
        app.router.add_get("/{path:.*}", _nothing)
        return app

    async def _answer(self, request: web.Request) -> web.Response:
        asked = request.query.get("id", "").split(",")
        named = request.query.get("q") or request.query.get("playlistId") or ""
        number = int(found[1]) if (found := re.search(r"(?:recorded search |r{19})(\d+)$", named)) else None
        first = "pageToken" not in request.query  # there is one page of each
        match request.match_info["method"]:
            case "search" if number is not None:
                answer = self.searches[number] if first else {"items": []}
            case "playlistItems" if number is not None:
                answer = self.playlists[number] if first else {"items": []}
            case "search" | "playlistItems":
                answer = {"items": []}
            case "channels":
                answer = {"items": [self.channels[name] for name in asked if name in self.channels]}
            case _:
                answer = {"items": [self.videos[name] for name in asked if name in self.videos]}
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    async def _feed(self, request: web.Request) -> web.Response:
        return web.Response(body=self.feeds[int(request.query["channel_id"][-3:])], content_type="text/xml")


def _of_kind(bodies: Sequence[Any], kind: str) -> list[dict[str, Any]]:
    wanted = f"youtube#{kind}response"
    return [body for body in bodies if str(body.get("kind", "")).lower() == wanted and body.get("items")]


async def _nothing(_: web.Request) -> web.Response:
    return web.Response(status=404)


def numbered(number: int) -> str:
    return f"UC{'r' * 19}{number:03}"


async def test_what_was_recorded_goes_through_all_flows_into_both_stores(
    recorded_data: Path, conninfo: str, tmp_path: Path
) -> None:
    youtube = YouTubeOfRecordings(recorded_data / "youtube")
    quotas = tuple((f"QUOTA_{bucket.upper()}_PER_DAY", limit) for bucket, limit in AMPLE.items())
    known = {name: video for name, item in youtube.videos.items() if (video := _storable(item)) is not None}
    counted = {name: video for name, video in known.items() if video.views is not None}
    vault = LocalVault(tmp_path / "vault")
    vault.provision()
    with clock.stopped(NOON) as now, served(youtube.application) as root:
        site = Site(conninfo, tmp_path / "vault", root, "any", (*quotas, ("HUNTER_NEW_TERMS", 0)))
        async with tools_of(site) as tools:
            terms = [f"recorded search {number}" for number in range(len(youtube.searches))]
            await tools.dao.add_to_search_queue(terms, pinned=True)
            roster = [ChannelSeen(numbered(number)) for number in range(len(youtube.playlists))]
            await tools.dao.add_channels(roster, in_roster=True, pinned=True)
            hunted = await hunt(tools, every=DAY, stages=("painter", "scribe"), rules=site.settings())
            assert hunted["queries_processed"] >= len(terms)
            assert hunted["channels_polled"] >= len(roster)
            assert hunted["failed"] == 0
            for chunk in _chunks(list(known), 50):
                await enrol(tools, chunk, stages=("painter", "scribe"))
        stored = _rows(conninfo, "SELECT * FROM videos")
        assert {row["id"] for row in stored} == set(known) == {row["video_id"] for row in _rows(conninfo, _WATCHED)}
        for row in stored:
            video = known[row["id"]]
            assert (row["title"], tuple(row["tags"])) == (video.title or "", video.tags)
            assert (row["category_id"], row["published_at"]) == (video.category_id, video.published_at)
            seconds = None if video.duration is None else round(video.duration.total_seconds())
            assert row["duration"] == seconds

        async with studio_of(site, vault) as studio:
            painted = await paint(studio, every=DAY)
        assert painted["videos_painted"] == len(known)
        for row in _rows(conninfo, "SELECT * FROM channels"):
            if (item := youtube.channels.get(row["id"])) is not None and "snippet" in item:
                [channel] = parse.channels({"items": [item]})
                assert (row["title"], row["country"]) == (channel.title, channel.country)

        captions = tmp_path / "captions"
        spoken = _captions(recorded_data / "youtube" / "captions", captions, sorted(known))
        async with dao_of(site) as dao:
            while (await describe(Desk(dao, vault, FolderSource(captions), None), every=DAY))["videos_described"]:
                pass
        for name, segments in spoken.items():
            told = vault.fetch_transcript(name)
            assert told is not None
            assert told["segments"] == [segment._asdict() for segment in segments]

        now.advance(7 * DAY)
        async with stores_of(site, vault) as stores:
            await clean(stores, rules=site.settings())
        async with tools_of(site) as tools:
            tracked = await track(tools, every=DAY)
        assert tracked["samples"] == len(counted) > 30
        now.advance(9 * DAY)
        async with stores_of(site, vault) as stores:
            cleaned = await clean(stores, rules=site.settings())
        assert cleaned["samples_archived"] == cleaned["samples_verified"] > 0
        assert cleaned["videos_retired"] == len(known)
        async with DatabaseManager(conninfo) as database:
            table = await history.timeline(sorted(known), database=database, vault=vault)
    seen = {(row["video_id"], row["views"], row["likes"], row["comment_count"]) for row in table.to_pylist()}
    assert {(name, one.views, one.likes, one.comment_count) for name, one in counted.items()} <= seen
    assert {name for name, views, *_ in seen if views is not None} == set(counted)
    assert {row["video_id"] for row in _rows(conninfo, _WATCHED)} == set(known)


_WATCHED = "SELECT video_id FROM watchlist"


def _storable(item: Mapping[str, Any]) -> Video | None:
    [video] = parse.videos({"items": [item]}) or [None]
    return video if video is not None and discovery_of(video, NOON) is not None else None


def _rows(conninfo: str, statement: str) -> list[dict[str, Any]]:
    with psycopg.connect(conninfo, row_factory=dict_row) as conn:
        return conn.execute(statement.encode()).fetchall()


def _chunks(names: Sequence[str], size: int) -> Iterator[list[str]]:
    rest = iter(names)
    while chunk := list(islice(rest, size)):
        yield chunk


def _captions(recorded: Path, folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Lay recorded captions beside videos, a file each."""
    folder.mkdir()
    spoken = {}
    files = [path for path in sorted(recorded.iterdir()) if path.suffix in {".json3", ".srt", ".vtt", ".xml"}]
    for name, path in zip(names, files, strict=False):
        form: Any = path.suffix[1:]
        (folder / f"{name}.en.{form}").write_bytes(path.read_bytes())
        spoken[name] = parse_captions(path.read_bytes(), form)
    assert len(spoken) == 4
    return spoken
