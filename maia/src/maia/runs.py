"""A run of an agent: its name in the logs, and what it leaves behind for those who watch."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from uuid import uuid4

from atlas import clock, db
from atlas._besteffort import best_effort, losses
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import AgentRun
from atlas.errors import AtlasError, ConfigurationError, DatabaseUnavailable
from atlas.logs import Run, of_run

log = logging.getLogger(__name__)

P = ParamSpec("P")
Summary = TypeVar("Summary", bound=Mapping[str, Any])

_told: dict[str, int] = {}
"""The losses of this process that were reported."""


def run_of(agent: str) -> Callable[[Callable[P, Awaitable[Summary]]], Callable[P, Awaitable[Summary]]]:
    """Make a cycle of ``agent`` a run: what it logs carries the run's id, and how it ended is noted in the database.

    What it lost and the circuit breakers it used are noted too. A note that cannot be taken is logged, no more.
    """

    def decorate(cycle: Callable[P, Awaitable[Summary]]) -> Callable[P, Awaitable[Summary]]:
        @wraps(cycle)
        async def run(*args: P.args, **kwargs: P.kwargs) -> Summary:
            begun = clock.now()
            run = Run(agent, _run_id())
            with of_run(run):
                async with db:  # the pool stays open until the note is taken
                    log.info("begins")
                    try:
                        summary = await cycle(*args, **kwargs)
                    except Exception as error:
                        log.info("fails: %s", _reason(error))
                        if not _is_without_database(error):
                            await _report(run, begun, reason=_reason(error))
                        raise
                    log.info("ends: %s", dict(summary))
                    await _report(run, begun, summary=summary)
                    return summary

        return run

    return decorate


async def _report(run: Run, begun: datetime, *, reason: str | None = None, summary: Mapping[str, Any] = {}) -> None:
    from atlas.breakers import breakers

    now = clock.now()
    note = AgentRun(
        agent=run.agent, run_id=run.run_id, started_at=begun, ended_at=now, reason=reason, summary=dict(summary)
    )
    counted = dict(losses)
    fresh = {kind: count - _told.get(kind, 0) for kind, count in counted.items() if count > _told.get(kind, 0)}
    with best_effort("run's report"):
        try:
            await MaiaDAO(db).report_run(note, fresh, breakers.states(), now=now)
        except DatabaseUnavailable as exc:
            log.warning("the run's end could not be noted: %s", exc)
        else:
            _told.update(counted)


def _is_without_database(error: BaseException | None) -> bool:
    """Did it fail for want of the database, where the note would go?"""
    return isinstance(error, DatabaseUnavailable) or (
        isinstance(error, ConfigurationError) and _is_without_database(error.__cause__)
    )


def _run_id() -> str:
    """The id of Prefect's flow run where one is running, else one of our own."""
    runtime = sys.modules.get("prefect.runtime.flow_run")
    return cast("str | None", runtime.get_id() if runtime else None) or str(uuid4())


def _reason(error: Exception) -> str:
    """Say why a run failed; only our own errors are known to hold no secret."""
    return str(error) if isinstance(error, AtlasError) else type(error).__name__
