"""The Hunter; ``run_hunter_cycle`` is loaded on first use, because it brings Prefect along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maia.hunter.flow import run_hunter_cycle

__all__ = ["run_hunter_cycle"]


def __getattr__(name: str) -> Any:
    if name != "run_hunter_cycle":
        raise AttributeError(name)
    from maia.hunter.flow import run_hunter_cycle

    return run_hunter_cycle
