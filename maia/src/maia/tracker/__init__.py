"""The Tracker; ``run_tracker_cycle`` is loaded on first use, because it brings Prefect along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maia.tracker.flow import run_tracker_cycle

__all__ = ["run_tracker_cycle"]


def __getattr__(name: str) -> Any:
    if name != "run_tracker_cycle":
        raise AttributeError(name)
    from maia.tracker.flow import run_tracker_cycle

    return run_tracker_cycle
