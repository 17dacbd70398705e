"""``alkyone backtest schedules``: each schedule at each budget, with intervals, and how many times better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from alkyone.backtest.curves import Curves, Estimate, draws, estimate
from alkyone.backtest.measures import Judge, Judged
from alkyone.backtest.replay import (
    Proportional,
    Readings,
    Truth,
    Uniform,
    at_equal_readings,
    in_hindsight,
    within_budget,
)
from maia.tracker.schedule import Tiers

BUDGETS = (0.5, 1.0, 2.0, 4.0, 12.0)
"""Readings a video and day."""

POLICIES: Mapping[str, Callable[[Truth, float], Readings]] = {
    "tiers": lambda truth, per_day: at_equal_readings(truth, Tiers, per_day),
    "uniform": lambda truth, per_day: at_equal_readings(truth, Uniform, per_day),
    "proportional": lambda truth, per_day: at_equal_readings(truth, Proportional, per_day),
    "hindsight": in_hindsight,
    "adaptive": within_budget,
}

COMPARED = ("unseen_hours", "error_median", "error_mean", "error_p95", "burst_delay_hours")
_HEADINGS = ("unseen, h of flow", "median error", "mean error", "p95 error", "burst seen after, h")


class Outcome(NamedTuple):
    """A policy at a budget: its figures with intervals, and how many times smaller than those of the tiers they are."""

    policy: str
    budget: float
    readings: float
    figures: dict[str, Estimate]
    times: dict[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """The outcome as plain values; an interval is a list of value, low, high; what is not known is null."""
        return {
            "policy": self.policy,
            "budget": self.budget,
            "readings_per_day": self.readings,
            "figures": {name: _plain(figure) for name, figure in self.figures.items()},
            "times_better_than_tiers": {name: _plain(figure) for name, figure in self.times.items()},
        }


def compare(curves: Curves, budgets: Sequence[float] = BUDGETS, *, rounds: int = 400) -> Iterator[Outcome]:
    """Replay ``curves`` through every policy at every budget, tiers first; all with the same draws of videos."""
    truth = Truth(curves)
    judge = Judge(truth)
    weights = draws(len(curves), rounds=rounds)
    for budget in budgets:
        tiers: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = {}
        for policy, replay in POLICIES.items():
            judged = judge.judge(replay(truth, budget))
            found = _drawn(judged, weights)
            tiers = tiers or found
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = {name: tiers[name] / found[name] for name in COMPARED}
            yield Outcome(policy, budget, judged.per_day, _estimates(found), _estimates(ratios))


def table(outcomes: Sequence[Outcome]) -> Table:
    """Show the outcomes, and in brackets how many times smaller than those of the tiers they are."""
    shown = Table(box=None, padding=(0, 1))
    for heading in ("readings/day", "policy", *_HEADINGS):
        shown.add_column(heading, justify="left" if heading == "policy" else "right")
    for before, outcome in zip([None, *outcomes], outcomes, strict=False):
        first = before is None or before.budget != outcome.budget
        cells = (_cell(outcome.figures[name], outcome.times[name], outcome.policy) for name in COMPARED)
        shown.add_row(f"{outcome.readings:.2f}", outcome.policy, *cells, style="" if not first else "bold")
    return shown


def chart(console: Console, outcomes: Sequence[Outcome], width: int = 60) -> None:
    """Draw the unseen views of each policy as bars, on one logarithmic scale."""
    values = [outcome.figures["unseen_hours"].value for outcome in outcomes]
    low, high = np.log(min(values) / 1.5), np.log(max(values))
    console.print("\nviews nobody saw yet, in hours of the flow of all videos (logarithmic)", style="bold")
    for outcome, value in zip(outcomes, values, strict=True):
        bar = "█" * round(width * (np.log(value) - low) / (high - low))
        style = {"adaptive": "green", "tiers": "red"}.get(outcome.policy, "dim")
        console.print(f"{outcome.budget:>5g} {outcome.policy:<13}[{style}]{bar}[/] {value:.2g}", highlight=False)


def _drawn(judged: Judged, weights: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    """Each figure, as it is and then once for every draw."""
    rows = [judged.figures(np.ones(weights.shape[1])), *map(judged.figures, weights)]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _estimates(found: Mapping[str, Any]) -> dict[str, Estimate]:
    return {name: estimate(float(values[0]), values[1:]) for name, values in found.items()}


def _cell(figure: Estimate, times: Estimate, policy: str) -> str:
    value = f"{figure.value:.3g}"
    return value if policy == "tiers" else f"{value} [{times.value:.1f}×: {times.low:.1f}–{times.high:.1f}]"


def _plain(figure: Estimate) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in figure]
