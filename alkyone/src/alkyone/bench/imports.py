"""Starting: from the start of a process to an imported package, and to an agent's first claim without Prefect."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping

from alkyone.bench.ids import video_ids
from alkyone.bench.lab import Lab, environment_of
from alkyone.bench.results import Figure, Result, at_most, in_turns
from atlas import clock, sql
from atlas.db import DatabaseManager

SQL = sql.load("alkyone.bench", "bench.sql")

FIRST_CLAIM = """
import asyncio, os, sys
from maia.toolbox import open_toolbox
from maia.tracker.agent import track

async def main():
    async with open_toolbox("tracker") as tools:
        assert await tools.dao.fetch_tracking_batch(1)
        os.write(1, b"claimed")

asyncio.run(main())
assert "prefect" not in sys.modules
"""
PROGRAMS = {
    "python": "import os; os.write(1, b'ready')",
    "atlas": "import os, atlas; os.write(1, b'ready')",
    "maia": "import os, maia; assert maia.__file__; os.write(1, b'ready')",
    "claim": FIRST_CLAIM,
}


async def measure(lab: Lab) -> Result:
    """Start a fresh interpreter for each, and wait for its first word."""
    repeats = lab.size(11, 2)
    with lab.address() as conninfo, lab.folder() as folder:
        async with DatabaseManager(conninfo) as database, database.get_connection() as conn:
            await conn.execute(SQL["watch"], {"now": clock.now(), "ids": video_ids(4 * repeats)})
        environment = environment_of(folder, conninfo) | {"YOUTUBE_API_KEY_POOL_JSON": '["any"]'}
        took = await in_turns(
            repeats, {name: _start(program, environment, str(folder)) for name, program in PROGRAMS.items()}
        )
    return Result(
        [
            Figure("python, nothing imported", took["python"], "s", 1.0),
            Figure("to import atlas", took["atlas"], "s", took["atlas"] / took["python"]),
            Figure("to import maia", took["maia"], "s", took["maia"] / took["python"]),
            Figure("to the Tracker's first claim", took["claim"], "s", took["claim"] / took["python"]),
        ],
        [
            at_most(0.2, "import atlas ≤ 0.2 s, the interpreter's own start included", took["atlas"]),
            at_most(1, "first claim ≤ 1 s after the start of the process, without Prefect", took["claim"]),
        ],
    )


def _start(program: str, environment: Mapping[str, str], folder: str) -> Callable[[int], Awaitable[float]]:
    async def measured(_turn: int) -> float:
        begun = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, env=environment, cwd=folder, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        word = await process.stdout.read(1)
        taken = time.perf_counter() - begun
        if await process.wait() or not word:
            raise RuntimeError("the started process failed")
        return taken

    return measured
