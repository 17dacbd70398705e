"""A cycle's counts in words: for the terminal, and for Prefect's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def markdown(agent: str, summary: Mapping[str, Any]) -> str:
    """Lay the counts out as a markdown table."""
    rows = [f"| {name} | {value} |" for name, value in flatten(summary)]
    return "\n".join([f"### {agent}", "", "| | |", "|---|---:|", *rows])


def flatten(summary: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name every count in words: ``quota: {search: 3}`` becomes ``quota, search`` and ``3``."""
    for name, value in summary.items():
        words = prefix + name.replace("_", " ")
        if isinstance(value, Mapping):
            yield from flatten(value, f"{words}, ")
        elif isinstance(value, list | tuple):
            yield words, ", ".join(map(str, value)) or "none"
        elif isinstance(value, bool):
            yield words, "yes" if value else "no"
        else:
            yield words, f"{value:,}" if isinstance(value, int) else str(value)
