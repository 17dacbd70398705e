"""The flows, at the time of ``ALKYONE_CLOCK``: a run is a process of its own, and this is what it imports."""

from __future__ import annotations

from contextlib import ExitStack

from alkyone.soak.pace import Pace
from atlas import clock
from maia.heartbeat.flow import run_heartbeat
from maia.hunter.flow import run_hunter_cycle
from maia.janitor.flow import run_janitor_cycle
from maia.painter.flow import run_painter_cycle
from maia.scribe.flow import run_scribe_cycle
from maia.tracker.flow import run_tracker_cycle

__all__ = [
    "run_heartbeat",
    "run_hunter_cycle",
    "run_janitor_cycle",
    "run_painter_cycle",
    "run_scribe_cycle",
    "run_tracker_cycle",
]

_for_good = ExitStack()  # that is, as long as this process lives: without a holder the clock would be set back at once
_for_good.enter_context(clock.use(Pace.of_environment()))
