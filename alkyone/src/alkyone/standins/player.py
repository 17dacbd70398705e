"""A stand-in for what YouTube's own player asks: the page of a video, innertube's ``player``, and timed text."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

HOME = "https://www.youtube.com"
"""Where all of it is; a client's requests for it have to be led here."""

_PAGE = '<html><script>ytcfg.set({"INNERTUBE_API_KEY": "standin_innertube-key"});</script></html>'
_CAPTCHA = '<html><form><div class="g-recaptcha"></div></form></html>'
_CONSENT = '<form action="https://consent.youtube.com/s"><input name="v" value="cb.20261101"></form>'


class PlayerStandin:
    """The player's YouTube on a port of this machine, for the length of an ``async with`` block.

    ``answers`` are innertube's, by video id; ``timed_text`` is what every track says. ``mishap`` spoils the next calls:
    an HTTP status, or ``captcha`` or ``consent`` in the place of a video's page.
    """

    def __init__(self, answers: dict[str, bytes], timed_text: bytes) -> None:
        self.answers = answers
        self.timed_text = timed_text
        self.mishap: int | str | None = None
        self.asked: list[str] = []
        self.cookies: list[str] = []
        self._runner: web.AppRunner | None = None
        self.root = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/watch", self._watch)
        app.router.add_post("/youtubei/v1/player", self._player)
        app.router.add_get("/api/timedtext", self._timed_text)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.root = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _watch(self, request: web.Request) -> web.Response:
        self._note(request, "watch")
        page = {"captcha": _CAPTCHA, "consent": _CONSENT}.get(str(self.mishap), _PAGE)
        return web.Response(text=page, content_type="text/html", headers={"Set-Cookie": "VISITOR=1; Path=/"})

    async def _player(self, request: web.Request) -> web.Response:
        asked: dict[str, Any] = orjson.loads(await request.read())
        self._note(request, f"player {asked['videoId']}")
        return web.Response(body=self.answers[asked["videoId"]], content_type="application/json")

    async def _timed_text(self, request: web.Request) -> web.Response:
        kind = " by a machine" if request.query.get("kind") == "asr" else ""
        self._note(request, f"timedtext {request.query['lang']}{kind}")
        return web.Response(body=self.timed_text, content_type="text/xml")

    def _note(self, request: web.Request, what: str) -> None:
        self.asked.append(what)
        self.cookies += request.headers.getall("Cookie", [])
        if isinstance(self.mishap, int):
            raise {429: web.HTTPTooManyRequests, 503: web.HTTPServiceUnavailable}[self.mishap]
