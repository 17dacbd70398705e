"""The scribe as a Prefect flow."""

from __future__ import annotations

from datetime import timedelta

from maia.engine import flow_of
from maia.scribe.agent import ScribeSummary, run_once
from maia.turns import Skipped


@flow_of("scribe")
async def run_scribe_cycle(every_minutes: int = 30) -> ScribeSummary | Skipped:
    """Describe what is due, within the share of the day's quota of a run that comes round ``every_minutes``."""
    return await run_once(every=timedelta(minutes=every_minutes))


if __name__ == "__main__":
    from maia.cli.agents import main_of

    main_of("scribe")
