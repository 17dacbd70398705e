"""A vault that is full, or whose token is revoked: work is given back as it was, and nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from alkyone.agents import Agent, Site
from alkyone.invariants.truth import Truth
from alkyone.scenes import TINY, OpenScene, Scene, assert_sound, cycle, seed
from alkyone.standins.gcs import GCSStandin
from atlas import clock
from atlas.errors import ConfigurationError, VaultDenied, VaultFull

DAY = timedelta(days=1)
KEEPERS: tuple[Agent, ...] = ("painter", "scribe", "janitor")
"""Agents that write to the vault."""


async def found(here: Scene, site: Site) -> None:
    """Find and read videos, so that every keeper has something to keep."""
    begin = here.youtube.now()
    await seed(site, here.world, begin, terms=1, channels=2)
    await cycle("hunter", site, every=DAY)
    here.youtube.set_clock(begin + 3 * DAY)  # a day after the first one closed for good
    await cycle("tracker", site, every=DAY)


@pytest.mark.timeout(300)
async def test_a_full_disk_under_the_vault_gives_all_work_back(scene: OpenScene, small_disk: Path) -> None:
    async with scene(TINY) as here:
        with (
            clock.use(here.youtube.clock),
            here.site(JANITOR_RETENTION_DAYS=1, FRAME_WIDTH=320, LOCAL_VAULT_PATH=small_disk / "vault") as site,
        ):
            await found(here, site)
            (small_disk / "filler").write_bytes(bytes(900 * 1024))
            with pytest.raises(VaultFull):
                await cycle("painter", site, every=DAY)
            await assert_sound(site, Truth.of_standin(here.youtube), now=here.youtube.now())

            (small_disk / "filler").unlink()
            for agent in KEEPERS:
                await cycle(agent, site, every=DAY)
            assert site.open_vault().shards("visuals")
            await assert_sound(site, Truth.of_standin(here.youtube), now=here.youtube.now())


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[GCSStandin]:
    """Serve a bucket."""
    with GCSStandin("vault") as standin:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", standin.endpoint)
        yield standin


@pytest.mark.timeout(300)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_revoked_token_gives_all_work_back(scene: OpenScene, store: GCSStandin, status: int) -> None:
    async with scene(TINY) as here:
        with (
            clock.use(here.youtube.clock),
            here.site(JANITOR_RETENTION_DAYS=1, FRAME_WIDTH=320, VAULT_PROVIDER="gcs", GCS_BUCKET_NAME="vault") as site,
        ):
            await found(here, site)
            for agent in KEEPERS:
                store.mishaps.add("status", "POST", status=status, times=1_000)
                with pytest.raises((VaultDenied, ConfigurationError)):
                    await cycle(agent, site, every=DAY)
                await assert_sound(site, Truth.of_standin(here.youtube), now=here.youtube.now())
                store.mishaps.clear()
                await cycle(agent, site, every=DAY)

            kept = [kind for kind in ("metrics", "visuals", "transcripts") if site.open_vault().shards(kind)]
            assert kept == ["metrics", "visuals", "transcripts"]
            await assert_sound(site, Truth.of_standin(here.youtube), now=here.youtube.now())
