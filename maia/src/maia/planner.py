"""How the day's quota is spent: what is left of it, split over its purposes and the runs still to come. Pure.

The general bucket is filled like a trough with several basins (weighted max-min fairness): each purpose gets its
weight's share until its demand is met, what it does not need flows on to the others, and what nobody needs is split
by weight, so that a demand estimated too low costs a run and not the day.

Reading pages and enriching what they bring is one basin, since a page whose videos cannot be looked up is wasted. In it
the enrichment of the searches comes first: there are few of them, and they expire at midnight. Then each poll is
planned together with its own enrichment, at the price measured today and yesterday.

A run gets an even part of the plan. After an outage that would be more than the day's even pace, so the plan never
holds more than twice that pace could spend. Twice makes up for a quiet half of the day. More would squeeze a day into
its last hours: YouTube limits calls a minute too, and much that is read at one moment is known by the next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Literal, NamedTuple, get_args

from atlas.adapters.records import DayAhead
from atlas.errors import Bucket
from maia.batches import IDS_PER_CALL

Purpose = Literal["search", "track", "poll", "enrich", "probe", "paint", "caption"]
"""What a unit is used for. ``search`` is all of the search bucket, ``track`` all of the stats one."""

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

BUCKET_OF: Mapping[Purpose, Bucket] = {
    "search": "search",
    "track": "stats",
    "poll": "general",
    "enrich": "general",
    "probe": "general",
    "paint": "general",
    "caption": "general",
}

CAPTIONS_LIST = 50
"""Units of one ``captions.list`` (YouTube Data API, "Quota costs", as of November 2026)."""

CAPTIONS_DOWNLOAD = 200
"""Units of one ``captions.download`` (YouTube Data API, "Captions: download", as of November 2026)."""

CAPTIONS = CAPTIONS_LIST + CAPTIONS_DOWNLOAD
"""Units of one video's captions."""

CATCH_UP = 2
"""A run gets at most this many times an even pace."""

GROWTH = 2
"""A purpose may want this many times what it used of late: so it finds its own measure within hours."""

PRICE_PRIOR = 10
"""Pages that count as seen, each with 50 new videos, before any were: the plan begins on the safe side."""

PROBE_FLOOR = Fraction(1, 100)
"""Of the general bucket, set aside for probes that nothing announces: an answer that leaves videos out."""


class Basin(NamedTuple):
    """A purpose of the general bucket, ``hunt`` being polls and enrichment together."""

    weight: int
    unit: int
    """The smallest useful amount: what one call costs."""


BASINS: Mapping[str, Basin] = {
    # Finding videos is what the general bucket is for: 100,000 discoveries a day take 2,000 units of enrichment and at
    # least as many pages, at 25 new videos a page 6,000 together, of a default of 10,000.
    "hunt": Basin(6, 1),
    # Rarely wanted, but an unanswered probe leaves a video between alive and gone; also the Tracker's way on when the
    # stats bucket is spent.
    "probe": Basin(2, 1),
    # Whatever was found is looked at once, two units for fifty videos: a third of what finding them took.
    "paint": Basin(2, 1),
    # A video's captions cost as much as finding thousands of others, and few operators own the videos found.
    "caption": Basin(1, CAPTIONS),
}


class Outlook(NamedTuple):
    """A moment of a quota day: what may be spent, what was, and what waits. Units are summed over the projects."""

    now: datetime
    begin: datetime
    end: datetime
    limits: Mapping[Bucket, int]
    left: Mapping[Bucket, int]
    used: Mapping[str, int]
    """Today, by purpose."""
    used_before: Mapping[str, int]
    """Yesterday, by purpose."""
    ahead: DayAhead


class Plan(NamedTuple):
    """What each purpose may still use: until the end of the day, and in the run that asks."""

    day: dict[Purpose, int]
    run: dict[Purpose, int]


def plan(outlook: Outlook, every: timedelta) -> Plan:
    """Split what is left over the purposes, and over the runs that come round ``every`` so often.

    While a purpose has a unit planned a run gets at least one call of it. A run's parts never sum to more than is left
    of a bucket, nor, but for rounding up, to more than ``CATCH_UP`` times its even pace.
    """
    runs = max(1, math.ceil((outlook.end - outlook.now) / every))
    budget = {bucket: _budget(outlook, bucket, runs * every) for bucket in outlook.limits}
    price = enrichment_price(outlook)
    pages = budget["search"]
    searches = min(pages, max(outlook.ahead.terms, _recent(outlook, "search")))
    polls = max(outlook.ahead.polls, _recent(outlook, "poll"))
    wanted = {
        "hunt": math.ceil(searches * price) + math.ceil(polls * (1 + price)),
        "probe": _probes(outlook),
        "paint": max(math.ceil(Fraction(2 * outlook.ahead.painter, IDS_PER_CALL)), _recent(outlook, "paint")),
        "caption": min(outlook.ahead.scribe, max(1, _recent(outlook, "caption") // CAPTIONS)) * CAPTIONS,
    }
    general = split(budget["general"], wanted)
    hunt = general["hunt"]
    # A page that nobody could enrich is not worth its call.
    pages = min(pages, math.floor(hunt / price))
    enrich = math.ceil(min(pages, searches) * price)
    polls = math.floor((hunt - enrich) / (1 + price))
    day: dict[Purpose, int] = {
        "search": pages,
        "track": budget["stats"],
        "poll": polls,
        "enrich": hunt - polls,
        "probe": general["probe"],
        "paint": general["paint"],
        "caption": general["caption"],
    }
    run: dict[Purpose, int] = {purpose: _part(units, runs, _unit(purpose)) for purpose, units in day.items()}
    return Plan(day, run)


def split(amount: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Split the general bucket by ``BASINS``: demands first, then what nobody wants; all of ``amount`` is given.

    Whoever wants something gets it, or at least its weight's share, rounded down to whole calls. More to split is never
    less for anyone, but where a call costs more than a unit.
    """
    given = dict.fromkeys(BASINS, 0)
    for name, basin in BASINS.items():
        if basin.unit > 1:
            # What does not make a whole call is of no use to it; the others get that.
            share = _fill(amount, {other: wanted.get(other, 0) for other in BASINS})[name]
            given[name] = share - share % basin.unit
    amount -= sum(given.values())
    fine = {name: wanted.get(name, 0) for name, basin in BASINS.items() if basin.unit == 1}
    demanded = _fill(amount, fine)
    spare = _fill(amount - sum(demanded.values()), dict.fromkeys(fine, amount))
    return given | {name: demanded[name] + spare[name] for name in fine}


def enrichment_price(outlook: Outlook) -> Fraction:
    """General units that a page costs once more, to look up what was new on it: new videos a page, by fifty.

    Measured from today's and yesterday's use; between a fiftieth and one.
    """
    pages = enriched = PRICE_PRIOR
    for used in (outlook.used, outlook.used_before):
        pages += used.get("search", 0) + used.get("poll", 0)
        enriched += used.get("enrich", 0)
    return min(max(Fraction(enriched, pages), Fraction(1, IDS_PER_CALL)), Fraction(1))


def _budget(outlook: Outlook, bucket: Bucket, span: timedelta) -> int:
    """What is left, or what a pace of ``CATCH_UP`` uses in ``span`` if that is less."""
    pace = Fraction(span // _US, (outlook.end - outlook.begin) // _US)
    return max(0, min(outlook.left[bucket], math.ceil(CATCH_UP * outlook.limits[bucket] * pace)))


def _probes(outlook: Outlook) -> int:
    floor = math.ceil(PROBE_FLOOR * outlook.limits["general"])
    instead = 0 if outlook.left["stats"] > 0 else math.ceil(Fraction(outlook.ahead.tracking, IDS_PER_CALL))
    return max(floor, _recent(outlook, "probe")) + instead


def _recent(outlook: Outlook, purpose: Purpose) -> int:
    """``GROWTH`` times what ``purpose`` uses in the rest of the day if it goes on as today and yesterday."""
    used = outlook.used.get(purpose, 0) + outlook.used_before.get(purpose, 0)
    span = outlook.now - outlook.begin + timedelta(days=1)
    return math.ceil(GROWTH * used * Fraction((outlook.end - outlook.now) // _US, span // _US))


def _unit(purpose: Purpose) -> int:
    return BASINS[purpose].unit if purpose in BASINS else 1


def _part(units: int, runs: int, unit: int) -> int:
    """An even part of ``units``, in whole calls and at least one."""
    return min(math.ceil(Fraction(units, runs * unit)) * unit, units - units % unit)


def _fill(amount: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """Hand out ``amount`` by weight, no one more than it wants.

    The unit that goes next goes to whoever has the least for its weight (d'Hondt's method, which unlike the largest
    remainder never takes a unit from anyone when there is one more to hand out).
    """
    if amount <= 0:
        return dict.fromkeys(wanted, 0)
    level, rest = Fraction(0), Fraction(amount)
    weights = sum(BASINS[name].weight for name, units in wanted.items() if units > 0)
    for full, name in sorted((Fraction(units, BASINS[name].weight), name) for name, units in wanted.items()):
        if full <= 0:
            continue
        if (full - level) * weights >= rest:
            level += rest / weights
            break
        rest -= (full - level) * weights
        level, weights = full, weights - BASINS[name].weight
    given = {name: max(0, min(units, math.floor(level * BASINS[name].weight))) for name, units in wanted.items()}
    for _ in range(amount - sum(given.values())):
        open_ = [name for name in given if given[name] < wanted[name]]
        if not open_:
            break
        given[min(open_, key=lambda name: Fraction(given[name] + 1, BASINS[name].weight))] += 1
    return given


_US = timedelta(microseconds=1)
