"""Whose turn it is: of each agent so many runs are at work at once as RUNS_PER_AGENT says, wherever they were started.

The turn is a lease, renewed while its run works: of a run that was killed it is free again after minutes. It keeps runs
from doing the same for nothing, no more: should two overlap all the same, the leases on rows keep them apart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import wraps
from typing import ParamSpec, TypedDict, TypeVar
from uuid import UUID

from atlas import db, settings
from atlas.adapters.maia import MaiaDAO
from atlas.errors import AtlasError, LeaseLost
from atlas.setup import ready
from maia.reporting import AT_WORK

log = logging.getLogger(__name__)

P = ParamSpec("P")
Summary = TypeVar("Summary")

LEASE = timedelta(minutes=2)
"""How long the turn of a run that was killed keeps others waiting."""

RENEW_S = 30.0


class Skipped(TypedDict):
    """The summary of a run that did nothing, since it was not its turn."""

    stopped_by: str


def in_turn(
    agent: str, *, unless: str = ""
) -> Callable[[Callable[P, Awaitable[Summary]]], Callable[P, Awaitable[Summary | Skipped]]]:
    """Let a cycle of ``agent`` return at once when it is not its turn.

    A cycle that is called with ``unless`` true changes nothing, and waits for no turn.
    """

    def decorate(cycle: Callable[P, Awaitable[Summary]]) -> Callable[P, Awaitable[Summary | Skipped]]:
        @wraps(cycle)
        async def run(*args: P.args, **kwargs: P.kwargs) -> Summary | Skipped:
            if not settings.RUNS_PER_AGENT or (unless and kwargs.get(unless)):
                return await cycle(*args, **kwargs)
            async with db, turn(agent, settings.RUNS_PER_AGENT) as is_ours:
                if is_ours:
                    return await cycle(*args, **kwargs)
            log.info("the %s has nothing to do: another run is at work", agent)
            return {"stopped_by": AT_WORK}

        return run

    return decorate


@asynccontextmanager
async def turn(agent: str, places: int = 1) -> AsyncIterator[bool]:
    """Hold one of the ``places`` of ``agent`` during the block; False when others hold them all.

    Raises:
        ConfigurationError: the database is not set up.
        DatabaseUnavailable: it does not answer.
    """
    await ready(db)
    dao = MaiaDAO(db)
    for name in (f"run {agent}" if place == 1 else f"run {agent} {place}" for place in range(1, places + 1)):
        token = await dao.claim_work(name, lease=LEASE)
        if token is not None:
            break
    else:
        yield False
        return
    renewing = asyncio.create_task(_renew(dao, name, token), name=f"renew {name}")
    try:
        yield True
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        try:
            await dao.release_work(name, token)
        except AtlasError as exc:
            log.warning("the turn of the %s could not be given back, and runs out by itself: %s", agent, exc)


async def _renew(dao: MaiaDAO, name: str, token: UUID) -> None:
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            await dao.renew_work(name, token, lease=LEASE)
        except LeaseLost:
            log.warning("%s took longer than its lease, and another run has begun; the leases on rows hold", name)
            return
        except AtlasError as exc:
            log.warning("%s could not be renewed, which is tried again: %s", name, exc)
