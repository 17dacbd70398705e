"""The tests for an operator's own services: proven here on stand-ins, to pass and to fail."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import orjson
import pytest

from alkyone.standins.discord import DiscordStandin
from alkyone.standins.youtube import YouTubeStandin
from atlas.config import Settings

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NOWHERE = "http://127.0.0.1:9"
"""A port that nobody listens at (discard)."""

pytestmark = pytest.mark.engine


async def run(marker: str, folder: Path, **settings: str) -> tuple[int, str]:
    """Run the marked tests as an operator does, with these settings and no others."""
    ours = {*Settings.model_fields, "HF_REPO_ID"}
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("PREFECT_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-m", marker,
        "-c", str(ROOT / "pyproject.toml"), str(HERE / "smoke"), str(HERE / "live"),
        env=kept | {"PLEIADES_HOME": str(folder)} | settings, cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_they_pass_where_every_service_answers_and_say_what_they_spent(
    youtube_standin: YouTubeStandin, database_url: str, tmp_path: Path
) -> None:
    with DiscordStandin("ops") as discord:
        code, out = await run(
            "smoke or live", tmp_path, DATABASE_URL=database_url, YOUTUBE_API_ENDPOINT=youtube_standin.endpoint,
            YOUTUBE_API_KEY_POOL_JSON=orjson.dumps([youtube_standin.key]).decode(),
            DISCORD_WEBHOOK_OPS=discord.address("ops"),
        )  # fmt: skip
        assert discord.taken == []
    assert code == 0, out
    assert "5 passed, 4 skipped" in out
    assert "PREFECT_API_URL is not set" in out
    assert "spent: 3 of general, 1 of search, 1 of stats" in out
    charged = [used for days in youtube_standin.quota.usage().values() for used in days.values()]
    assert charged == [{"general": 4, "search": 1, "stats": 1}]  # a unit of the smoke tests
    assert list((tmp_path / "vault").rglob("smoke/*")) == []


async def test_smoke_tests_name_every_service_that_is_away(youtube_standin: YouTubeStandin, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of the vault")
    with DiscordStandin("ops") as discord:
        address = discord.address("ops")
        discord.remove("ops")
        code, out = await run(
            "smoke", tmp_path, DATABASE_URL="postgresql://nobody@127.0.0.1:9/nothing",
            YOUTUBE_API_ENDPOINT=youtube_standin.endpoint, YOUTUBE_API_KEY_POOL_JSON='["another-key"]',
            DISCORD_WEBHOOK_OPS=address, LOCAL_VAULT_PATH=str(tmp_path / "file"), PREFECT_API_URL=f"{NOWHERE}/api",
        )  # fmt: skip
    assert code == 1, out
    assert "5 failed, 3 skipped" in out
    assert address.rpartition("/")[2] not in out


async def test_without_a_key_live_tests_are_skipped_with_the_reason(tmp_path: Path) -> None:
    code, out = await run("live", tmp_path)
    assert code == 0, out
    assert "there is no key to ask YouTube with" in out
