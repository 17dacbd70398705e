"""Are the services there, and are they what this code expects?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from atlas import db, settings, vault
from atlas.db import DatabaseManager
from atlas.errors import AtlasError
from atlas.vault import VaultStrategy


class Health(NamedTuple):
    """How a service is; ``detail`` is one line for a person, without secrets."""

    healthy: bool
    detail: str


async def health_check_all(database: DatabaseManager = db, vault_: VaultStrategy = vault) -> dict[str, Health]:
    """Look at the database, its schema, the vault and the API key; what fails says why, nothing raises."""

    async def look_at_vault() -> Health:
        await asyncio.to_thread(vault_.provision)
        return Health(True, f"{settings.VAULT_PROVIDER}: writable")

    checks: dict[str, Callable[[], Awaitable[Health]]] = {
        "database": lambda: _database(database),
        "schema": lambda: _schema(database),
        "vault": look_at_vault,
        "youtube_key": _youtube_key,
    }
    return dict(zip(checks, await asyncio.gather(*map(_told, checks.values())), strict=True))


async def _told(check: Callable[[], Awaitable[Health]]) -> Health:
    try:
        return await check()
    except AtlasError as exc:
        return Health(False, str(exc))


async def _database(database: DatabaseManager) -> Health:
    async with database.get_connection() as conn:
        server = await conn.fetchval("SHOW server_version")
    return Health(True, f"PostgreSQL {server}" + (", embedded" if database.is_embedded else ""))


async def _schema(database: DatabaseManager) -> Health:
    from atlas.setup import newest_version, schema_version  # psycopg is not worth an import of atlas.utils

    version, newest = await schema_version(database), newest_version()
    if version == newest:
        return Health(True, f"version {version}")
    what = "upgrade Pleiades" if version > newest else "run atlas setup"
    return Health(False, f"version {version}, this code wants {newest}: {what}")


async def _youtube_key() -> Health:
    keys = settings.api_keys
    return Health(True, ", ".join(f"{key.fingerprint} ({key.project})" for key in keys))
