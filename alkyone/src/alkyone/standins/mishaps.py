"""What a network and a store do to a request, on demand: between a client and any server of objects."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, get_args

from aiohttp import ClientSession, web
from yarl import URL

Kind = Literal[
    "status",  # an error of this status, and nothing is done
    "half",  # the same, after half of the body
    "hang",  # no answer, ever
    "reset",  # the connection goes away, and nothing is done
    "lost",  # it is done, and the connection goes away before the answer
    "truncated",  # half of the answer, then the connection goes away
]

_HALF = 64 * 1024
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade", "expect"})


@dataclass
class Mishap:
    """One thing that goes wrong: with requests of ``method`` (any when None) whose address matches ``path``.

    It strikes ``times`` times, after it let ``skip`` pass.
    """

    kind: Kind
    method: str | None = None
    path: str = ""
    times: int = 1
    skip: int = 0
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"{self.kind!r} is no mishap: {', '.join(get_args(Kind))}")

    def strikes(self, method: str, path: str) -> bool:
        """Say whether this request is hit, and count it."""
        if self.method not in (None, method) or self.times <= self.hits or not re.search(self.path, path):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.hits += 1
        return True


class Mishaps:
    """The mishaps in force; of several that strike the same request the first decides. ``seen`` are all requests."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self._active: list[Mishap] = []
        self._lock = Lock()

    def add(
        self,
        kind: Kind,
        method: str | None = None,
        path: str = "",
        *,
        times: int = 1,
        skip: int = 0,
        status: int = 503,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Mishap:
        """Put one more in force."""
        mishap = Mishap(kind, method, path, times, skip, status, headers or {}, body)
        with self._lock:
            self._active.append(mishap)
        return mishap

    def strike(self, method: str, path: str) -> Mishap | None:
        """Find what hits this request, if anything does."""
        with self._lock:
            self.seen.append((method, path))
            return next((mishap for mishap in self._active if mishap.strikes(method, path)), None)

    def clear(self) -> None:
        """Let everything go well again."""
        with self._lock:
            self._active.clear()

    @property
    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """Let them happen to an aiohttp application."""

        @web.middleware
        async def befall(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            mishap = self.strike(request.method, request.raw_path)
            if mishap is None:
                return await handler(request)
            match mishap.kind:
                case "status" | "half":
                    if mishap.kind == "half":
                        await request.content.read(_HALF)
                    else:
                        await request.read()
                    answer = web.Response(status=mishap.status, headers=mishap.headers, body=mishap.body)
                    answer.force_close()
                    return answer
                case "hang":
                    await asyncio.Event().wait()
                case "lost":
                    await handler(request)
                case "truncated":
                    whole = await handler(request)
                    assert isinstance(whole, web.Response)
                    assert isinstance(whole.body, bytes)
                    part = web.StreamResponse(status=whole.status, headers=whole.headers)
                    part.content_length = len(whole.body)
                    await part.prepare(request)
                    await part.write(whole.body[: len(whole.body) // 2])
            return _reset(request)

        return befall


def proxy(target: str, mishaps: Mishaps) -> web.Application:
    """Make an application that hands on every request to ``target``, unless something happens to it on the way."""
    session: ClientSession | None = None

    async def hand_on(request: web.Request) -> web.StreamResponse:
        assert session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        async with session.request(
            request.method,
            URL(target + request.raw_path, encoded=True),
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
            body = await answer.read()
            if request.method != "HEAD":
                kept.pop("Content-Length", None)
            return web.Response(status=answer.status, headers=kept, body=body if request.method != "HEAD" else None)

    async def opened(app: web.Application) -> None:
        nonlocal session
        session = ClientSession(auto_decompress=False)

    async def closed(app: web.Application) -> None:
        assert session is not None
        await session.close()

    app = web.Application(client_max_size=1 << 30, middlewares=[mishaps.middleware])
    app.on_startup.append(opened)
    app.on_cleanup.append(closed)
    app.router.add_route("*", "/{path:.*}", hand_on)
    return app


def _reset(request: web.Request) -> web.Response:
    """Drop the connection with a RST, as a broken network does."""
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()
