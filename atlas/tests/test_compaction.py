"""Compaction and pruning: the same rows at every moment, whoever is killed or at work besides."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from atlas.errors import VaultCorrupt, VaultNotFound
from atlas.testing import MemoryVault
from atlas.vault import VaultStrategy, audit, compaction, kinds
from atlas.vault.audit import GRACE

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
TODAY = NOON.date()
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Rows = list[dict[str, Any]]


def sample(video: int, at: datetime, views: int | None = 1) -> dict[str, Any]:
    return {"video_id": f"v{video:03}", "timestamp": at, "views": views, "likes": None, "comment_count": 0}


def filled(vault: VaultStrategy, *, days: int = 2, shards: int = 4) -> VaultStrategy:
    """Give each of some days before today several small shards, which overlap."""
    for day in range(1, days + 1):
        for number in range(shards):
            vault.append_metrics(sample(number + extra, NOON - day * DAY, day) for extra in range(3))
    return vault


def rows(vault: VaultStrategy) -> Rows:
    """Read the rows of all shards as somebody does who trusts the index: doubles would show."""
    listed = [vault.read_metrics(shards=[shard]) for shard in vault.shards("metrics")]
    return sorted(
        (row for table in listed for row in table.to_pylist()), key=lambda row: (row["timestamp"], row["video_id"])
    )


def compact(vault: VaultStrategy, before: date = TODAY) -> int:
    """Compact all there is to compact; give the number of merges."""
    merges = compaction.plan(vault, before=before)
    for merge in merges:
        compaction.carry_out(vault, merge)
    return len(merges)


def prune(vault: VaultStrategy, now: datetime, **options: Any) -> tuple[str, ...]:
    found = audit.find_useless(vault, now=now, **options)
    audit.remove(vault, found.due, "prune")
    audit.note_useless(vault, found, now=now)
    return found.due


def test_the_shards_of_a_closed_day_become_one_and_today_s_stay() -> None:
    vault = filled(MemoryVault())
    vault.append_metrics([sample(0, NOON)])
    vault.append_metrics([sample(1, NOON)])
    whole = vault.read_metrics()

    assert compact(vault) == 2

    assert [shard.day for shard in vault.shards("metrics")] == [TODAY - 2 * DAY, TODAY - DAY, TODAY, TODAY]
    assert vault.read_metrics() == whole
    assert rows(vault) == sorted(whole.to_pylist(), key=lambda row: (row["timestamp"], row["video_id"]))
    assert compact(vault) == 0
    for shard in vault.shards("metrics"):
        vault.verify(shard)


@pytest.mark.parametrize("kind", ["metadata", "transcripts", "visuals", "events"])
def test_every_kind_is_compacted(kind: str) -> None:
    vault = MemoryVault()
    for number in range(3):
        at = NOON - DAY + number * HOUR
        vault.append_metadata([{"video_id": "a", "observed_at": at, "title": f"{number}", "tags": ["x"]}])
        vault.append_transcripts([{"video_id": "a", "observed_at": at, "segments": [{"start": 1, "text": "x"}]}])
        vault.store_visual_evidence("a", [(1, b"x" * number)], observed_at=at)
        vault.append_events([{"id": number, "created_at": at, "event_type": "x", "payload": {"n": number}}])

    def state() -> list[Any]:
        found = [vault.fetch_metadata("a"), vault.fetch_transcript("a"), vault.fetch_visual_evidence("a")]
        return [*found, vault.read_events().to_pylist()]

    before = state()
    (merge,) = compaction.plan(vault, before=TODAY, kinds=[kind])
    merged = compaction.carry_out(vault, merge)

    assert vault.shards(kind) == [merged]
    assert merged.rows == 3
    assert state() == before


def test_late_rows_are_merged_into_what_was_merged_before() -> None:
    vault = filled(MemoryVault(), days=1)
    compact(vault)
    vault.append_metrics([sample(99, NOON - DAY)])
    whole = rows(vault)

    compact(vault)

    assert len(vault.shards("metrics")) == 1
    assert rows(vault) == whole
    prune(vault, NOON)
    assert len(prune(vault, NOON + GRACE)) == 6, "four small ones, the first merger, and the late one"
    assert rows(vault) == whole


def test_a_shard_that_holds_all_the_others_takes_their_place() -> None:
    vault = MemoryVault()
    vault.append_metrics([sample(1, NOON - DAY)])
    (all_,) = vault.append_metrics([sample(1, NOON - DAY), sample(2, NOON - DAY)])
    reader = MemoryVault()
    reader._objects = vault._objects
    reader.shards("metrics")

    compact(vault)

    assert vault.shards("metrics") == [all_]
    assert rows(vault) == all_rows(vault)
    assert reader.read_metrics() == vault.read_metrics()
    assert vault.append_metrics([sample(1, NOON - DAY), sample(2, NOON - DAY)]) == [all_]


def all_rows(vault: VaultStrategy) -> Rows:
    return sorted(vault.read_metrics().to_pylist(), key=lambda row: (row["timestamp"], row["video_id"]))


def test_rows_that_are_appended_again_after_they_were_merged_do_not_show_twice() -> None:
    vault = filled(MemoryVault(), days=1)
    first = vault.shards("metrics")[0]
    again = vault.load(first)
    compact(vault)
    prune(vault, NOON)
    prune(vault, NOON + GRACE)
    whole = rows(vault)

    vault.append_metrics(again)

    assert rows(vault) == whole


def test_large_shards_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = filled(MemoryVault(), days=1, shards=6)
    whole = all_rows(vault)
    monkeypatch.setattr(compaction, "MAX_ROWS", 7)

    compact(vault)

    assert [shard.rows for shard in vault.shards("metrics")].count(3) < 2
    assert all(shard.rows <= 7 for shard in vault.shards("metrics"))
    assert all_rows(vault) == whole
    assert compact(vault) == 0 or all_rows(vault) == whole


def test_of_long_rows_fewer_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(kinds.KINDS, "events", replace(kinds.EVENTS, merged=7))  # type: ignore[attr-defined]
    vault = filled(MemoryVault(), days=1)
    for number in range(6):
        vault.append_events(
            {"id": 3 * number + extra, "event_type": "a.b", "created_at": NOON - DAY, "payload": {}}
            for extra in range(3)
        )

    compact(vault)

    assert sorted(shard.rows for shard in vault.shards("events")) == [6, 6, 6]
    assert len(vault.shards("metrics")) == 1


def test_a_damaged_shard_is_not_merged() -> None:
    vault = filled(MemoryVault(), days=1)
    shard = vault.shards("metrics")[1]
    intact = vault.read(shard.path)
    vault.write({shard.path: intact[:99] + bytes([intact[99] ^ 1]) + intact[100:]})
    before = vault.list_strict()

    with pytest.raises(VaultCorrupt):
        compact(vault)

    assert vault.list_strict() == before


def test_what_cannot_be_read_back_is_taken_back() -> None:
    class Spoiling(MemoryVault):
        def write(self, objects: Mapping[str, bytes], message: str = "") -> None:
            spoilt = message.startswith("compact")
            super().write({path: data[:-1] if spoilt else data for path, data in objects.items()}, message)

    vault = filled(Spoiling(), days=1)
    whole = rows(vault)

    with pytest.raises(VaultCorrupt):
        compact(vault)

    assert rows(vault) == whole


# ---------------------------------------------------------------------------------------------------------------------
# Pruning
# ---------------------------------------------------------------------------------------------------------------------


def test_what_was_replaced_is_removed_after_a_grace_and_not_before() -> None:
    vault = filled(MemoryVault(), days=1)
    compact(vault)
    whole = rows(vault)

    assert prune(vault, NOON) == ()
    assert prune(vault, NOON + GRACE - timedelta(seconds=1)) == ()
    assert len(prune(vault, NOON + GRACE)) == 4
    assert rows(vault) == whole
    assert len(vault.list_strict()) == 2, "the shard, its manifest, and no note any more"


def test_nothing_is_removed_while_what_replaced_it_is_damaged() -> None:
    vault = filled(MemoryVault(), days=1)
    compact(vault)
    (merged,) = vault.shards("metrics")
    prune(vault, NOON)
    vault.write({merged.path: b"PAR1"})

    found = audit.find_useless(vault, now=NOON + GRACE)

    assert found.due == ()
    assert [(check.path, check.problem) for check in found.kept] == [(merged.path, "altered")]


def test_unlisted_shards_are_removed_only_when_asked_and_when_nobody_relies_on_them() -> None:
    vault = filled(MemoryVault(), days=1, shards=2)
    one, other = vault.shards("metrics")
    vault.delete([one.manifest_path, other.manifest_path], "as if never reached")
    vault.write({"metrics/README.md": b"somebody's own"})

    assert prune(vault, NOON, unlisted=True) == ()
    assert prune(vault, NOON + GRACE) == ()
    assert prune(vault, NOON, unlisted=True) == ()
    assert prune(vault, NOON + GRACE, unlisted=True, keep=[one.path]) == (other.path,)
    assert vault.exists(one.path)
    assert vault.exists("metrics/README.md")


def test_a_shard_that_found_its_manifest_again_is_not_removed() -> None:
    vault = filled(MemoryVault(), days=1, shards=1)
    (shard,) = vault.shards("metrics")
    vault.delete([shard.manifest_path], "as if never reached")
    prune(vault, NOON, unlisted=True)
    filled(vault, days=1, shards=1)

    assert prune(vault, NOON + GRACE, unlisted=True) == ()
    assert rows(vault)


# ---------------------------------------------------------------------------------------------------------------------
# Audit
# ---------------------------------------------------------------------------------------------------------------------


def test_an_audit_names_what_is_missing_altered_or_unlisted() -> None:
    vault = filled(MemoryVault(), days=5, shards=1)
    missing, altered, unlisted, lost, whole = vault.shards("metrics")
    vault.delete([missing.path], "lose it")
    vault.delete([unlisted.manifest_path], "lose it")
    vault.delete([lost.path, lost.manifest_path], "lose it")
    data = bytearray(vault.read(altered.path))
    data[len(data) // 2] ^= 1
    vault.write({altered.path: bytes(data)})
    indexed = [missing, altered, lost, whole]

    found = {check.path: check.problem for check in audit.audit(vault, indexed)}

    assert found == {
        missing.path: "missing", altered.path: "altered", unlisted.path: "unlisted", lost.path: "missing",
        whole.path: None,
    }  # fmt: skip


def test_a_changed_byte_anywhere_in_any_object_is_found() -> None:
    vault = filled(MemoryVault(), days=1, shards=2)
    compact(vault)
    chance = random.Random(5)
    for path in vault.list_strict():
        intact = vault.read(path)
        for place in chance.sample(range(len(intact)), 8):
            data = bytearray(intact)
            data[place] ^= 1 << chance.randrange(8)
            vault.write({path: bytes(data)})
            damaged = {check.path for check in audit.audit(vault) if check.problem}
            shard = path if path.endswith(".parquet") else path.removeprefix("manifests/")[:-5] + ".parquet"
            assert shard in damaged
            vault.write({path: intact})
    assert not any(check.problem for check in audit.audit(vault))


def test_replaced_shards_are_no_problem_wherever_their_removal_stands() -> None:
    vault = filled(MemoryVault(), days=1, shards=2)
    old = vault.shards("metrics")
    compact(vault)

    assert [check.problem for check in audit.audit(vault, old)] == [None] * 3
    vault.delete([old[0].manifest_path], "removal, cut short")
    found = [check for check in audit.audit(vault, old) if check.problem]
    assert [(check.path, check.problem) for check in found] == [(old[0].path, "unlisted")]
    audit.remove(vault, [shard.path for shard in old], "removal")
    assert [check.problem for check in audit.audit(vault, old)] == [None]


def test_days_past_their_time_are_named_with_all_their_objects() -> None:
    vault = filled(MemoryVault(), days=3, shards=2)
    vault.store_json("manifests/metrics/note.json", {})
    compact(vault, before=TODAY - 2 * DAY)

    past = audit.expired(vault, through=TODAY - 2 * DAY)

    assert [(str(day), day.rows, len(day.paths)) for day in past] == [
        (f"metrics {TODAY - 3 * DAY}", 4, 6), (f"metrics {TODAY - 2 * DAY}", 6, 4)
    ]  # fmt: skip
    for day in past:
        vault.delete(day.paths, "past its time")
    assert {shard.day for shard in vault.shards("metrics")} == {TODAY - DAY}
    assert audit.expired(vault, through=TODAY - 2 * DAY) == []


# ---------------------------------------------------------------------------------------------------------------------
# Cut short, and several at once
# ---------------------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """Stands for a kill -9: nobody catches it, nothing runs after it."""


class OneByOne(MemoryVault):
    """A provider without transactions, as hard as allowed: objects become visible singly, and it dies after some."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.watch: Callable[[], None] = lambda: None

    def write(self, objects: Mapping[str, bytes], message: str = "") -> None:
        for path, data in objects.items():
            self._step(partial(super().write, {path: data}))

    def delete(self, paths: Iterable[str], message: str = "") -> None:
        for path in paths:
            self._step(partial(super().delete, [path]))

    def _step(self, act: Callable[[], None]) -> None:
        if self.left == 0:
            raise Killed
        self.left = None if self.left is None else self.left - 1
        act()
        self.watch()


def upkeep(vault: VaultStrategy) -> None:
    """Do all there is, from compaction to the removal of what it left."""
    compact(vault)
    prune(vault, NOON, unlisted=True)
    prune(vault, NOON + GRACE, unlisted=True)
    prune(vault, NOON + 2 * GRACE, unlisted=True)


def test_killed_after_any_step_and_done_again_it_ends_as_if_nothing_had_happened() -> None:
    undisturbed = filled(OneByOne())
    whole = rows(MemoryVault()) + all_rows(undisturbed)
    upkeep(undisturbed)
    expected = {path: undisturbed.read(path) for path in undisturbed.list_strict()}

    for step in range(200):
        vault = OneByOne()
        filled(vault)
        seen: list[Rows] = []
        vault.watch = partial(lambda vault, seen: seen.append(all_rows(vault)), vault, seen)  # a reader at every step
        vault.left = step
        try:
            upkeep(vault)
        except Killed:
            vault.left = None
        else:
            break
        assert all_rows(vault) == whole
        upkeep(vault)
        assert {path: vault.read(path) for path in vault.list_strict()} == expected
        assert all(state == whole for state in seen)
    else:
        pytest.fail("it never came to an end")
    assert step > 15


def test_rows_are_never_double_once_the_manifest_is_there() -> None:
    vault = OneByOne()
    filled(vault, days=1)
    states: list[int] = []
    vault.watch = lambda: states.append(len(rows(vault)))

    upkeep(vault)

    doubled = 4 * 3
    assert states[0] == doubled, "the overlapping shards, before"
    assert states[1:] == [6] * (len(states) - 1)


def test_appending_compacting_and_pruning_at_once_loses_nothing_and_shows_nothing_twice() -> None:
    vault = MemoryVault()
    stop = False
    wrong: list[str] = []
    appended = [[sample(writer * 10 + number, NOON - DAY, writer) for number in range(4)] for writer in range(24)]
    whole = sorted((row for batch in appended for row in batch), key=lambda row: row["video_id"])

    def append(batch: Rows) -> None:
        vault.append_metrics(batch)

    def keep_up(_: int) -> None:
        clock = 0
        while not stop:
            clock += 1
            with suppress(VaultNotFound):  # somebody else was at it
                compact(vault)
            prune(vault, NOON + clock * GRACE)

    def read(_: int) -> None:
        known: set[str] = set()
        while not stop:
            found = vault.read_metrics()["video_id"].to_pylist()
            if len(found) != len(set(found)) or not known <= set(found):
                wrong.append(f"{sorted(known.difference(found))} vanished")
            known = set(found)

    with ThreadPoolExecutor(5) as threads:
        busy = [threads.submit(keep_up, number) for number in range(2)] + [threads.submit(read, 0)]
        try:
            for batch in appended:
                threads.submit(append, batch).result()
        finally:
            stop = True
        for future in busy:
            future.result()

    upkeep(vault)
    assert wrong == []
    assert all_rows(vault) == sorted(whole, key=lambda row: (row["timestamp"], row["video_id"]))
    assert rows(vault) == all_rows(vault)
    assert not any(check.problem for check in audit.audit(vault))


class Moving(MemoryVault):
    """A vault that is merged and pruned anew before each of the next ``moves`` openings of a shard."""

    moves = 0

    def _open(self, path: str) -> Any:
        if self.moves:
            self.moves -= 1
            moves, self.moves = self.moves, 0  # a merge opens shards too
            self.append_metrics([sample(100 + moves, NOON - DAY, moves)])
            upkeep(self)
            self.moves = moves
        return super()._open(path)


def test_a_reader_follows_a_vault_that_is_merged_under_it_time_and_again() -> None:
    vault = Moving()
    vault.append_metrics([sample(1, NOON - DAY, 1)])
    vault.moves = 8

    found = vault.read_metrics()["video_id"].to_pylist()

    assert vault.moves == 0
    assert len(found) == len(set(found)) == 9


def test_a_shard_that_stays_away_is_lost_and_named() -> None:
    vault = MemoryVault()
    vault.append_metrics([sample(1, NOON - DAY, 1)])
    [lost] = vault.shards("metrics")
    vault.delete([lost.path])

    with pytest.raises(VaultNotFound, match="part-"):
        vault.read_metrics()
