"""The Scribe; ``run_scribe_cycle`` is loaded on first use, because it brings Prefect along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maia.scribe.flow import run_scribe_cycle

__all__ = ["run_scribe_cycle"]


def __getattr__(name: str) -> Any:
    if name != "run_scribe_cycle":
        raise AttributeError(name)
    from maia.scribe.flow import run_scribe_cycle

    return run_scribe_cycle
