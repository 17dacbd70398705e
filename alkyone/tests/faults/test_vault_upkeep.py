"""Compaction, retention and archiving, killed at any step or all at once: no row is lost, and none is there twice."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from alkyone import snapshots
from alkyone.agents import Site, run_agent
from alkyone.databases import NOON, scratch
from alkyone.scenes import janitors_beside_a_compaction
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Sample
from atlas.adapters.vault_index import VaultIndex
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.upkeep import Upkeep
from atlas.vault import LocalVault, compaction
from atlas.vault.audit import audit

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
VIDEOS = [f"video{number:06}" for number in range(12)]
KILLS = 10

Copy = Callable[[Site], AbstractContextManager[Site]]


def samples(days_ago: int, minute: int) -> list[Sample]:
    at = NOON - days_ago * DAY + timedelta(minutes=minute)
    return [Sample(video_id, at, minute, None, 0) for video_id in VIDEOS]


def columns(found: list[Sample]) -> list[dict[str, object]]:
    return [sample._asdict() for sample in found]


@pytest.fixture
def copy(postgres: EmbeddedServer, tmp_path: Path) -> Copy:
    """Make another site like one, database and vault."""
    numbers = iter(range(1000))

    @contextmanager
    def copied(site: Site) -> Iterator[Site]:
        vault = tmp_path / f"copy-{next(numbers)}"
        shutil.copytree(site.vault, vault)
        with scratch(postgres, str(conninfo_to_dict(site.conninfo)["dbname"])) as conninfo:
            yield Site(conninfo, vault, site.endpoint, site.key, site.changes)

    return copied


@pytest.fixture
def site(postgres: EmbeddedServer, template: str, tmp_path: Path) -> Iterator[Site]:
    """Make a place with work of every sort: days to archive, to compact, to remove, and shards that were replaced."""
    with scratch(postgres, template) as conninfo:
        changes = (("COMPLIANCE_MODE", True), ("JANITOR_RETENTION_DAYS", 7))
        site = Site(conninfo, tmp_path / "vault", "http://127.0.0.1:9", "AIzaNobody", changes)
        asyncio.run(_furnish(site))
        yield site


async def _furnish(site: Site) -> None:
    vault = LocalVault(site.vault)
    vault.provision()
    async with DatabaseManager(site.conninfo) as database:
        dao, index = MaiaDAO(database), VaultIndex(database)
        await dao.log_video_stats_batch([*samples(8, 0), *samples(9, 0), *samples(1, 0)])
        for days_ago in (40, 20, 15, 12):  # past its time; replaced before; two to compact
            for minute in range(4):
                shards = vault.append_metrics(columns(samples(days_ago, minute)))
                await index.replace((), shards, now=NOON - DAY)
        vault.store_transcript(VIDEOS[0], {"observed_at": NOON - 40 * DAY, "text": "old"})
        replaced = next(m for m in compaction.plan(vault, before=NOON.date()) if m.day == (NOON - 20 * DAY).date())
        upkeep = Upkeep(vault, dao)
        await upkeep.compact(replaced, now=NOON - DAY)
        await upkeep.follow(now=NOON - DAY)
        await upkeep.prune(await upkeep.useless(now=NOON - DAY), now=NOON - DAY)


def stored(site: Site) -> tuple[object, object]:
    return snapshots.tables(site.conninfo), snapshots.files(site.vault)


async def problems(site: Site) -> list[str]:
    async with DatabaseManager(site.conninfo) as database:
        indexed = await VaultIndex(database).shards()
    return [f"{check.path} is {check.problem}" for check in audit(LocalVault(site.vault), indexed) if check.problem]


@pytest.mark.timeout(600)
def test_a_janitor_killed_at_its_upkeep_and_run_again_ends_as_if_nothing_had_happened(site: Site, copy: Copy) -> None:
    before = snapshots.readings(site.conninfo, site.vault)
    kept = {key: reading for key, reading in before.items() if key[1] > NOON - 30 * DAY}
    with copy(site) as other:
        undisturbed = asyncio.run(run_agent("janitor", other, NOON))
        assert undisturbed.error is None
        assert undisturbed.summary is not None
        assert len(undisturbed.summary["days_compacted"]) == 2
        assert len(undisturbed.summary["days_expired"]) == 2
        assert undisturbed.summary["shards_pruned"] == 4
        assert len(undisturbed.summary["days_archived"]) == 2
        assert snapshots.readings(other.conninfo, other.vault) == kept
        expected = stored(other)

    vault_steps = [number for number, name in enumerate(undisturbed.steps) if "vault" in name]
    others = sorted({*range(len(undisturbed.steps))}.difference(vault_steps))
    chance = random.Random(20261110)
    for step in sorted(chance.sample(vault_steps, KILLS) + chance.sample(others, KILLS)):
        name = undisturbed.steps[step]
        with copy(site) as killed:
            assert asyncio.run(run_agent("janitor", killed, NOON, kill_at=step)).killed
            assert kept.items() <= snapshots.known(killed.conninfo, killed.vault).items(), f"{step}, {name}"
            snapshots.lapse_leases(killed.conninfo)
            assert asyncio.run(run_agent("janitor", killed, NOON)).error is None
            assert stored(killed) == expected, f"killed at step {step}, {name}"


@pytest.mark.timeout(300)
async def test_two_janitors_and_a_compaction_at_once_lose_nothing_and_double_nothing(site: Site) -> None:
    before = snapshots.readings(site.conninfo, site.vault)
    kept = {key: reading for key, reading in before.items() if key[1] > NOON - 30 * DAY}

    await janitors_beside_a_compaction(site, VIDEOS, now=NOON, rows=len(kept))

    assert snapshots.readings(site.conninfo, site.vault) == kept
    assert snapshots.leased(site.conninfo) == 0
    assert await problems(site) == []
