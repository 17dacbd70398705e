"""Secrets nowhere: each holds a canary, agents run into trouble of every kind, and all that they leave is searched."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

import alkyone.__main__
import atlas.cli
import maia.cli
from alkyone.databases import NOON
from alkyone.environments import bare
from alkyone.standins.youtube import YouTubeStandin
from atlas.config import Settings, get_settings

NOBODY = "http://127.0.0.1:9"
"""Where nothing listens."""
CANARY = "c4n4ry"


def parts(annotation: object) -> set[object]:
    return {annotation}.union(*(parts(part) for part in typing.get_args(annotation)))


SECRET_SETTINGS = {name for name, field in Settings.model_fields.items() if SecretStr in parts(field.annotation)}


def planted(database_url: str, key: str) -> dict[str, str]:
    """A canary of its own in every secret setting, in the form that the setting has."""
    where = conninfo_to_dict(database_url)
    host = quote(str(where["host"]), safe="")
    address = f"@/{where['dbname']}?host={host}&port={where['port']}"
    return {
        "DATABASE_URL": f"postgresql://{where['user']}:{CANARY}-owner{address}",
        "DATABASE_WRITER_URL": f"postgresql://writer:{CANARY}-writer{address}",
        "DATABASE_READER_URL": f"postgresql://reader:{CANARY}-reader{address}",
        "HF_TOKEN": f"hf_{CANARY}",
        "YOUTUBE_API_KEY_POOL_JSON": f'["{key}", {{"key": "AIza-{CANARY}-2", "project": "two"}}]',
        "YOUTUBE_OAUTH_CLIENT_ID": f"{CANARY}-client",
        "YOUTUBE_OAUTH_CLIENT_SECRET": f"{CANARY}-client-secret",
        "YOUTUBE_OAUTH_REFRESH_TOKEN": f"{CANARY}-refresh",
        "EVENT_BUS_WEBHOOK_URL": f"{NOBODY}/{CANARY}/events",
        "EVENT_BUS_WEBHOOK_SECRET": f"{CANARY}-signing",
        **{
            f"DISCORD_WEBHOOK_{channel}": f"{NOBODY}/{CANARY}/{channel}"
            for channel in ("ALERTS", "HUNT", "SURVEILLANCE", "OPS")
        },
        "NOTIFY_URLS": f'["json://127.0.0.1:9/{CANARY}"]',
        "HEARTBEAT_URL": f"{NOBODY}/{CANARY}/ping",
    }


def test_every_secret_setting_has_a_canary(database_url: str) -> None:
    assert set(planted(database_url, "k")) == SECRET_SETTINGS


class Left:
    """What a run left behind that somebody may read, by where it is."""

    def __init__(self) -> None:
        self.texts: dict[str, bytes] = {}

    def add(self, where: str, text: bytes | str) -> None:
        self.texts[where] = text.encode() if isinstance(text, str) else text

    def leaks(self) -> list[str]:
        return [f"{where}: {text[max(0, (at := text.find(CANARY.encode())) - 200) : at + 60]!r}"
                for where, text in self.texts.items() if CANARY.encode() in text]  # fmt: skip


def environment(home: Path, changes: Mapping[str, str]) -> dict[str, str]:
    return {
        **bare(),
        "HOME": str(home),
        "PLEIADES_HOME": str(home),
        "LOG_LEVEL": "DEBUG",
        "PYTHONFAULTHANDLER": "1",
        "PYTHONASYNCIODEBUG": "1",
        **changes,
    }


def run(left: Left, home: Path, variables: Mapping[str, str], *words: str) -> int:
    """Run a program to its end, and keep what it says and how the process list shows it."""
    process = subprocess.Popen(
        [sys.executable, *words], env=environment(home, variables), cwd=home,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    shown = [" ".join(one.cmdline()) for one in family(process.pid)]
    out, err = process.communicate()
    left.add(f"{' '.join(words[:4])}: output", out)
    left.add(f"{' '.join(words[:4])}: errors", err)
    left.add(f"{' '.join(words[:4])}: process list", "\n".join(shown))
    return process.returncode


def family(pid: int) -> Iterator[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        yield from (parent, *parent.children(recursive=True))
    except psutil.NoSuchProcess:
        return


def stored(left: Left, conninfo: str, home: Path) -> None:
    """Add every row of every table, and every file."""
    with psycopg.connect(conninfo) as conn:
        tables = conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in tables:
            rows = conn.execute(sql.SQL("SELECT t::text FROM {} AS t").format(sql.Identifier(table))).fetchall()
            left.add(f"table {table}", "\n".join(row[0] for row in rows))
    for file in home.rglob("*"):
        if file.is_file():
            left.add(f"file {file.relative_to(home)}", file.read_bytes())


BUG = """
import sys, aiohttp
def bug(*args, **options):
    raise RuntimeError("a bug of ours")
aiohttp.ClientSession.get = bug
sys.argv = ["maia", "hunter", "--plain"]
from maia.__main__ import main
main()
"""

LOCALS = """
import asyncio, traceback
from atlas import db, events, notifier, settings, vault
from atlas.config import get_settings
from atlas.hydra import HydraExecutor
from atlas.keys import KeyRing
from atlas.events.webhooks import Webhook
from maia.youtube.client import YouTube
def broken():
    rules, keys = get_settings(), KeyRing("hunter", keys=settings.api_keys)
    executor, webhook = HydraExecutor(keys, "hunter"), Webhook(rules=rules)
    youtube, shared = YouTube(executor), (db, events, notifier, settings, vault)
    raise RuntimeError("a bug of ours")
try:
    broken()
except RuntimeError as exc:
    print("".join(traceback.TracebackException.from_exception(exc, capture_locals=True).format()))
    from rich.console import Console
    from rich.traceback import Traceback
    Console(width=400).print(Traceback(show_locals=True, locals_max_length=None, locals_max_string=None))
"""

CRASH = """
import os, signal
from atlas import settings
keys, url = settings.api_keys, settings.DATABASE_URL
os.kill(os.getpid(), signal.SIGABRT)
"""


@pytest.mark.engine
@pytest.mark.timeout(900)
async def test_no_secret_is_left_anywhere_whatever_goes_wrong(conninfo: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    left = Left()
    key = f"AIza-{CANARY}-1"
    async with YouTubeStandin("generated:seed=7,channels=10", clock=lambda: NOON, keys={key: "one"}) as youtube:
        secrets = planted(conninfo, key)
        variables = secrets | {
            "YOUTUBE_API_ENDPOINT": youtube.endpoint,
            "YOUTUBE_OAUTH_TOKEN_ENDPOINT": f"{NOBODY}/token",
        }
        hub = {"HF_DATASET_ID": "o/n", "HF_ENDPOINT": NOBODY}

        async def go(*words: str, **changes: str) -> int:
            return await asyncio.to_thread(run, left, home, variables | changes, *words)

        def maia_(*words: str) -> tuple[str, ...]:
            return "-m", "maia", *words

        assert await go(*maia_("seed", "jazz", "--channel", youtube.world.channels_at(NOON)[0])) == 0
        for fault in ("status_500", "truncated", "html", "redirect", "reset"):
            youtube.faults.add(fault, times=1)
        away = secrets["DATABASE_URL"].replace("port=", "port=1")
        ended = await asyncio.gather(  # most of it is waiting
            go(*maia_("hunter", "--plain"), LOG_FORMAT="json"),
            go(*maia_("heartbeat", "--plain")),
            go("-m", "atlas", "health", DATABASE_URL=away, VAULT_PROVIDER="huggingface", **hub),
            go("-m", "atlas", "config", YOUTUBE_API_KEY_POOL_JSON=f'["{CANARY}'),
            go("-c", LOCALS),
            go("-c", CRASH),
        )
        assert {*ended[:2]} <= {0, 1}
        assert ended[2:] == [1, 2, 0, -signal.SIGABRT]
        youtube.faults.clear()
        youtube.faults.add("key_invalid", times=1)
        tracked, hunted = await asyncio.gather(go(*maia_("tracker", "--plain")), go("-c", BUG))
        assert tracked in {0, 1, 2}
        assert hunted in {0, 1}
    stored(left, conninfo, home)
    assert b"a bug of ours" in left.texts["-c " + LOCALS + ": output"], "the trouble was there"
    assert b"Fatal Python error: Aborted" in left.texts["-c " + CRASH + ": errors"]
    assert any(where.startswith("table system_events") and text for where, text in left.texts.items())
    assert left.leaks() == []


def test_no_command_shows_the_variables_of_a_traceback() -> None:
    """An address with its key is a variable somewhere below every call."""
    for app in (atlas.cli.app, maia.cli.app, alkyone.__main__.app):
        assert app.pretty_exceptions_enable is False


def test_settings_show_no_secret_however_they_are_shown(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in planted(database_url, f"AIza-{CANARY}").items():
        monkeypatch.setenv(name, value)
    rules = get_settings()
    shown = [
        repr(rules),
        str(rules),
        f"{rules}",
        str(rules.model_dump()),
        rules.model_dump_json(),
        repr(rules.api_keys),
    ]
    assert not [text for text in shown if CANARY in text]
