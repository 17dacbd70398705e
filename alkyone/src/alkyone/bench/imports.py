"""Starting: from the start of a process to an imported package, to an agent's first claim, to its turn with Prefect."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from alkyone.bench.ids import video_ids
from alkyone.bench.lab import Lab, environment_of
from alkyone.bench.results import Figure, Result, at_most, in_turns
from atlas import clock, sql
from atlas.adapters.maia import MaiaDAO
from atlas.db import DatabaseManager
from maia.demo.prefect import server

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
FLOW_RUNS = """
import asyncio, sys
from prefect import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.states import Pending

async def main():
    deployment = RunnerDeployment.from_entrypoint("maia.tracker.flow.run_tracker_cycle", name="bench")
    deployment_id = await deployment.aapply()
    async with get_client() as client:
        for _ in range(int(sys.argv[1])):
            run = await client.create_flow_run_from_deployment(deployment_id, state=Pending())
            print(run.id)

asyncio.run(main())
"""
ROADS = {"plain": ["maia", "tracker", "--plain"], "hand": ["maia.tracker.flow"], "worker": ["prefect.engine"]}
"""Modules that run the Tracker: by hand without the engine and with it, and as a worker starts a flow run."""

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
        begun = await _begun(lab)
    return Result(
        [
            Figure("python, nothing imported", took["python"], "s", 1.0),
            Figure("to import atlas", took["atlas"], "s", took["atlas"] / took["python"]),
            Figure("to import maia", took["maia"], "s", took["maia"] / took["python"]),
            Figure("to the Tracker's first claim", took["claim"], "s", took["claim"] / took["python"]),
            Figure("to the Tracker's turn: maia tracker --plain", begun["plain"], "s"),
            Figure("to its turn: python -m maia.tracker.flow, Prefect's server is up", begun["hand"], "s"),
            Figure("to its turn: a flow run of a worker's", begun["worker"], "s", begun["worker"] / begun["plain"]),
        ],
        [
            at_most(0.2, "import atlas ≤ 0.2 s, the interpreter's own start included", took["atlas"]),
            at_most(1, "first claim ≤ 1 s after the start of the process, without Prefect", took["claim"]),
        ],
    )


async def _begun(lab: Lab) -> Mapping[str, float]:
    """Measure each road from the start of its process to where it holds the turn, which is its first claim."""
    repeats = lab.size(5, 1)
    with lab.address() as conninfo, lab.folder() as folder:
        environment = environment_of(folder, conninfo) | {"YOUTUBE_API_KEY_POOL_JSON": '["any"]'}
        async with DatabaseManager(conninfo) as database, server(folder, environment) as engine:
            await engine.ready()
            environment["PREFECT_API_URL"] = engine.api
            ids = (await _output(["-c", FLOW_RUNS, str(repeats)], environment, folder)).split()

            def measured(road: str) -> Callable[[int], Awaitable[float]]:
                async def start(turn: int) -> float:
                    begun = datetime.now(UTC)
                    run = {"PREFECT__FLOW_RUN_ID": ids[turn]} if road == "worker" else {}
                    await _output(["-m", *ROADS[road]], environment | run, folder)
                    (last,) = await MaiaDAO(database).runs()
                    if last["started_at"] < begun:
                        raise RuntimeError(f"no run began: {road}")
                    return (last["started_at"] - begun).total_seconds()

                return start

            return await in_turns(repeats, {road: measured(road) for road in ROADS})


async def _output(arguments: list[str], environment: Mapping[str, str], folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, problems = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{arguments[-1]} failed: {problems.decode()[-2000:]}")
    return out.decode()


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
