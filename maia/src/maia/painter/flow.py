"""The painter as a Prefect flow."""

from __future__ import annotations

from datetime import timedelta

from maia.engine import flow_of
from maia.painter.agent import PainterSummary, run_once
from maia.turns import Skipped


@flow_of("painter")
async def run_painter_cycle(every_minutes: int = 30) -> PainterSummary | Skipped:
    """Enrich what is due within the share of the day's quota of a run that comes round every ``every_minutes``."""
    return await run_once(every=timedelta(minutes=every_minutes))


if __name__ == "__main__":
    from maia.cli.agents import main_of

    main_of("painter")
