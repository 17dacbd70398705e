"""Deployments files made of the packaged one, for a ``maia up`` whose schedule is not the wall clock's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from maia.deployments import PACKAGED

DAY = timedelta(days=1)
FLOWS = "alkyone.soak.flows"
MINUTES: Mapping[str, int] = {"janitor": 24 * 60, "heartbeat": 15}
"""How often comes round what is not told by ``every_minutes``; as in prefect.yaml."""

GENTLY = timedelta(seconds=5)
"""How far apart the first runs of the deployments are."""

Entry = dict[str, Any]


def write(path: Path, change: Callable[[int, Entry], Entry]) -> Path:
    """Write the packaged deployments to ``path``, each as ``change`` makes it of its number and its entry."""
    document = yaml.safe_load(PACKAGED.read_text(encoding="utf-8"))
    entries: Sequence[Entry] = document["deployments"]
    changed = [change(number, entry) for number, entry in enumerate(entries)]
    path.write_text(yaml.safe_dump({"deployments": changed}, sort_keys=False), encoding="utf-8")
    return path


def when_asked(path: Path) -> Path:
    """Deployments that run only when they are asked to."""
    return write(path, lambda _, entry: entry | {"schedules": []})


def at_any_machine(path: Path, *, every_minutes: int) -> Path:
    """Deployments that run when they are asked to, at the time of ``ALKYONE_CLOCK``, several of one at once."""

    def change(_: int, entry: Entry) -> Entry:
        parameters = dict(entry.get("parameters") or {})
        if "every_minutes" in parameters:
            parameters["every_minutes"] = every_minutes
        return _paced(entry) | {"schedules": [], "concurrency_limit": None, "parameters": parameters}

    return write(path, change)


def faster(path: Path, *, first: datetime, speed: float, stretch: float, within: timedelta) -> Path:
    """Deployments that come round ``speed`` times as often, less ``stretch``, from ``first`` on by the wall's clock.

    ``every_minutes`` keeps its meaning, in the minutes of the faster clock. What comes but once a day is not
    stretched, and comes at least twice ``within`` the span.
    """

    def change(number: int, entry: Entry) -> Entry:
        parameters = dict(entry.get("parameters") or {})
        every = timedelta(minutes=parameters.get("every_minutes") or MINUTES[entry["name"]])
        if every < DAY:
            every *= stretch
        if "every_minutes" in parameters:
            parameters["every_minutes"] = round(every / timedelta(minutes=1))
        interval = min(every / speed, within / 2)
        # A rare one first comes halfway to its second time: there is nothing to do for it at the beginning.
        anchor = first + number * GENTLY + (interval / 2 if every >= DAY else timedelta())
        schedule = {"interval": interval.total_seconds(), "anchor_date": anchor.isoformat(), "timezone": "UTC"}
        return _paced(entry) | {"parameters": parameters, "schedules": [schedule]}

    return write(path, change)


def _paced(entry: Entry) -> Entry:
    return entry | {"entrypoint": f"{FLOWS}.{entry['entrypoint'].rpartition('.')[2]}"}
