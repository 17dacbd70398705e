"""A vault in a bucket, and the Janitor killed at any step of archive and compaction, or two of them at once.

The store lives in the test's own process, so that it survives the agents. Other points are drawn with another
``PLEIADES_TEST_SEED``; the tests' names tell it.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
from psycopg.conninfo import conninfo_to_dict

from alkyone import snapshots
from alkyone.agents import Site, run_agent
from alkyone.databases import NOON, scratch
from alkyone.scenes import janitors_beside_a_compaction
from alkyone.standins.gcs import GCSStandin
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Sample
from atlas.adapters.vault_index import VaultIndex
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.upkeep import Upkeep
from atlas.vault import VaultStrategy, compaction

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
VIDEOS = [f"video{number:06}" for number in range(12)]
KILLS_AT_THE_VAULT, OTHER_KILLS = 9, 4
SEED = int(os.environ.get("PLEIADES_TEST_SEED", "20261110"))

Work = Literal["archive", "compaction"]
Copy = Callable[[Site], AbstractContextManager[Site]]
Furnished = Callable[[Collection[Work]], Site]


def samples(days_ago: int, minute: int) -> list[Sample]:
    at = NOON - days_ago * DAY + timedelta(minutes=minute)
    return [Sample(video_id, at, minute, None, 0) for video_id in VIDEOS]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[GCSStandin]:
    with GCSStandin("vault") as standin:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", standin.endpoint)
        yield standin


@pytest.fixture
def copy(postgres: EmbeddedServer, store: GCSStandin, tmp_path: Path) -> Copy:
    """Make another site like one, database and bucket."""
    numbers = iter(range(1000))

    @contextmanager
    def copied(site: Site) -> Iterator[Site]:
        bucket = f"copy-{next(numbers)}"
        store.copy("vault", bucket)
        with scratch(postgres, str(conninfo_to_dict(site.conninfo)["dbname"])) as conninfo:
            changes = (*site.changes, ("GCS_BUCKET_NAME", bucket))
            yield replace(site, conninfo=conninfo, vault=tmp_path / bucket, changes=changes)

    return copied


@pytest.fixture
def furnished(postgres: EmbeddedServer, template: str, store: GCSStandin, tmp_path: Path) -> Iterator[Furnished]:
    """Make a place with work of some sorts."""
    with scratch(postgres, template) as conninfo:
        site = Site(
            conninfo,
            tmp_path / "vault",
            "http://127.0.0.1:9",
            "AIzaNobody",
            (("VAULT_PROVIDER", "gcs"), ("GCS_BUCKET_NAME", "vault"), ("JANITOR_RETENTION_DAYS", 7)),
            (("STORAGE_EMULATOR_HOST", store.endpoint),),
        )

        def make(works: Collection[Work]) -> Site:
            asyncio.run(_furnish(site, works))
            return site

        yield make


async def _furnish(site: Site, works: Collection[Work]) -> None:
    vault = site.open_vault()
    vault.provision()
    async with DatabaseManager(site.conninfo) as database:
        dao = MaiaDAO(database)
        await dao.log_video_stats_batch(samples(1, 0))  # stays
        if "archive" in works:
            await _leave_samples(vault, database)
        if "compaction" in works:
            await _leave_shards(vault, database)


async def _leave_samples(vault: VaultStrategy, database: DatabaseManager) -> None:
    """Leave days to archive; of one the vault has a part already, of one all: somebody died before the commit."""
    dao, index = MaiaDAO(database), VaultIndex(database)
    await dao.log_video_stats_batch([*samples(8, 0), *samples(9, 0), *samples(10, 0), *samples(10, 1)])
    await index.replace((), vault.append_metrics(map(Sample._asdict, samples(9, 1))), now=NOON - DAY)
    vault.append_metrics(map(Sample._asdict, samples(8, 0)))


async def _leave_shards(vault: VaultStrategy, database: DatabaseManager) -> None:
    """Leave days to compact, and one that was, whose old shards are due to go."""
    dao, index = MaiaDAO(database), VaultIndex(database)
    for days_ago in (20, 18, 15, 12):
        for minute in range(3):
            shards = vault.append_metrics(map(Sample._asdict, samples(days_ago, minute)))
            await index.replace((), shards, now=NOON - DAY)
    first = compaction.plan(vault, before=NOON.date())[0]
    upkeep = Upkeep(vault, dao)
    await upkeep.compact(first, now=NOON - DAY)
    await upkeep.follow(now=NOON - DAY)
    await upkeep.prune(await upkeep.useless(now=NOON - DAY), now=NOON - DAY)


def stored(site: Site) -> tuple[object, object]:
    return snapshots.tables(site.conninfo), snapshots.objects(site.open_vault())


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "work",
    [pytest.param("archive", id=f"archive, seed {SEED}"), pytest.param("compaction", id=f"compaction, seed {SEED}")],
)
def test_a_janitor_killed_at_a_random_point_and_run_again_ends_as_if_nothing_had_happened(
    furnished: Furnished, copy: Copy, work: Work
) -> None:
    site = furnished({work})
    with copy(site) as other:
        before = snapshots.known(other.conninfo, other.open_vault())
        undisturbed = asyncio.run(run_agent("janitor", other, NOON))
        assert undisturbed.error is None
        assert undisturbed.summary is not None
        done = {"archive": "days_archived", "compaction": "days_compacted"}[work]
        assert len(undisturbed.summary[done]) == 3
        assert undisturbed.summary["shards_pruned"] == (3 if work == "compaction" else 0)
        assert snapshots.readings(other.conninfo, other.open_vault()) == before
        expected = stored(other)

    vault_steps = [number for number, name in enumerate(undisturbed.steps) if "vault" in name]
    others = sorted({*range(len(undisturbed.steps))}.difference(vault_steps))
    chance = random.Random(SEED)
    for step in sorted(chance.sample(vault_steps, KILLS_AT_THE_VAULT) + chance.sample(others, OTHER_KILLS)):
        where = f"killed at step {step} of {len(undisturbed.steps)}, {undisturbed.steps[step]}, seed {SEED}"
        with copy(site) as killed:
            assert asyncio.run(run_agent("janitor", killed, NOON, kill_at=step)).killed, where
            assert snapshots.known(killed.conninfo, killed.open_vault()) == before, where
            snapshots.lapse_leases(killed.conninfo)
            assert asyncio.run(run_agent("janitor", killed, NOON)).error is None, where
            assert snapshots.readings(killed.conninfo, killed.open_vault()) == before, where
            assert stored(killed) == expected, where


@pytest.mark.timeout(300)
async def test_two_janitors_and_a_compaction_at_once_lose_nothing_and_double_nothing(furnished: Furnished) -> None:
    site = await asyncio.to_thread(furnished, {"archive", "compaction"})
    vault = site.open_vault()
    before = snapshots.known(site.conninfo, vault)

    await janitors_beside_a_compaction(site, VIDEOS, now=NOON, rows=len(before))

    assert snapshots.readings(site.conninfo, vault) == before
    assert snapshots.leased(site.conninfo) == 0
    async with DatabaseManager(site.conninfo) as database:
        checks = await Upkeep(vault, MaiaDAO(database)).check()
    assert [check.path for check in checks if check.problem] == []
