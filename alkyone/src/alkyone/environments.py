"""What a program of ours is given of this process's environment, when it shall find no settings there."""

from __future__ import annotations

import os

KEPT = ("PATH", "COVERAGE_PROCESS_CONFIG")
"""Where programs are; and, while `make coverage` counts, what makes it count in other processes, too."""


def bare() -> dict[str, str]:
    """Give the environment of somebody who has set nothing."""
    return {name: os.environ[name] for name in KEPT if name in os.environ}
