"""The quota ledger under any order of reservations, corrections and midnights: a model and the real one agree."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import NamedTuple, get_args

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from alkyone.properties import examples
from atlas.db import DatabaseManager
from atlas.errors import Bucket, QuotaExhausted
from atlas.quota import QuotaLedger, pacific_day, reset_at

LIMIT = 100
LIMITS: dict[Bucket, int] = dict.fromkeys(get_args(Bucket), LIMIT)
BEGINNINGS = [  # each some hours before a midnight in Los Angeles
    datetime(2026, 3, 8, 5, tzinfo=UTC),  # a day of 23 hours comes
    datetime(2026, 11, 1, 4, tzinfo=UTC),  # a day of 25 hours comes
    datetime(2026, 12, 31, 22, tzinfo=UTC),  # a year ends, here and there
]

buckets = st.sampled_from(get_args(Bucket))
projects = st.sampled_from(["p", "q"])
purposes = st.sampled_from(["poll", "enrich", 'it\'s "quoted" ü', "other"])
units = st.integers(1, 45) | st.sampled_from([LIMIT - 1, LIMIT, LIMIT + 1])


class Row(NamedTuple):
    """What the ledger counts together."""

    project: str
    bucket: Bucket
    day: date


class Reservation(NamedTuple):
    """What was let through, and may have to be corrected."""

    project: str
    bucket: Bucket
    units: int
    purpose: str
    at: datetime


class Ledger(RuleBasedStateMachine):
    """Calls of two projects; the server refuses some, some never reach it, and midnight comes in between."""

    def __init__(self, database: DatabaseManager, runner: asyncio.Runner, numbers: Iterator[int]) -> None:
        super().__init__()
        self.ledger = QuotaLedger(database, LIMITS)
        self.run = runner.run
        self.names = {name: f"{name}-{number}" for number in [next(numbers)] for name in ("p", "q")}
        self.now = BEGINNINGS[0]
        self.used: defaultdict[Row, Counter[str]] = defaultdict(Counter)
        self.spent: dict[Row, datetime] = {}
        self.announced: dict[tuple[str, Bucket], datetime] = {}
        self.made: list[Reservation] = []

    @initialize(beginning=st.sampled_from(BEGINNINGS))
    def begin(self, beginning: datetime) -> None:
        self.now = beginning

    @rule(hours=st.sampled_from([0.25, 1, 7, 24]))
    def time_passes(self, hours: float) -> None:
        self.now += timedelta(hours=hours)

    @rule(name=projects, bucket=buckets, number=units, purpose=purposes)
    def reserve(self, name: str, bucket: Bucket, number: int, purpose: str) -> None:
        row = self._row(name, bucket)
        fits = row not in self.spent and self.used[row].total() + number <= LIMIT
        assert self.run(self._reserved(row, number, purpose)) is fits
        if fits:
            self._note(row, number, purpose)

    @rule(name=projects, bucket=buckets, wishes=st.lists(st.tuples(units, purposes), min_size=2, max_size=6))
    def reserve_at_once(self, name: str, bucket: Bucket, wishes: list[tuple[int, str]]) -> None:
        """Who comes first is chance; that as much as fits is let through, and no more, is none."""

        async def all_of_them() -> list[bool]:
            return await asyncio.gather(*(self._reserved(row, number, purpose) for number, purpose in wishes))

        row = self._row(name, bucket)
        let_through = self.run(all_of_them())
        for (number, purpose), fitted in zip(wishes, let_through, strict=True):
            if fitted:
                assert row not in self.spent
                self._note(row, number, purpose)
        used = self.used[row].total()
        assert used <= LIMIT
        refused = [number for (number, _), fitted in zip(wishes, let_through, strict=True) if not fitted]
        assert row in self.spent or all(used + number > LIMIT for number in refused)

    @rule(place=st.integers(0, 9), share=st.sampled_from([1, 2]))
    def call_was_not_sent(self, place: int, share: int) -> None:
        if self.made:
            made = self.made[-1 - place % len(self.made)]
            self.run(
                self.ledger.refund(made.project, made.bucket, made.units * share, purpose=made.purpose, now=made.at)
            )
            self._take_back(made, made.units * share)

    @rule(place=st.integers(0, 9))
    def server_says_it_is_spent(self, place: int) -> None:
        if self.made:
            made = self.made[-1 - place % len(self.made)]
            self.run(self.ledger.refused(made.project, made.bucket, made.units, purpose=made.purpose, now=made.at))
            self._take_back(made, made.units)
            self.spent.setdefault(Row(made.project, made.bucket, pacific_day(made.at)), made.at)

    @rule(name=projects, bucket=buckets, asking=st.integers(1, 3))
    def announce(self, name: str, bucket: Bucket, asking: int) -> None:
        async def all_of_them() -> list[bool]:
            return await asyncio.gather(
                *(self.ledger.announce(self.names[name], bucket, now=self.now) for _ in range(asking))
            )

        first = self.announced.get((name, bucket), self.now) <= self.now
        assert sum(self.run(all_of_them())) == first
        if first:
            self.announced[name, bucket] = reset_at(self.now)

    @invariant()
    def the_ledger_counts_as_the_model_does(self) -> None:
        today = pacific_day(self.now)
        for day in (today, today - timedelta(days=1)):
            found = {
                Row(use.project, use.bucket, day): (use.used, {name: n for name, n in use.purposes.items() if n},
                                                    use.refused_at, use.left)
                for use in self.run(self.ledger.usage(self.names.values(), now=self.now, day=day))
            }  # fmt: skip
            assert found == {row: self._expected(row) for row in found}
            assert len(found) == 2 * len(LIMITS)

    def _expected(self, row: Row) -> tuple[int, dict[str, int], datetime | None, int]:
        used = self.used[row].total()
        return used, dict(+self.used[row]), self.spent.get(row), 0 if row in self.spent else LIMIT - used

    def _row(self, name: str, bucket: Bucket) -> Row:
        return Row(self.names[name], bucket, pacific_day(self.now))

    async def _reserved(self, row: Row, number: int, purpose: str) -> bool:
        try:
            await self.ledger.reserve(row.project, row.bucket, number, purpose=purpose, now=self.now)
        except QuotaExhausted as exc:
            told = exc
        else:
            return True
        assert (told.bucket, told.reset_at) == (row.bucket, reset_at(self.now))
        return False

    def _note(self, row: Row, number: int, purpose: str) -> None:
        self.used[row][purpose] += number
        self.made.append(Reservation(row.project, row.bucket, number, purpose, self.now))

    def _take_back(self, made: Reservation, number: int) -> None:
        used = self.used[Row(made.project, made.bucket, pacific_day(made.at))]
        used[made.purpose] -= min(number, used[made.purpose])


def test_the_ledger_and_its_model_tell_the_same_whatever_is_called(conninfo: str) -> None:
    numbers = count()
    with asyncio.Runner() as runner:
        database = DatabaseManager(conninfo)
        try:
            run_state_machine_as_test(lambda: Ledger(database, runner, numbers), settings=examples(25, steps=20))
        finally:
            runner.run(database.close())
