"""What a bench tells: figures, the targets they are held to, and what to know about both."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, NamedTuple


class Figure(NamedTuple):
    """One measured value; ``times`` is its ratio to the figure that its bench compares with."""

    name: str
    value: float
    unit: str
    times: float | None = None


class Target(NamedTuple):
    """What a measured value is held to; ``met`` is None where this run cannot tell."""

    text: str
    measured: float | None
    met: bool | None


@dataclass(frozen=True)
class Result:
    """What a bench found; ``notes`` say what the figures leave out."""

    figures: Sequence[Figure]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = ()


def at_least(bound: float, text: str, measured: float) -> Target:
    """Hold ``measured`` to a lower bound."""
    return Target(text, measured, measured >= bound)


def at_most(bound: float, text: str, measured: float) -> Target:
    """Hold ``measured`` to an upper bound."""
    return Target(text, measured, measured <= bound)


def untold(text: str) -> Target:
    """Name a target that this run says nothing about."""
    return Target(text, None, None)


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    """Time one run of ``work``."""
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def in_turns(repeats: int, ways: Mapping[str, Callable[[int], Awaitable[float]]]) -> dict[str, float]:
    """Run the ways in turns, so that a disturbance meets them all; the median of each.

    A way is told the number of the turn and returns what it measured.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats):
        for name, way in ways.items():
            found[name].append(await way(turn))
    return {name: median(values) for name, values in found.items()}


def percentile(values: Sequence[float], which: int) -> float:
    """The value below which ``which`` per cent of ``values`` lie."""
    return quantiles(values, n=100, method="inclusive")[which - 1]


def as_json(result: Result) -> dict[str, Any]:
    """A result as plain lists and dictionaries."""
    return {
        "figures": [figure._asdict() for figure in result.figures],
        "targets": [target._asdict() for target in result.targets],
        "notes": list(result.notes),
    }
