"""The stand-in for Discord takes, refuses and limits as Discord does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import orjson
import pytest

from alkyone.standins.discord import DiscordStandin

Answer = tuple[int, dict[str, str], Any]


class Caller:
    def __init__(self, http: aiohttp.ClientSession, discord: DiscordStandin) -> None:
        self._http = http
        self._discord = discord
        self.seconds = 0.0

    async def __call__(self, body: object = None, *, webhook: str = "ops", more: str = "") -> Answer:
        data = orjson.dumps({"content": "hello"} if body is None else body)
        async with self._http.post(self._discord.address(webhook) + more, data=data) as answer:
            text = await answer.read()
            return answer.status, dict(answer.headers), orjson.loads(text) if text else None


@pytest.fixture
def seconds() -> list[float]:
    return [100.0]


@pytest.fixture
def discord(seconds: list[float]) -> Iterator[DiscordStandin]:
    with DiscordStandin("ops", "hunt", now=lambda: seconds[0]) as standin:
        yield standin


@pytest.fixture
async def call(discord: DiscordStandin) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession() as http:
        yield Caller(http, discord)


async def test_a_message_is_taken_with_no_content_or_told_when_asked(call: Caller, discord: DiscordStandin) -> None:
    status, headers, body = await call()
    assert (status, body) == (204, None)
    assert (headers["X-RateLimit-Limit"], headers["X-RateLimit-Remaining"]) == ("5", "4")
    status, _, body = await call(more="?wait=true")
    assert (status, body["content"]) == (200, "hello")
    assert [message.webhook for message in discord.taken] == ["ops", "ops"]


@pytest.mark.parametrize(
    ("more", "status", "answer"),
    [
        pytest.param("x", 401, {"message": "Invalid Webhook Token", "code": 50027}, id="another token"),
        pytest.param("", 404, {"message": "Unknown Webhook", "code": 10015}, id="deleted"),
    ],
)
async def test_a_wrong_address_is_refused(
    call: Caller, discord: DiscordStandin, more: str, status: int, answer: object
) -> None:
    address = discord.address("ops")
    if not more:
        discord.remove("ops")
    async with aiohttp.ClientSession() as http, http.post(address + more, data=b'{"content": "x"}') as told:
        assert (told.status, await told.json()) == (status, answer)


def refusal(where: str, code: str, words: str) -> dict[str, Any]:
    errors: dict[str, Any] = {"_errors": [{"code": code, "message": words}]}
    for step in reversed(where.split(".")):
        errors = {step: errors}
    return {"message": "Invalid Form Body", "code": 50035, "errors": errors}


def too_long(where: str, limit: int) -> dict[str, Any]:
    return refusal(where, "BASE_TYPE_MAX_LENGTH", f"Must be {limit} or fewer in length.")


FIELD = {"name": "n", "value": "v"}
REQUIRED = ("BASE_TYPE_REQUIRED", "This field is required")
OVER = [
    pytest.param([{"title": "t"}] * 11, too_long("embeds", 10), id="eleven embeds"),
    pytest.param([{"title": "t" * 257}], too_long("embeds.0.title", 256), id="title"),
    pytest.param([{"description": "d" * 4097}], too_long("embeds.0.description", 4096), id="description"),
    pytest.param([{"title": "t", "fields": [FIELD] * 26}], too_long("embeds.0.fields", 25), id="fields"),
    pytest.param(
        [{"fields": [FIELD, FIELD | {"name": "n" * 257}]}], too_long("embeds.0.fields.1.name", 256), id="name"
    ),
    pytest.param([{"fields": [FIELD | {"value": "v" * 1025}]}], too_long("embeds.0.fields.0.value", 1024), id="value"),
    pytest.param([{"fields": [{"name": "n"}]}], refusal("embeds.0.fields.0.value", *REQUIRED), id="no value"),
    pytest.param([{}], refusal("embeds.0.description", *REQUIRED), id="an empty embed"),
    pytest.param(
        [{"description": "d" * 3000}, {"description": "d" * 3001}],
        refusal("embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000"),
        id="6,001 characters together",
    ),
]


@pytest.mark.parametrize(("embeds", "answer"), OVER)
async def test_what_breaks_a_limit_is_refused_in_discords_words(
    call: Caller, discord: DiscordStandin, embeds: list[Any], answer: object
) -> None:
    status, _, body = await call({"embeds": embeds})

    assert (status, body) == (400, answer)
    assert discord.invalid == [answer]
    assert discord.taken == []


async def test_the_limits_themselves_are_allowed(call: Caller) -> None:
    whole = {"title": "t" * 256, "description": "d" * 4096, "fields": [FIELD] * 25}
    rest = 6000 - 256 - 4096 - 50
    assert (await call({"embeds": [whole, {"description": " " + "d" * rest + " "}]}))[0] == 204
    assert (await call({"embeds": [{"title": "t"}] * 10}))[0] == 204


async def test_nothing_is_no_message(call: Caller) -> None:
    assert (await call({"embeds": []}))[::2] == (400, {"message": "Cannot send an empty message", "code": 50006})


async def test_the_sixth_call_within_two_seconds_is_refused_until_there_is_room(
    call: Caller, discord: DiscordStandin, seconds: list[float]
) -> None:
    for _ in range(5):
        assert (await call())[0] == 204
        seconds[0] += 0.25
    status, headers, body = await call()
    assert (status, body) == (429, {"message": "You are being rate limited.", "retry_after": 0.75, "global": False})
    assert (headers["Retry-After"], headers["X-RateLimit-Scope"]) == ("1", "user")
    assert headers["X-RateLimit-Remaining"] == "0"
    assert (await call(webhook="hunt"))[0] == 204, "each webhook has its own"
    seconds[0] += 0.75
    assert (await call())[0] == 204
    assert (discord.refused, discord.hasty) == (1, 0)


async def test_who_does_not_wait_is_counted(call: Caller, discord: DiscordStandin, seconds: list[float]) -> None:
    for _ in range(8):
        await call()
    assert (discord.refused, discord.hasty) == (3, 2)


async def test_the_limit_of_a_minute_is_told_only_when_it_is_reached(
    call: Caller, discord: DiscordStandin, seconds: list[float]
) -> None:
    for _ in range(30):
        assert (await call())[0] == 204
        seconds[0] += 1
    status, headers, body = await call()
    assert (status, body["retry_after"], body["global"]) == (429, 30, False)
    assert (headers["X-RateLimit-Scope"], headers["X-RateLimit-Remaining"]) == ("shared", "4")


async def test_the_global_limit_holds_for_all(call: Caller, discord: DiscordStandin, seconds: list[float]) -> None:
    discord.block(3)
    status, headers, body = await call()
    assert (status, body["global"], body["retry_after"]) == (429, True, 3)
    assert headers["X-RateLimit-Global"] == "true"
    assert (await call(webhook="hunt"))[0] == 429
    assert discord.hasty == 1
    seconds[0] += 3
    assert (await call(webhook="hunt"))[0] == 204
