"""A swapped vault is noticed before anything relies on it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from atlas.adapters.vault_index import VaultIndex
from atlas.db import DatabaseManager
from atlas.errors import ConfigurationError
from atlas.upkeep import recognised
from atlas.vault import LocalVault, MemoryVault

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


async def archive_into(vault: LocalVault, database: DatabaseManager) -> None:
    shards = vault.append_metrics([{"video_id": "dQw4w9WgXcQ", "timestamp": NOON, "views": 1}])
    await VaultIndex(database).replace((), shards, now=NOON)


async def test_the_same_vault_is_recognised_again(database: DatabaseManager, vault: LocalVault) -> None:
    await recognised(vault, database)
    await archive_into(vault, database)
    await recognised(LocalVault(vault.root), database)


async def test_another_vault_is_refused_once_something_was_archived(
    database: DatabaseManager, vault: LocalVault, tmp_path: Path
) -> None:
    await recognised(vault, database)
    await archive_into(vault, database)
    with pytest.raises(ConfigurationError, match="not the one this database archives into, which is the local vault"):
        await recognised(LocalVault(tmp_path / "another"), database)
    await recognised(vault, database)


async def test_a_vault_may_be_chosen_anew_before_anything_was_archived(
    database: DatabaseManager, vault: LocalVault
) -> None:
    await recognised(vault, database)
    await recognised(MemoryVault(), database)


async def test_an_adopted_vault_takes_the_place_of_the_first(
    database: DatabaseManager, vault: LocalVault, tmp_path: Path
) -> None:
    await recognised(vault, database)
    await archive_into(vault, database)
    moved = LocalVault(tmp_path / "moved")
    await VaultIndex(database).adopt(moved.provision(), moved.provider)
    await recognised(moved, database)
    with pytest.raises(ConfigurationError):
        await recognised(vault, database)


async def test_of_two_first_vaults_at_once_the_database_has_one(database: DatabaseManager, tmp_path: Path) -> None:
    vaults = [LocalVault(tmp_path / str(number)) for number in range(6)]
    await asyncio.gather(*(recognised(vault, database) for vault in vaults))
    async with database.get_connection() as conn:
        known = await conn.fetch("SELECT id FROM vault_identity")
    assert known[0]["id"] in {vault.provision() for vault in vaults}
    assert len(known) == 1
