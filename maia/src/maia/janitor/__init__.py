"""The Janitor; ``run_janitor_cycle`` is loaded on first use, because it brings Prefect along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maia.janitor.flow import run_janitor_cycle

__all__ = ["run_janitor_cycle"]


def __getattr__(name: str) -> Any:
    if name != "run_janitor_cycle":
        raise AttributeError(name)
    from maia.janitor.flow import run_janitor_cycle

    return run_janitor_cycle
