"""The heartbeat; ``run_heartbeat`` is loaded on first use, because it brings Prefect along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maia.heartbeat.flow import run_heartbeat

__all__ = ["run_heartbeat"]


def __getattr__(name: str) -> Any:
    if name != "run_heartbeat":
        raise AttributeError(name)
    from maia.heartbeat.flow import run_heartbeat

    return run_heartbeat
