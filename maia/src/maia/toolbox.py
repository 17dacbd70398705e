"""What an agent works with, opened for one run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from atlas import db, settings, vault
from atlas.adapters.maia import MaiaDAO
from atlas.errors import Bucket
from atlas.hydra import HydraExecutor
from atlas.keys import KeyRing
from atlas.quota import QuotaLedger
from atlas.setup import ready
from atlas.upkeep import recognised
from atlas.vault import VaultStrategy
from maia.youtube.client import YouTube


@dataclass(frozen=True, slots=True)
class Stores:
    """Where things are kept."""

    dao: MaiaDAO
    vault: VaultStrategy


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The collaborators of an agent that talks to YouTube."""

    dao: MaiaDAO
    youtube: YouTube
    ledger: QuotaLedger
    keys: KeyRing

    async def share(self, bucket: Bucket, every: timedelta) -> int:
        """Units of ``bucket`` that a run which comes round ``every`` so often may spend."""
        return await self.ledger.share(bucket, self.keys.projects, every=every)


@asynccontextmanager
async def open_database() -> AsyncIterator[MaiaDAO]:
    """Open the database alone, and close it at the end.

    Raises:
        ConfigurationError: the database is not set up.
        DatabaseUnavailable: the database does not answer.
    """
    async with db:
        await ready(db)
        yield MaiaDAO(db)


@asynccontextmanager
async def open_stores() -> AsyncIterator[Stores]:
    """Open the database and the vault, and close them at the end.

    Raises:
        ConfigurationError: the database is not set up, or the vault cannot be used or is another than before.
        DatabaseUnavailable: the database does not answer.
    """
    async with open_database() as dao:
        await recognised(vault, db)
        yield Stores(dao, vault)


@asynccontextmanager
async def open_toolbox(agent: str) -> AsyncIterator[Toolbox]:
    """Open what ``agent`` needs to talk to YouTube, and close it at the end.

    Raises:
        ConfigurationError: a key is missing, or the database is not set up.
        DatabaseUnavailable: the database does not answer.
    """
    keys = KeyRing(agent, keys=settings.api_keys)  # told at once when there is none
    async with open_database() as dao:
        ledger = QuotaLedger(db)
        executor = HydraExecutor(keys, agent, ledger=ledger)
        async with YouTube(executor, endpoint=settings.YOUTUBE_API_ENDPOINT) as youtube:
            yield Toolbox(dao, youtube, ledger, keys)
