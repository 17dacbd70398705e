"""What is stored, held against the stand-in's own record, where instants differ by the way between the two."""

from __future__ import annotations

import asyncio
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, LiteralString, TypedDict

from alkyone import snapshots
from alkyone.invariants import Report, check
from alkyone.standins.youtube import YouTubeStandin
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.vault import LocalVault, VaultStrategy

COUNTS: Mapping[str, LiteralString] = {
    "watchlist": "SELECT count(*) FROM watchlist",
    "videos": "SELECT count(*) FROM videos",
    "channels": "SELECT count(*) FROM channels",
    "video_stats_log": "SELECT count(*) FROM video_stats_log",
    "video_vectors": "SELECT count(*) FROM video_vectors",
    "system_events": "SELECT count(*) FROM system_events",
}


class Verdict(TypedDict):
    """``lost`` readings were served and are not stored; ``invented`` ones were never served.

    ``doubled`` are the rows beyond one of a video and instant; ``promises_broken`` what `alkyone check` finds at rest.
    ``apart`` is how far, in seconds, the agents' time was from the stand-in's, in the middle and at most.
    """

    counts: dict[str, int]
    readings_served: int
    readings_stored: int
    lost: int
    invented: int
    doubled: int
    apart: tuple[float, float]
    ledger_is_right: bool
    promises_kept: int
    promises_broken: list[str]


def audit(conninfo: str, vault: Path | VaultStrategy, youtube: YouTubeStandin, *, at_rest: bool = True) -> Verdict:
    """Judge a database and a vault that nobody works at any more; of those who did, none was killed if ``at_rest``."""
    columns = youtube.served.columns()
    served = Counter(zip(*(columns[name] for name in ("video_id", "views", "likes", "comment_count")), strict=True))
    opened = LocalVault(vault) if isinstance(vault, Path) else vault
    rows = snapshots.samples(conninfo, opened)
    stored = Counter((row[0], *row[2:]) for row in rows)
    charged = {
        (date.fromisoformat(day), bucket): units
        for days in youtube.quota.usage().values()
        for day, buckets in days.items()
        for bucket, units in buckets.items()
        if units
    }
    counts = {name: int(snapshots.column(conninfo, count)[0]) for name, count in COUNTS.items()}
    report = asyncio.run(_checked(conninfo, opened, youtube, at_rest=at_rest))
    return {
        "counts": counts | {"samples archived": len(rows) - counts["video_stats_log"]},
        "readings_served": served.total(),
        "readings_stored": stored.total(),
        "lost": (served - stored).total(),
        "invented": (stored - served).total(),
        "doubled": len(rows) - len({(row[0], row[1]) for row in rows}),
        "apart": _apart(snapshots.served(columns), rows),
        "ledger_is_right": snapshots.ledger(conninfo) == charged,
        "promises_kept": len(report.held),
        "promises_broken": [str(breach) for breach in report.breaches],
    }


def _apart(
    served: Mapping[tuple[str, datetime], snapshots.Reading], rows: Sequence[tuple[Any, ...]]
) -> tuple[float, float]:
    """Compare the instants of the readings that were served with just these counts only once."""
    at: dict[tuple[Any, ...], list[datetime]] = defaultdict(list)
    for (video_id, instant), reading in served.items():
        at[(video_id, *reading)].append(instant)
    once = {key: instants[0] for key, instants in at.items() if len(instants) == 1}
    found = [abs((row[1] - once[key]).total_seconds()) for row in rows if (key := (row[0], *row[2:])) in once]
    return (round(statistics.median(found), 1), round(max(found), 1)) if found else (0.0, 0.0)


async def _checked(conninfo: str, vault: VaultStrategy, youtube: YouTubeStandin, *, at_rest: bool) -> Report:
    async with DatabaseManager(conninfo) as database:
        rules = Settings.model_construct()
        return await check(database, vault, rules=rules, now=youtube.now(), at_rest=at_rest)
