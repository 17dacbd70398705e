"""The detector at work: what the Tracker read goes in, what to store with the samples comes out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from atlas.adapters.records import Expectation, ExpectedRate, Rise, RiseRow, TrackingRow
from maia.virality import core
from maia.virality.core import Curves, Floats

if TYPE_CHECKING:
    from atlas.adapters.maia import MaiaDAO

HOUR = timedelta(hours=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Remembered(NamedTuple):
    """What the detector remembers of a video, as the watchlist keeps it."""

    older_at: datetime | None
    older_views: int | None
    newer_at: datetime | None
    newer_views: int | None
    level: float | None
    evidence: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What a batch of readings says: the memory of each video, the rises, and whose rises are over."""

    memory: Mapping[str, Remembered]
    rises: Sequence[Rise]
    over: Sequence[str]


class Detector:
    """Judges batches of readings by what is expected; ``open`` it once a cycle."""

    def __init__(self, curves: Curves, rules: core.Rules = core.RULES) -> None:
        self._curves = curves
        self._rules = rules

    @classmethod
    async def open(cls, dao: MaiaDAO) -> Detector:
        """Take the curves as they were learned last."""
        return cls(curves_of(await dao.fetch_expected_rates()))

    def look(
        self,
        rows: Sequence[TrackingRow],
        views: Sequence[int | None],
        expectations: Sequence[Expectation],
        rises: Mapping[str, RiseRow],
        now: datetime,
    ) -> Findings:
        """Judge a reading of each of ``rows``, made ``now``; ``views`` is None where hidden."""
        if not rows:
            return Findings({}, (), ())
        memory, at = _memory(rows, rises), np.full(len(rows), _hours(now))
        counts = np.array([np.nan if count is None else count for count in views], np.float64)
        said = core.judge(memory, _reading(rows, at, counts, expectations), self._curves, self._rules)
        turn = core.turn(memory.state, memory.since, at, said.score, said.fresh, self._rules)
        return Findings(
            dict(zip((row["video_id"] for row in rows), _remembered(said.memory), strict=True)),
            list(_rises(rows, rises, turn, said, now)),
            [
                rows[n]["video_id"]
                for n in np.flatnonzero((memory.state != core.QUIET) & (turn.state == core.QUIET)).tolist()
            ],
        )


def curves_of(rates: Sequence[ExpectedRate]) -> Curves:
    """Make the curves of what is stored."""
    points: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for rate in rates:
        points[rate["short"]].append((rate["age"], rate["log_rate"]))
    return Curves.known(*points)


async def learn(dao: MaiaDAO, *, now: datetime) -> int:
    """Learn from the watchlist what is expected from now on; returns how many channels, by format, are known."""
    before = await dao.fetch_expected_rates()
    seen = await dao.fetch_rates_by_age(core.EDGES, now=now)
    rates: list[ExpectedRate] = []
    for short, curve in enumerate(curves_of(before)):
        log_rates, videos = np.full(len(core.KNOTS), np.nan), np.zeros(len(core.KNOTS))
        for row in seen:
            if row["short"] == bool(short):
                log_rates[row["place"] - 1], videos[row["place"] - 1] = row["log_rate"], row["videos"]
        blended = core.learned(log_rates, videos, np.interp(np.log(core.KNOTS), curve.log_ages, curve.log_rates))
        rates += [
            ExpectedRate(short=bool(short), age=age, log_rate=float(rate), videos=int(count))
            for age, rate, count in zip(core.KNOTS, blended, videos, strict=True)
        ]
    young, settled = np.zeros(1), np.full(1, core.SETTLED)
    weeks = [float(np.log(curve.count(young, settled)[0])) for curve in curves_of(rates)]
    return await dao.learn_expectations(rates, settled=core.SETTLED * HOUR, log_week=(weeks[0], weeks[1]), now=now)


def _memory(rows: Sequence[TrackingRow], rises: Mapping[str, RiseRow]) -> core.Memory:
    found = [rises.get(row["video_id"]) for row in rows]
    return core.Memory(
        older_at=_instants(rows, "older_at"),
        older_views=_floats(rows, "older_views"),
        newer_at=_instants(rows, "newer_at"),
        newer_views=_floats(rows, "newer_views"),
        last_at=_instants(rows, "last_tracked_at"),
        last_views=_floats(rows, "last_views"),
        level=_floats(rows, "level"),
        evidence=_floats(rows, "evidence"),
        state=np.array([core.STATES.index(rise["state"]) if rise else core.QUIET for rise in found], np.int8),
        since=np.array([_hours(rise["since"]) if rise else np.nan for rise in found]),
    )


def _reading(
    rows: Sequence[TrackingRow], at: Floats, views: Floats, expectations: Sequence[Expectation]
) -> core.Reading:
    known = {(row["channel_id"], row["short"]): row for row in expectations}

    def column(name: Literal["level", "spread", "videos", "week", "week_videos"], *, of_all: bool = False) -> Floats:
        found = [known.get(("" if of_all else row["channel_id"] or "unknown", bool(row["short"]))) for row in rows]
        return np.array([np.nan if row is None or row[name] is None else row[name] for row in found], np.float64)

    usual = core.shrunk(column("week", of_all=True), column("week_videos", of_all=True), trust=core.CONFIDENCE)
    return core.Reading(
        at,
        views,
        _instants(rows, "published_at"),
        np.array([bool(row["short"]) for row in rows]),
        *core.expectation(column("level"), column("spread"), column("videos")),
        core.shrunk(column("week"), column("week_videos"), towards=usual),
    )


def _rises(
    rows: Sequence[TrackingRow], before: Mapping[str, RiseRow], turn: core.Turn, said: core.Verdict, now: datetime
) -> Iterator[Rise]:
    for n in np.flatnonzero((turn.state != core.QUIET) & ~np.isnan(said.score)).tolist():
        video_id = rows[n]["video_id"]
        known = before.get(video_id)
        state = core.STATES[turn.state[n]]
        turned = known is None or known["state"] != state
        # Flaring up again is no new turn of the same rise.
        news = turned and (known is None or known["state"] != "COOLING")
        yield Rise(
            video_id,
            state,
            now if turned or known is None else known["since"],
            now if known is None else known["began_at"],
            now if turn.raised[n] else known["raised_at"] if known else None,
            float(said.score[n]),
            float(said.rate[n]),
            float(said.times[n]),
            int(said.memory.last_views[n]),
            news,
        )


def _remembered(memory: core.Memory) -> list[Remembered]:
    columns = (memory.older_at, memory.older_views, memory.newer_at, memory.newer_views, memory.level, memory.evidence)
    return [
        Remembered(
            _instant(older_at), _count(older), _instant(newer_at), _count(newer), _known(level), evidence
        )
        for older_at, older, newer_at, newer, level, evidence in zip(
            *(column.tolist() for column in columns), strict=True
        )
    ]  # fmt: skip


def _instants(rows: Sequence[TrackingRow], name: str) -> Floats:
    return np.array([np.nan if row[name] is None else _hours(row[name]) for row in rows])  # type: ignore[literal-required]


def _floats(rows: Sequence[TrackingRow], name: str) -> Floats:
    return np.array([np.nan if row[name] is None else row[name] for row in rows], np.float64)  # type: ignore[literal-required]


def _hours(instant: datetime) -> float:
    return (instant - EPOCH) / HOUR


def _instant(hours: float) -> datetime | None:
    return None if hours != hours else EPOCH + timedelta(hours=hours)


def _count(views: float) -> int | None:
    return None if views != views else round(views)


def _known(value: float) -> float | None:
    return None if value != value else value
