"""Looking after vault and index together: compaction, removal, and the index made anew.

The vault says what is there; SQL's index follows it. Each step begins with what it finds and may be cut short at any
point: the next time it ends as if nothing had happened. Nothing here ever touches a sample in SQL.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

from atlas.adapters.maia import MaiaDAO
from atlas.adapters.vault_index import VaultIndex
from atlas.db import DatabaseManager
from atlas.errors import VaultNotFound
from atlas.events import Event
from atlas.vault import ShardInfo, VaultStrategy, audit, compaction
from atlas.vault.audit import GRACE, Check, Expired, Useless
from atlas.vault.compaction import Merge

log = logging.getLogger(__name__)

LEASE = timedelta(hours=1)
RETIRING = "retire videos"


class Reindexed(NamedTuple):
    """What making the index anew came to: rows added and struck out, and what is wrong with the vault."""

    proven: int
    added: int
    dropped: int
    problems: list[Check]


def archiving(day: date) -> str:
    """Name the work of archiving the samples of ``day``."""
    return f"archive {day}"


def archiving_events(day: date) -> str:
    """Name the work of archiving the events of ``day``."""
    return f"archive events {day}"


async def recognised(vault: VaultStrategy, database: DatabaseManager) -> None:
    """Make the vault ready, and make sure that it is the one this database archives into.

    Raises:
        ConfigurationError: it cannot be used, or it is another one.
        VaultUnavailable: later may work.
    """
    identity = await asyncio.to_thread(vault.provision)
    await VaultIndex(database).recognise(identity, vault.provider)


class Upkeep:
    """Does the work, one at a time with other workers where that matters."""

    def __init__(self, vault: VaultStrategy, dao: MaiaDAO) -> None:
        self._vault = vault
        self._dao = dao
        self._index = VaultIndex.beside(dao)

    # -- Compaction ---------------------------------------------------------------------------------------------------

    async def merges(self, *, before: date) -> list[Merge]:
        """Name what can be compacted of the days before ``before``."""
        return await asyncio.to_thread(compaction.plan, self._vault, before=before)

    async def compact(self, merge: Merge, *, now: datetime) -> ShardInfo | None:
        """Make one shard of several; None when somebody else is at it, or was."""
        name = f"compact {merge}"
        token = await self._dao.claim_work(name, lease=LEASE, now=now)
        if token is None:
            log.info("somebody else is at it: %s", name)
            return None
        try:
            return await asyncio.to_thread(compaction.carry_out, self._vault, merge)
        except VaultNotFound:
            if set(merge.shards) <= set(await asyncio.to_thread(self._vault.shards, merge.kind)):
                raise  # listed and gone: that is damage
            log.info("somebody else was at it: %s", name)
            return None
        finally:
            await self._dao.release_work(name, token)

    async def follow(self, *, now: datetime) -> int:
        """Let the index name what is read, in the place of what others replaced; tells how many it struck out."""
        struck = 0
        for kind, shards in groupby(await self._index.shards(), key=lambda shard: shard.kind):
            live, superseded = await asyncio.to_thread(self._vault.index, kind)
            stale = [shard for shard in shards if shard.path in superseded]
            for day, of_day in groupby(stale, key=lambda shard: shard.day):
                replacements = [shard for shard in live if shard.day == day]
                await asyncio.to_thread(self._verify, replacements)
                paths = [shard.path for shard in of_day]
                event = Event("vault.compacted", f"{kind} {day}")
                struck += len(await self._index.replace(paths, replacements, event=event, now=now))
        return struck

    # -- Removal ------------------------------------------------------------------------------------------------------

    async def expired(self, *, keep_days: int | None, now: datetime) -> list[Expired]:
        """Name the days of which some part is older than ``keep_days``: they go as a whole.

        Not those of events: they are what everything else can be told from, and hold no statistics.
        """
        from atlas.vault.kinds import KINDS  # brings Arrow along

        if keep_days is None:
            return []
        through = (now - timedelta(days=keep_days)).date()
        kinds = [kind for kind in KINDS if kind != "events"]
        return await asyncio.to_thread(audit.expired, self._vault, through=through, kinds=kinds)

    async def expire(self, past: Expired, *, now: datetime) -> bool:
        """Remove a day that is past its time, from the index first; False when somebody else is at that day."""
        # Whoever archives this day proves shards that must not go before they are in the index.
        name = {"metrics": archiving(past.day), "metadata": RETIRING}.get(past.kind, f"expire {past}")
        token = await self._dao.claim_work(name, lease=LEASE, now=now)
        if token is None:
            return False
        try:
            await self._index.replace(past.paths, event=Event("vault.expired", str(past)), now=now)
            await asyncio.to_thread(self._vault.delete, past.paths, f"{past} is past its time")
        finally:
            await self._dao.release_work(name, token)
        return True

    async def useless(self, *, now: datetime, grace: timedelta = GRACE, unlisted: bool = False) -> Useless:
        """Find what nobody needs; unlisted shards only when asked for, and never what the index relies on."""
        keep = {shard.path for shard in await self._index.shards()} if unlisted else set[str]()
        return await asyncio.to_thread(
            audit.find_useless, self._vault, now=now, grace=grace, unlisted=unlisted, keep=keep
        )

    async def prune(self, found: Useless, *, now: datetime) -> None:
        """Remove what is due, and note what will be."""
        if found.due:
            await self._index.replace(found.due, now=now)
            message = f"remove {len(found.due)} shards that nobody needs"
            await asyncio.to_thread(audit.remove, self._vault, found.due, message)
        await asyncio.to_thread(audit.note_useless, self._vault, found, now=now)

    # -- The index ----------------------------------------------------------------------------------------------------

    async def check(self, each: Callable[[Check], None] = lambda _: None) -> list[Check]:
        """Read every shard of vault and index again; ``each`` is called, in another thread, as it goes on."""
        indexed = await self._index.shards()

        def look() -> list[Check]:
            found = []
            for check in audit.audit(self._vault, indexed):
                each(check)
                found.append(check)
            return found

        return await asyncio.to_thread(look)

    async def reindex(
        self, *, drop_missing: bool = False, now: datetime, each: Callable[[Check], None] = lambda _: None
    ) -> Reindexed:
        """Make the index anew from the vault alone, every shard proven.

        What SQL knows and the vault has lost stays in the index, so that reading it fails loudly, unless
        ``drop_missing``.
        """
        from atlas.vault.kinds import KINDS  # brings Arrow along

        known = {shard.path for shard in await self._index.shards()}
        found = await self.check(each)
        proven = [check.shard for check in found if check.shard and not check.problem and not check.superseded]
        problems = [check for check in found if check.problem]
        gone = {check.path for check in found if check.superseded}
        for kind in KINDS:
            gone |= (await asyncio.to_thread(self._vault.index, kind)).superseded
        if drop_missing:
            gone |= {check.path for check in problems if check.problem == "missing"}
        dropped = await self._index.replace(gone & known, proven, now=now)
        return Reindexed(len(proven), len({shard.path for shard in proven} - known), len(dropped), problems)

    def _verify(self, shards: Sequence[ShardInfo]) -> None:
        for shard in shards:
            self._vault.verify(shard)
