"""The stand-in's own count of quota: per project, bucket and Pacific day."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date, datetime
from zoneinfo import ZoneInfo

from alkyone.standins.youtube import problems
from atlas.errors import Bucket

# "Daily quota resets at midnight Pacific Time" (YouTube Data API, "Quota and compliance audits").
PACIFIC = ZoneInfo("America/Los_Angeles")
LIMITS: Mapping[Bucket, int] = {"search": 100, "stats": 10_000, "general": 10_000}


class Quota:
    """What every project has used; ``per_minute`` limits the calls of a project in a real minute, when set."""

    def __init__(
        self,
        limits: Mapping[Bucket, int] | None = None,
        *,
        per_minute: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits: dict[Bucket, int] = {**LIMITS, **(limits or {})}
        self.per_minute = per_minute
        self.refused: dict[Bucket, int] = dict.fromkeys(LIMITS, 0)
        """Calls turned away because the day's units were spent."""
        self._monotonic = monotonic
        self._used: defaultdict[tuple[str, date, Bucket], int] = defaultdict(int)
        self._minutes: defaultdict[str, list[float]] = defaultdict(list)

    def charge(self, project: str, bucket: Bucket, units: int, now: datetime) -> None:
        """Book a call, also one that will fail: YouTube charges those too.

        Raises:
            Problem: the day's units are spent (nothing is booked), or the minute's calls are (the call is booked).
        """
        account = (project, now.astimezone(PACIFIC).date(), bucket)
        if self._used[account] + units > self.limits[bucket]:
            self.refused[bucket] += 1
            raise self.spent(project, bucket)
        self._used[account] += units
        if self.per_minute is not None:
            self._throttle(project, bucket, self.per_minute)

    def spent(self, project: str, bucket: Bucket) -> problems.Problem:
        """The refusal of a bucket that is empty for the day."""
        if bucket == "general":
            return problems.general_spent()
        return problems.bucket_spent(bucket, project, self.limits[bucket])

    def used(self, project: str, bucket: Bucket, now: datetime) -> int:
        """Units of the Pacific day in which ``now`` lies."""
        return self._used.get((project, now.astimezone(PACIFIC).date(), bucket), 0)

    def usage(self, day: date | None = None) -> dict[str, dict[str, dict[str, int]]]:
        """Everything booked, as ``{project: {day: {bucket: units}}}``; of one day when given."""
        report: dict[str, dict[str, dict[str, int]]] = {}
        for (project, on, bucket), units in sorted(self._used.items()):
            if units and day in (None, on):
                report.setdefault(project, {}).setdefault(on.isoformat(), {})[bucket] = units
        return report

    def _throttle(self, project: str, bucket: Bucket, limit: int) -> None:
        now = self._monotonic()
        recent = [instant for instant in self._minutes[project] if instant > now - 60]
        if len(recent) < limit:
            recent.append(now)
            self._minutes[project] = recent
            return
        self._minutes[project] = recent
        raise problems.throttled(bucket, project, limit)
