"""What ``maia up`` says: one line for each thing that happens, on the terminal and in ``up.log``; logs of the parts."""

from __future__ import annotations

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Literal

import orjson
import typer
from rich.console import Console
from rich.text import Text

from atlas import clock

LOG_BYTES = 10_000_000
LOGS_KEPT = 5
"""Files of ``LOG_BYTES`` kept of each part, besides the one that is written."""

Tone = Literal["good", "bad", "plain"]
_STYLES: dict[Tone, str] = {"good": "green", "bad": "red", "plain": "default"}


class Journal:
    """The lines of this run; ``folder`` holds ``up.log`` and a log of each part."""

    def __init__(self, folder: Path, console: Console, *, as_json: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._console = console
        self._as_json = as_json
        self._logs = {"up": _rotating(folder / "up.log")}

    def say(self, part: str, text: str, tone: Tone = "plain", **facts: Any) -> None:
        """Tell what happened to ``part``; ``facts`` are for machines."""
        now = clock.now()
        self.write("up", f"{now:%Y-%m-%d %H:%M:%S} {part}: {text}")
        if self._as_json:
            typer.echo(orjson.dumps({"at": now, "part": part, "text": text, **facts}))
            return
        line = Text.assemble((f"{now:%H:%M:%S} ", "dim"), (f"{part:<9}", "bold"), (text, _STYLES[tone]))
        self._console.print(line, soft_wrap=True)

    def write(self, part: str, line: str) -> None:
        """Add a line to the log of ``part``."""
        log = self._logs.get(part) or self._logs.setdefault(part, _rotating(self.folder / f"{part}.log"))
        log.emit(logging.makeLogRecord({"msg": line}))

    def last_words(self, part: str) -> str:
        """The last line that ``part`` wrote."""
        path = self.folder / f"{part}.log"
        lines = path.read_text(errors="replace").split("\n") if path.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def close(self) -> None:
        """Close the files."""
        for log in self._logs.values():
            log.close()


def _rotating(path: Path) -> RotatingFileHandler:
    return RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=LOGS_KEPT, encoding="utf-8", errors="replace")
