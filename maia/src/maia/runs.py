"""A run of an agent: its name in the logs, and what it leaves behind for those who watch."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from uuid import uuid4

from atlas import AlertChannel, AlertLevel, clock, db, notifier
from atlas._besteffort import best_effort, losses
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import AgentRun, Incident
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
    OPS hears of an agent that begins to fail, and that it works again.
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
                        log.info("fails: %s", reason_of(error))
                        if not is_without_database(error):
                            await report(run, begun, reason=reason_of(error), fault=fault_of(error))
                        raise
                    log.info("ends: %s", dict(summary))
                    await report(run, begun, summary=summary)
                    return summary

        return run

    return decorate


async def report(
    run: Run, begun: datetime, *, reason: str | None = None, fault: str = "", summary: Mapping[str, Any] = {}
) -> None:
    """Note how ``run`` ended, and tell OPS once that its agent fails, and once that it works again.

    A failure of another ``fault`` than those before it is told too.
    """
    from atlas.breakers import breakers

    now = clock.now()
    note = AgentRun(
        agent=run.agent, run_id=run.run_id, started_at=begun, ended_at=now, reason=reason, summary=dict(summary)
    )
    counted = dict(losses)
    fresh = {kind: count - _told.get(kind, 0) for kind, count in counted.items() if count > _told.get(kind, 0)}
    with best_effort("run's report"):
        try:
            incident = await MaiaDAO(db).report_run(note, fresh, breakers.states(), fault=fault, now=now)
        except DatabaseUnavailable as exc:
            log.warning("the run's end could not be noted: %s", exc)
        else:
            _told.update(counted)
            if incident is not None:
                await _tell(run, incident, reason or "")


async def _tell(run: Run, incident: Incident, reason: str) -> None:
    since = f"{incident.since:%Y-%m-%d %H:%M} UTC"
    if incident.is_over:
        title, words, level = f"The {run.agent} works again", f"It had failed since {since}.", AlertLevel.SUCCESS
    else:
        title, words, level = f"The {run.agent} fails", reason, AlertLevel.WARNING
    await notifier.send(title, words, AlertChannel.OPS, level, {"run": run.run_id, "since": since})
    await notifier.close()  # of the run's own things all are closed by now


def is_without_database(error: BaseException | None) -> bool:
    """Did it fail for want of the database, where the note would go?"""
    return isinstance(error, DatabaseUnavailable) or (
        isinstance(error, ConfigurationError) and is_without_database(error.__cause__)
    )


def fault_of(error: BaseException) -> str:
    """Name the kind of failure: two of a kind are one incident."""
    return type(error).__name__


def _run_id() -> str:
    """The id of Prefect's flow run where one is running, else one of our own."""
    runtime = sys.modules.get("prefect.runtime.flow_run")
    return cast("str | None", runtime.get_id() if runtime else None) or str(uuid4())


def reason_of(error: Exception) -> str:
    """Say why a run failed; only our own errors are known to hold no secret."""
    return str(error) if isinstance(error, AtlasError) else type(error).__name__
