"""The stand-in for YouTube: an HTTP server that answers for a world, counts quota, and fails on demand."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from types import TracebackType
from typing import Any, Self
from xml.sax.saxutils import escape, quoteattr

import orjson
from aiohttp import web

from alkyone.standins.youtube import problems, wire
from alkyone.standins.youtube.api import METHODS, Answer, Method, Parameters
from alkyone.standins.youtube.faults import Fault, Faults
from alkyone.standins.youtube.fields import parse_fields, select
from alkyone.standins.youtube.oauth import Authority
from alkyone.standins.youtube.quota import Quota
from alkyone.standins.youtube.thumbnails import asked, placeholder, thumbnail
from alkyone.worlds import World, open_world
from alkyone.worlds.base import Counts
from atlas import clock as atlas_clock
from atlas.errors import Bucket

logger = logging.getLogger(__name__)

DEFAULT_KEY = "standin-key"
DEFAULT_PROJECT = "standin-project"
FEED_LENGTH = 15
SLOW_SECONDS = 2.0
HANG_SECONDS = 3_600.0
HUGE_BYTES = 4 * 2**20
OVERSIZE_BYTES = 17 * 2**20
FORTNIGHT = timedelta(days=14)
_GZIP_FROM = 1_000  # bytes
_JSON = "application/json; charset=UTF-8"
_FEED_CACHE = "public, max-age=900"  # all that feeds say of it: neither ETag nor Last-Modified (as of July 2026)
_ERROR_PAGE = (
    "<!DOCTYPE html>\n<html lang=en>\n  <meta charset=utf-8>\n  <title>Error {status} (Server Error)!!1</title>\n"
    "  <p><b>{status}.</b> <ins>That’s an error.</ins>\n  <p>The server encountered a temporary error and could not "
    "complete your request.<p>Please try again in 30 seconds.  <ins>That’s all we know.</ins>\n"
)

Clock = Callable[[], datetime]


@dataclass
class Served:
    """What left the house completely: every reading, every id that search, playlists, charts or feeds named."""

    readings: list[tuple[str, str, Counts]] = field(default_factory=list)
    candidates: dict[str, None] = field(default_factory=dict)

    def book(self, answer: Answer, at: datetime) -> None:
        """Remember an answer that was delivered to the last byte."""
        instant = at.isoformat()
        self.readings += [(name, instant, counts) for name, counts in answer.readings]
        self.candidates.update(dict.fromkeys(answer.candidates))

    def columns(self) -> dict[str, list[Any]]:
        """The readings, column by column; times are ISO."""
        return {
            "video_id": [name for name, _, _ in self.readings],
            "timestamp": [instant for _, instant, _ in self.readings],
            "views": [counts.views for _, _, counts in self.readings],
            "likes": [counts.likes for _, _, counts in self.readings],
            "comment_count": [counts.comments for _, _, counts in self.readings],
        }


@dataclass
class Calls:
    """Every call that was let in, whatever became of it: by method and by what it asked for.

    That is the search, the playlist, or how many ids; of each the first pages, and the pages after them.
    """

    counts: dict[str, dict[str, list[int]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(_no_pages)))

    def book(self, method: str, asked: Parameters) -> None:
        """Count a call."""
        ids = asked.many("id")
        what = str(len(ids)) if ids else asked.get("q") or asked.get("playlistId") or asked.get("chart") or ""
        self.counts[method][what][asked.get("pageToken") is not None] += 1


def _no_pages() -> list[int]:
    return [0, 0]


class YouTubeStandin:
    """YouTube on a port of this machine, for the length of an ``async with`` block.

    ``clock`` tells the stand-in's time; without one it stands still, at first where the world's liveliest fortnight
    begins. ``keys`` says which project each API key belongs to. ``limits`` are the daily quotas by bucket,
    ``per_minute`` the calls a project may make in a real minute. With ``validate`` every answer is checked against the
    discovery document.
    """

    def __init__(
        self,
        world: World | str = "generated",
        *,
        clock: Clock | None = None,
        keys: Mapping[str, str] | None = None,
        limits: Mapping[Bucket, int] | None = None,
        per_minute: int | None = None,
        faults: Iterable[Fault] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        validate: bool = False,
    ) -> None:
        self.world: World = open_world(world) if isinstance(world, str) else world
        self.clock: Clock = clock or atlas_clock.VirtualClock(self.world.stretch(FORTNIGHT))
        self.keys = dict(keys or {DEFAULT_KEY: DEFAULT_PROJECT})
        self.key = next(iter(self.keys))
        self.quota = Quota(limits, per_minute=per_minute)
        self.faults = Faults(faults)
        self.authority = Authority(owned=self.world.channels_at(self.world.start)[:1])
        self.served = Served()
        self.calls = Calls()
        self.violations: list[str] = []
        self.host = host
        self.port = port
        self._validate = validate
        self._runner: web.AppRunner | None = None

    @property
    def endpoint(self) -> str:
        """The root address, for ``YOUTUBE_API_ENDPOINT``."""
        return f"http://{self.host}:{self.port}"

    @property
    def token_endpoint(self) -> str:
        """Where access tokens are given out, for ``YOUTUBE_OAUTH_TOKEN_ENDPOINT``."""
        return f"{self.endpoint}/token"

    def now(self) -> datetime:
        """The stand-in's time."""
        return self.clock().astimezone(UTC)

    def set_clock(self, now: datetime | None) -> None:
        """Stand at an instant, or follow the system's clock from now on when None."""
        if now is None:
            self.clock = lambda: datetime.now(UTC)
        elif isinstance(self.clock, atlas_clock.VirtualClock):
            self.clock.set(now)
        else:
            self.clock = atlas_clock.VirtualClock(now)

    async def __aenter__(self) -> Self:
        app = web.Application()
        routes = app.router
        routes.add_get("/youtube/v3/{method:.+}", self._api)
        routes.add_get("/feeds/videos.xml", self._feed)
        routes.add_post("/token", self._token)

        routes.add_get("/vi/{video_id}/{name}.jpg", self._thumbnail)
        admin = "/_standin"
        routes.add_get(f"{admin}/health", self._health)
        routes.add_get(f"{admin}/clock", self._get_clock)
        routes.add_put(f"{admin}/clock", self._put_clock)
        routes.add_get(f"{admin}/quota", self._get_quota)
        routes.add_get(f"{admin}/refused", self._get_refused)
        routes.add_get(f"{admin}/calls", self._get_calls)
        routes.add_get(f"{admin}/faults", self._get_faults)
        routes.add_put(f"{admin}/faults", self._put_faults)
        routes.add_delete(f"{admin}/faults", self._delete_faults)
        routes.add_get(f"{admin}/served", self._get_served)
        routes.add_get(f"{admin}/served/ids", self._get_served_ids)
        routes.add_get(f"{admin}/world", self._get_world)
        routes.add_get(f"{admin}/truth", self._get_truth)
        # A call that hangs ends with its client, and does not outlive the block.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.host, self.port).start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _api(self, request: web.Request) -> web.StreamResponse:
        at = self.now()
        try:
            path, slash, resource = request.match_info["method"].partition("/")
            method = METHODS.get(path + slash)
            if method is None:
                raise problems.no_such_method()
            key, project, owned = self._caller(request, at)
            fault = self.faults.strike(method.name, key)
            self._admit(method, project, fault, at)
            query = {name: request.query.getall(name) for name in request.query}
            asked = Parameters(query, resource=resource, owned=owned)
            self.calls.book(method.name, asked)
            if fault is not None and (response := await self._spoil(request, method, project, fault)) is not None:
                return response
            answer = self._answer(asked, method, key, at)
        except problems.Problem as problem:
            return await self._send(request, problem.status, self._encode(request, problem.body))
        if fault is not None:
            _garble(answer, fault)
        body = self._encode(request, answer.body) if answer.media is None else answer.media
        kind = _JSON if answer.media is None else "application/octet-stream"
        if fault is not None and fault.kind == "truncated":
            return await self._send(request, 200, body[: len(body) * 2 // 3], kind)
        if fault is not None and fault.kind == "oversized":
            headers = {"Content-Type": _JSON, "Content-Encoding": "gzip"}
            return web.Response(body=_oversized(), headers=headers)
        if fault is not None and fault.kind == "drip":
            return await _drip(request, body, HANG_SECONDS if fault.seconds is None else fault.seconds)
        response = await self._send(request, 200, body, kind)
        self.served.book(answer, at)
        return response

    def _caller(self, request: web.Request, at: datetime) -> tuple[str, str, Collection[str] | None]:
        """Who calls: their key (a token stands for the first one), its project, and the channels of a token's owner."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer":
            if not self.authority.knows(token, at):
                raise problems.token_invalid()
            return self.key, self.keys[self.key], self.authority.owned
        key = request.query.get("key") or request.headers.get("X-Goog-Api-Key")
        if not key:
            raise problems.key_missing()
        if key not in self.keys:
            raise problems.key_invalid()
        return key, self.keys[key], None

    def _admit(self, method: Method, project: str, fault: Fault | None, at: datetime) -> None:
        """Let a call in, or refuse it for its key or quota. A refusal costs nothing, any other end of a call does."""
        match fault.kind if fault is not None else None:
            case "key_invalid":
                raise problems.key_invalid()
            case "api_disabled":
                raise problems.api_disabled(project)
            case "key_blocked":
                raise problems.key_blocked(project, method.name)
            case "quota_403":
                raise problems.general_spent()
            case "quota_429":
                raise problems.bucket_spent(method.bucket, project, self.quota.limits[method.bucket])
            case _:
                self.quota.charge(project, method.bucket, method.cost, at)

    async def _spoil(
        self, request: web.Request, method: Method, project: str, fault: Fault
    ) -> web.StreamResponse | None:
        """Answer as the fault demands; None when the proper answer may follow."""
        match fault.kind:
            case "status_500":
                raise problems.backend_error(500)
            case "status_503":
                raise problems.backend_error(503)
            case "burst_429":
                raise problems.throttled(method.bucket, project, self.quota.per_minute or 1_800)
            case "html":
                return await self._send(
                    request, 502, _ERROR_PAGE.format(status=502).encode(), "text/html; charset=UTF-8"
                )
            case "reset":
                return _reset(request)
            case "hang":
                await _until_over(fault, HANG_SECONDS)
                return _reset(request)
            case "slow":
                await _until_over(fault, SLOW_SECONDS)
        return None

    def _answer(self, asked: Parameters, method: Method, key: str, at: datetime) -> Answer:
        answer = method.answer(self.world, asked, at, self.faults.left_out(method.name, key))
        if self._validate and answer.media is None:
            self._check(method, answer)
        if fields := asked.get("fields"):
            try:
                answer.body = select(answer.body, parse_fields(fields))
            except ValueError:
                raise problems.invalid_parameter("fields", f"Invalid field selection {fields}") from None
        return answer

    def _check(self, method: Method, answer: Answer) -> None:
        from alkyone.discovery_schema import violations

        found = [f"{method.name}: {violation}" for violation in violations(method.response, answer.body)]
        for violation in found:
            logger.error("the answer is not as the discovery document says: %s", violation)
        self.violations += found

    def _encode(self, request: web.Request, body: Any) -> bytes:
        pretty = request.query.get("prettyPrint", "true").casefold() not in {"false", "0"}
        return orjson.dumps(body, option=orjson.OPT_INDENT_2 if pretty else None)

    async def _send(
        self,
        request: web.Request,
        status: int,
        body: bytes,
        content_type: str = _JSON,
        cache: str = "private",
    ) -> web.StreamResponse:
        """Write a whole response; it returns when the last byte has left."""
        headers = {
            "Content-Type": content_type,
            "Vary": "Origin, X-Origin, Referer",
            "Server": "ESF",
            "Cache-Control": cache,
        }
        if len(body) >= _GZIP_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            packer = zlib.compressobj(1, wbits=31)
            body = packer.compress(body) + packer.flush()
            headers["Content-Encoding"] = "gzip"
        response = web.Response(status=status, body=body, headers=headers)
        await response.prepare(request)
        await response.write_eof()
        return response

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        at = self.now()
        channel_id = request.query.get("channel_id", "")
        if playlist := request.query.get("playlist_id"):
            channel_id = "UC" + playlist[2:]
        fault = self.faults.strike("feed", None)
        channel, uploads = self.world.channel(channel_id, at), self.world.uploads(channel_id, at)
        if fault is not None or channel is None or uploads is None:
            status = 404 if fault is None or fault.kind == "html" else 500
            return await self._send(
                request, status, _ERROR_PAGE.format(status=status).encode(), "text/html; charset=UTF-8"
            )
        shown = {name: entry for name in uploads[: 2 * FEED_LENGTH] if (entry := _entry(self.world, name, at))}
        named = list(shown)[:FEED_LENGTH]
        entries = "".join(shown[name] for name in named)
        name, title = channel.id[2:], escape(channel.title)
        head = f" <id>yt:channel:{name}</id>\n <yt:channelId>{name}</yt:channelId>\n <title>{title}</title>\n"
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns:yt="http://www.youtube.com/xml/schemas/2015" '
            'xmlns:media="http://search.yahoo.com/mrss/" xmlns="http://www.w3.org/2005/Atom">\n'
            f"{head} <published>{_atom_time(channel.created_at)}</published>\n{entries}</feed>\n"
        )
        response = await self._send(request, 200, body.encode(), "text/xml; charset=UTF-8", _FEED_CACHE)
        self.served.book(Answer({}, candidates=named), at)
        return response

    async def _token(self, request: web.Request) -> web.StreamResponse:
        fault = self.faults.strike("token", None)
        if fault is not None and fault.kind == "status_503":
            return await self._send(request, 503, _ERROR_PAGE.format(status=503).encode(), "text/html; charset=UTF-8")
        form = {name: str(value) for name, value in (await request.post()).items()}
        status, body = self.authority.grant(form, self.now())
        return await self._send(request, status, orjson.dumps(body, option=orjson.OPT_INDENT_2))

    async def _thumbnail(self, request: web.Request) -> web.StreamResponse:
        video_id = request.match_info["video_id"]
        fault = self.faults.strike("thumbnail", None, video_id)
        kind = fault.kind if fault is not None else None
        match kind:
            case "reset":
                return _reset(request)
            case "hang" | "slow":
                if fault is not None:
                    await _until_over(fault, HANG_SECONDS if kind == "hang" else SLOW_SECONDS)
                if kind == "hang":
                    return _reset(request)
            case "html":
                return web.Response(text=_ERROR_PAGE.format(status=200), content_type="text/html")
            case "placeholder":
                return _jpeg(placeholder())
            case "redirect":
                return web.Response(status=302, headers={"Location": f"{self.endpoint}/vi/{video_id}/default.jpg"})
            case "status_500" | "status_503":
                return web.Response(status=int(kind[-3:]))
            case "burst_429":
                return web.Response(status=429, headers={"Retry-After": "1"})
            case _:
                pass
        wanted = asked(request.match_info["name"])
        left_out = video_id in self.faults.left_out("thumbnail", None)
        if wanted is None or left_out or (wanted.frame and self._is_live(video_id)):
            return _jpeg(placeholder(), status=404)
        data = await asyncio.to_thread(thumbnail, self.world, video_id, wanted)
        if data is None:
            return _jpeg(placeholder(), status=404)
        if kind == "truncated":
            data = data[: len(data) // 2]
        return _jpeg(data + bytes(HUGE_BYTES) if kind == "huge" else data)

    def _is_live(self, video_id: str) -> bool:
        """Is there no recording yet, which frames could be of?"""
        video = self.world.video(video_id, self.now())
        return video is not None and video.live != "none"

    async def _health(self, _: web.Request) -> web.Response:
        return _json({"ok": not self.violations, "now": self.now(), "violations": len(self.violations)})

    async def _get_clock(self, _: web.Request) -> web.Response:
        return _json({"now": self.now()})

    async def _put_clock(self, request: web.Request) -> web.Response:
        try:
            now = orjson.loads(await request.read())["now"]
            instant = None if now == "system" else datetime.fromisoformat(now)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return _json({"error": 'the body is {"now": an ISO time, or "system"}'}, status=400)
        self.set_clock(instant.replace(tzinfo=UTC) if instant is not None and instant.tzinfo is None else instant)
        return _json({"now": self.now()})

    async def _get_quota(self, request: web.Request) -> web.Response:
        from alkyone.standins.youtube.quota import PACIFIC

        every_day = request.query.get("all") in {"1", "true"}
        return _json(self.quota.usage(None if every_day else self.now().astimezone(PACIFIC).date()))

    async def _get_refused(self, _: web.Request) -> web.Response:
        return _json(self.quota.refused)

    async def _get_calls(self, _: web.Request) -> web.Response:
        return _json(self.calls.counts)

    async def _get_faults(self, _: web.Request) -> web.Response:
        return _json([fault.as_json() for fault in self.faults.active])

    async def _put_faults(self, request: web.Request) -> web.Response:
        try:
            specs = orjson.loads(await request.read())
            self.faults.replace(specs if isinstance(specs, list) else [specs])
        except (orjson.JSONDecodeError, TypeError, ValueError) as exc:
            return _json({"error": str(exc)}, status=400)
        return _json([fault.as_json() for fault in self.faults.active])

    async def _delete_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return _json([])

    async def _get_served(self, _: web.Request) -> web.Response:
        return _json(self.served.columns())

    async def _get_served_ids(self, _: web.Request) -> web.Response:
        return _json(list(self.served.candidates))

    async def _get_world(self, _: web.Request) -> web.Response:
        world = self.world
        channels = world.channels_at(self.now())
        return _json(
            {
                "start": world.start,
                "end": world.end,
                "terms": world.terms(),
                "channels": channels,
                "videos": world.size(),
            }
        )

    async def _get_truth(self, request: web.Request) -> web.Response:
        try:
            at = datetime.fromisoformat(request.query["at"].replace(" ", "+")) if "at" in request.query else self.now()
        except ValueError:
            return _json({"error": "at is no ISO time"}, status=400)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
        name = request.query.get("video_id", "")
        counts = self.world.counts(name, at)
        truth = {"video_id": name, "at": at, "video": self.world.video(name, at)}
        return _json(truth | {"counts": None if counts is None else counts._asdict()})


def _garble(answer: Answer, fault: Fault) -> None:
    """Spoil what an answer says; what is spoilt was not served."""
    match fault.kind:
        case "wrong_types":
            answer.body = _other_types(answer.body)
        case "unknown_fields":
            answer.body = _with_unknown(answer.body)
            return
        case _:
            return
    answer.readings, answer.candidates = [], []


@cache
def _oversized() -> bytes:
    """Pack an answer that is longer than any should be; packed it is short."""
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(b'{"items": [],' + b" " * OVERSIZE_BYTES + b'"kind": "any"}') + packer.flush()


def _other_types(value: Any) -> Any:
    """Put a list in the place of each text, and a text in the place of all else that has no parts."""
    match value:
        case dict():
            return {name: _other_types(part) for name, part in value.items()}
        case list():
            return [_other_types(part) for part in value]
        case str():
            return [value]
        case _:
            return f"no {type(value).__name__}"


def _with_unknown(value: Any) -> Any:
    """Add to each object what nobody has heard of yet."""
    match value:
        case dict():
            known = {name: _with_unknown(part) for name, part in value.items()}
            return {"aNewField": {"since": 2027, "values": [None, 1.5, "?"]}, **known}
        case list():
            return [_with_unknown(part) for part in value]
        case _:
            return value


async def _drip(request: web.Request, body: bytes, seconds: float) -> web.StreamResponse:
    """Send an answer byte by byte, over so many seconds."""
    response = web.StreamResponse(headers={"Content-Type": _JSON})
    response.content_length = len(body)
    await response.prepare(request)
    for at in range(len(body)):
        await response.write(body[at : at + 1])
        await asyncio.sleep(seconds / len(body))
    return response


async def _until_over(fault: Fault, usual_seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(usual_seconds if fault.seconds is None else fault.seconds):
            await fault.over.wait()


def _json(document: Any, status: int = 200) -> web.Response:
    body = orjson.dumps(document, default=_jsonable)
    return web.Response(body=body, status=status, content_type="application/json")


def _jsonable(value: Any) -> Any:
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    raise TypeError


def _jpeg(data: bytes, status: int = 200) -> web.Response:
    headers = {"Server": "sffe", "Cache-Control": "public, max-age=7200"}
    return web.Response(body=data, status=status, content_type="image/jpeg", headers=headers)


def _reset(request: web.Request) -> web.Response:
    """Drop the connection with a RST, as a broken network does."""
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()


def _atom_time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%S+00:00")


def _entry(world: World, name: str, at: datetime) -> str:
    video, counts = world.video(name, at), world.counts(name, at)
    if video is None or counts is None:
        return ""
    title, published = escape(video.title), _atom_time(video.published_at)
    thumbnail = quoteattr(wire.thumbnails(video)["high"]["url"])
    return (
        f" <entry>\n  <id>yt:video:{video.id}</id>\n  <yt:videoId>{video.id}</yt:videoId>\n"
        f"  <yt:channelId>{video.channel_id}</yt:channelId>\n  <title>{title}</title>\n"
        f'  <link rel="alternate" href="https://www.youtube.com/watch?v={video.id}"/>\n'
        f"  <author>\n   <name>{escape(video.channel_title)}</name>\n"
        f"   <uri>https://www.youtube.com/channel/{video.channel_id}</uri>\n  </author>\n"
        f"  <published>{published}</published>\n  <updated>{published}</updated>\n  <media:group>\n"
        f'   <media:title>{title}</media:title>\n   <media:thumbnail url={thumbnail} width="480" height="360"/>\n'
        f"   <media:description>{escape(video.description)}</media:description>\n   <media:community>\n"
        f'    <media:starRating count="{counts.likes or 0}" average="5.00" min="1" max="5"/>\n'
        f'    <media:statistics views="{counts.views}"/>\n   </media:community>\n  </media:group>\n </entry>\n'
    )
