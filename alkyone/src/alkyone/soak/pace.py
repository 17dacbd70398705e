"""A clock that goes faster than the wall's, or stands, and that several processes share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

VARIABLE = "ALKYONE_CLOCK"
"""In the environment of a process whose time it is; see ``Pace.text``."""


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
        begin, since, speed = os.environ[VARIABLE].split()
        return cls(datetime.fromisoformat(begin), datetime.fromisoformat(since), float(speed))

    @property
    def text(self) -> str:
        """What to put into the environment."""
        return f"{self.begin.isoformat()} {self.since.isoformat()} {self.speed!r}"

    def __call__(self) -> datetime:
        """Tell the time, in UTC."""
        return self.begin + (datetime.now(UTC) - self.since) * self.speed
