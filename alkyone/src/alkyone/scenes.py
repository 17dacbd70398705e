"""Scenes: a small world behind a real stand-in, fresh sites to work at, agents as processes."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, cast

from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from alkyone import snapshots
from alkyone.agents import Agent, Site, run_together
from alkyone.databases import scratch
from alkyone.invariants import check
from alkyone.invariants.truth import Truth
from alkyone.standins.youtube import YouTubeStandin, oauth
from alkyone.worlds import World, open_world
from atlas import clock, settings
from atlas import notifier as shared_notifier
from atlas._lazy import swapped
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ChannelSeen, WatchEntry
from atlas.breakers import Breakers
from atlas.config import ApiKey
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.errors import Bucket
from atlas.history import timeline
from atlas.hydra import HydraExecutor
from atlas.keys import KeyRing
from atlas.notifications import DiscordNotifier
from atlas.quota import QuotaLedger
from atlas.tiers import next_track
from atlas.upkeep import Upkeep, recognised
from atlas.vault import LocalVault, VaultStrategy
from maia.hunter.agent import hunt
from maia.janitor.agent import clean
from maia.painter.agent import Studio, paint
from maia.painter.frames import YouTubeThumbnails
from maia.scribe.agent import Desk, describe
from maia.scribe.embedders import get_embedder
from maia.scribe.transcripts.sources import open_source
from maia.toolbox import Stores, Toolbox
from maia.tracker.agent import track
from maia.youtube.client import YouTube

SMALL = "generated:seed=11,channels=6,videos=180,past=20"
TINY = "generated:seed=11,channels=2,videos=12,past=20"
"""Few enough tags that a Hunter runs out of terms before it runs out of quota."""


AMPLE: Mapping[Bucket, int] = {"search": 1_000_000, "stats": 1_000_000, "general": 1_000_000}
"""Quotas that no test runs out of."""


class OpenScene(Protocol):
    """Opens a scene for the length of a block; see ``open_scene``."""

    def __call__(self, world: str = SMALL, limits: Mapping[Bucket, int] = AMPLE) -> AbstractAsyncContextManager[Scene]:
        """Open it."""
        ...


class Scene:
    """One YouTube, and as many sites as a test needs, all alike at the start."""

    def __init__(
        self,
        postgres: EmbeddedServer,
        template: str,
        folder: Path,
        youtube: YouTubeStandin,
        limits: Mapping[Bucket, int],
    ) -> None:
        self.youtube = youtube
        self._limits = limits
        self.world: World = youtube.world
        self._postgres = postgres
        self._template = template
        self._folder = folder
        self._sites = 0

    @contextmanager
    def site(self, like: Site | None = None, **changes: Any) -> Iterator[Site]:
        """A database and a vault: fresh ones, or copies of another site's with its settings but for the ``changes``."""
        self._sites += 1
        vault = self._folder / f"vault-{self._sites}"
        template = self._template
        kept: dict[str, Any] = {f"QUOTA_{bucket.upper()}_PER_DAY": limit for bucket, limit in self._limits.items()}
        if like is not None:
            template = str(conninfo_to_dict(like.conninfo)["dbname"])
            kept = dict(like.changes)
            if like.vault.exists():
                shutil.copytree(like.vault, vault)
        with scratch(self._postgres, template) as conninfo:
            yield Site(conninfo, vault, self.youtube.endpoint, self.youtube.key, tuple((kept | changes).items()))

    def owner(self) -> dict[str, Any]:
        """Settings of an operator who owns some of the channels, and may read the captions of their videos."""
        return {
            "TRANSCRIPT_SOURCE": "owned",
            "YOUTUBE_OAUTH_CLIENT_ID": SecretStr(oauth.CLIENT_ID),
            "YOUTUBE_OAUTH_CLIENT_SECRET": SecretStr(oauth.CLIENT_SECRET),
            "YOUTUBE_OAUTH_REFRESH_TOKEN": SecretStr(oauth.REFRESH_TOKEN),
            "YOUTUBE_OAUTH_TOKEN_ENDPOINT": self.youtube.token_endpoint,
        }

    def quota(self) -> dict[str, int]:
        """What the stand-in charged so far, by bucket, over all days and projects."""
        charged: dict[str, int] = {"search": 0, "stats": 0, "general": 0}
        for days in self.youtube.quota.usage().values():
            for buckets in days.values():
                for bucket, units in buckets.items():
                    charged[bucket] += units
        return charged

    def assert_nothing_is_lost(self, site: Site) -> None:
        """Hold ``site``, the only one that was worked at, against the stand-in's own books.

        No lease is left, every reading that was served is stored once, and the ledger counts as YouTube does.
        """
        assert snapshots.leased(site.conninfo) == 0
        assert snapshots.readings(site.conninfo, site.vault) == snapshots.served(self.youtube.served.columns())
        charged = {
            (date.fromisoformat(day), bucket): units
            for days in self.youtube.quota.usage().values()
            for day, buckets in days.items()
            for bucket, units in buckets.items()
        }
        assert snapshots.ledger(site.conninfo) == charged


@asynccontextmanager
async def dao_of(site: Site) -> AsyncIterator[MaiaDAO]:
    """Look into a site's database."""
    async with DatabaseManager(site.conninfo) as database:
        yield MaiaDAO(database)


@asynccontextmanager
async def tools_of(
    site: Site,
    *,
    timeout: timedelta = timedelta(seconds=30),
    keys: Sequence[ApiKey] | None = None,
    notifier: DiscordNotifier = shared_notifier,
) -> AsyncIterator[Toolbox]:
    """Lend what an agent talks to YouTube with, for agents in the test's own process; retries do not wait."""
    rules = site.settings()
    async with DatabaseManager(site.conninfo) as database:
        ring = KeyRing("test", keys=keys or rules.api_keys, database=database)
        ledger = QuotaLedger(database, cast("Mapping[Bucket, int]", rules.daily_quota))
        executor = HydraExecutor(ring, "test", ledger=ledger, notifier=notifier, settings=rules, sleep=_no_wait)
        async with YouTube(executor, endpoint=site.endpoint, timeout=timeout) as youtube:
            yield Toolbox(MaiaDAO(database), youtube, ledger, ring)


@asynccontextmanager
async def stores_of(site: Site, vault: VaultStrategy | None = None) -> AsyncIterator[Stores]:
    """Lend what the Janitor works with, for one in the test's own process."""
    async with dao_of(site) as dao:
        yield Stores(dao, vault or LocalVault(site.vault))


@asynccontextmanager
async def studio_of(
    site: Site, vault: VaultStrategy | None = None, *, timeout: timedelta = timedelta(seconds=30)
) -> AsyncIterator[Studio]:
    """Lend what the Painter works with, for one in the test's own process."""
    # Breakers of its own: what one cycle learns of a source is no matter of the next, whose clock may stand still.
    width = site.settings().FRAME_WIDTH
    frames = YouTubeThumbnails(site.endpoint, width=width, timeout=timeout, breakers=Breakers(), sleep=_no_wait)
    async with tools_of(site, timeout=timeout) as tools, frames:
        yield Studio(tools, vault or LocalVault(site.vault), frames)


@asynccontextmanager
async def desk_of(site: Site, every: timedelta, vault: VaultStrategy | None = None) -> AsyncIterator[Desk]:
    """Lend what the Scribe works with, for one in the test's own process; its source is that of the shared settings."""
    rules = site.settings()
    async with dao_of(site) as dao, open_source(dao, every) as source:
        yield Desk(dao, vault or LocalVault(site.vault), source, get_embedder(rules), rules.MAX_VECTORS)


async def cycle(agent: Agent, site: Site, *, every: timedelta) -> None:
    """Run a cycle of any agent in the test's own process, at the shared clock's time, under the site's settings."""
    with swapped(settings, site.settings()):
        await work(agent, site, site.open_vault(), every=every)


async def work(
    agent: Agent, site: Site, vault: VaultStrategy, *, every: timedelta, timeout: timedelta = timedelta(seconds=30)
) -> None:
    """Do the same at a ``vault`` of one's own, under the shared settings, which must be the site's."""
    rules = site.settings()
    async with AsyncExitStack() as stack:
        if agent in {"painter", "scribe", "janitor"}:
            async with DatabaseManager(site.conninfo) as database:
                await recognised(vault, database)
        match agent:
            case "hunter":
                tools = await stack.enter_async_context(tools_of(site, timeout=timeout))
                await hunt(tools, every=every, stages=rules.VIDEO_STAGES, rules=rules)
            case "tracker":
                await track(await stack.enter_async_context(tools_of(site, timeout=timeout)), every=every)
            case "painter":
                await paint(await stack.enter_async_context(studio_of(site, vault, timeout=timeout)), every=every)
            case "scribe":
                await describe(await stack.enter_async_context(desk_of(site, every, vault)), every=every)
            case "janitor":
                await clean(await stack.enter_async_context(stores_of(site, vault)), rules=rules)


async def assert_sound(site: Site, truth: Truth | None = None, *, now: datetime, **options: Any) -> None:
    """Let every invariant hold of a site at which nobody works; ``options`` are those of ``invariants.check``."""
    async with DatabaseManager(site.conninfo) as database:
        report = await check(
            database,
            site.open_vault(),
            rules=site.settings(),
            now=now,
            truth=truth,
            at_rest=True,
            **options,
        )
    assert not report.breaches, "\n".join(map(str, report.breaches))


async def janitors_beside_a_compaction(site: Site, videos: Sequence[str], *, now: datetime, rows: int) -> None:
    """Run two Janitors at once, three times, an hour apart, while somebody compacts and reads all the while.

    Raises:
        AssertionError: a Janitor failed, or a reader of the last 25 days saw other than ``rows`` samples.
    """

    async def compact_and_read(done: asyncio.Event) -> None:
        vault = site.open_vault()
        async with DatabaseManager(site.conninfo) as database:
            upkeep = Upkeep(vault, MaiaDAO(database))
            while not done.is_set():
                for merge in await upkeep.merges(before=now.date()):
                    await upkeep.compact(merge, now=now)
                await upkeep.follow(now=now)
                found = await timeline(videos, now - timedelta(days=25), database=database, vault=vault)
                assert found.num_rows == rows, "a reader saw a gap or a double"

    for hour in range(3):
        done = asyncio.Event()
        other = asyncio.create_task(compact_and_read(done))
        runs = await run_together(["janitor", "janitor"], site, now + timedelta(hours=hour))
        done.set()
        await other
        assert [run.error for run in runs] == [None, None]


async def _no_wait(seconds: float) -> None:
    del seconds


async def watch(site: Site, ids: Sequence[str], world: World, due: datetime) -> None:
    """Put videos on the watchlist, due a second after each other, the last at ``due``."""
    first = due - timedelta(seconds=len(ids) - 1)
    entries = []
    for number, video_id in enumerate(ids):
        video = world.video(video_id, world.end)
        published = video.published_at if video is not None else world.start
        tier = next_track(published, due).tier
        entries.append(WatchEntry(video_id, published, tier, first + timedelta(seconds=number)))
    async with dao_of(site) as dao:
        await dao.add_to_watchlist(entries, now=due)


async def seed(site: Site, world: World, at: datetime, *, terms: int = 2, channels: int = 3) -> None:
    """Pin a few of the world's terms and channels."""
    async with dao_of(site) as dao:
        await dao.add_to_search_queue(world.terms()[:terms], pinned=True, now=at)
        seen = [ChannelSeen(channel) for channel in world.channels_at(at)[:channels]]
        await dao.add_channels(seen, in_roster=True, pinned=True, now=at)


@asynccontextmanager
async def open_scene(
    postgres: EmbeddedServer, template: str, folder: Path, world: str, limits: Mapping[Bucket, int] = AMPLE
) -> AsyncIterator[Scene]:
    """Open a scene ten days into ``world``; ``limits`` are the daily quotas, of the stand-in and of the settings."""
    opened = open_world(world)
    now = clock.VirtualClock(opened.start + timedelta(days=10))
    async with YouTubeStandin(opened, clock=now, limits=limits) as youtube:
        yield Scene(postgres, template, folder, youtube, limits)
