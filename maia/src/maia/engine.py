"""Prefect as we want it: private and patient at start, where the operator did not say otherwise, and telling of us.

Flows take Prefect from here, because these defaults must stand in the environment before it is imported. An agent knows
nothing of it: its cycle becomes a flow by ``flow_of``.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from atlas import clock, db, logs, settings
from atlas._besteffort import best_effort
from maia.progress import tell_progress
from maia.reporting import ending, markdown

_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # The temporary server needs up to 13 s on two cores; Prefect gives it 20.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # What other threads log belongs to no run.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # For the runs that this process starts: Prefect has many threads, and glibc gives each a heap that it keeps. Two
    # heaps are a tenth less memory for the Scribe, at the same pace (`alkyone bench agents`).
    "MALLOC_ARENA_MAX": "2",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)

import prefect.runtime.flow_run  # noqa: E402, F401 - maia.runs asks it for the run's id
from prefect import Flow, State, flow, get_client, tags  # noqa: E402
from prefect.artifacts import (  # noqa: E402
    acreate_markdown_artifact,
    acreate_progress_artifact,
    aupdate_progress_artifact,
)
from prefect.client.schemas.filters import (  # noqa: E402
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType  # noqa: E402
from prefect.context import FlowRunContext  # noqa: E402
from prefect.logging.handlers import APILogHandler, PrefectConsoleHandler  # noqa: E402
from prefect.settings import PREFECT_API_URL  # noqa: E402
from prefect.states import Cancelled, Completed  # noqa: E402
from prefect.types import DateTime  # noqa: E402

__all__ = ["api_url", "by_hand", "flow_of"]

log = logging.getLogger(__name__)

P = ParamSpec("P")
Summary = TypeVar("Summary", bound=Mapping[str, Any])

OVERTAKEN = "Overtaken"
"""What a run is called that waited too long: another, begun after it was due, did its work."""

PAGE = 200
"""Runs that Prefect's API names at once."""


def api_url() -> str | None:
    """Where the Prefect server is, by the environment or Prefect's profile; None: nobody said."""
    address: str | None = PREFECT_API_URL.value()
    return address


@contextmanager
def by_hand(agent: str) -> Iterator[None]:
    """Let the runs of the block carry the tags that deployed ones have."""
    with tags("pleiades", agent):
        yield


def flow_of(
    agent: str,
) -> Callable[[Callable[P, Awaitable[Summary]]], Flow[P, Coroutine[Any, Any, Summary]]]:
    """Make a cycle of ``agent`` a flow, named as the function is, whose runs read well on Prefect's page.

    A run is named after the agent and the time, has the agent's logs and an artifact with its counts, and ends in a
    state whose name says how: Completed, Nothing due, Quota spent. Of late runs it is the only one. OPS hears of a run
    that failed or crashed where the agent could not tell itself.
    """

    def decorate(cycle: Callable[P, Awaitable[Summary]]) -> Flow[P, Coroutine[Any, Any, Summary]]:
        @wraps(cycle)
        async def run(*args: P.args, **kwargs: P.kwargs) -> State[Summary]:
            with _logged():
                async with _alone_of_the_late(), _progress_shown(agent):
                    summary = await cycle(*args, **kwargs)
                await _publish(agent, summary)
            name, reason = ending(summary)
            return Completed(name=name, message=reason or None, data=summary)

        def name_of_run() -> str:
            return f"{agent} {clock.now():%Y-%m-%d %H:%M}"

        async def tell_ops(flow: Flow[..., Any], flow_run: FlowRun, state: State) -> None:
            del flow
            await _tell(agent, flow_run, state)

        decorated = flow(name=cycle.__name__, flow_run_name=name_of_run, on_failure=[tell_ops], on_crashed=[tell_ops])(
            run
        )
        # Prefect takes what a returned state holds for what the flow returns.
        return cast("Flow[P, Coroutine[Any, Any, Summary]]", decorated)

    return decorate


# -- What the page shows ----------------------------------------------------------------------------------------------


async def _publish(agent: str, summary: Mapping[str, Any]) -> None:
    """Publish a cycle's counts as the artifact ``<agent>-cycle`` of the running flow."""
    dashboard = settings.DASHBOARD_URL
    with best_effort("artifact"):
        await acreate_markdown_artifact(
            key=f"{agent}-cycle",
            markdown=markdown(agent, summary, at=clock.now(), dashboard=str(dashboard) if dashboard else None),
            description=f"The last cycle of the {agent}",
        )


@asynccontextmanager
async def _progress_shown(agent: str) -> AsyncIterator[None]:
    """Show how far the cycle is, where it says so, as the artifact ``<agent>-progress``."""
    artifact: UUID | None = None

    async def show(percent: float, doing: str) -> None:
        nonlocal artifact
        with best_effort("artifact"):
            if artifact is None:
                artifact = await acreate_progress_artifact(percent, key=f"{agent}-progress", description=doing)
            else:
                await aupdate_progress_artifact(artifact, percent, description=doing)

    with tell_progress(show):
        yield


@contextmanager
def _logged() -> Iterator[None]:
    """Let the run's page have what we log during the block, without secrets, as much of it as LOG_LEVEL says."""
    handler = APILogHandler()
    handler.setFormatter(logs.formatter(settings, logging.Formatter("%(message)s")))
    for console in logging.getLogger().handlers:
        if isinstance(console, PrefectConsoleHandler):  # a worker's run: nobody else has set up logging
            console.setFormatter(logs.formatter(settings))
    loggers = [logging.getLogger(name) for name in logs.OURS]
    for logger in loggers:
        logger.setLevel(settings.LOG_LEVEL)
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


# -- Late runs --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _alone_of_the_late() -> AsyncIterator[None]:
    """Cancel, beside the block, the runs of the same deployment that were due before this one began.

    After an outage there are as many of them as were missed, and this run does the work of all: what is due, it takes.
    """
    context = FlowRunContext.get()
    ours = context.flow_run if context else None
    if ours is None or ours.deployment_id is None or ours.state is None:
        yield
        return
    sweeping = asyncio.create_task(_overtake(ours, ours.deployment_id, ours.state.timestamp), name="overtake late runs")
    try:
        yield
    finally:
        await sweeping


async def _overtake(ours: FlowRun, deployment_id: UUID, begun: datetime) -> None:
    late = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime(before_=cast("DateTime", begun)),
    )
    overtaken = 0
    with best_effort("sweep of late runs"):
        async with get_client() as client:
            while runs := await client.read_flow_runs(flow_run_filter=late, limit=PAGE):
                same = [run for run in runs if run.parameters == ours.parameters and run.id != ours.id]
                for run in same:
                    state: State[None] = Cancelled(
                        name=OVERTAKEN, message=f"{ours.name}, begun after this was due, did its work."
                    )
                    await client.set_flow_run_state(run.id, state)
                overtaken += len(same)
                if len(runs) < PAGE or not same:
                    break
    if overtaken:
        log.info("%d late runs of the same deployment are cancelled: this one does their work", overtaken)


# -- What OPS hears ---------------------------------------------------------------------------------------------------


async def _tell(agent: str, flow_run: FlowRun, state: State) -> None:
    """Note a run that failed or crashed; the agent itself did so where it could, and then nothing is told twice."""
    from maia.runs import fault_of, is_without_database, reason_of, report

    if state.is_crashed() and flow_run.deployment_id is None:
        return  # whoever pressed Ctrl-C knows
    error = await state.aresult(raise_on_failure=False) if state.is_failed() else None
    if isinstance(error, Exception):
        if is_without_database(error):
            return  # the heartbeat tells of that
        fault, reason = fault_of(error), reason_of(error)
    else:
        fault, reason = "crashed", state.message or "It crashed."
    begun = flow_run.start_time or state.timestamp
    async with db:
        await report(logs.Run(agent, str(flow_run.id)), begun, reason=reason, fault=fault)
