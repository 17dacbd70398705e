"""One cycle of one agent in a process of its own, which says how long it took and how big the process became.

``python -m alkyone.bench.cycle AGENT ROAD INSTANT PARAMETERS REPORT``; the road is ``plain`` or ``engine``, the
report a file. Until memory is measured nothing is imported that the agent does not import, nor is pandas, which pyarrow
loads unasked wherever it is: it is no dependency of an agent.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson

from atlas import clock


def peak_bytes() -> int:
    """This process's largest size in memory so far."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike getrusage not inherited from the process that started us
        return next(int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line[:6] == "VmHWM:")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class _Without:
    """Finds everything but one package."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, *_: object) -> None:
        """Leave it to the other finders.

        Raises:
            ModuleNotFoundError: it is that package.
        """
        if name == self._package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


async def _plain(agent: str, parameters: dict[str, Any]) -> Any:
    run_once = import_module(f"maia.{agent}.agent").run_once
    options = dict(parameters)
    if minutes := options.pop("every_minutes", None):
        options["every"] = timedelta(minutes=minutes)
    return await run_once(**options)


async def _engine(agent: str, parameters: dict[str, Any]) -> Any:
    return await getattr(import_module(f"maia.{agent}.flow"), f"run_{agent}_cycle")(**parameters)


def _main(agent: str, road: str, instant: str, parameters: str, report: str) -> None:
    sys.meta_path.insert(0, _Without("pandas"))
    cycle = {"plain": _plain, "engine": _engine}[road]
    import_module(f"maia.{agent}.{'flow' if road == 'engine' else 'agent'}")
    with clock.stopped(datetime.fromisoformat(instant)):
        begun = time.perf_counter()
        summary = asyncio.run(cycle(agent, orjson.loads(parameters)))
        seconds = time.perf_counter() - begun
    Path(report).write_bytes(orjson.dumps({"seconds": seconds, "peak": peak_bytes(), "summary": summary}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
