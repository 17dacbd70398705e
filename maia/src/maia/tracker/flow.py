"""The tracker as a Prefect flow."""

from __future__ import annotations

from datetime import timedelta

from maia.engine import flow, publish
from maia.tracker.agent import TrackerSummary, run_once


@flow(name="run_tracker_cycle")
async def run_tracker_cycle(every_minutes: int = 15) -> TrackerSummary:
    """Sample what is due within the share of the day's quota of a run that comes round every ``every_minutes``."""
    summary = await run_once(every=timedelta(minutes=every_minutes))
    await publish("tracker", summary)
    return summary


if __name__ == "__main__":
    from maia.cli.agents import main_of

    main_of("tracker")
