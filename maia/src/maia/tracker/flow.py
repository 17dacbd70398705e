"""The tracker as a Prefect flow."""

from __future__ import annotations

from datetime import timedelta

from maia.engine import flow_of
from maia.tracker.agent import TrackerSummary, run_once
from maia.turns import Skipped


@flow_of("tracker")
async def run_tracker_cycle(every_minutes: int = 15) -> TrackerSummary | Skipped:
    """Sample what is due within the share of the day's quota of a run that comes round every ``every_minutes``."""
    return await run_once(every=timedelta(minutes=every_minutes))


if __name__ == "__main__":
    from maia.cli.agents import main_of

    main_of("tracker")
