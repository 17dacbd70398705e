"""The janitor as a Prefect flow."""

from __future__ import annotations

from maia.engine import flow_of
from maia.janitor.agent import JanitorSummary, run_once
from maia.turns import Skipped


@flow_of("janitor")
async def run_janitor_cycle(dry_run: bool = False) -> JanitorSummary | Skipped:
    """Archive closed days, retire old videos, keep partitions ahead; ``dry_run`` only reports what it would do."""
    return await run_once(dry_run=dry_run)


if __name__ == "__main__":
    from maia.cli.agents import main_of

    main_of("janitor")
