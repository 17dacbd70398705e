"""The price of a look, kept in the database: whichever Tracker comes first in an hour moves it, and all go by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from atlas import clock, settings
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery, MarketRow
from maia.tracker.schedule import Adaptive, Market, Schedule, Seen, Tiers, appraise, spread

APPRAISAL = timedelta(hours=1)
"""How long a price stands."""

SAMPLE = 2_000
"""Videos that a price is appraised on: their demand is that of all within a few per cent."""

_HOUR = timedelta(hours=1)


async def schedule_of(dao: MaiaDAO, readings: int, every: timedelta) -> Schedule:
    """Open the schedule of the settings for a run that may make ``readings`` and comes round ``every`` so often.

    With no reading left to spend the price stays as it is.
    """
    if settings.TRACKER_SCHEDULE == "tiers":
        return Tiers()
    now = clock.now()
    row = await dao.fetch_market()
    if row is None or (readings > 0 and now - row["appraised_at"] >= APPRAISAL):
        row = await _appraised(dao, row, readings * (_HOUR / every), now)
    return Adaptive(_market(row))


async def first_looks(dao: MaiaDAO, found: Sequence[Discovery], now: datetime) -> list[Discovery]:
    """Say when to look first at videos that were just found, by the schedule of the settings.

    As they are, that is spread over their tier's interval, under tiers and as long as there is no price.
    """
    if settings.TRACKER_SCHEDULE == "tiers" or not found or (row := await dao.fetch_market()) is None:
        return list(found)
    seen = seen_of(
        [video.id for video in found],
        published=[video.published_at for video in found],
        added=[now] * len(found),
        read=[now] * len(found),
        views=[video.views for video in found],
        rates=[None] * len(found),
    )
    waits = Adaptive(_market(row)).first_waits(seen).tolist()
    return [replace(video, next_track_at=now + timedelta(hours=wait)) for video, wait in zip(found, waits, strict=True)]


def seen_of(
    video_ids: Sequence[str],
    *,
    published: Sequence[datetime],
    added: Sequence[datetime],
    read: Sequence[datetime],
    views: Sequence[int | None],
    rates: Sequence[float | None],
) -> Seen:
    """Make arrays of what is known of videos, each last ``read`` at a time of its own."""
    return Seen(
        age=_hours(published, read),
        views=np.array(views, np.float64),
        rate=np.array(rates, np.float64),
        observed=_hours(added, read),
        spread=spread(video_ids),
    )


async def _appraised(dao: MaiaDAO, before: MarketRow | None, per_hour: float, now: datetime) -> MarketRow:
    """Move the price so that all videos together ask for ``per_hour`` readings; or take the one that another moved."""
    videos, late = await dao.tracking_demand(now=now)
    # Another stretch of ids each hour: the Trackers of one hour look at the same.
    rows = await dao.survey_watchlist(SAMPLE, start=_start(now))
    seen = seen_of(
        [row["video_id"] for row in rows],
        published=[row["published_at"] for row in rows],
        added=[row["added_at"] for row in rows],
        read=[row["last_tracked_at"] or row["added_at"] for row in rows],
        views=[row["last_views"] for row in rows],
        rates=[row["rate"] for row in rows],
    )
    market = appraise(
        seen,
        per_hour / max(videos, 1),
        before=None if before is None else _market(before),
        late=late / (24 * per_hour) if per_hour else 0.0,
    )
    since = None if before is None else before["appraised_at"]
    if not await dao.move_market(*market, since=since, now=now) and (moved := await dao.fetch_market()) is not None:
        return moved
    return MarketRow(
        price=market.price, flow=market.flow, growth=market.growth, newcomer=market.newcomer, appraised_at=now
    )


def _market(row: MarketRow) -> Market:
    return Market(row["price"], row["flow"], row["growth"], row["newcomer"])


_LETTERS = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"  # of a video id, in "C" order


def _start(now: datetime) -> str:
    """Begin somewhere among the ids, elsewhere each hour, evenly over the weeks (a Weyl sequence)."""
    place = int(now.timestamp() // _HOUR.total_seconds()) * 0.6180339887498949 % 1.0
    first, rest = divmod(place * len(_LETTERS), 1.0)
    return _LETTERS[int(first)] + _LETTERS[int(rest * len(_LETTERS))]


def _hours(since: Sequence[datetime], until: Sequence[datetime]) -> np.typing.NDArray[np.float64]:
    return np.array([(end - begin) / _HOUR for begin, end in zip(since, until, strict=True)], np.float64)
