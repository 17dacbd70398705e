"""A clock that goes faster than the wall's, or stands, and that several processes share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

VARIABLE = "ALKYONE_CLOCK"
"""In the environment of a process whose time it is: the ``text`` of a pace, or ``@`` and a file that holds one."""


@dataclass(frozen=True)
class Pace:
    """The time is ``begin`` when the system's clock says ``since``, and goes on ``speed`` times as fast; 0: stands."""

    begin: datetime
    since: datetime
    speed: float

    @classmethod
    def standing(cls, instant: datetime) -> Self:
        """A clock that stands."""
        return cls(instant, instant, 0)

    @classmethod
    def of_environment(cls) -> Self:
        """The clock that the environment of this process names.

        Raises:
            KeyError: it names none.
        """
        text = os.environ[VARIABLE]
        if text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="ascii")
        begin, since, speed = text.split()
        return cls(datetime.fromisoformat(begin), datetime.fromisoformat(since), float(speed))

    @property
    def text(self) -> str:
        """What ``of_environment`` reads."""
        return f"{self.begin.isoformat()} {self.since.isoformat()} {self.speed!r}"

    def __call__(self) -> datetime:
        """Tell the time, in UTC."""
        return self.begin + (datetime.now(UTC) - self.since) * self.speed
