"""Leases under any interleaving: a model in memory and the real database tell the same, after every step."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg import sql

from alkyone.databases import NOON
from alkyone.properties import examples
from alkyone.queues import QUEUES, Queue
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Failure
from atlas.db import DatabaseManager
from atlas.errors import LeaseLost

LEASE = timedelta(minutes=10)
WORKERS = ("one", "two", "three")

spans = st.sampled_from([timedelta(0), timedelta(seconds=1), LEASE - timedelta(microseconds=1), LEASE, 3 * LEASE])
workers = st.sampled_from(WORKERS)
# What is drawn never depends on what the database does: of two who claim at once, nobody knows who gets a row.
places = st.integers(0, 11)


@dataclass
class Row:
    """What the model knows of a row."""

    due_at: datetime
    token: UUID | None = None
    until: datetime | None = None
    attempts: int = 0
    dead: bool = False


class Undone(Exception):
    """Stands for whatever ends a transaction before its commit."""


class Leases(RuleBasedStateMachine):
    """Workers who claim, settle, die and come late; ``claims`` is what each believes to hold."""

    def __init__(self, queue: Queue, database: DatabaseManager, runner: asyncio.Runner) -> None:
        super().__init__()
        self.queue = queue
        self.database = database
        self.dao = MaiaDAO(database)
        self.run = runner.run
        self.now = NOON
        self.rows: dict[Any, Row] = {}
        self.filled = 0
        self.claims: dict[str, list[tuple[UUID, list[Any]]]] = {worker: [] for worker in WORKERS}
        self.run(self._empty())

    # -- What happens -------------------------------------------------------------------------------------------------

    @rule(number=st.integers(1, 4))
    def fill(self, number: int) -> None:
        new = range(self.filled, self.filled + number)
        self.filled += number
        self.run(self.queue.fill(self.dao, new, self.now))
        for row in self._stored():
            self.rows.setdefault(row["key"], Row(self.now))

    @rule(span=spans)
    def time_passes(self, span: timedelta) -> None:
        self.now += span

    @rule(worker=workers, size=st.integers(1, 5))
    def claim(self, worker: str, size: int) -> None:
        free = self._free()
        claimed = self.run(self.queue.claim(self.dao, size, self.now))
        assert len(claimed) == min(size, len(free))
        self._note(worker, claimed, free)
        waiting = min((row.due_at for row in free.values()), default=self.now)
        assert all(self.rows[row[self.queue.key]].due_at <= waiting for row in claimed)

    @rule(sizes=st.lists(st.integers(1, 3), min_size=2, max_size=3))
    def claim_at_once(self, sizes: list[int]) -> None:
        async def all_of_them() -> list[list[Any]]:
            return await asyncio.gather(*(self.queue.claim(self.dao, size, self.now) for size in sizes))

        free = self._free()
        found = self.run(all_of_them())
        assert sum(map(len, found)) == min(sum(sizes), len(free))
        for worker, claimed in zip(WORKERS, found, strict=False):
            self._note(worker, claimed, free)

    @rule(place=places, number=st.integers(1, 5), span=spans, commits=st.booleans())
    def complete(self, place: int, number: int, span: timedelta, commits: bool) -> None:
        token, keys = self._some(place, number)
        lost = self._lost(token, keys)
        due = self.now + span
        if lost:
            with pytest.raises(LeaseLost) as raised:
                self.run(self._complete(token, keys, due, commits))
            assert raised.value.missing == lost
        elif not commits:
            with pytest.raises(Undone):
                self.run(self._complete(token, keys, due, commits))
        else:
            self.run(self._complete(token, keys, due, commits))
            for key in keys:
                if self.queue.goes_away:
                    del self.rows[key]
                else:
                    self.rows[key] = Row(due)

    @rule(place=places, number=st.integers(1, 5), span=spans)
    def fail(self, place: int, number: int, span: timedelta) -> None:
        token, keys = self._some(place, number)
        lost = self._lost(token, keys)
        due = self.now + span
        failures = [Failure(key, token, "HTTP 503", due) for key in keys]
        if lost:
            with pytest.raises(LeaseLost) as raised:
                self.run(self.queue.fail(self.dao, failures))
            assert raised.value.missing == lost
            return
        self.run(self.queue.fail(self.dao, failures))
        for key in keys:
            attempts = self.rows[key].attempts + 1
            self.rows[key] = Row(due, attempts=attempts, dead=attempts == self.queue.dead_after)

    @rule(place=places)
    def release(self, place: int) -> None:
        token, _ = self._some(place, 0)
        ours = [row for row in self.rows.values() if row.token == token]
        assert self.run(self.queue.release(self.dao, token, self.now)) == len(ours)
        for row in ours:
            row.token = row.until = None

    @rule(worker=workers)
    def die(self, worker: str) -> None:
        """Nothing is left of a dead worker but its leases."""
        self.claims[worker].clear()

    @rule(place=places)
    def pretend(self, place: int) -> None:
        if not self.rows:
            return
        key = sorted(self.rows)[place % len(self.rows)]
        with pytest.raises(LeaseLost):
            self.run(self.queue.done(self.dao, [key], uuid4(), self.now, self.now))
        with pytest.raises(LeaseLost):
            self.run(self.queue.fail(self.dao, [Failure(key, uuid4(), "made up", self.now)]))
        assert self.run(self.queue.release(self.dao, uuid4(), self.now)) == 0

    # -- What holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def the_database_is_as_the_model_says(self) -> None:
        stored = {row["key"]: (row["due_at"], row["lease_token"], row["leased_until"], row["attempts"])
                  for row in self._stored()}  # fmt: skip
        assert stored == {key: (row.due_at, row.token, row.until, row.attempts) for key, row in self.rows.items()}

    # -- Steps --------------------------------------------------------------------------------------------------------

    def _free(self) -> dict[Any, Row]:
        return {
            key: row
            for key, row in self.rows.items()
            if not row.dead and row.due_at <= self.now and (row.until is None or row.until <= self.now)
        }

    def _note(self, worker: str, claimed: list[Any], free: dict[Any, Row]) -> None:
        """Enter a claim: all of it was free, and nobody else has claimed it since."""
        if not claimed:
            return
        (token,) = {row["lease_token"] for row in claimed}
        assert all(row.token != token for row in self.rows.values())
        for told in claimed:
            row = free.pop(told[self.queue.key])  # a KeyError: it was somebody's, or is claimed twice
            assert told["attempts"] == row.attempts
            row.token, row.until = token, self.now + LEASE
        self.claims[worker].append((token, [row[self.queue.key] for row in claimed]))

    def _some(self, place: int, number: int) -> tuple[UUID, list[Any]]:
        """Take up to ``number`` rows out of a claim that a worker believes to hold; none when nobody believes that."""
        claims = [claim for worker in WORKERS for claim in self.claims[worker]]
        if not claims:
            return uuid4(), []
        token, keys = claims[place % len(claims)]
        turn = place % len(keys)
        return token, (keys[turn:] + keys[:turn])[:number]

    def _lost(self, token: UUID, keys: list[Any]) -> int:
        return sum(key not in self.rows or self.rows[key].token != token for key in keys)

    def _stored(self) -> list[dict[str, Any]]:
        return self.run(self._fetch())

    async def _fetch(self) -> list[dict[str, Any]]:
        async with self.database.get_connection() as conn:
            return await conn.fetch(self.queue.state)

    async def _complete(self, token: UUID, keys: list[Any], due: datetime, commits: bool) -> None:
        async with self.dao.transaction() as together:
            await self.queue.done(together, keys, token, due, self.now)
            if not commits:
                raise Undone

    async def _empty(self) -> None:
        async with self.database.get_connection() as conn:
            for table in ("search_queue", "sources", "watchlist", "videos", "channels"):  # quicker than TRUNCATE
                await conn.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


@pytest.mark.parametrize("queue", [q for name, q in QUEUES.items() if name != "scribe stages"], ids=lambda q: q.table)
def test_a_queue_and_its_model_tell_the_same_whatever_workers_do(queue: Queue, conninfo: str) -> None:
    with asyncio.Runner() as runner:
        database = DatabaseManager(conninfo)
        try:
            run_state_machine_as_test(lambda: Leases(queue, database, runner), settings=examples(12, steps=30))
        finally:
            runner.run(database.close())
