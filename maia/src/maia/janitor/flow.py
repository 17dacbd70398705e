"""The janitor as a Prefect flow."""

from __future__ import annotations

from maia.engine import flow, publish
from maia.janitor.agent import JanitorSummary, run_once


@flow(name="run_janitor_cycle")
async def run_janitor_cycle(dry_run: bool = False) -> JanitorSummary:
    """Archive closed days, retire old videos, keep partitions ahead; ``dry_run`` only reports what it would do."""
    summary = await run_once(dry_run=dry_run)
    await publish("janitor", summary)
    return summary


if __name__ == "__main__":
    from maia.cli.agents import main_of

    main_of("janitor")
