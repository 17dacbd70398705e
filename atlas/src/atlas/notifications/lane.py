"""What waits for one destination, and the task that delivers it."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from atlas._besteffort import best_effort
from atlas.errors import CircuitOpen, ConfigurationError
from atlas.notifications.alerts import LOG_LEVELS, Alert, AlertLevel, pack
from atlas.notifications.destinations import Blocked, Destination, Refused, Unreachable
from atlas.notifications.pace import GATHERING, Pace, Timer

if TYPE_CHECKING:
    from atlas.breakers import Breakers

logger = logging.getLogger(__name__)

MOST_WAITING = 1_000
"""Alerts kept for a destination; of further ones only level and title are, and the log has them."""

LONGEST_BLOCK = 60.0
"""Seconds that alerts wait for a destination which wants to be left in peace; for longer they go elsewhere."""

FAILURES = 3
"""Calls without an answer, in a row, that open the breaker."""

PAUSE = timedelta(minutes=1)


@dataclass(slots=True)
class Waiting:
    """Alerts, in their order, and how many more there were of each level and title."""

    alerts: list[Alert] = field(default_factory=list)
    uncounted: Counter[tuple[AlertLevel, str]] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.alerts) + self.uncounted.total()

    def add(self, alert: Alert) -> None:
        """Add one; keep no more of it than its title when there are too many."""
        if len(self.alerts) < MOST_WAITING:
            self.alerts.append(alert)
            return
        logger.log(LOG_LEVELS[alert.level], "%s", alert)
        self.uncounted[alert.level, alert.title] += 1

    def join(self, later: Waiting) -> None:
        """Add those that came later."""
        for alert in later.alerts:
            self.add(alert)
        self.uncounted.update(later.uncounted)


class Lane:
    """Delivers to ``destination`` in the running event loop until it is cancelled.

    What is not taken there goes to ``pass_on``, what waits when the loop ends to ``lose``. ``block_all`` is told when
    Discord wants to be left in peace altogether.
    """

    def __init__(
        self,
        destination: Destination,
        pace: Pace,
        timer: Timer,
        breakers: Breakers,
        *,
        pass_on: Callable[[Waiting], None],
        lose: Callable[[Waiting], None],
        block_all: Callable[[float], None],
    ) -> None:
        self._destination = destination
        self._pace = pace
        self._timer = timer
        self._breakers = breakers
        self._pass_on = pass_on
        self._lose = lose
        self._block_all = block_all
        self._waiting = Waiting()
        self._failures = 0
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._deadline = 0.0
        self.task = asyncio.get_running_loop().create_task(self._work(), name=f"alerts to {destination.name}")

    def put(self, alert: Alert) -> None:
        """Deliver ``alert`` when its turn comes."""
        self._waiting.add(alert)
        self._wake()

    def take_over(self, waiting: Waiting) -> None:
        """Deliver what another destination did not take."""
        self._waiting.join(waiting)
        self._wake()

    @property
    def idle(self) -> bool:
        """Is nothing waiting, or on its way?"""
        return self._idle.is_set()

    def hurry(self, deadline: float) -> None:
        """Gather nothing any more: by ``deadline`` all is delivered or passed on, if calls answer at once."""
        self._deadline = deadline
        self._hurry.set()

    def relax(self) -> None:
        """Take one's time again."""
        self._hurry.clear()

    async def emptied(self) -> None:
        """Wait until the lane is idle."""
        await self._idle.wait()

    def _wake(self) -> None:
        self._idle.clear()
        self._some.set()

    async def _work(self) -> None:
        try:
            while True:
                await self._some.wait()
                await self._timer.wait(GATHERING, self._hurry)
                with best_effort("alert delivery"):
                    await self._round()
                if not self._waiting:
                    self._some.clear()
                    self._idle.set()
        finally:
            if self._waiting:
                self._lose(self._take())
            self._idle.set()

    async def _round(self) -> None:
        """Say all that waits in one message, when the time has come; or pass it on."""
        if not await self._turn():
            self._pass_on(self._take())
            return
        self._pace.spend(self._timer.now())
        waiting = self._take()
        settled = False
        try:
            settled = await self._post(waiting)
        except asyncio.CancelledError:
            settled = True
            self._lose(waiting)
            raise
        finally:
            if not settled:
                self._pass_on(waiting)

    async def _turn(self) -> bool:
        """Wait until a call may be made; False when that is too long."""
        while delay := self._pace.delay(now := self._timer.now(), hurried=self._hurry.is_set()):
            hurried = self._hurry.is_set()
            longest = max(self._deadline - now, 0.0) if hurried else LONGEST_BLOCK
            if delay > longest:
                return False
            await self._timer.wait(delay, asyncio.Event() if hurried else self._hurry)
        return True

    async def _post(self, waiting: Waiting) -> bool:
        """Make one call; False when what waited has to go elsewhere."""
        name = self._destination.name
        message = pack(waiting.alerts, waiting.uncounted)
        try:
            async with self._breakers.guard(name, failing=Unreachable, threshold=FAILURES, pause=PAUSE):
                rest = await self._destination.post(message)
        except Blocked as exc:
            return self._wait_for(exc, waiting)
        except Unreachable as exc:
            logger.warning("%s did not take an alert: %s", name, exc)
            self._failures += 1
            if self._hurry.is_set() or self._failures >= FAILURES:
                return False
            self._again(waiting)
            self._pace.block(self._timer.now() + 2**self._failures)
            return True
        except (CircuitOpen, ConfigurationError, Refused) as exc:
            logger.warning("%s does not take alerts: %s", name, exc)
            return False
        self._failures = 0
        self._pace.block(self._timer.now() + rest.total_seconds())
        if message != tuple(waiting.alerts):  # a digest, which does not say all
            for alert in waiting.alerts:
                logger.log(LOG_LEVELS[alert.level], "%s", alert)
        return True

    def _wait_for(self, refusal: Blocked, waiting: Waiting) -> bool:
        """Heed how long the destination wants to be left in peace."""
        logger.warning("%s: %s", self._destination.name, refusal)
        until = self._timer.now() + refusal.wait.total_seconds()
        self._pace.block(until)
        if refusal.everywhere:
            self._block_all(until)
        self._again(waiting)  # the next round finds out whether that is too long
        return True

    def _again(self, waiting: Waiting) -> None:
        waiting.join(self._waiting)
        self._waiting = waiting
        self._wake()

    def _take(self) -> Waiting:
        taken, self._waiting = self._waiting, Waiting()
        return taken
