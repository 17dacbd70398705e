"""The one place that may swallow an error: it logs the traceback and counts the loss."""

from __future__ import annotations

import logging
from collections import Counter
from threading import Lock
from types import TracebackType

logger = logging.getLogger(__name__)

losses: Counter[str] = Counter()
"""What was swallowed since the process began, by kind."""

_lock = Lock()  # adding to a counter is no single step


def lost(what: str, number: int = 1, *, why: object = None) -> None:
    """Count a loss, and log it once; ``why`` is an error or words."""
    with _lock:
        losses[what] += number
        total = losses[what]
    words = f": {why}" if isinstance(why, str) else ""
    many = f" × {number}" if number != 1 else ""
    logger.error(
        "lost: %s%s (%d so far)%s", what, many, total, words, exc_info=why if isinstance(why, BaseException) else None
    )


class best_effort:  # noqa: N801 - reads like contextlib.suppress
    """Let the block fail without harm to the caller; cancellation still passes."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(value, Exception):
            return False
        lost(self._what, why=value)
        return True
