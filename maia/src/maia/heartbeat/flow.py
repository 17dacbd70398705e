"""The heartbeat as a Prefect flow."""

from __future__ import annotations

from maia.engine import flow, publish
from maia.heartbeat.agent import HeartbeatSummary, run_once


@flow(name="run_heartbeat")
async def run_heartbeat() -> HeartbeatSummary:
    """Say how the system is: to OPS when that changed or a day has passed, and to HEARTBEAT_URL each time."""
    summary = await run_once()
    await publish("heartbeat", summary)
    return summary


if __name__ == "__main__":
    from maia.cli.heartbeat import main

    main()
