"""The deployments of ``prefect.yaml``, which is the one place that says what runs when, and ``serve``, which runs them.

The file is Prefect's own: ``prefect deploy --all`` reads it for a work pool. ``serve`` reads the same and needs no
pool: one process polls the server, and each run is a process of its own, so that its memory goes with it.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from atlas import clock
from atlas.errors import AtlasError, ConfigurationError

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment
    from prefect.runner import Runner
    from prefect.schedules import Schedule

PACKAGED = Path(__file__).with_name("prefect.yaml")
"""The ``prefect.yaml`` at the top of the repository, copied here by ``make format``: a wheel carries it."""


class ServerUnreachable(AtlasError):
    """The Prefect server does not answer, or refuses; trying later may work."""

    retryable = True


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timing(_Strict):
    """When a deployment runs: a cron line, or an interval in seconds, counted from ``anchor_date``."""

    cron: str | None = None
    interval: float | None = Field(default=None, gt=0)
    anchor_date: AwareDatetime | None = None
    timezone: str = "UTC"
    active: bool = True

    @model_validator(mode="after")
    def _is_one_of_the_two(self) -> Self:
        if (self.cron is None) == (self.interval is None):
            raise ValueError("a schedule is a cron line or an interval")
        if self.anchor_date is not None and self.interval is None:
            raise ValueError("an anchor_date belongs to an interval")
        return self

    def __str__(self) -> str:
        return f"{self.cron} {self.timezone}" if self.cron else f"every {self.interval:g} s"

    def as_prefect(self) -> Schedule:
        """What Prefect calls it."""
        from prefect.schedules import Schedule

        if self.interval is None:
            return Schedule(cron=self.cron, timezone=self.timezone, active=self.active)
        return Schedule(
            interval=timedelta(seconds=self.interval),
            anchor_date=self.anchor_date or clock.now(),
            timezone=self.timezone,
            active=self.active,
        )


class Concurrency(_Strict):
    """How many runs of a deployment there may be at once, and what becomes of one more."""

    limit: int = Field(ge=1)
    collision_strategy: str = "ENQUEUE"
    grace_period_seconds: int | None = None


class Deployment(_Strict):
    """One entry of ``deployments``; what only concerns a work pool is read and left alone."""

    name: str
    entrypoint: str = Field(pattern=r"^[\w.]+\.\w+$")
    description: str | None = None
    version: str | None = None
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: tuple[Timing, ...] = ()
    concurrency_limit: int | Concurrency | None = None
    triggers: list[dict[str, Any]] = Field(default_factory=list)
    work_pool: dict[str, Any] | None = None

    def as_prefect(self) -> RunnerDeployment:
        """What Prefect calls it; imports the flow, whose signature says which parameters there are."""
        from prefect.client.schemas.objects import ConcurrencyLimitConfig
        from prefect.deployments.runner import RunnerDeployment

        limit = self.concurrency_limit
        return RunnerDeployment.from_entrypoint(
            entrypoint=self.entrypoint,
            name=self.name,
            description=self.description,
            version=self.version,
            tags=list(self.tags),
            parameters=self.parameters,
            schedules=[timing.as_prefect() for timing in self.schedules],
            concurrency_limit=ConcurrencyLimitConfig(**limit.model_dump()) if isinstance(limit, Concurrency) else limit,
            triggers=self.triggers,  # type: ignore[arg-type]
        )


def read(path: Path = PACKAGED) -> tuple[Deployment, ...]:
    """Read the deployments of a ``prefect.yaml``.

    Raises:
        ConfigurationError: it cannot be read, or says something that ``serve`` would not do.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = tuple(Deployment.model_validate(entry) for entry in document["deployments"])
    except OSError as exc:
        raise ConfigurationError(f"{path} cannot be read: {exc.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path} is not YAML: {exc}") from None
    except (KeyError, TypeError):
        raise ConfigurationError(f"{path} has no list of deployments") from None
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{path}: a deployment's {place}: {first['msg']}") from None
    if not found:
        raise ConfigurationError(f"{path} has no deployment")
    return found


async def serve(deployments: Iterable[Deployment], *, limit: int, on_ready: Callable[[], None] = lambda: None) -> None:
    """Register ``deployments`` and run what is due, ``limit`` at once, until SIGINT or SIGTERM.

    Runs at work are ended then, each by a SIGTERM: an agent gives back what it holds, and Prefect shows the run as
    cancelled. Schedules stay as they are, other processes may serve them.

    Raises:
        ConfigurationError: a flow cannot be imported.
        ServerUnreachable: the server does not answer.
    """
    from prefect.runner import Runner

    try:
        registered = [deployment.as_prefect() for deployment in deployments]
    except (ImportError, AttributeError, TypeError) as exc:
        raise ConfigurationError(f"a flow of the deployments cannot be loaded: {exc}") from exc
    runner = Runner(name="maia", limit=limit, pause_on_shutdown=False)
    await _register(runner, registered)
    loop = asyncio.get_running_loop()
    serving = asyncio.create_task(runner.start())
    await asyncio.sleep(0)  # it has set a handler of its own for SIGTERM, which would end the process half-way
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    on_ready()
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await runner.astop()
        await serving
    except Exception as exc:
        raise ServerUnreachable(f"the Prefect server was lost: {exc}") from exc
    finally:
        stopping.cancel()


async def _register(runner: Runner, deployments: Sequence[RunnerDeployment]) -> None:
    import httpx
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL

    try:
        for deployment in deployments:
            # Named explicitly, or an entry that `prefect deploy` made for a work pool would stay with its pool.
            deployment.work_pool_name = deployment.work_queue_name = None
            await runner.aadd_deployment(deployment)
    except (httpx.TransportError, PrefectHTTPStatusError, RuntimeError) as exc:
        raise ServerUnreachable(f"the Prefect server at {PREFECT_API_URL.value()} does not take them: {exc}") from exc
