"""The timeline under any split of SQL and vault: what was stored comes back, whatever the Janitor did meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from psycopg import sql

from alkyone.databases import NOON
from alkyone.properties import examples
from atlas import clock
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Sample
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.history import timeline
from atlas.testing import MemoryVault
from atlas.vault.audit import audit
from maia.janitor.agent import clean
from maia.toolbox import Stores

VIDEOS = ["a", "B", "-_"]
RULES = Settings.model_construct(
    **{name: field.get_default() for name, field in Settings.model_fields.items()} | {"COMPLIANCE_MODE": False}
)

counts = st.none() | st.integers(0, 3)
ages = st.integers(0, 14).map(lambda steps: steps * timedelta(hours=9))
some_videos = st.lists(st.sampled_from(VIDEOS), min_size=1, unique=True)


class Killed(Exception):
    """Stands for a kill -9: nothing runs after it."""


class Mortal(MemoryVault):
    """A vault whose writer dies at the step that it is told to; its objects become visible one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None

    def write(self, objects: Mapping[str, bytes], message: str = "") -> None:
        for path, data in objects.items():
            self._step()
            super().write({path: data}, message)

    def delete(self, paths: Iterable[str], message: str = "") -> None:
        for path in paths:
            self._step()
            super().delete([path], message)

    def _step(self) -> None:
        if self.left == 0:
            raise Killed
        self.left = None if self.left is None else self.left - 1


def greatest(samples: Iterable[Sample]) -> Sample:
    """Of several readings of one instant the vault keeps this one."""
    return max(samples, key=lambda sample: [-1 if count is None else count for count in sample[2:]])


class History(RuleBasedStateMachine):
    """Samples come in, late ones too; the Janitor archives, merges and prunes, and is killed at it."""

    def __init__(self, database: DatabaseManager, runner: asyncio.Runner) -> None:
        super().__init__()
        self.database = database
        self.dao = MaiaDAO(database)
        self.vault = Mortal()
        self.run = runner.run
        self.now = NOON
        self.stored: dict[tuple[str, Any], list[Sample]] = {}
        self.run(self._empty())

    @rule(readings=st.lists(st.tuples(st.sampled_from(VIDEOS), ages, counts, counts), min_size=1, max_size=6))
    def store(self, readings: list[tuple[str, timedelta, int | None, int | None]]) -> None:
        for video, age, views, likes in readings:
            sample = Sample(video, NOON - age, views, likes, 0)
            if self.run(self.dao.log_video_stats_batch([sample])):  # SQL keeps what it has
                self.stored.setdefault(sample[:2], []).append(sample)

    @rule(hours=st.sampled_from([1, 2, 24]), retention=st.integers(1, 4))
    def janitor_runs(self, hours: int, retention: int) -> None:
        self.now += timedelta(hours=hours)
        self._clean(retention)

    @rule(steps=st.integers(0, 12), retention=st.integers(1, 4))
    def janitor_is_killed(self, steps: int, retention: int) -> None:
        self.vault.left = steps
        try:
            self._clean(retention)
        except Killed:
            pass
        finally:
            self.vault.left = None
            self.now += timedelta(hours=1)  # what it had claimed comes back

    @rule(videos=some_videos, start=ages, length=ages)
    def read_a_part(self, videos: list[str], start: timedelta, length: timedelta) -> None:
        begin = NOON - start
        self._compare(videos, begin, begin + length)

    @invariant()
    def all_that_was_stored_comes_back_once(self) -> None:
        self._compare(VIDEOS, None, None)

    def teardown(self) -> None:
        for retention in (1, 1, 1):  # archive; merge; prune
            self.now += timedelta(hours=2)
            self._clean(retention)
        self._compare(VIDEOS, None, None)
        assert [check for check in audit(self.vault) if check.problem] == []

    def _clean(self, retention: int) -> None:
        rules = RULES.model_copy(update={"JANITOR_RETENTION_DAYS": retention})
        with clock.stopped(self.now):
            self.run(clean(Stores(self.dao, self.vault), rules=rules))

    def _compare(self, videos: list[str], start: Any, end: Any) -> None:
        found = self.run(timeline(videos, start, end, database=self.database, vault=self.vault))
        expected = [
            greatest(samples)
            for (video, at), samples in sorted(self.stored.items())
            if video in videos and (start is None or start <= at) and (end is None or at < end)
        ]
        assert [Sample(**row) for row in found.drop_columns(["epoch"]).to_pylist()] == expected

    async def _empty(self) -> None:
        async with self.database.get_connection() as conn:
            for table in ("video_stats_log", "vault_manifest", "work_leases"):
                await conn.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


def test_the_timeline_is_what_was_stored_whatever_the_janitor_did(conninfo: str) -> None:
    with asyncio.Runner() as runner:
        database = DatabaseManager(conninfo)
        try:
            run_state_machine_as_test(lambda: History(database, runner), settings=examples(8, steps=12))
        finally:
            runner.run(database.close())
