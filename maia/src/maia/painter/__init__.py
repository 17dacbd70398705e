"""The Painter; ``run_painter_cycle`` is loaded on first use, because it brings Prefect along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maia.painter.flow import run_painter_cycle

__all__ = ["run_painter_cycle"]


def __getattr__(name: str) -> Any:
    if name != "run_painter_cycle":
        raise AttributeError(name)
    from maia.painter.flow import run_painter_cycle

    return run_painter_cycle
