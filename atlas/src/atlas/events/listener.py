"""Events of every process, read from the log as they are committed: each once, in order per entity.

Ids are drawn before a transaction commits, so the greatest id that was seen says little: a smaller one may be committed
later. What has been read is therefore told by a snapshot, the set of transactions that were over by then; what is new
is what other transactions recorded, in the order of ids. Two that change one entity wait for each other, and each
records after it has waited: their ids are in order, and no snapshot holds the second without the first.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple, Self

from atlas import sql
from atlas.db import DatabaseManager
from atlas.errors import DatabaseUnavailable
from atlas.events.event import Event
from atlas.events.patterns import likes

if TYPE_CHECKING:
    from atlas.db import Connection

log = logging.getLogger(__name__)

SQL = sql.load("atlas.events", "listener.sql")

PAGE = 1_000
"""Events read at once."""
LOOK_S = 30.0
"""How often to look without being told to: a notification is a hint, and may be lost with its connection."""
RETRY_S = (0.1, 5.0)
"""The first and the longest wait for a database that does not answer."""


class Position(NamedTuple):
    """How far a reader has come; plain values, to be kept wherever what was read leads to.

    All events of the transactions ``seen`` are behind it, up to ``last_id``; of those that ``upto`` saw besides, the
    newest of them ``upto_id``, it has come to ``at``.
    """

    seen: str
    last_id: int
    upto: str | None = None
    upto_id: int | None = None
    at: int | None = None

    def done(self) -> Position:
        """Behind all that it reads now."""
        return Position(self.upto or self.seen, self.last_id if self.upto_id is None else self.upto_id)


BEGINNING = Position("1:1:", 0)
"""Before everything that SQL still holds."""


async def now(conn: Connection) -> Position:
    """Stand behind everything that is committed."""
    return Position(**await conn.fetchrow(SQL["now"]))


async def latest(conn: Connection, patterns: Sequence[str], *, limit: int) -> list[Event]:
    """Read the newest events that SQL holds, oldest first."""
    rows = await conn.fetch(SQL["latest"], likes=likes(patterns), limit=limit)
    return [Event(**row) for row in reversed(rows)]


async def look(conn: Connection, position: Position) -> Position | None:
    """Say what to read next: it stands before the first event that is new, if there is any."""
    if position.upto is not None:
        return position
    found = await conn.fetchrow(SQL["look"], seen=position.seen, last_id=position.last_id)
    if found["first_id"] is None:
        return None
    return position._replace(upto=found["upto"], upto_id=found["upto_id"], at=found["first_id"] - 1)


async def page(
    conn: Connection, position: Position, patterns: Sequence[str], *, limit: int = PAGE
) -> list[tuple[Event, Position]]:
    """Read events from where ``look`` pointed to, each with the position behind it."""
    rows = await conn.fetch(SQL["page"], **position._asdict(), likes=likes(patterns), limit=limit)
    return [(event, position._replace(at=event.id)) for event in (Event(**row) for row in rows)]


class Listener:
    """The events that are committed from its beginning on, whoever records them; for one reader.

    It reconnects by itself, and goes on where it was. ``async with`` closes it; so does the end of the event loop.
    """

    def __init__(self, database: DatabaseManager, patterns: Sequence[str], *, after: Position | None = None) -> None:
        self._db = database
        self._patterns = patterns
        self._position = after
        self._events = self._listen()
        self._looks = 0  # begun so far
        self._empty = 0  # the last of them that found nothing
        self._rest = asyncio.Condition()

    @property
    def position(self) -> Position:
        """Behind the last event that was given; another listener may go on there."""
        if self._position is None:
            raise RuntimeError("it has not begun to listen")
        return self._position

    async def begin(self) -> None:
        """Stand behind what is committed now, unless there is a position from before.

        Raises:
            DatabaseUnavailable: it does not answer.
        """
        if self._position is None:
            async with self._db.get_connection() as conn:
                self._position = await now(conn)

    async def caught_up(self) -> None:
        """Wait, while another task reads, until it was given all that is committed now.

        Raises:
            DatabaseUnavailable: it does not answer.
        """
        begun = self._looks
        async with self._db.get_connection() as conn:
            await conn.execute(SQL["hint"])
        async with self._rest:
            await self._rest.wait_for(lambda: self._empty > begun)

    async def aclose(self) -> None:
        """Listen no more."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def _listen(self) -> AsyncGenerator[Event, None]:
        await self.begin()
        wait = RETRY_S[0]
        while True:
            try:
                async with aclosing(self._connected()) as events:
                    async for event in events:
                        wait = RETRY_S[0]
                        yield event
            except DatabaseUnavailable as exc:
                log.warning("events are listened to again soon: %s", exc)
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                wait = min(2 * wait, RETRY_S[1])

    async def _connected(self) -> AsyncGenerator[Event, None]:
        """Give events for as long as the connection lasts."""
        async with self._db.dedicated() as conn:
            await conn.execute(SQL["listen"])
            while True:
                self._looks += 1
                number = self._looks
                start = await look(conn, self.position)
                if start is None:
                    async with self._rest:
                        self._empty = number
                        self._rest.notify_all()
                    await _notified(conn)
                    continue
                found = await page(conn, start, self._patterns)
                for event, behind in found:
                    self._position = behind
                    yield event
                if len(found) < PAGE:
                    self._position = start.done()


async def _notified(conn: Connection) -> None:
    """Wait for a notification, and take all that came with it."""
    async for _ in conn.notifies(timeout=LOOK_S, stop_after=1):
        pass
    async for _ in conn.notifies(timeout=0):
        pass
