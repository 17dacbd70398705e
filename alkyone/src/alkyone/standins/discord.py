"""A stand-in for Discord's webhooks: what they take, what they refuse and how, and how often they may be called.

Limits of embeds and error bodies are Discord's (developer documentation, "Embed Limits", "Error Messages", as of
November 2026). Its rates are not documented; those here are what clients report: five calls in two seconds for a
webhook, told in the headers, and thirty in a minute, told only by a 429 whose headers still promise calls.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from types import TracebackType
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from alkyone.standins.mishaps import Mishaps
from alkyone.standins.threads import served
from atlas import clock

EMBEDS = 10
EMBED_SIZE = 6000
FIELDS = 25
TEXTS = {
    ("title",): 256,
    ("description",): 4096,
    ("footer", "text"): 2048,
    ("author", "name"): 256,
}
FIELD_TEXTS = {"name": 256, "value": 1024}
CONTENT = 2000
COLOURS = 0xFFFFFF

Problem = tuple[tuple[str, ...], str, str]
"""Where in the body, Discord's code for it, its words."""


class Rate(NamedTuple):
    """How many calls of a webhook there may be in so many seconds; a ``hidden`` one is not in the headers."""

    calls: int
    seconds: float
    hidden: bool = False


RATES = (Rate(5, 2.0), Rate(30, 60.0, hidden=True))


class Taken(NamedTuple):
    """A message that was taken."""

    webhook: str
    at: float
    body: Mapping[str, Any]

    @property
    def embeds(self) -> list[dict[str, Any]]:
        """Its embeds."""
        embeds: list[dict[str, Any]] = self.body.get("embeds") or []
        return embeds


@dataclass
class _Webhook:
    name: str
    token: str
    calls: deque[float] = field(default_factory=deque)
    refused_until: float = 0.0


class DiscordStandin:
    """Serves ``webhooks`` from a thread of its own, for the length of a ``with`` block.

    ``taken`` are the messages, ``refused`` counts the 429s, ``hasty`` the calls that came before the time which a
    429 had named was over, ``invalid`` are the bodies that broke a limit. ``mishaps`` befall its requests.
    """

    def __init__(
        self,
        *webhooks: str,
        rates: tuple[Rate, ...] = RATES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mishaps = Mishaps()
        self.taken: list[Taken] = []
        self.refused = 0
        self.hasty = 0
        self.invalid: list[dict[str, Any]] = []
        self._webhooks = {name: _Webhook(name, sha256(name.encode()).hexdigest()) for name in webhooks}
        self._rates = rates
        self._now = now
        self._blocked_until = 0.0
        self._endpoint = ""
        self._lock = Lock()
        self._stack = ExitStack()

    def __enter__(self) -> DiscordStandin:
        self._endpoint = self._stack.enter_context(served(self.application))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def address(self, webhook: str) -> str:
        """Tell the secret address of a webhook."""
        return f"{self._endpoint}/api/webhooks/{webhook}/{self._webhooks[webhook].token}"

    def remove(self, webhook: str) -> None:
        """Delete a webhook, as its owner may."""
        del self._webhooks[webhook]

    def block(self, seconds: float) -> None:
        """Refuse every call for so long: the global rate limit."""
        self._blocked_until = self._now() + seconds

    @property
    def embeds(self) -> list[dict[str, Any]]:
        """All embeds that were taken, in their order."""
        return [embed for message in self.taken for embed in message.embeds]

    def application(self) -> web.Application:
        """Make the server."""
        app = web.Application(middlewares=[self.mishaps.middleware])
        for version in ("", "/v10"):
            app.router.add_post(f"/api{version}/webhooks/{{webhook}}/{{token}}", self._execute)
            app.router.add_get(f"/api{version}/webhooks/{{webhook}}/{{token}}", self._tell)
        return app

    async def _tell(self, request: web.Request) -> web.Response:
        """Describe a webhook to who knows its token, and post nothing ("Get Webhook with Token")."""
        webhook = self._find(request)
        if isinstance(webhook, web.Response):
            return webhook
        return _json(200, {"type": 1, "id": webhook.name, "name": webhook.name, "token": webhook.token})

    async def _execute(self, request: web.Request) -> web.Response:
        body = await request.read()
        webhook = self._find(request)
        if isinstance(webhook, web.Response):
            return webhook
        with self._lock:
            now = self._now()
            if (answer := self._too_often(webhook, now)) is not None:
                self.refused += 1
                return answer
            webhook.calls.append(now)
            headers = self._headers(webhook, now)
            message: Any = None
            try:
                message = orjson.loads(body)
                invalid = _refusal(message)
            except orjson.JSONDecodeError:
                invalid = {"message": "The request body contains invalid JSON.", "code": 50109}
            if invalid is not None:
                self.invalid.append(invalid)
                return _json(400, invalid, headers)
            self.taken.append(Taken(webhook.name, now, message))
        if request.query.get("wait") == "true":
            return _json(200, {"id": str(len(self.taken)), "webhook_id": webhook.name, **message}, headers)
        return web.Response(status=204, headers=headers)

    def _find(self, request: web.Request) -> _Webhook | web.Response:
        """Find the webhook that is meant, or what to answer instead."""
        webhook = self._webhooks.get(request.match_info["webhook"])
        if webhook is None:
            return _json(404, {"message": "Unknown Webhook", "code": 10015})
        if request.match_info["token"] != webhook.token:
            return _json(401, {"message": "Invalid Webhook Token", "code": 50027})
        return webhook

    def _too_often(self, webhook: _Webhook, now: float) -> web.Response | None:
        """Refuse a call that comes too soon."""
        self.hasty += now < webhook.refused_until
        if now < self._blocked_until:
            for each in self._webhooks.values():  # whoever heard it of one knows it of all
                each.refused_until = self._blocked_until
            return self._refuse(webhook, self._blocked_until - now, "global", now)
        while webhook.calls and webhook.calls[0] <= now - max(rate.seconds for rate in self._rates):
            webhook.calls.popleft()
        for rate in self._rates:
            recent = [at for at in webhook.calls if at > now - rate.seconds]
            if len(recent) >= rate.calls:
                wait = recent[-rate.calls] + rate.seconds - now
                webhook.refused_until = now + wait
                return self._refuse(webhook, wait, "shared" if rate.hidden else "user", now)
        return None

    def _refuse(self, webhook: _Webhook, wait: float, scope: str, now: float) -> web.Response:
        body = {
            "message": "You are being rate limited.",
            "retry_after": math.ceil(wait * 1000) / 1000,
            "global": scope == "global",
        }
        headers = self._headers(webhook, now) | {
            "Retry-After": str(math.ceil(wait)),
            "X-RateLimit-Scope": scope,
            **({"X-RateLimit-Global": "true"} if scope == "global" else {}),
        }
        return _json(429, body, headers)

    def _headers(self, webhook: _Webhook, now: float) -> dict[str, str]:
        rate = next(rate for rate in self._rates if not rate.hidden)
        recent = [at for at in webhook.calls if at > now - rate.seconds]
        rest = recent[0] + rate.seconds - now if recent else rate.seconds
        return {
            "X-RateLimit-Limit": str(rate.calls),
            "X-RateLimit-Remaining": str(max(rate.calls - len(recent), 0)),
            "X-RateLimit-Reset": f"{clock.now().timestamp() + rest:.3f}",
            "X-RateLimit-Reset-After": f"{rest:.3f}",
            "X-RateLimit-Bucket": sha256(webhook.name.encode()).hexdigest()[:32],
        }


def _refusal(message: Any) -> dict[str, Any] | None:
    """Say in Discord's words what is wrong with a message."""
    if not isinstance(message, dict) or not (message.get("content") or message.get("embeds")):
        return {"message": "Cannot send an empty message", "code": 50006}
    problems = list(_problems(message))
    if not problems:
        return None
    errors: dict[str, Any] = {}
    for path, code, words in problems:
        place = errors
        for step in path:
            place = place.setdefault(step, {})
        place.setdefault("_errors", []).append({"code": code, "message": words})
    return {"message": "Invalid Form Body", "code": 50035, "errors": errors}


def _problems(message: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _length(("content",), message.get("content") or "", CONTENT)
    embeds = message.get("embeds") or []
    if len(embeds) > EMBEDS:
        yield _too_long(("embeds",), EMBEDS)
    for number, embed in enumerate(embeds):
        yield from _embed_problems(("embeds", str(number)), embed)
    if sum(map(_size, embeds)) > EMBED_SIZE:
        yield ("embeds",), "MAX_EMBED_SIZE_EXCEEDED", f"Embed size exceeds maximum size of {EMBED_SIZE}"


def _embed_problems(where: tuple[str, ...], embed: Mapping[str, Any]) -> Iterator[Problem]:
    if not any(
        embed.get(part) for part in ("title", "description", "fields", "image", "thumbnail", "author", "footer")
    ):
        yield (*where, "description"), "BASE_TYPE_REQUIRED", "This field is required"
    for path, limit in TEXTS.items():
        yield from _length((*where, *path), _text(embed, path), limit)
    fields = embed.get("fields") or []
    if len(fields) > FIELDS:
        yield _too_long((*where, "fields"), FIELDS)
    for number, entry in enumerate(fields):
        for part, limit in FIELD_TEXTS.items():
            place = (*where, "fields", str(number), part)
            if not str(entry.get(part) or "").strip():
                yield place, "BASE_TYPE_REQUIRED", "This field is required"
            yield from _length(place, str(entry.get(part) or ""), limit)
    colour = embed.get("color", 0)
    if not isinstance(colour, int) or not 0 <= colour <= COLOURS:
        words = f"int value should be less than or equal to {COLOURS}."
        yield (*where, "color"), "NUMBER_TYPE_MAX", words


def _length(where: tuple[str, ...], text: str, limit: int) -> Iterator[Problem]:
    if len(text.strip()) > limit:
        yield _too_long(where, limit)


def _too_long(where: tuple[str, ...], limit: int) -> Problem:
    return where, "BASE_TYPE_MAX_LENGTH", f"Must be {limit} or fewer in length."


def _text(embed: Mapping[str, Any], path: tuple[str, ...]) -> str:
    found: Any = embed
    for step in path:
        found = (found or {}).get(step)
    return str(found or "")


def _size(embed: Mapping[str, Any]) -> int:
    texts = [_text(embed, path) for path in TEXTS]
    texts += [str(entry.get(part) or "") for entry in embed.get("fields") or [] for part in FIELD_TEXTS]
    return sum(len(text.strip()) for text in texts)


def _json(status: int, body: object, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), headers=headers, content_type="application/json")
