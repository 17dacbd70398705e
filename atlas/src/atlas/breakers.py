"""Circuit breakers: a service that failed several times in a row is left in peace for a while.

One breaker per name and process, on purgatory_ with our own clock: ``closed`` (calls pass, failures in a row are
counted), ``opened`` (calls are refused), then ``half-opened``: one call is let through, and decides which it is.

.. _purgatory: https://mardiros.github.io/purgatory/
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from atlas import clock
from atlas.errors import CircuitOpen

if TYPE_CHECKING:
    from purgatory.domain.model import Context
    from purgatory.typing import StateName

FAILURES = 5
"""Failures in a row that open a breaker."""

PAUSE = timedelta(minutes=1)
"""How long a service is left in peace."""


class BreakerState(NamedTuple):
    """How a breaker stands; ``until`` is when an opened one lets the next call through."""

    state: StateName  # closed, opened, half-opened
    failures: int  # in a row, while closed
    until: datetime | None


class Breakers:
    """The breakers of a process, each made when its name is first used; threads and event loops may share them."""

    def __init__(self) -> None:
        self._contexts: dict[str, Context] = {}
        self._pauses: dict[str, tuple[datetime, timedelta]] = {}  # until when, and for how long
        self._one_at_a_time = Lock()

    @asynccontextmanager
    async def guard(
        self,
        name: str,
        *,
        failing: type[Exception] | tuple[type[Exception], ...] = Exception,
        threshold: int = FAILURES,
        pause: timedelta = PAUSE,
    ) -> AsyncIterator[None]:
        """Make one call of the service ``name`` in the block, if it is not left in peace.

        ``threshold`` errors of the types ``failing`` in a row open the breaker for ``pause``. Any other error is an
        answer of a service that works; a cancellation says nothing. ``threshold`` is that of the first use.

        Raises:
            CircuitOpen: the block was not entered.
        """
        with self.guarding(name, failing=failing, threshold=threshold, pause=pause):
            yield

    @contextmanager
    def guarding(
        self,
        name: str,
        *,
        failing: type[Exception] | tuple[type[Exception], ...] = Exception,
        threshold: int = FAILURES,
        pause: timedelta = PAUSE,
    ) -> Iterator[None]:
        """Do as ``guard`` does, for a call that blocks.

        Raises:
            CircuitOpen: the block was not entered.
        """
        with self._one_at_a_time:
            context = self._context(name, threshold)
            self._admit(context)
        try:
            yield
        except Exception as error:
            with self._one_at_a_time:
                if isinstance(error, failing):
                    context.handle_exception(error)
                else:
                    context.handle_end_request()
                self._settle(context, pause)
            raise
        with self._one_at_a_time:
            context.handle_end_request()
            self._settle(context, pause)

    def states(self) -> dict[str, BreakerState]:
        """Tell how every breaker stands that was used."""
        return {name: self._state(context) for name, context in sorted(self._contexts.items())}

    def forget(self) -> None:
        """Know nothing of what failed before."""
        with self._one_at_a_time:
            self._contexts.clear()
            self._pauses.clear()

    def _context(self, name: str, threshold: int) -> Context:
        if name not in self._contexts:
            from purgatory.domain.model import Context  # 0.2 s: it looks whether Redis is there

            # It would ask the wall clock whether a pause is over: there it never is, we ask ours.
            self._contexts[name] = Context(name, threshold, ttl=math.inf)
        return self._contexts[name]

    def _state(self, context: Context) -> BreakerState:
        until, _ = self._pauses.get(context.name, (None, None))
        return BreakerState(context.state, context.failure_count or 0, until)

    def _admit(self, context: Context) -> None:
        if context.name not in self._pauses:
            return
        until, pause = self._pauses[context.name]
        now = clock.now()
        if now < until:
            raise CircuitOpen(context.name, until)
        if context.state == "opened":
            from purgatory.domain.model import HalfOpenedState

            context.set_state(HalfOpenedState())
        # The next one waits for what this one learns; if that never comes, its turn is after another pause.
        self._pauses[context.name] = now + pause, pause

    def _settle(self, context: Context, pause: timedelta) -> None:
        context.messages.clear()  # what it tells its own stores, of which there are none
        if context.state == "opened":
            self._pauses[context.name] = clock.now() + pause, pause
        else:
            self._pauses.pop(context.name, None)


breakers = Breakers()
