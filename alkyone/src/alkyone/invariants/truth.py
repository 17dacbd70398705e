"""What a stand-in knows of what it served: the readings, the videos it named, the units it charged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from alkyone.invariants import Hot
    from alkyone.standins.youtube import YouTubeStandin

Instant = tuple[str, datetime]
Reading = tuple[int | None, int | None, int | None]


class Books(NamedTuple):
    """What SQL says of the same."""

    ledger: Mapping[tuple[date, str], int]
    judged: frozenset[str]
    pages_to_read: bool


@dataclass(frozen=True)
class Truth:
    """What was served. What a worker read that died, or lost its database, before it could store it is ``excused``.

    ``gone`` are videos that were named and cannot be found any more. When a worker died after it reserved units, or
    gave up a call that YouTube may never have got, the ledger may count more than YouTube (``may_exceed``), never less;
    when a clock jumped between the two, the units may be on another day (``days_may_differ``).
    """

    served: Mapping[Instant, Reading]
    named: frozenset[str]
    charged: Mapping[tuple[date, str], int]
    excused: frozenset[Instant] = frozenset()
    gone: frozenset[str] = frozenset()
    may_exceed: bool = False
    days_may_differ: bool = False

    @classmethod
    def of_standin(cls, youtube: YouTubeStandin) -> Self:
        """Ask a stand-in of this process."""
        now = youtube.now()
        named = frozenset(youtube.served.candidates)
        return cls(
            served=_readings(youtube.served.columns()),
            named=named,
            charged=_charged(youtube.quota.usage()),
            gone=frozenset(name for name in named if youtube.world.video(name, now) is None),
        )

    @classmethod
    async def at(cls, endpoint: str) -> Self:
        """Ask a stand-in at an address.

        Raises:
            aiohttp.ClientError: there is none.
        """
        import aiohttp

        async with aiohttp.ClientSession(raise_for_status=True) as http:

            async def ask(what: str) -> Any:
                async with http.get(f"{endpoint.rstrip('/')}/_standin/{what}") as answer:
                    return await answer.json()

            return cls(
                served=_readings(await ask("served")),
                named=frozenset(await ask("served/ids")),
                charged=_charged(await ask("quota?all=1")),
            )

    def breaches(
        self, hot: Hot, stored: Sequence[tuple[Any, ...]], books: Books
    ) -> tuple[list[str], list[str], list[str], list[str]]:
        """Compare: what of the served is not stored, what of the stored was not served, units, candidates."""
        kept = {(row[0], row[1]): row[2:5] for row in stored}
        lost = [
            f"{video_id} at {at}"
            for (video_id, at), reading in self.served.items()
            if kept.get((video_id, at)) != reading
            and hot.is_kept(at.date())
            and not ((video_id, at) in self.excused and (video_id, at) not in kept)
        ]
        invented = [f"{video_id} at {at}" for (video_id, at) in kept.keys() - self.served.keys()]
        ours, theirs = self._by_day(books.ledger), self._by_day(self.charged)
        units = [
            f"{bucket} {day or ''}: {ours[day, bucket]} here, {theirs[day, bucket]} there"
            for day, bucket in ours.keys() | theirs.keys()
            if ours[day, bucket] != theirs[day, bucket]
            and not (self.may_exceed and ours[day, bucket] > theirs[day, bucket])
        ]
        missed = [] if books.pages_to_read else sorted(self.named - books.judged - self.gone)
        return lost, invented, units, missed

    def _by_day(self, units: Mapping[tuple[date, str], int]) -> Counter[tuple[date | None, str]]:
        summed: Counter[tuple[date | None, str]] = Counter()
        for (day, bucket), used in units.items():
            summed[None if self.days_may_differ else day, bucket] += used
        return summed


def _readings(columns: Mapping[str, Sequence[Any]]) -> dict[Instant, Reading]:
    names = ("video_id", "timestamp", "views", "likes", "comment_count")
    return {
        (video_id, datetime.fromisoformat(at)): (views, likes, comments)
        for video_id, at, views, likes, comments in zip(*(columns[name] for name in names), strict=True)
    }


def _charged(usage: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[tuple[date, str], int]:
    charged: dict[tuple[date, str], int] = {}
    for days in usage.values():
        for day, buckets in days.items():
            for bucket, units in buckets.items():
                key = (date.fromisoformat(day), bucket)
                charged[key] = charged.get(key, 0) + units
    return charged
