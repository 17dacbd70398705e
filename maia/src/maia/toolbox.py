"""What an agent works with, opened for one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from atlas import clock, db, events, notifier, settings, vault
from atlas._besteffort import best_effort
from atlas.adapters.maia import MaiaDAO
from atlas.breakers import breakers
from atlas.errors import Bucket
from atlas.hydra import HydraExecutor
from atlas.keys import KeyRing
from atlas.quota import QuotaLedger, Usage, began_at, pacific_day, reset_at
from atlas.setup import ready
from atlas.upkeep import recognised
from atlas.vault import VaultStrategy
from maia.batches import IDS_PER_CALL
from maia.planner import Outlook, Purpose, plan
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

    async def allowance(self, every: timedelta) -> dict[Purpose, int]:
        """Tell what a run that comes round ``every`` so often may spend now, by purpose."""
        return plan(await outlook(self.dao, self.ledger, self.keys.projects), every).run


async def outlook(
    dao: MaiaDAO, ledger: QuotaLedger, projects: Iterable[str], *, now: datetime | None = None
) -> Outlook:
    """Gather what the planner goes by: the day's quota, two days' use, and what waits."""
    now = now or clock.now()
    names = frozenset(projects)
    today = await ledger.usage(names, now=now)
    before = await ledger.usage(names, day=pacific_day(now) - timedelta(days=1))
    left: Counter[Bucket] = Counter()
    limits: Counter[Bucket] = Counter()
    for usage in today:
        left[usage.bucket] += usage.left
        limits[usage.bucket] += usage.limit
    ahead = await dao.day_ahead(reset_at(now), limit=IDS_PER_CALL * left["general"], now=now)
    if settings.TRANSCRIPT_SOURCE != "owned":
        ahead = ahead._replace(scribe=0)  # no other source draws on the quota
    return Outlook(now, began_at(now), reset_at(now), limits, left, by_purpose(today), by_purpose(before), ahead)


def by_purpose(usages: Iterable[Usage]) -> Counter[str]:
    """Sum up the units used by what they were used for."""
    used: Counter[str] = Counter()
    for usage in usages:
        used.update(usage.purposes)
    return used


@asynccontextmanager
async def open_database() -> AsyncIterator[MaiaDAO]:
    """Open the database alone, and close it at the end; what alerts are left are said then, for seconds at most.

    Raises:
        ConfigurationError: the database is not set up.
        DatabaseUnavailable: the database does not answer.
    """
    try:
        async with db:
            await ready(db)
            try:
                yield MaiaDAO(db)
            finally:
                await events.close()  # what was emitted on the way is stored before the process may end
    finally:
        await notifier.close()


@asynccontextmanager
async def _telling_others() -> AsyncIterator[None]:
    """Let the webhook, if there is one, have the events of the block, for seconds at most."""
    if settings.EVENT_BUS_WEBHOOK_URL is None or not settings.EVENT_BUS_ENABLED:
        yield
        return
    from atlas.events.webhooks import Webhook, deliver_at_the_end

    with best_effort("webhook"):
        await Webhook().enlist()
    try:
        yield
    finally:
        await events.close()
        await deliver_at_the_end()


@asynccontextmanager
async def open_stores() -> AsyncIterator[Stores]:
    """Open the database and the vault, and close them at the end.

    Raises:
        ConfigurationError: the database is not set up, or the vault cannot be used or is another than before.
        DatabaseUnavailable: the database does not answer.
    """
    async with open_database() as dao, _telling_others():
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
    async with open_database() as dao, _telling_others():
        ledger = QuotaLedger(db)
        executor = HydraExecutor(keys, agent, ledger=ledger)
        async with YouTube(executor, endpoint=settings.YOUTUBE_API_ENDPOINT, breakers=breakers) as youtube:
            yield Toolbox(dao, youtube, ledger, keys)


@asynccontextmanager
async def open_workshop(agent: str) -> AsyncIterator[tuple[Toolbox, VaultStrategy]]:
    """Open what ``agent`` needs to talk to YouTube, and the vault.

    Raises:
        ConfigurationError: a key is missing, the database is not set up, or the vault cannot be used or is another
            than before.
        DatabaseUnavailable: the database does not answer.
    """
    async with open_toolbox(agent) as tools:
        await recognised(vault, db)
        yield tools, vault
