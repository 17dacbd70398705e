"""Observers in this process: told of events in order per entity, whatever becomes of the other observers."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from weakref import WeakKeyDictionary

from atlas._besteffort import best_effort, lost
from atlas.events.event import Event
from atlas.events.patterns import matches

Observer = Callable[[Event], Awaitable[object]]
O = TypeVar("O", bound=Observer)  # noqa: E741 - an observer

LANES = 16
"""Events that an observer works on at once; those of an entity share a lane, so they stay in order.

Which lane is the same in every process: an entity that holds up others does so reproducibly.
"""
LIMIT = 100_000
"""Events that wait for observers in an event loop; what comes on top is lost to them, and counted."""


@dataclass(frozen=True, eq=False)
class _Registered:
    pattern: str
    observer: Observer


class Observers:
    """Who wants to know of what. Observers run in the event loop of whoever tells, or in a thread of their own."""

    def __init__(self) -> None:
        self._registered: list[_Registered] = []
        self._wanted: dict[str, list[_Registered]] = {}  # by type; a memory of what was looked up
        self._desks: WeakKeyDictionary[asyncio.AbstractEventLoop, _Desk] = WeakKeyDictionary()
        self._last: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def on(self, pattern: str) -> Callable[[O], O]:
        """Register an observer for the types that ``pattern`` asks for."""

        def register(observer: O) -> O:
            self._registered.append(_Registered(pattern, observer))
            self._wanted = {}
            return observer

        return register

    def off(self, observer: Observer) -> None:
        """Tell an observer of nothing more."""
        self._registered = [known for known in self._registered if known.observer is not observer]
        self._wanted = {}

    def wants(self, event_type: str) -> bool:
        """Does anybody want to know of such events?"""
        return bool(self._registered) and bool(self._for(event_type))

    def tell(self, event: Event) -> None:
        """Let the observers be called soon; it never waits."""
        registered = self._for(event.event_type)
        if not registered:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = self._elsewhere()
            loop.call_soon_threadsafe(self._desk(loop).take, event, registered)
        else:
            self._last = loop
            self._desk(loop).take(event, registered)

    async def drain(self, patience: timedelta | None = None) -> bool:
        """Wait until the observers of this event loop have been called, or until the patience ends; say which."""
        return await self._desk(asyncio.get_running_loop()).drain(patience)

    def _for(self, event_type: str) -> list[_Registered]:
        found = self._wanted.get(event_type)
        if found is None:
            found = [known for known in self._registered if matches(known.pattern, event_type)]
            self._wanted[event_type] = found
        return found

    def _desk(self, loop: asyncio.AbstractEventLoop) -> _Desk:
        with self._lock:
            desk = self._desks.get(loop)
            if desk is None:
                desk = self._desks[loop] = _Desk()
            return desk

    def _elsewhere(self) -> asyncio.AbstractEventLoop:
        """The loop that told last, where that still runs: a thread's observers belong there. Else one of our own."""
        if self._last is not None and self._last.is_running():
            return self._last
        with self._lock:
            if self._last is None or not self._last.is_running():
                self._last = asyncio.new_event_loop()
                threading.Thread(target=self._last.run_forever, name="atlas-observers", daemon=True).start()
            return self._last


class _Desk:
    """The lanes of an event loop; all happens in that loop."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[_Registered, int], deque[Event]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting = 0

    def take(self, event: Event, registered: list[_Registered]) -> None:
        for known in registered:
            if self._waiting >= LIMIT:
                lost("observed event", why="too many wait")
                continue
            self._waiting += 1
            key = (known, zlib.crc32((event.entity_id or "").encode(errors="replace")) % LANES)
            if key in self._lanes:
                self._lanes[key].append(event)
                continue
            self._lanes[key] = deque([event])
            task = asyncio.create_task(self._work(key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def drain(self, patience: timedelta | None) -> bool:
        tasks = self._tasks - {asyncio.current_task()}  # an observer may ask
        if not tasks:
            return True
        _, late = await asyncio.wait(tasks, timeout=None if patience is None else patience.total_seconds())
        return not late

    async def _work(self, key: tuple[_Registered, int]) -> None:
        lane = self._lanes[key]
        try:
            while lane:
                with best_effort("observed event"):
                    await key[0].observer(lane[0])
                lane.popleft()
                self._waiting -= 1
        except BaseException:
            # The loop ends: nobody will be told any more.
            self._waiting -= len(lane)
            lost("observed event", len(lane), why="the event loop ended")
            raise
        finally:
            del self._lanes[key]
