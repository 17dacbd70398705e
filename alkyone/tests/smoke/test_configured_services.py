"""Do the services that the settings name answer? ``pytest -m smoke``, with the settings of an installation.

It leaves nothing behind: a document in the vault comes and goes, YouTube is asked for one general unit, a webhook of
Discord is looked at and not posted to. HEARTBEAT_URL and EVENT_BUS_WEBHOOK_URL are left alone, which take every call
for a beat or an event.
"""

from __future__ import annotations

import asyncio
import os
from uuid import uuid4

import aiohttp
import pytest

from atlas import AlertChannel, db, settings, vault
from atlas.health import health_check_all
from maia.youtube.client import YouTube

pytestmark = pytest.mark.smoke

PATIENCE = aiohttp.ClientTimeout(total=20)


async def test_the_database_answers_and_has_the_schema_of_this_code() -> None:
    async with db:
        told = await health_check_all()
    assert told["database"].healthy, told["database"].detail
    assert told["schema"].healthy, told["schema"].detail


async def test_the_vault_keeps_what_it_is_given() -> None:
    path, said = f"smoke/{uuid4().hex}.json", {"said": "still here"}
    await asyncio.to_thread(vault.provision)
    await asyncio.to_thread(vault.store_json, path, said)
    try:
        assert await asyncio.to_thread(vault.fetch_json, path) == said
    finally:
        await asyncio.to_thread(vault.delete, [path], "smoke test")
    assert await asyncio.to_thread(vault.fetch_json, path) is None


async def test_youtube_takes_the_first_key() -> None:
    if settings.YOUTUBE_API_KEY_POOL_JSON is None:
        pytest.skip("YOUTUBE_API_KEY_POOL_JSON is not set")
    async with YouTube.with_key(settings.api_keys[0].secret) as youtube:
        assert len(await youtube.videos(["jNQXAc9IVRw"])) <= 1


@pytest.mark.parametrize("channel", [channel.name for channel in AlertChannel])
async def test_discord_knows_the_webhook(channel: str) -> None:
    secret = getattr(settings, f"DISCORD_WEBHOOK_{channel}")
    if secret is None:
        pytest.skip(f"DISCORD_WEBHOOK_{channel} is not set")
    try:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as http,
            http.get(secret.get_secret_value(), allow_redirects=False) as answer,
        ):
            status: int | str = answer.status
    except (aiohttp.ClientError, TimeoutError) as error:
        status = type(error).__name__  # its text may hold the address
    assert status == 200


async def test_prefects_server_answers() -> None:
    if not (root := os.environ.get("PREFECT_API_URL")):
        pytest.skip("PREFECT_API_URL is not set")
    async with aiohttp.ClientSession(timeout=PATIENCE) as http, http.get(f"{root.rstrip('/')}/health") as answer:
        assert answer.status == 200
