"""Events for other systems: each is posted to a webhook, signed, at least once, in order per entity.

What is to be delivered is read from the log, from where the last run stopped: whoever runs, an agent at its end or
``atlas events deliver``, goes on there, one at a time. The form is that of Standard Webhooks: a receiver verifies the
signature and tells a repetition by ``webhook-id``, with the libraries there are for it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import UUID, uuid4

import orjson

from atlas import clock, sql
from atlas import settings as shared_settings
from atlas._besteffort import best_effort
from atlas.breakers import Breakers, breakers
from atlas.config import Settings
from atlas.db import DatabaseManager, db
from atlas.errors import AtlasError, CircuitOpen, ConfigurationError, LeaseLost
from atlas.events.event import Event
from atlas.events.listener import Position, look, now, page
from atlas.retry import Sleep, retry_async

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

SQL = sql.load("atlas.events", "webhooks.sql")

READER = "webhook"
LEASE = timedelta(minutes=2)
PAGE = 100
"""Events delivered before that is noted: so many may be delivered again after a crash."""
LANES = 8
"""Requests at once; the events of an entity share a lane, so they stay in order."""
ANSWER = timedelta(seconds=10)
"""How long a receiver may take."""
PATIENCE = timedelta(seconds=10)
"""How long a run goes on."""
GIVE_UP = timedelta(hours=24)
"""How long an event waits for a receiver that does not work; then it is a dead letter, and the next one's turn."""
DEAD_LETTERS = 10_000
"""Dead letters kept: the newest."""

REFUSED = frozenset({400, 406, 409, 413, 414, 415, 422, 431})
"""What says that this event will never be taken; whatever else is no success may be mended, by us or by them."""


class Unavailable(AtlasError):
    """The webhook does not take events now; the message never holds its address."""

    retryable = True


class Misconfigured(Unavailable):
    """It answers, but as no webhook does: trying again soon is of no use."""

    retryable = False


class Refused(AtlasError):
    """The webhook will not take this event."""


class Delivery(NamedTuple):
    """What a run did; ``stopped_by`` says why it ended, nothing when all there was is delivered."""

    delivered: int = 0
    dead: int = 0
    stopped_by: str = ""


class Letter(NamedTuple):
    """A dead letter: the event, and what happened to it."""

    event: Event
    failed_at: datetime
    reason: str


class Webhook:
    """The webhook of the settings; to be opened with ``async with``."""

    def __init__(
        self,
        database: DatabaseManager = db,
        *,
        rules: Settings = shared_settings,
        guards: Breakers = breakers,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._db = database
        self._rules = rules
        self._guards = guards
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp  # heavy, and needed only where there is a webhook

        from atlas.outside import connector

        address = self._rules.EVENT_BUS_WEBHOOK_URL
        self._session = aiohttp.ClientSession(
            connector=connector(*([] if address is None else [address.get_secret_value()])),
            timeout=aiohttp.ClientTimeout(total=ANSWER.total_seconds()),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def enlist(self) -> None:
        """Have what is committed from now on delivered, unless that was said before."""
        async with self._db.get_connection() as conn:
            position = await now(conn)
            await conn.execute(
                SQL["enlist"],
                {"name": READER, "seen": position.seen, "last_id": position.last_id, "now": clock.now()},
            )

    async def deliver(self, patience: timedelta = PATIENCE) -> Delivery:
        """Deliver what was committed since the last run; nothing when somebody else is at it.

        A receiver that does not work ends the run, and what it did not take is the next one's.

        Raises:
            ConfigurationError: there is no webhook.
            DatabaseUnavailable: the database does not answer.
        """
        self._address()
        await self.enlist()
        token = uuid4()
        async with self._db.get_connection() as conn:
            row = await conn.fetchrow(SQL["claim"], name=READER, token=token, lease=LEASE, now=clock.now())
        if row is None:
            return Delivery(stopped_by="somebody else is at it")
        run = _Run(self, Position(**row), token)
        try:
            async with asyncio.timeout(patience.total_seconds()):
                await run.work()
        except TimeoutError:
            run.stopped_by = f"{patience.total_seconds():g} s are over"
        finally:
            async with self._db.get_connection() as conn:
                await conn.execute(SQL["release"], {"name": READER, "token": token})
        return Delivery(run.delivered, run.dead, run.stopped_by)

    async def letters(self, ids: Sequence[int] | None = None) -> list[Letter]:
        """List the dead letters, or those of these events, oldest first."""
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["letters"], ids=None if ids is None else list(ids))
        return [Letter(Event(**row["event"]), row["failed_at"], row["reason"]) for row in map(_as_letter, rows)]

    async def resend(self, ids: Sequence[int] | None = None) -> Delivery:
        """Try dead letters again, all or those of these events; what is delivered is no dead letter any more.

        Raises:
            ConfigurationError: there is no webhook.
            DatabaseUnavailable: the database does not answer.
        """
        self._address()
        delivered = dead = 0
        for letter in await self.letters(ids):
            try:
                await self.send(letter.event)
            except Refused as exc:
                dead += 1
                log.warning("event %s is still refused: %s", letter.event.id, exc)
            except (Unavailable, CircuitOpen) as exc:
                return Delivery(delivered, dead, str(exc))
            else:
                delivered += 1
                async with self._db.get_connection() as conn:
                    await conn.execute(SQL["bury"], {"ids": [letter.event.id]})
        return Delivery(delivered, dead)

    async def send(self, event: Event) -> None:
        """Post one event, and again where that may help.

        Raises:
            Refused: it will never be taken.
            Unavailable: it was not taken, and may be later.
            CircuitOpen: it was not taken lately, and is left in peace.
        """
        async with self._guards.guard(READER, failing=Unavailable, threshold=LANES):
            await retry_async(lambda: self._post(event), sleep=self._sleep)

    async def _post(self, event: Event) -> None:
        import aiohttp

        if self._session is None:
            raise RuntimeError("the webhook is not open")
        body = body_of(event)
        try:
            async with self._session.post(
                self._address(), data=body, headers=self._headers(event, body), allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            # Their messages, and the chain, may hold the address, and whoever has the address can post.
            raise Unavailable(f"no answer ({type(exc).__name__})") from None
        if 200 <= status < 300:
            return
        if status in REFUSED:
            raise Refused(f"HTTP {status}")
        if status == 408 or status >= 500:
            raise Unavailable(f"HTTP {status}")
        raise Misconfigured(f"HTTP {status}" + (": a redirect is not followed" if status < 400 else ""))

    def _address(self) -> str:
        if self._rules.EVENT_BUS_WEBHOOK_URL is None:
            raise ConfigurationError("EVENT_BUS_WEBHOOK_URL is not set: there is no webhook to deliver to")
        return self._rules.EVENT_BUS_WEBHOOK_URL.get_secret_value()

    def _headers(self, event: Event, body: bytes) -> dict[str, str]:
        at = str(int(clock.now().timestamp()))
        headers = {"Content-Type": "application/json", "webhook-id": str(event.id), "webhook-timestamp": at}
        secret = self._rules.EVENT_BUS_WEBHOOK_SECRET
        if secret is not None:
            headers["webhook-signature"] = signature(secret.get_secret_value(), str(event.id), at, body)
        return headers

    async def _settle(self, token: UUID, position: Position, dead: Sequence[tuple[Event, str]]) -> None:
        """Note how far a run has come, and what it gave up.

        Raises:
            LeaseLost: somebody else is at it by now.
        """
        at = clock.now()
        async with self._db.get_connection() as conn:
            moved = await conn.execute(
                SQL["move"], {"name": READER, "token": token, "lease": LEASE, "now": at, **position._asdict()}
            )
            if moved.rowcount != 1:
                raise LeaseLost("webhook", 1)
            if dead:
                await conn.execute(
                    SQL["give_up"],
                    {
                        "ids": [event.id for event, _ in dead],
                        "event_types": [event.event_type for event, _ in dead],
                        "entity_ids": [event.entity_id for event, _ in dead],
                        "payloads": [orjson.dumps(event.payload).decode() for event, _ in dead],
                        "times": [event.created_at for event, _ in dead],
                        "reasons": [reason for _, reason in dead],
                        "now": at,
                    },
                )
                await conn.execute(SQL["forget"], {"keep": DEAD_LETTERS})


class _Run:
    """One run: from a position on, page by page."""

    def __init__(self, webhook: Webhook, position: Position, token: UUID) -> None:
        self._webhook = webhook
        self._position = position
        self._token = token
        self.delivered = 0
        self.dead = 0
        self.stopped_by = ""

    async def work(self) -> None:
        """Deliver until nothing is left, or the receiver does not work."""
        webhook = self._webhook
        while not self.stopped_by:
            async with webhook._db.get_connection() as conn:
                start = await look(conn, self._position)
                if start is None:
                    return
                found = await page(conn, start, webhook._rules.EVENT_BUS_WEBHOOK_TYPES, limit=PAGE)
            outcomes = await self._send([event for event, _ in found])
            through, dead = start, []
            for event, behind in found:
                outcome = outcomes.get(event.id)
                if isinstance(outcome, Unavailable | CircuitOpen) and _is_young(event):
                    self.stopped_by = str(outcome)
                    break
                if isinstance(outcome, AtlasError):
                    dead.append((event, str(outcome)))
                through = behind
            else:
                if len(found) < PAGE:
                    through = start.done()
            await webhook._settle(self._token, through, dead)
            self._position = through
            self.dead += len(dead)

    async def _send(self, events: Sequence[Event]) -> dict[int | None, AtlasError | None]:
        """Post events, those of an entity one after the other, and say what became of each."""
        outcomes: dict[int | None, AtlasError | None] = {}

        async def lane(mine: Iterable[Event]) -> None:
            for event in mine:
                try:
                    await self._webhook.send(event)
                except Refused as exc:
                    outcomes[event.id] = exc
                except (Unavailable, CircuitOpen) as exc:
                    outcomes[event.id] = exc
                    if _is_young(event):
                        break  # those behind it wait for it
                else:
                    outcomes[event.id] = None
                    self.delivered += 1

        lanes = groupby(sorted(events, key=_lane), key=_lane)
        await asyncio.gather(*(lane(list(mine)) for _, mine in lanes))
        first_waiting = Unavailable("the one before it waits")
        return {event.id: outcomes.get(event.id, first_waiting) for event in events}


async def deliver_at_the_end(patience: timedelta = PATIENCE) -> None:
    """Let the webhook of the settings, if there is one, have what a run recorded; what fails is logged and counted."""
    with best_effort("webhook"):
        async with Webhook() as webhook:
            done = await webhook.deliver(patience)
            if done.stopped_by:
                log.warning("the webhook did not take all events: %s", done.stopped_by)


def body_of(event: Event) -> bytes:
    """What is posted."""
    data = {"id": event.id, "entity_id": event.entity_id, "payload": event.payload}
    return orjson.dumps({"type": event.event_type, "timestamp": event.created_at, "data": data})


def signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Sign a message as Standard Webhooks has it; a secret that begins with ``whsec_`` is base64."""
    key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _lane(event: Event) -> int:
    return hash(event.entity_id) % LANES


def _is_young(event: Event) -> bool:
    return event.created_at is not None and clock.now() - event.created_at < GIVE_UP


def _as_letter(row: Any) -> dict[str, Any]:
    failed_at, reason = row.pop("failed_at"), row.pop("reason")
    return {"event": row, "failed_at": failed_at, "reason": reason}
