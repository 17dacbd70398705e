"""Prefect as we want it: private and patient at start, where the operator did not say otherwise.

Flows take Prefect from here, because these defaults must stand in the environment before it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from maia.reporting import markdown

_DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # The temporary server needs up to 13 s on two cores; Prefect gives it 20.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)

from prefect import flow  # noqa: E402
from prefect.artifacts import acreate_markdown_artifact  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402, F401 - maia.runs asks it for the run's id
from prefect.settings import PREFECT_API_URL  # noqa: E402

__all__ = ["api_url", "flow", "publish"]


def api_url() -> str | None:
    """Where the Prefect server is, by the environment or Prefect's profile; None: nobody said."""
    address: str | None = PREFECT_API_URL.value()
    return address


async def publish(agent: str, summary: Mapping[str, Any]) -> None:
    """Publish a cycle's counts as the artifact ``<agent>-cycle`` of the running flow."""
    await acreate_markdown_artifact(
        key=f"{agent}-cycle", markdown=markdown(agent, summary), description=f"The last cycle of the {agent}"
    )
