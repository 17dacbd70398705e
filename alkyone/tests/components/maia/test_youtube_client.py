"""The YouTube client over real HTTP, against a server that serves recorded answers and misbehaves."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import re
import socket
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from atlas.errors import (
    ApiError,
    ApiUnavailable,
    Bucket,
    CircuitOpen,
    ConfigurationError,
    InvalidPageToken,
    KeyRejected,
    QuotaRefused,
    ResourceRefused,
    Throttled,
)
from atlas.hydra import SingleKey
from maia.youtube import parse
from maia.youtube.client import ANSWER_BYTES, YouTube

T = TypeVar("T")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

KEY = "AIzaSyA0123456789abcdefghijklmnopqrst_-"
CHANNEL = "UC_x5XG1OV2P6uZZ5FSM9Ttw"
IDS = [f"video{number:06d}" for number in range(50)]
SHORT = timedelta(seconds=2)


class Once:
    """An executor that tries once, and remembers what it was asked to pay."""

    def __init__(self) -> None:
        self.paid: list[tuple[Bucket, int]] = []

    async def execute_async(
        self,
        make_request: Callable[[str], Awaitable[T]],
        *,
        bucket: Bucket = "general",
        cost: int = 1,
        purpose: str = "",
    ) -> T:
        self.paid.append((bucket, cost))
        return await make_request(KEY)


@dataclass
class Server:
    """A server that gives the answers it was told to, in turn, the last one for ever."""

    endpoint: str
    answers: list[Answer] = field(default_factory=list)
    requests: list[web.Request] = field(default_factory=list)

    def says(self, *answers: Answer) -> None:
        self.answers = list(answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return await answer(request)

    @property
    def query(self) -> Mapping[str, str]:
        return self.requests[-1].query


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    app = web.Application()
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    made = Server("")
    app.router.add_route("*", "/{path:.*}", made.handle)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.endpoint = "http://{}:{}".format(*runner.addresses[0])
    made.says(body({"items": []}))
    try:
        yield made
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture
async def youtube(server: Server) -> AsyncIterator[YouTube]:
    async with YouTube(Once(), endpoint=server.endpoint) as client:
        yield client


@pytest_asyncio.fixture
async def impatient(server: Server) -> AsyncIterator[YouTube]:
    async with YouTube(Once(), endpoint=server.endpoint, timeout=SHORT) as client:
        yield client


def body(content: Any, status: int = 200, headers: Mapping[str, str] | None = None, *, packed: bool = True) -> Answer:
    """An answer whose content is JSON, or the very bytes."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()

    async def answer(_: web.Request) -> web.StreamResponse:
        if packed and raw:
            return web.Response(
                status=status, body=gzip.compress(raw), headers={"Content-Encoding": "gzip", **(headers or {})}
            )
        return web.Response(status=status, body=raw, headers=headers)

    return answer


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    await asyncio.Event().wait()
    raise AssertionError


async def drip(request: web.Request) -> web.StreamResponse:
    """A byte at a time, each well within any limit on silence, and never an end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.02)


async def half_packed(_: web.Request) -> web.StreamResponse:
    packed = gzip.compress(json.dumps({"items": [{"id": id_} for id_ in IDS]}).encode())
    return web.Response(body=packed[: len(packed) // 2], headers={"Content-Encoding": "gzip"})


async def not_packed(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"items": []}', headers={"Content-Encoding": "gzip"})


async def broken_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "5000"})
    await response.prepare(request)
    await response.write(b'{"items": [')
    assert request.transport is not None
    request.transport.close()
    return response


async def no_http(request: web.Request) -> web.StreamResponse:
    transport = request.transport
    assert isinstance(transport, asyncio.Transport)
    transport.write(f"HTTP/1.1 banana {request.rel_url}\r\n\r\n".encode())
    transport.close()
    await asyncio.Event().wait()
    raise AssertionError


def refusal(code: int, reason: str, message: str = "") -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "errors": [{"reason": reason, "message": message}]}}


CALLS: dict[str, Callable[[YouTube], Awaitable[Any]]] = {
    "search": lambda youtube: youtube.search("chvrches"),
    "videos": lambda youtube: youtube.videos(IDS),
    "batch_stats": lambda youtube: youtube.batch_stats(IDS),
    "channels": lambda youtube: youtube.channels([CHANNEL]),
    "uploads": lambda youtube: youtube.uploads(CHANNEL),
    "most_popular": lambda youtube: youtube.most_popular("US"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


# ----------------------------------------------------------------------------------------------------- what is asked


PRICES: dict[str, tuple[str, Bucket]] = {
    "search": ("/youtube/v3/search", "search"),
    "videos": ("/youtube/v3/videos", "general"),
    "batch_stats": ("/youtube/v3/videos:batchGetStats", "stats"),
    "channels": ("/youtube/v3/channels", "general"),
    "uploads": ("/youtube/v3/playlistItems", "general"),
    "most_popular": ("/youtube/v3/videos", "general"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_each_call_draws_one_unit_on_its_own_bucket(server: Server, name: str) -> None:
    executor = Once()
    async with YouTube(executor, endpoint=server.endpoint) as youtube:
        await CALLS[name](youtube)
    path, bucket = PRICES[name]
    assert [request.path for request in server.requests] == [path]
    assert executor.paid == [(bucket, 1)]


@every_call
async def test_each_request_is_one_that_the_discovery_document_describes(
    server: Server, youtube: YouTube, call: Callable[[YouTube], Awaitable[Any]]
) -> None:
    await call(youtube)
    document = json.loads(
        files("googleapiclient").joinpath("discovery_cache", "documents", "youtube.v3.json").read_bytes()
    )
    methods = [method for resource in document["resources"].values() for method in resource.get("methods", {}).values()]
    request = server.requests[-1]
    (method,) = [method for method in methods if method["httpMethod"] == "GET" and f"/{method['path']}" == request.path]
    known = {**document["parameters"], **method["parameters"]}
    assert set(request.query) <= set(known)
    for name, value in request.query.items():
        assert "enum" not in known[name] or value in known[name]["enum"], name
    check_mask(request.query["fields"], method["response"], document["schemas"])


def check_mask(mask: str, schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Assert that each name in a ``fields`` mask is a property of its resource."""
    while "$ref" in schema or schema.get("type") == "array":
        schema = schemas[schema["$ref"]] if "$ref" in schema else schema["items"]
    for part in re.findall(r"\w+(?:/[\w/]+)?(?:\((?:[^()]|\([^()]*\)|\((?:[^()]|\([^()]*\))*\))*\))?", mask):
        name, rest = re.fullmatch(r"(\w+)(.*)", part).groups()  # type: ignore[union-attr]
        assert name in schema["properties"], name
        if rest:
            check_mask(rest[1:].removesuffix(")") if rest[0] == "(" else rest[1:], schema["properties"][name], schemas)


async def test_a_request_asks_for_packed_partial_answers_and_shows_the_key(server: Server, youtube: YouTube) -> None:
    await youtube.videos(IDS, parts=("snippet", "status", "topicDetails"))
    request = server.requests[-1]
    assert request.query["key"] == KEY
    assert request.query["id"] == ",".join(IDS)
    assert request.query["part"] == "snippet,status,topicDetails"
    assert "description" not in request.query["fields"]
    assert "gzip" in request.headers["Accept-Encoding"]
    assert "gzip" in request.headers["User-Agent"]
    assert "Cookie" not in request.headers


async def test_descriptions_come_only_when_asked_for(server: Server, youtube: YouTube) -> None:
    server.says(body({"items": [{"id": IDS[0], "snippet": {"description": "Recorded live."}}]}))
    (video,) = await youtube.videos(IDS[:1], description=True)
    assert "snippet(description," in server.query["fields"]
    assert video.description == "Recorded live."


async def test_a_search_window_is_sent_in_utc_seconds(server: Server, youtube: YouTube) -> None:
    after = datetime(2026, 11, 9, 14, 0, 0, 999_999, timezone(timedelta(hours=2)))
    await youtube.search(
        "a & b=c+d #ü",
        published_after=after,
        published_before=after + timedelta(days=1),
        page_token="CAUQAA",
        region="DE",
    )
    assert server.query["q"] == "a & b=c+d #ü"
    assert server.query["publishedAfter"] == "2026-11-09T12:00:00Z"
    assert server.query["publishedBefore"] == "2026-11-10T12:00:00Z"
    assert (server.query["pageToken"], server.query["regionCode"]) == ("CAUQAA", "DE")
    assert (server.query["type"], server.query["order"], server.query["maxResults"]) == ("video", "date", "50")


async def test_a_time_without_zone_is_refused_before_anything_is_paid(server: Server) -> None:
    executor = Once()
    async with YouTube(executor, endpoint=server.endpoint) as youtube:
        with pytest.raises(ValueError, match="zone"):
            await youtube.search("x", published_after=datetime(2026, 11, 9))  # noqa: DTZ001 - the point
    assert executor.paid == []
    assert server.requests == []


async def test_uploads_are_read_from_the_channels_own_playlist(server: Server, youtube: YouTube) -> None:
    await youtube.uploads(CHANNEL, "EAAaBlBUOkNCUQ")
    assert server.query["playlistId"] == "UU_x5XG1OV2P6uZZ5FSM9Ttw"
    assert server.query["pageToken"] == "EAAaBlBUOkNCUQ"


async def test_a_chart_is_asked_for_by_region_and_category(server: Server, youtube: YouTube) -> None:
    await youtube.most_popular("GB", "10", "CAUQAA")
    asked = (server.query["chart"], server.query["regionCode"], server.query["videoCategoryId"])
    assert asked == ("mostPopular", "GB", "10")


@pytest.mark.parametrize("method", ["videos", "batch_stats", "channels"])
async def test_no_ids_cost_nothing_and_too_many_are_refused(server: Server, method: str) -> None:
    executor = Once()
    async with YouTube(executor, endpoint=server.endpoint) as youtube:
        read = getattr(youtube, method)
        nothing = await read([])
        assert nothing == [] or nothing.unaccounted == frozenset()
        with pytest.raises(ValueError, match="51 ids"):
            await read([*IDS, "video999999"])
        with pytest.raises(ValueError, match="comma"):
            await read(["video000001,video000002"])
        assert executor.paid == []
        await read(iter([IDS[0], IDS[0], IDS[1]]))
    assert server.query["id"] == f"{IDS[0]},{IDS[1]}"


# --------------------------------------------------------------------------------------------------- what is answered


async def test_recorded_answers_arrive_as_they_were_parsed(
    server: Server, youtube: YouTube, recorded_data: Path
) -> None:
    asks: dict[str, tuple[Callable[[], Awaitable[Any]], Callable[[Any], Any]]] = {
        "searchList": (lambda: youtube.search("x"), parse.search_page),
        "videoList": (lambda: youtube.videos(["x"]), parse.videos),
        "channelList": (lambda: youtube.channels([CHANNEL]), parse.channels),
        "playlistItemList": (lambda: youtube.uploads(CHANNEL), parse.uploads_page),
    }
    served = 0
    for kind, (ask, read) in asks.items():
        for path in sorted((recorded_data / "youtube" / "api").rglob(f"{kind}__*.json")):
            server.says(body(path.read_bytes(), packed=served % 2 == 0))
            assert await ask() == read(json.loads(path.read_bytes())), path.name
            served += 1
    assert served > 50


async def test_recorded_refusals_arrive_as_typed_errors(server: Server, youtube: YouTube, recorded_data: Path) -> None:
    paths = sorted((recorded_data / "youtube").rglob("*_4??_*.json"))
    assert paths
    for path in paths:
        server.says(body(path.read_bytes(), json.loads(path.read_bytes())["error"]["code"]))
        with pytest.raises(ApiError) as caught:
            await youtube.videos(["x"])
        assert type(caught.value) is not ApiError, path.name
        assert not isinstance(caught.value, ApiUnavailable), path.name


async def test_a_batch_that_comes_back_in_part_is_accounted_for(server: Server, youtube: YouTube) -> None:
    server.says(body({"items": [{"id": IDS[0], "statistics": {"viewCount": "3507573655"}}, {"id": IDS[1]}]}))
    batch = await youtube.batch_stats(IDS[:3])
    assert batch.returned[IDS[0]].views == 3507573655
    assert batch.returned[IDS[0]].likes is None
    assert set(batch.failed) == {IDS[1]}
    assert batch.unaccounted == {IDS[2]}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(body(refusal(403, "quotaExceeded"), 403), QuotaRefused, id="spent"),
        pytest.param(body(refusal(429, "rateLimitExceeded"), 429, {"Retry-After": "5"}), Throttled, id="burst"),
        pytest.param(body(refusal(400, "keyInvalid"), 400), KeyRejected, id="bad key"),
        pytest.param(body(refusal(404, "playlistNotFound"), 404), ResourceRefused, id="no playlist"),
        pytest.param(body(refusal(400, "invalidPageToken"), 400), InvalidPageToken, id="old page token"),
        pytest.param(body(refusal(403, "quotaExceeded"), 200), QuotaRefused, id="an error that comes with 200"),
        pytest.param(body({"error": {"code": 500, "message": None}}, 500), ApiUnavailable, id="500 without a word"),
    ],
)
@every_call
async def test_a_refusal_is_typed_whatever_was_asked(
    server: Server,
    youtube: YouTube,
    call: Callable[[YouTube], Awaitable[Any]],
    answer: Answer,
    kind: type[ApiError],
) -> None:
    server.says(answer)
    with pytest.raises(ApiError) as caught:
        await call(youtube)
    assert type(caught.value) is kind
    assert not isinstance(caught.value, Throttled) or caught.value.retry_after == timedelta(seconds=5)


MISCHIEF: dict[str, tuple[Answer, str]] = {
    "hang": (hang, "timeout"),
    "slow drip": (drip, "timeout"),
    "reset": (reset, "connectionLost"),
    "broken off": (broken_off, "brokenAnswer"),
    "half of a packed answer": (half_packed, "broken"),
    "packed, it says": (not_packed, "brokenAnswer"),
    "half of the JSON": (body(b'{"items": [{"id": "dQw4'), "brokenJson"),
    "a page": (body(b"<!DOCTYPE html><p>Sorry"), "html"),
    "a proxy's page": (body(b"<html>502 Bad Gateway</html>", 502), "html"),
    "204": (body(b"", 204), "emptyAnswer"),
    "200 and nothing": (body(b""), "emptyAnswer"),
    "a list": (body([]), "unexpectedAnswer"),
    "items that are none": (body({"items": {"0": {}}}), "unexpectedAnswer"),
    "too large": (body(b" " * (ANSWER_BYTES + 1)), "answerTooLarge"),
    "no HTTP": (no_http, "connectionLost"),
    "a redirect": (body(b"", 302, {"Location": "/elsewhere"}), "emptyAnswer"),
}


@pytest.mark.parametrize(("answer", "reason"), MISCHIEF.values(), ids=MISCHIEF)
async def test_whatever_goes_wrong_on_the_way_may_heal_and_gives_no_key_away(
    server: Server, answer: Answer, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.says(answer)
    patience = SHORT if reason == "timeout" else timedelta(seconds=30)
    async with YouTube(Once(), endpoint=server.endpoint, timeout=patience) as youtube:
        with pytest.raises(ApiUnavailable) as caught:
            await youtube.videos(IDS)
        assert caught.value.reason.startswith(reason)
        assert caught.value.sent
        assert len(server.requests) == 1
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert KEY not in "".join(traceback.format_exception(caught.value))
        assert KEY not in "".join(record.getMessage() for record in caplog.records if record.name != "aiohttp.access")

        server.says(body({"items": [{"id": IDS[0]}]}))
        assert len(await youtube.videos(IDS)) == 1


async def test_a_broken_kept_connection_is_not_silently_asked_twice(server: Server, youtube: YouTube) -> None:
    await youtube.videos(IDS)
    server.says(reset)
    with pytest.raises(ApiUnavailable):
        await youtube.videos(IDS)
    assert len(server.requests) == 2


async def test_a_redirect_does_not_carry_the_key_elsewhere(server: Server, youtube: YouTube) -> None:
    server.says(body(b"", 307, {"Location": f"{server.endpoint}/elsewhere"}), body({"items": []}))
    with pytest.raises(ApiUnavailable):
        await youtube.videos(IDS)
    assert [request.path for request in server.requests] == ["/youtube/v3/videos"]


async def test_a_call_that_never_left_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, but nobody listens
        endpoint = "http://{}:{}".format(*taken.getsockname())
        async with YouTube(Once(), endpoint=endpoint, timeout=SHORT) as youtube:
            with pytest.raises(ApiUnavailable) as caught:
                await youtube.videos(IDS)
    assert not caught.value.sent


@pytest.mark.parametrize("key", [KEY, "a key/with+odd&signs"])
async def test_an_answer_that_echoes_the_key_does_not_spread_it(server: Server, key: str) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        # The address comes last: it is long, and a message is cut.
        message = f"Bad: {request.query['key']} {quote(request.query['key'])} {request.raw_path}"
        return web.json_response(refusal(400, "badRequest", message), status=400)

    class Odd(Once):
        async def execute_async(
            self,
            make_request: Callable[[str], Awaitable[T]],
            *,
            bucket: Bucket = "general",
            cost: int = 1,
            purpose: str = "",
        ) -> T:
            return await make_request(key)

    server.says(echo)
    async with YouTube(Odd(), endpoint=server.endpoint) as youtube:
        with pytest.raises(ApiError) as caught:
            await youtube.videos(IDS)
    assert server.query["key"] == key
    assert "Bad: " in str(caught.value)
    assert key not in str(caught.value)
    assert quote(key) not in str(caught.value)


# ------------------------------------------------------------------------------------------------ many calls, one life


async def test_no_more_calls_are_in_flight_than_allowed(server: Server) -> None:
    pairs, flying, most = asyncio.Barrier(2), 0, 0

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal flying, most
        flying += 1
        most = max(most, flying)
        await pairs.wait()
        flying -= 1
        return web.json_response({"items": []})

    server.says(answer)
    async with YouTube(Once(), endpoint=server.endpoint, concurrency=2) as youtube:
        await asyncio.gather(*(youtube.videos(IDS) for _ in range(10)))
    assert most == 2


async def test_waiting_for_ones_turn_does_not_use_up_ones_time(server: Server) -> None:
    waited = 0

    async def answer(_: web.Request) -> web.StreamResponse:
        nonlocal waited
        waited += 1
        await asyncio.sleep(0.15)  # a server that takes its time
        return web.json_response({"items": []})

    server.says(answer)
    async with YouTube(Once(), endpoint=server.endpoint, concurrency=1, timeout=SHORT) as youtube:
        await asyncio.gather(*(youtube.videos(IDS) for _ in range(15)))
    assert waited == 15


async def test_a_cancelled_call_gives_its_turn_to_the_next(server: Server) -> None:
    arrived = asyncio.Event()

    async def hold(request: web.Request) -> web.StreamResponse:
        arrived.set()
        return await hang(request)

    server.says(hold)
    async with YouTube(Once(), endpoint=server.endpoint, concurrency=1) as youtube:
        call = asyncio.create_task(youtube.videos(IDS))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        server.says(body({"items": [{"id": IDS[0]}]}))
        assert len(await youtube.videos(IDS)) == 1


async def test_one_key_without_a_database_heals_by_itself(server: Server) -> None:
    waits: list[float] = []

    async def no_wait(seconds: float) -> None:
        waits.append(seconds)

    server.says(
        body(b"<html>502</html>", 502),
        body({"items": [{"id": "dQw4"}]}, 503),
        body(b'{"items": ['),
        body({"items": [{"id": IDS[0]}]}),
    )
    async with YouTube(SingleKey(KEY, sleep=no_wait), endpoint=server.endpoint) as youtube:
        assert [video.id for video in await youtube.videos(IDS)] == [IDS[0]]
    assert len(waits) == 3


async def test_a_client_works_only_while_it_is_open(server: Server) -> None:
    youtube = YouTube.with_key(KEY, endpoint=server.endpoint + "/")
    with pytest.raises(RuntimeError, match="async with"):
        await youtube.videos(IDS)
    async with youtube:
        assert await youtube.videos(IDS) == []
        with pytest.raises(RuntimeError, match="open already"):
            await youtube.__aenter__()
    with pytest.raises(RuntimeError, match="async with"):
        await youtube.videos(IDS)


@pytest.mark.parametrize("endpoint", ["youtube.googleapis.com", "https://", "ftp://host", "http://[bad"])
def test_an_endpoint_that_is_no_address_is_a_wrong_setting(endpoint: str) -> None:
    with pytest.raises(ConfigurationError, match="YOUTUBE_API_ENDPOINT"):
        YouTube.with_key(KEY, endpoint=endpoint)


# ----------------------------------------------------------------------------------------------------------- the feed


async def test_a_feed_needs_neither_key_nor_quota(server: Server, recorded_data: Path) -> None:
    recorded = next((recorded_data / "youtube" / "feeds").glob("*.xml")).read_bytes()
    server.says(body(b"\n" + recorded, 200, {"Content-Type": "text/xml; charset=UTF-8"}))
    executor = Once()
    async with YouTube(executor, endpoint=server.endpoint) as youtube:
        entries = await youtube.feed(CHANNEL)
    assert len(entries) == recorded.count(b"<entry>")
    assert all(isinstance(entry.published_at, datetime) and entry.published_at.tzinfo is UTC for entry in entries)
    assert executor.paid == []
    assert server.requests[-1].path_qs == f"/feeds/videos.xml?channel_id={CHANNEL}"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(body(b"<html>404", 404), ApiUnavailable, id="404, though the channel may live"),
        pytest.param(body(b"", 500), ApiUnavailable, id="500"),
        pytest.param(body(b"<html>consent"), ApiUnavailable, id="a page"),
        pytest.param(body(b"", 429, {"Retry-After": "9"}), Throttled, id="too many"),
        pytest.param(hang, ApiUnavailable, id="hang"),
    ],
)
async def test_a_feed_that_fails_is_not_an_empty_feed(
    server: Server, impatient: YouTube, answer: Answer, kind: type[ApiError]
) -> None:
    server.says(answer)
    with pytest.raises(ApiError) as caught:
        await impatient.feed(CHANNEL)
    assert type(caught.value) is kind


async def test_feeds_that_fail_several_times_in_a_row_are_left_in_peace(server: Server, impatient: YouTube) -> None:
    server.says(body(b"<html>404", 404))
    for _ in range(5):
        with pytest.raises(ApiUnavailable):
            await impatient.feed(CHANNEL)
    asked = len(server.requests)
    with pytest.raises(CircuitOpen):
        await impatient.feed(CHANNEL)
    assert len(server.requests) == asked


async def test_feeds_of_the_real_api_are_at_youtube_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def answer(address: str) -> tuple[int, bytes, Mapping[str, str]]:
        asked.append(address)
        return 200, b'<feed xmlns="http://www.w3.org/2005/Atom"/>', {}

    youtube = YouTube.with_key(KEY, endpoint="https://youtube.googleapis.com")
    monkeypatch.setattr(youtube, "_get", answer)
    assert await youtube.feed(CHANNEL) == []
    assert asked == [f"https://www.youtube.com/feeds/videos.xml?channel_id={CHANNEL}"]
    with pytest.raises(ValueError, match="channel id"):
        await youtube.feed("../watch")


def test_the_session_has_the_switch_that_we_turn() -> None:
    # aiohttp offers no public way to stop it from sending a GET twice; this fails should the private one go.
    assert "_retry_connection" in aiohttp.ClientSession.ATTRS
