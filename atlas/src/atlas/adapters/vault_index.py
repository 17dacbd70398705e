"""What SQL knows of the vault: the shards that were read back and matched."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Self

from atlas import clock, sql
from atlas.adapters._session import Database
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.maia_archive import index_shards
from atlas.db import db
from atlas.errors import ConfigurationError
from atlas.events import Event, events
from atlas.vault.manifests import ShardInfo

SQL = sql.load("atlas.adapters", "vault_index.sql")


class VaultIndex:
    """Reads and changes ``vault_manifest``. Archiving adds to it; here it follows what happens in the vault."""

    def __init__(self, database: Database = db) -> None:
        self._db = database

    @classmethod
    def beside(cls, dao: MaiaDAO) -> Self:
        """Use the database, or the transaction, that ``dao`` uses."""
        return cls(dao._db)

    async def shards(self) -> list[ShardInfo]:
        """List the shards that were proven to be in the vault, by kind and day."""
        async with self._db.get_connection() as conn:
            return [ShardInfo(**row) for row in await conn.fetch(SQL["shards"])]

    async def replace(
        self,
        gone: Collection[str],
        shards: Sequence[ShardInfo] = (),
        *,
        event: Event | None = None,
        now: datetime | None = None,
    ) -> list[str]:
        """Put ``shards``, which were proven, in the place of the paths ``gone``, and name those that were known.

        When there were such, ``event`` is recorded along with it, its payload the paths on both sides.
        """
        now = now or clock.now()
        lasting = {shard.path for shard in shards}
        async with self._db.get_connection() as conn:
            rows = await conn.fetch(SQL["forget"], paths=sorted(set(gone) - lasting))
            struck = sorted(row["path"] for row in rows)
            await index_shards(conn, shards, now)
            if struck and event is not None:
                payload = {"gone": struck, "shards": sorted(lasting)}
                await events.record_many(conn, [event._replace(payload=payload)], now=now)
        return struck

    async def recognise(self, identity: str, provider: str, *, now: datetime | None = None) -> None:
        """Make sure that a vault is the one that the index speaks of; the first one seen is.

        Raises:
            ConfigurationError: it is another vault, and the index names shards of the first.
        """
        async with self._db.get_connection() as conn:
            ours = await conn.fetchrow(SQL["recognise"], id=identity, provider=provider, now=now or clock.now())
        if ours["id"] != identity:
            raise ConfigurationError(
                f"the {provider} vault {identity[:8]} is not the one this database archives into, which is the "
                f"{ours['provider']} vault {ours['id'][:8]} with {ours['shards']:,} shards: set VAULT_PROVIDER and its "
                "settings back; or, when you moved the vault with all its objects, run `atlas vault adopt`"
            )

    async def adopt(self, identity: str, provider: str, *, now: datetime | None = None) -> None:
        """Take a vault for the one that the index speaks of, whatever it was before."""
        async with self._db.get_connection() as conn:
            now = now or clock.now()
            await conn.execute(SQL["adopt"], {"id": identity, "provider": provider, "now": now})
            await events.record(conn, "vault.adopted", identity, {"provider": provider}, now=now)
