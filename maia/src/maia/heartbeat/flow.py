"""The heartbeat as a Prefect flow."""

from __future__ import annotations

from maia.engine import flow_of
from maia.heartbeat.agent import HeartbeatSummary, run_once


@flow_of("heartbeat")
async def run_heartbeat() -> HeartbeatSummary:
    """Say how the system is: to OPS when that changed or a day has passed, and to HEARTBEAT_URL each time."""
    return await run_once()


if __name__ == "__main__":
    from maia.cli.heartbeat import main

    main()
