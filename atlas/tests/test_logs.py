"""Logs of the commands: a line says which run it is of, and never a secret."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import Any

import orjson
import pytest

from atlas.config import Settings
from atlas.logs import HIDDEN, Run, formatter, of_run

PASSWORD = "p@ss-word"
SECRETS: dict[str, Any] = {
    "DATABASE_URL": "postgresql://me:p%40ss-word@db.example/pleiades",
    "YOUTUBE_API_KEY_POOL_JSON": '["AIza-first", {"key": "AIza-second", "project": "b"}]',
    "DISCORD_WEBHOOK_OPS": "https://discord.example/api/webhooks/1/token-of-ops",
    "NOTIFY_URLS": ["slack://token-of-slack"],
    "HF_TOKEN": "hf_token",
    "HEARTBEAT_URL": "https://beat.example/uuid",
}
SPOKEN = [
    SECRETS["DATABASE_URL"], PASSWORD, "AIza-first", "AIza-second", SECRETS["DISCORD_WEBHOOK_OPS"],
    *SECRETS["NOTIFY_URLS"], "hf_token", SECRETS["HEARTBEAT_URL"],
]  # fmt: skip


class Lines(logging.Handler):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.setFormatter(formatter(Settings(**SECRETS | settings | {"_env_file": None})))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(params=["text", "json"])
def lines(request: pytest.FixtureRequest) -> Lines:
    return Lines(LOG_FORMAT=request.param)


@pytest.fixture
def log(lines: Lines) -> logging.Logger:
    logger = logging.Logger("atlas.test")
    logger.addHandler(lines)
    return logger


@pytest.mark.parametrize("secret", SPOKEN)
def test_no_secret_of_the_settings_is_logged(log: logging.Logger, lines: Lines, secret: str) -> None:
    log.warning("with %s", secret, extra={"more": f"and {secret}"})
    try:
        raise ValueError(secret)
    except ValueError:
        log.exception("it failed")

    assert len(lines.lines) == 2
    assert HIDDEN in lines.lines[0]
    assert f"ValueError: {HIDDEN}" in lines.lines[1]
    assert secret not in "".join(lines.lines)


def test_other_handlers_see_the_record_as_it_is(log: logging.Logger) -> None:
    seen: list[logging.LogRecord] = []
    log.addHandler(handler := logging.Handler())
    handler.emit = seen.append  # type: ignore[method-assign]

    log.warning("a key: %s", "AIza-first")

    assert seen[0].getMessage() == "a key: AIza-first"


def test_what_is_no_secret_stays(log: logging.Logger, lines: Lines) -> None:
    log.warning("me at db.example: %d of %s", 3, "pleiades")

    assert "me at db.example: 3 of pleiades" in lines.lines[0]


async def test_a_line_says_which_run_it_is_of_in_its_tasks_and_threads_too() -> None:
    lines = Lines(LOG_FORMAT="json")
    log = logging.Logger("maia.test")
    log.addHandler(lines)

    async def work(agent: str) -> None:
        with of_run(Run(agent, f"id of {agent}")):
            await asyncio.gather(asyncio.sleep(0), asyncio.to_thread(log.info, "busy"))
            log.info("busy")

    await asyncio.gather(work("hunter"), work("tracker"))
    log.info("alone")

    told = [orjson.loads(line) for line in lines.lines]
    assert sorted((line["agent"], line["run_id"]) for line in told[:-1]) == (
        [("hunter", "id of hunter")] * 2 + [("tracker", "id of tracker")] * 2
    )
    assert "run_id" not in told[-1]


def test_a_line_of_json_says_when_where_and_how_grave() -> None:
    lines = Lines(LOG_FORMAT="json")
    record = logging.LogRecord("atlas.x", logging.ERROR, __file__, 1, "said", (), None)
    record.created = 1_794_312_000.5

    assert orjson.loads(lines.format(record)) == {
        "time": "2026-11-10T12:00:00.500+00:00", "level": "ERROR", "logger": "atlas.x", "message": "said",
    }  # fmt: skip


def test_a_line_of_text_says_the_same() -> None:
    lines = Lines(LOG_FORMAT="text")
    record = logging.LogRecord("atlas.x", logging.ERROR, __file__, 1, "said", (), None)
    record.created = 1_794_312_000.5

    with of_run(Run("hunter", "0123456789abcdef")):
        assert lines.format(record) == "2026-11-10 12:00:00 ERROR atlas.x [hunter 01234567] said"


def test_texts_too_short_to_be_secrets_hide_nothing() -> None:
    lines = Lines(DATABASE_URL="postgresql://me:pw@host/x")
    record = logging.LogRecord("atlas.x", logging.ERROR, __file__, 1, "the pwd", (), None)

    assert lines.format(record).endswith("the pwd")


COMMAND = """
import logging
from atlas import logs
logs.configure_for_command()
logging.getLogger("maia.x").info("ours")
logging.getLogger("library").info("theirs")
logging.getLogger("library").warning("theirs, graver")
"""


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, ["theirs, graver"], id="by default"),
        pytest.param({"LOG_LEVEL": "INFO"}, ["ours", "theirs, graver"], id="as asked"),
        pytest.param({"LOG_LEVEL": "INFO", "LOG_FORMAT": "loud"}, ["theirs, graver"], id="wrong settings"),
    ],
)
def test_a_command_logs_to_stderr_as_the_settings_say(environment: dict[str, str], expected: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND], env=environment, capture_output=True, text=True, check=True, timeout=60
    )

    assert [line.partition(" ")[2].split(" ", 3)[-1] for line in done.stderr.splitlines()] == expected
    assert done.stdout == ""
