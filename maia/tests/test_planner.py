"""The plan of a day's quota, without a database or a clock; whole days of runs are played in no time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alkyone.properties import examples
from atlas.adapters.records import DayAhead
from atlas.errors import Bucket
from atlas.quota import began_at, reset_at
from maia.planner import BASINS, BUCKET_OF, CATCH_UP, PURPOSES, Outlook, Plan, Purpose, enrichment_price, plan, split

LIMITS: dict[Bucket, int] = {"search": 100, "stats": 10_000, "general": 10_000}
HALF_HOUR, HOUR, DAY = timedelta(minutes=30), timedelta(hours=1), timedelta(days=1)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
BUSY = DayAhead(terms=10_000, polls=50_000, tracking=0, painter=500_000, scribe=10_000)


def outlook(now: datetime = NOON, **changes: Any) -> Outlook:
    seen = Outlook(now, began_at(now), reset_at(now), LIMITS, LIMITS, {}, {}, DayAhead())
    return seen._replace(**changes)


def spent(parts: Mapping[Purpose, int]) -> Counter[Bucket]:
    total: Counter[Bucket] = Counter()
    for purpose, units in parts.items():
        total[BUCKET_OF[purpose]] += units
    return total


units = st.integers(0, 20_000)
uses = st.dictionaries(st.sampled_from([*PURPOSES, "other"]), units)
days = st.sampled_from(["2026-11-10 08:00", "2026-03-08 08:00", "2026-11-01 07:00"])  # 24, 23 and 25 hours
spans = st.one_of(st.sampled_from([HALF_HOUR, HOUR, DAY]), st.timedeltas(timedelta(minutes=1), 2 * DAY))


@st.composite
def outlooks(draw: st.DrawFn) -> Outlook:
    begin = datetime.fromisoformat(draw(days)).replace(tzinfo=UTC)
    now = draw(st.datetimes(*(at.replace(tzinfo=None) for at in (begin, reset_at(begin) - timedelta(microseconds=1)))))
    limits = {bucket: draw(st.one_of(st.integers(0, 60), st.integers(0, 20_000))) for bucket in LIMITS}
    left = {bucket: draw(st.integers(0, limit)) for bucket, limit in limits.items()}
    ahead = DayAhead(*(draw(st.integers(0, 1_000_000)) for _ in DayAhead._fields))
    return outlook(
        now.replace(tzinfo=UTC), limits=limits, left=left, used=draw(uses), used_before=draw(uses), ahead=ahead
    )


class TestAnyPlan:
    @given(outlooks(), spans)
    def test_is_never_over_what_is_left(self, seen: Outlook, every: timedelta) -> None:
        for parts in plan(seen, every):
            assert min(parts.values()) >= 0
            assert set(parts) == set(PURPOSES)
            assert all(total <= seen.left[bucket] for bucket, total in spent(parts).items())

    @given(outlooks(), spans)
    def test_asks_of_no_run_more_than_about_twice_an_even_pace(self, seen: Outlook, every: timedelta) -> None:
        dearest = sum(basin.unit for basin in BASINS.values()) + 1
        for bucket, total in spent(plan(seen, every).run).items():
            pace = seen.limits[bucket] * (every / (seen.end - seen.begin))
            assert total <= CATCH_UP * pace + 1 + (dearest if bucket == "general" else 0)

    @given(outlooks(), spans)
    def test_leaves_nothing_of_the_general_bucket_without_a_purpose(self, seen: Outlook, every: timedelta) -> None:
        rich = seen._replace(limits=seen.limits | {"general": 1_000_000})

        assert spent(plan(rich, 2 * DAY).day)["general"] == seen.left["general"]

    @given(outlooks(), spans)
    def test_gives_a_run_something_of_whatever_is_planned(self, seen: Outlook, every: timedelta) -> None:
        day, run = plan(seen, every)

        assert {purpose for purpose, units in run.items() if units} == {p for p, units in day.items() if units}

    @given(outlooks(), spans, st.sampled_from(["stats", "general"]), st.integers(0, 100))
    def test_gives_nobody_less_when_more_is_left(
        self, seen: Outlook, every: timedelta, bucket: Bucket, more: int
    ) -> None:
        seen = seen._replace(ahead=seen.ahead._replace(scribe=0), limits=dict.fromkeys(LIMITS, 100_000))
        left = {name: units + 1 for name, units in seen.left.items()}

        less = plan(seen._replace(left=left), every).run
        greater = plan(seen._replace(left=left | {bucket: left[bucket] + more}), every).run

        assert all(less[purpose] <= greater[purpose] for purpose in PURPOSES)

    @given(outlooks(), spans)
    def test_pays_for_enrichment_before_polls(self, seen: Outlook, every: timedelta) -> None:
        day = plan(seen, every).day
        price = enrichment_price(seen)

        assert day["enrich"] >= day["poll"] * price
        assert day["search"] * price <= day["enrich"] + day["poll"] + 1


class TestSplit:
    wants = st.fixed_dictionaries(dict.fromkeys(BASINS, st.integers(0, 3_000)))

    @given(st.integers(0, 5_000), wants)
    def test_gives_all_of_it_and_starves_nobody(self, amount: int, wanted: dict[str, int]) -> None:
        given_ = split(amount, wanted)

        assert sum(given_.values()) == amount
        total = sum(basin.weight for basin in BASINS.values())
        for name, basin in BASINS.items():
            owed = min(wanted[name], amount * basin.weight // total)
            assert given_[name] >= owed - owed % basin.unit
            assert given_[name] % basin.unit == 0

    @given(st.integers(0, 300), st.fixed_dictionaries(dict.fromkeys(["hunt", "probe", "paint"], st.integers(0, 200))))
    def test_is_what_handing_out_unit_by_unit_gives(self, amount: int, wanted: dict[str, int]) -> None:
        one_by_one = dict.fromkeys(wanted, 0)
        for limits in (wanted, dict.fromkeys(wanted, amount)):
            start = dict(one_by_one)
            while sum(one_by_one.values()) < amount:
                open_ = [name for name in BASINS if name in wanted and one_by_one[name] - start[name] < limits[name]]
                if not open_:
                    break
                least = min(open_, key=lambda name: Fraction(one_by_one[name] - start[name] + 1, BASINS[name].weight))
                one_by_one[least] += 1

        assert split(amount, wanted) == one_by_one | {"caption": 0}

    @pytest.mark.parametrize(
        ("amount", "wanted", "expected"),
        [
            pytest.param(1_100, {}, {"hunt": 660, "probe": 220, "paint": 220, "caption": 0}, id="nobody wants any"),
            pytest.param(
                2_800,
                dict.fromkeys(BASINS, 9_999),
                {"hunt": 1_530, "probe": 510, "paint": 510, "caption": 250},
                id="all want all: by weight, captions by whole videos",
            ),
            pytest.param(
                1_000,
                {"hunt": 900, "probe": 10, "paint": 0, "caption": 0},
                {"hunt": 954, "probe": 28, "paint": 18, "caption": 0},
                id="what others do not want flows on",
            ),
            pytest.param(
                50, dict.fromkeys(BASINS, 9_999), {"hunt": 30, "probe": 10, "paint": 10, "caption": 0}, id="too little"
            ),
        ],
    )
    def test_by_example(self, amount: int, wanted: dict[str, int], expected: dict[str, int]) -> None:
        assert split(amount, wanted) == expected


class TestPrice:
    @pytest.mark.parametrize(
        ("used", "before", "price"),
        [
            pytest.param({}, {}, Fraction(1), id="nothing seen: every page is taken to be all new"),
            pytest.param({"poll": 90, "enrich": 10}, {}, Fraction(1, 5), id="ten new a page, and the prior"),
            pytest.param({}, {"search": 50, "poll": 40, "enrich": 40}, Fraction(1, 2), id="yesterday counts"),
            pytest.param({"enrich": 500}, {}, Fraction(1), id="more enriched than read: videos named by hand"),
            pytest.param({"poll": 99_990}, {}, Fraction(1, 50), id="nothing new for long"),
        ],
    )
    def test_is_measured(self, used: dict[str, int], before: dict[str, int], price: Fraction) -> None:
        assert enrichment_price(outlook(used=used, used_before=before)) == price


class TestByExample:
    def test_a_day_without_anything_to_do_is_split_by_weight(self) -> None:
        day, run = plan(outlook(began_at(NOON)), HALF_HOUR)

        assert day == {
            "search": 100, "track": 10_000, "poll": 2_970, "enrich": 2_970,
            "probe": 2_080, "paint": 1_980, "caption": 0,
        }  # fmt: skip
        assert run["search"] == 3
        assert run["track"] == 209

    def test_a_general_bucket_of_fifty_is_not_spent_on_polls_before_the_searches_are_enriched(self) -> None:
        small = LIMITS | {"general": 50}

        day = plan(outlook(began_at(NOON), limits=small, left=small, ahead=BUSY), HALF_HOUR).day

        assert (day["search"], day["enrich"], day["poll"]) == (37, 37, 0)

    def test_a_spent_stats_bucket_sends_readings_to_the_general_one(self) -> None:
        ahead = DayAhead(polls=9_000, tracking=50 * 700)
        usual = plan(outlook(ahead=ahead), HALF_HOUR).day["probe"]

        instead = plan(outlook(ahead=ahead, left=LIMITS | {"stats": 0}), HALF_HOUR).day

        assert usual == 100
        assert (instead["probe"], instead["track"]) == (800, 0)

    def test_captions_are_planned_by_the_video_and_prove_themselves_first(self) -> None:
        waiting = DayAhead(scribe=1_000)

        fresh = plan(outlook(ahead=waiting), HALF_HOUR)
        used = plan(outlook(ahead=waiting, used={"caption": 1_000}), HALF_HOUR)
        idle = plan(outlook(), HALF_HOUR)

        assert (fresh.day["caption"], fresh.run["caption"]) == (250, 250)
        assert used.day["caption"] > 500
        assert idle.day["caption"] == 0


Agenda = Callable[[Plan], dict[Purpose, int]]


def everything(given: Plan) -> dict[Purpose, int]:
    return given.run


def live(
    every: timedelta,
    *,
    begin: str = "2026-11-10 08:00",
    limits: Mapping[Bucket, int] = LIMITS,
    asleep: Callable[[datetime], bool] = lambda now: False,
    use: Agenda = everything,
    ahead: DayAhead = BUSY,
) -> Iterator[tuple[datetime, dict[Purpose, int]]]:
    """Play a quota day, a run ``every`` so often but while ``asleep``; yields what each run used."""
    now = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    end, used = reset_at(now), Counter[str]()
    left = dict(limits)
    while now < end:
        if not asleep(now):
            run = use(plan(outlook(now, limits=limits, left=left, used=used, ahead=ahead), every))
            for bucket, total in spent(run).items():
                left[bucket] -= total
            used.update(run)
            yield now, run
        now += every


def total(runs: list[tuple[datetime, dict[Purpose, int]]]) -> Counter[Bucket]:
    return sum((spent(run) for _, run in runs), Counter())


class TestAWholeDay:
    @pytest.mark.parametrize("begin", ["2026-11-10 08:00", "2026-03-08 08:00", "2026-11-01 07:00"])
    @pytest.mark.parametrize("every", [timedelta(minutes=15), HALF_HOUR, timedelta(hours=5)], ids=str)
    def test_of_runs_that_use_their_part_spends_it_evenly_to_the_last_unit(self, begin: str, every: timedelta) -> None:
        runs = list(live(every, begin=begin))

        assert total(runs)["stats"] == LIMITS["stats"]
        assert total(runs)["general"] >= LIMITS["general"] - 250, "less than one video's captions"
        tracked = [run["track"] for _, run in runs]
        assert max(tracked) - min(tracked) <= 1

    @pytest.mark.parametrize("hours", [1, 12])
    def test_with_an_outage_catches_up_without_a_burst(self, hours: int) -> None:
        back = datetime(2026, 11, 10, 8 + hours, tzinfo=UTC)

        runs = list(live(HALF_HOUR, asleep=lambda now: now < back))

        assert total(runs)["stats"] == LIMITS["stats"]
        pace = LIMITS["stats"] / 48
        after = [run["track"] for now, run in runs if now >= back]
        assert max(after) <= CATCH_UP * pace + 1
        assert max(after) - min(after) <= 1, "what was missed is spread over the rest of the day"

    def test_that_begins_in_its_last_hour_is_not_squeezed_into_it(self) -> None:
        runs = list(live(HALF_HOUR, asleep=lambda now: now < datetime(2026, 11, 11, 7, tzinfo=UTC)))

        assert total(runs)["stats"] == 2 * 2 * 209 - 2

    def test_lets_a_hungry_purpose_have_what_the_others_leave(self) -> None:
        def hunt_only(given: Plan) -> dict[Purpose, int]:
            return {purpose: given.run[purpose] for purpose in ("search", "poll", "enrich")}

        runs = list(live(HALF_HOUR, use=hunt_only, ahead=DayAhead(terms=100, polls=500)))

        assert total(runs)["general"] > 0.95 * LIMITS["general"]

    @examples(25)
    @given(st.sets(st.integers(0, 47)), st.fixed_dictionaries({b: st.integers(0, 400) for b in LIMITS}))
    def test_is_never_overspent_whichever_runs_fall_out(self, missed: set[int], limits: dict[Bucket, int]) -> None:
        begin = datetime(2026, 11, 10, 8, tzinfo=UTC)

        runs = list(live(HALF_HOUR, limits=limits, asleep=lambda now: (now - begin) // HALF_HOUR in missed))

        assert all(total(runs)[bucket] <= limit for bucket, limit in limits.items())
