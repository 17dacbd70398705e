"""A cycle's counts in words: for the terminal, and for Prefect's page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from atlas.plain import cell

AT_WORK = "nothing due: another run is at work"
NOTHING_DUE = "nothing due"
SHARE_USED = "share of the day's quota used"
TIME_IS_UP = "time for the next run"


class Ending(NamedTuple):
    """How a completed cycle ended: the name that Prefect's page shows, and why."""

    name: str
    reason: str


def ending(summary: Mapping[str, Any]) -> Ending:
    """Say how a cycle ended that its summary tells of."""
    if summary.get("dry_run"):
        return Ending("Dry run", "nothing was changed")
    match summary.get("stopped_by"):
        case None:
            state = summary.get("state")
            return Ending(state or "Completed", "; ".join(summary.get("reasons", ())))
        case str(reason) if reason == AT_WORK or (reason == NOTHING_DUE and not _is_anything(summary)):
            return Ending("Nothing due", reason)
        case str(reason) if reason == NOTHING_DUE:
            return Ending("Completed", "nothing more is due")
        case str(reason) if reason == SHARE_USED:
            return Ending("Share used", reason)
        case str(reason) if reason == TIME_IS_UP:
            return Ending("Time is up", reason)
        case str(reason) if " is spent until " in reason:
            return Ending("Quota spent", reason)
        case reason:
            return Ending("Stopped early", str(reason))


def _is_anything(summary: Mapping[str, Any]) -> bool:
    """Does it count anything but zeros?"""
    return any(
        _is_anything(value) if isinstance(value, Mapping) else isinstance(value, int) and value > 0
        for value in summary.values()
    )


def markdown(
    agent: str, summary: Mapping[str, Any], *, at: datetime | None = None, dashboard: str | None = None
) -> str:
    """Lay the counts out as a markdown table, with a link to the dashboard where there is one."""
    name, reason = ending(summary)
    rows = [
        f"| {cell(words[:1].upper() + words[1:])} | {cell(value)} |"
        for words, value in flatten(summary)
        if words not in {"stopped by", "state", "reasons"}  # said above the table
    ]
    lines = [f"### {agent.capitalize()}" + (f", {at:%Y-%m-%d %H:%M} UTC" if at else "")]
    lines += ["", f"**{cell(name)}**" + (f": {cell(reason)}" if reason else "")]
    if rows:
        lines += ["", "| What | Count |", "|:---|---:|", *rows]
    if dashboard:
        lines += ["", f"[Dashboard]({dashboard})"]
    return "\n".join(lines)


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
