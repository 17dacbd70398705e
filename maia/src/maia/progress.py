"""How far a long cycle is: the agent says so, and whoever started it may show it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Show = Callable[[float, str], Awaitable[None]]
"""Takes how far it is, in per cent, and what is done next."""

_shown: ContextVar[Show | None] = ContextVar("progress", default=None)


@contextmanager
def tell_progress(show: Show) -> Iterator[None]:
    """Let the cycles of the block say to ``show`` how far they are."""
    token = _shown.set(show)
    try:
        yield
    finally:
        _shown.reset(token)


class Progress:
    """Counts work that is done against all there is to do, in whatever unit weighs best."""

    def __init__(self, whole: float) -> None:
        self._whole = whole
        self._done = 0.0

    async def next(self, work: float, doing: str) -> None:
        """Say that the next ``work`` begins, what came before being done."""
        if (show := _shown.get()) is not None and self._whole:
            await show(min(100.0, 100 * self._done / self._whole), doing)
        self._done += work

    async def end(self) -> None:
        """Say that all is done."""
        self._done = self._whole
        await self.next(0, "done")
