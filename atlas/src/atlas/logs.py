"""Logs of the commands: lines of text or of JSON, each with the run it belongs to, and no secret in any."""

from __future__ import annotations

import copy
import logging
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from atlas.config import Settings, parse_key_pool
from atlas.errors import ConfigurationError

OURS = ("atlas", "maia", "alkyone")
"""The loggers that LOG_LEVEL is about; those of libraries warn."""

HIDDEN = "●●●"
SHORTEST_SECRET = 6
"""Shorter texts are not looked for: they would hide half of every line."""


class Run(NamedTuple):
    """Which run of which agent a line belongs to."""

    agent: str
    run_id: str


_current: ContextVar[Run | None] = ContextVar("run", default=None)


@contextmanager
def of_run(run: Run) -> Iterator[None]:
    """Let what is logged in the block, and in the tasks and threads it starts, belong to ``run``."""
    token = _current.set(run)
    try:
        yield
    finally:
        _current.reset(token)


def configure(settings: Settings) -> None:
    """Log to stderr as the settings say: at the start of a command, and where nobody has set up logging before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(settings))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    for name in OURS:
        logging.getLogger(name).setLevel(settings.LOG_LEVEL)


def formatter(settings: Settings, inner: logging.Formatter | None = None) -> logging.Formatter:
    """Make what turns a record into a line without secrets: as LOG_FORMAT says, unless ``inner`` is to do it."""
    redact = Redaction(secrets_of(settings))
    return _Discreet(inner or (_json() if settings.LOG_FORMAT == "json" else _Text()), redact)


class Redaction:
    """Hides secrets in texts."""

    def __init__(self, secrets: frozenset[str]) -> None:
        known = sorted((re.escape(secret) for secret in secrets if len(secret) >= SHORTEST_SECRET), key=len)
        self._pattern = re.compile("|".join(reversed(known))) if known else None  # the longest first

    def __call__(self, text: str) -> str:
        """Hide every secret in ``text``."""
        return text if self._pattern is None else self._pattern.sub(HIDDEN, text)


def secrets_of(settings: Settings) -> frozenset[str]:
    """Gather every secret of the settings: whole, and the parts that are secrets by themselves."""
    found: set[str] = set()
    for name in Settings.model_fields:
        value = getattr(settings, name)
        for secret in value if isinstance(value, tuple) else (value,):
            if isinstance(secret, SecretStr):
                found.add(secret.get_secret_value())
    found |= {key.secret.get_secret_value() for key in parse_key_pool(settings.YOUTUBE_API_KEY_POOL_JSON)}
    if settings.DATABASE_URL is not None:
        found |= _passwords(settings.DATABASE_URL.get_secret_value())
    return frozenset(found)


def _passwords(url: str) -> set[str]:
    try:
        password = urlsplit(url).password
    except ValueError:  # an address of libpq's that is none of the web's; it is hidden as a whole
        return set()
    return {password, unquote(password)} if password else set()


class _Discreet(logging.Formatter):
    """Lets another formatter see the record without secrets, and with its run; other handlers see it as it is."""

    def __init__(self, inner: logging.Formatter, redact: Redaction) -> None:
        super().__init__()
        self._inner = inner
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        shown = copy.copy(record)
        shown.msg, shown.args = self._redact(record.getMessage()), None
        if record.exc_info:
            shown.exc_text = self._redact("".join(traceback.format_exception(*record.exc_info)).rstrip())
            shown.exc_info = None
        for name, value in vars(record).items():
            if isinstance(value, str) and name not in {"msg", "exc_text"}:
                setattr(shown, name, self._redact(value))
        run = _current.get()
        if run is not None:
            shown.agent, shown.run_id = run
        return self._inner.format(shown)


class _Text(logging.Formatter):
    """``2026-11-10 12:00:00 WARNING atlas.hydra [hunter 1f3a9c0e] what happened``."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        run = f" [{record.agent} {record.run_id[:8]}]" if hasattr(record, "run_id") else ""  # type: ignore[attr-defined]
        line = f"{at:%Y-%m-%d %H:%M:%S} {record.levelname} {record.name}{run} {record.getMessage()}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


def _json() -> logging.Formatter:
    from pythonjsonlogger.orjson import OrjsonFormatter  # only who asks for JSON needs it

    class Json(OrjsonFormatter):
        def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - theirs
            del datefmt
            return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    return Json(
        ["asctime", "levelname", "name", "message"],
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "exception"},
    )


def configure_for_command() -> None:
    """Log as the settings say; where they cannot be read, as by default: the command itself tells what is wrong."""
    from atlas import settings  # bound after this module

    try:
        configure(settings)
    except ConfigurationError:
        configure(
            Settings.model_construct(**{name: field.get_default() for name, field in Settings.model_fields.items()})
        )
