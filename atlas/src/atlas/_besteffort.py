"""The one place that may swallow an error: it logs the traceback and counts the loss."""

from __future__ import annotations

import logging
from collections import Counter
from types import TracebackType

logger = logging.getLogger(__name__)

losses: Counter[str] = Counter()
"""What was swallowed since the process began, by kind."""


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
        losses[self._what] += 1
        logger.error("lost: %s (%d so far)", self._what, losses[self._what], exc_info=value)
        return True
