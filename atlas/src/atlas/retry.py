"""Trying again, for what can heal: exponential waits with jitter, few attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential_jitter,
)

from atlas.errors import AtlasError, Throttled

T = TypeVar("T")

ATTEMPTS = 4
FIRST_WAIT = timedelta(seconds=1)
LONGEST_WAIT = timedelta(seconds=30)

Sleep = Callable[[float], Awaitable[None]]


def can_heal(error: BaseException) -> bool:
    """Say whether trying again soon may work: the error is ``retryable``, and asks for no long wait."""
    if isinstance(error, Throttled) and error.retry_after is not None:
        return error.retry_after <= LONGEST_WAIT
    return isinstance(error, AtlasError) and error.retryable


async def retry_async(
    call: Callable[[], Awaitable[T]],
    *,
    attempts: int = ATTEMPTS,
    when: Callable[[BaseException], bool] = can_heal,
    sleep: Sleep = asyncio.sleep,
) -> T:
    """Await ``call()`` up to ``attempts`` times, as long as it fails with what ``when`` holds for.

    The last error is raised as it is. Waits take seconds: 1, 2, 4, … plus up to one, never more than 30,
    and never less than the server's own ``retry_after``.
    """

    # The first attempt goes without tenacity, whose bookkeeping leaves a reference cycle round every result: most
    # calls succeed, and fifty videos would wait for the garbage collector each time.
    try:
        return await call()
    except Exception as error:
        if not when(error):
            raise
        failed: Exception | None = error

    # tenacity awaits only what it recognises as a coroutine function, which a lambda or an object is not.
    async def attempt() -> T:
        nonlocal failed
        if failed is not None:
            first, failed = failed, None
            raise first
        return await call()

    retrying = AsyncRetrying(
        retry=retry_if_exception(when),
        stop=stop_after_attempt(attempts),
        wait=_wait,
        sleep=sleep,
        reraise=True,
    )
    return await retrying(attempt)


_backoff = wait_exponential_jitter(initial=FIRST_WAIT.total_seconds(), max=LONGEST_WAIT.total_seconds(), jitter=1)


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    wish = error.retry_after if isinstance(error, Throttled) else None
    return max(_backoff(state), wish.total_seconds() if wish is not None else 0)
