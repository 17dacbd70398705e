"""Events for other systems: a real receiver that is slow to please, and a secret it can check."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import SecretStr

from alkyone.databases import NOON
from atlas import clock
from atlas.breakers import Breakers
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.errors import ConfigurationError
from atlas.events import Event, EventBus
from atlas.events.webhooks import GIVE_UP, LEASE, Delivery, Webhook

HOUR = timedelta(hours=1)
SECRET = "whsec_" + base64.b64encode(b"a key of twenty-four by").decode()


class Receiver:
    """Takes what is posted; ``answers`` says how, first come first served, then it is 204."""

    def __init__(self) -> None:
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.answers: Iterator[int] = iter(())
        self.answer_of: Callable[[dict[str, Any]], int] | None = None
        self.address = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.posts.append(({name.lower(): value for name, value in request.headers.items()}, body))
        if self.answer_of is not None:
            return web.Response(status=self.answer_of(orjson.loads(body)))
        status = next(self.answers, 204)
        return web.Response(status=status, headers={"Location": "/elsewhere"} if 300 <= status < 400 else None)

    @property
    def entities(self) -> list[str]:
        """Whom it was told of, in order."""
        return [orjson.loads(body)["data"]["entity_id"] for _, body in self.posts]


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    app.router.add_post("/elsewhere", receiver.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    receiver.address = f"http://{host}:{port}/hook"
    yield receiver
    await runner.cleanup()


Deliver = Callable[..., Any]


class Place:
    """A database and a webhook."""

    def __init__(self, database: DatabaseManager, receiver: Receiver) -> None:
        self.database = database
        self.receiver = receiver
        self.bus = EventBus(database)

    @asynccontextmanager
    async def webhook(self, **changes: Any) -> AsyncIterator[Webhook]:
        defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
        rules = {"EVENT_BUS_WEBHOOK_URL": SecretStr(self.receiver.address)} | changes
        settings = Settings.model_construct(**defaults | rules)
        async with Webhook(self.database, rules=settings, guards=Breakers(), sleep=_no_wait) as webhook:
            yield webhook

    async def deliver(self, **changes: Any) -> Delivery:
        """Run once, as an agent does at its end."""
        async with self.webhook(**changes) as webhook:
            return await webhook.deliver()

    async def record(self, *entities: str, event_type: str = "video.viral") -> None:
        async with self.database.get_connection() as conn:
            await self.bus.record_many(conn, [Event(event_type, entity, {"n": 1}) for entity in entities])

    async def letters(self) -> list[tuple[str | None, str]]:
        async with self.webhook() as webhook:
            return [(letter.event.entity_id, letter.reason) for letter in await webhook.letters()]


@pytest_asyncio.fixture
async def place(database: DatabaseManager, receiver: Receiver, frozen_clock: clock.VirtualClock) -> Place:
    place = Place(database, receiver)
    await place.record("before there was a webhook")
    async with place.webhook() as webhook:
        await webhook.enlist()
    return place


async def _no_wait(seconds: float) -> None:
    del seconds


async def test_what_was_committed_since_the_last_time_is_delivered_once(place: Place) -> None:
    await place.record("a", "b")
    assert await place.deliver() == (2, 0, "")
    await place.record("c")
    assert await place.deliver() == (1, 0, "")
    assert await place.deliver() == (0, 0, "")
    assert sorted(place.receiver.entities) == ["a", "b", "c"]


async def test_a_receiver_can_tell_who_sent_what_and_when(place: Place) -> None:
    await place.record("a")
    await place.deliver(EVENT_BUS_WEBHOOK_SECRET=SecretStr(SECRET))

    ((headers, body),) = place.receiver.posts
    message = orjson.loads(body)
    assert message == {
        "type": "video.viral",
        "timestamp": "2026-11-10T12:00:00+00:00",
        "data": {"id": message["data"]["id"], "entity_id": "a", "payload": {"n": 1}},
    }
    assert headers["webhook-id"] == str(message["data"]["id"])
    assert headers["webhook-timestamp"] == str(int(NOON.timestamp()))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(b"a key of twenty-four by", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


async def test_without_a_secret_nothing_is_signed(place: Place) -> None:
    await place.record("a")
    await place.deliver()
    assert "webhook-signature" not in place.receiver.posts[0][0]


async def test_only_the_types_asked_for_are_delivered(place: Place) -> None:
    await place.record("video")
    await place.record("key", event_type="key.disabled")
    await place.record("channel", event_type="channel.renamed")
    assert await place.deliver(EVENT_BUS_WEBHOOK_TYPES=("video.*", "key.disabled")) == (2, 0, "")
    assert sorted(place.receiver.entities) == ["key", "video"]


async def test_what_heals_is_tried_again(place: Place) -> None:
    place.receiver.answers = iter([500, 503, 502])
    await place.record("a")
    assert await place.deliver() == (1, 0, "")
    assert place.receiver.entities == ["a"] * 4
    assert len({headers["webhook-id"] for headers, _ in place.receiver.posts}) == 1


@pytest.mark.parametrize(
    ("status", "says"), [(500, "HTTP 500"), (429, "HTTP 429"), (404, "HTTP 404"), (302, "a redirect is not followed")]
)
async def test_a_receiver_that_does_not_work_ends_the_run_and_gets_the_events_later(
    place: Place, status: int, says: str
) -> None:
    place.receiver.answer_of = lambda _: status
    await place.record("a", "b", "c")
    done = await place.deliver()
    assert (done.delivered, done.dead) == (0, 0)
    assert says in done.stopped_by
    assert place.receiver.address not in done.stopped_by

    place.receiver.answer_of = None
    place.receiver.posts.clear()
    assert await place.deliver() == (3, 0, "")
    assert sorted(place.receiver.entities) == ["a", "b", "c"]


async def test_an_entitys_events_are_delivered_in_order_though_others_fail(place: Place) -> None:
    await place.record(*(entity for _ in range(30) for entity in ("a", "b", "c", "d", "e")))
    seen: list[tuple[str, int]] = []
    failures = iter(range(20))

    def answer(message: dict[str, Any]) -> int:
        if message["data"]["id"] % 7 == 0 and next(failures, None) is not None:
            return 503
        seen.append((message["data"]["entity_id"], message["data"]["id"]))
        return 200

    place.receiver.answer_of = answer
    while (await place.deliver()).stopped_by:
        pass
    for entity in ("a", "b", "c", "d", "e"):
        first_times = list(dict.fromkeys(number for who, number in seen if who == entity))
        assert first_times == sorted(first_times)
        assert len(first_times) == 30


async def test_what_is_refused_is_a_dead_letter_and_holds_nobody_up_until_it_is_sent_again(place: Place) -> None:
    place.receiver.answer_of = lambda message: 422 if message["data"]["entity_id"] == "b" else 200
    await place.record("a", "b", "c")
    assert await place.deliver() == (2, 1, "")
    assert await place.letters() == [("b", "HTTP 422")]
    assert await place.deliver() == (0, 0, "")

    async with place.webhook() as webhook:
        assert await webhook.resend() == (0, 1, "")
        place.receiver.answer_of = None
        assert await webhook.resend() == (1, 0, "")
        assert await webhook.resend() == (0, 0, "")
    assert await place.letters() == []


async def test_after_a_day_an_event_waits_no_longer(place: Place, frozen_clock: clock.VirtualClock) -> None:
    place.receiver.answer_of = lambda _: 500
    await place.record("old")
    frozen_clock.advance(GIVE_UP)
    await place.record("young")
    done = await place.deliver()
    assert (done.delivered, done.dead) == (0, 1)
    assert [entity for entity, _ in await place.letters()] == ["old"]
    place.receiver.answer_of = None
    assert await place.deliver() == (1, 0, "")


async def test_two_do_not_deliver_at_once_and_a_dead_ones_turn_ends(
    place: Place, frozen_clock: clock.VirtualClock
) -> None:
    await place.record("a")
    async with place.database.get_connection() as conn:
        await conn.execute(
            "UPDATE event_readers SET lease_token = gen_random_uuid(), leased_until = %s", [NOON + LEASE]
        )
    assert (await place.deliver()).stopped_by == "somebody else is at it"
    frozen_clock.advance(LEASE)
    assert await place.deliver() == (1, 0, "")


async def test_nobody_there_is_told_without_the_address(place: Place) -> None:
    await place.record("a")
    done = await place.deliver(EVENT_BUS_WEBHOOK_URL=SecretStr("http://127.0.0.1:9/secret-path"))
    assert done == (0, 0, "no answer (ClientConnectorError)")


async def test_more_than_a_page_is_delivered(place: Place) -> None:
    await place.record(*(f"v{number}" for number in range(250)))
    assert await place.deliver() == (250, 0, "")
    assert len(set(place.receiver.entities)) == 250


async def test_without_a_webhook_there_is_nothing_to_deliver_to(place: Place) -> None:
    with pytest.raises(ConfigurationError, match="EVENT_BUS_WEBHOOK_URL"):
        await place.deliver(EVENT_BUS_WEBHOOK_URL=None)
