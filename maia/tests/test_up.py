"""What ``maia up`` is made of: its journal, its lock, the tether of its parts."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.console import Console

from atlas.beside import database_beside
from atlas.errors import ConfigurationError
from maia.up import journal, lock
from maia.up.engine import as_url
from maia.up.part import Part

ENDLESS = "import os, threading\nprint(os.getpid(), flush=True)\nthreading.Event().wait()\n"


def test_logs_are_rotated_and_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LOG_BYTES", 1_000)
    said = io.StringIO()
    log = journal.Journal(tmp_path, Console(file=said))

    for number in range(500):
        log.write("worker", f"line {number:04} {'x' * 50}")
    log.say("worker", "process 7 was ended by SIGKILL", "bad", event="ended")
    log.close()

    files = sorted(tmp_path.glob("worker.log*"))
    assert [file.name for file in files] == [
        "worker.log",
        *(f"worker.log.{n}" for n in range(1, journal.LOGS_KEPT + 1)),
    ]
    assert all(file.stat().st_size <= 1_000 for file in files)
    assert "line 0499" in files[0].read_text()
    assert (tmp_path / "up.log").read_text().endswith(" worker: process 7 was ended by SIGKILL\n")
    assert "process 7 was ended by SIGKILL" in said.getvalue()
    assert log.last_words("worker").startswith("line 0499")


def test_the_kernel_drops_the_lock_of_a_killed_one(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys\n"
        "from maia.up.lock import only_one\n"
        "with only_one(pathlib.Path(sys.argv[1])):\n"
        "    print('locked', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    first = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert first.stdout is not None
    assert first.stdin is not None
    first.stdout.readline()

    with pytest.raises(ConfigurationError, match=f"as process {first.pid}"), lock.only_one(tmp_path):
        pass
    first.kill()
    first.wait()
    first.stdin.close()
    first.stdout.close()

    with lock.only_one(tmp_path):
        pass


def test_a_part_ends_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    """The module below stands for a server: it says its process id, and would go on for ever."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    parent = (
        "import subprocess, sys\n"
        "part = subprocess.Popen([sys.executable, '-m', 'maia.up.tether', 'endless'], stdin=subprocess.PIPE,"
        " start_new_session=True)\n"
        "part.wait()\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, stdout=subprocess.PIPE)
    assert starter.stdout is not None
    starter.stdout.readline()

    starter.kill()
    starter.wait()

    assert starter.stdout.read() == b"", "the pipe is closed once the last process that holds it has ended"
    starter.stdout.close()


class Probe(Part):
    """A part that is ready once it has said something, and never ill."""

    def __init__(self, home: Path) -> None:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(home)}
        self.log = journal.Journal(home / "logs", Console(file=io.StringIO()))
        super().__init__("probe", ("endless",), environment, home=home, journal=self.log)
        self.order: list[str] = []
        self._heard = asyncio.Event()

    async def ready(self) -> None:
        await self._heard.wait()
        self.order.append("ready")

    def heard(self, line: str) -> None:
        self.order.append("said")
        self._heard.set()

    async def ill(self) -> str:
        self.order.append("watched")
        return await asyncio.Future()


async def test_a_part_that_starts_slowly_is_not_taken_for_ill(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    part = Probe(tmp_path)

    async with part.kept(asyncio.Event()):
        while "watched" not in part.order:  # noqa: ASYNC110 - the keeper's next step
            await asyncio.sleep(0)
    part.log.close()

    assert part.order == ["said", "ready", "watched"]


def test_the_demos_stand_in_ends_when_the_demo_is_killed(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from maia.demo.standin import standin\n"
        "async def main():\n"
        "    async with standin('generated:channels=1,videos=3', key='k', folder=pathlib.Path(sys.argv[1])):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    demo = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE)
    assert demo.stdout is not None
    assert demo.stdout.readline() == b"up\n"
    (youtube,) = psutil.Process(demo.pid).children()

    demo.kill()
    demo.wait()
    demo.stdout.close()

    _, alive = psutil.wait_procs([youtube], timeout=60)
    assert not alive


@pytest.mark.engine
async def test_the_right_that_is_missing_is_named(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute("CREATE ROLE pleiades_test_guest LOGIN")
    guest = make_conninfo(conninfo, user="pleiades_test_guest")
    try:
        with pytest.raises(ConfigurationError, match=r"permission denied to create database.*CREATEDB"):
            database_beside(guest, "pleiades_test_beside")
        ours = str(conninfo_to_dict(conninfo)["dbname"])
        with pytest.raises(ConfigurationError, match="not ours to fill: make the role pleiades_test_guest its owner"):
            database_beside(guest, ours)
    finally:
        with psycopg.connect(conninfo, autocommit=True) as conn:
            conn.execute("DROP ROLE pleiades_test_guest")


@pytest.mark.parametrize(
    ("conninfo", "url"),
    [
        pytest.param(
            "host=db.example port=5433 user=maia password='p@ss w/ord:%' dbname=prefect sslmode=require",
            "postgresql+asyncpg://maia:p%40ss w%2Ford%3A%25@/prefect?host=db.example&port=5433&ssl=require",
            id="another machine",
        ),
        pytest.param(
            "host=/run/postgres user=maia dbname=prefect",
            "postgresql+asyncpg://maia@/prefect?host=%2Frun%2Fpostgres&port=5432",
            id="a socket",
        ),
    ],
)
def test_an_address_is_put_into_prefects_form(conninfo: str, url: str) -> None:
    assert as_url({word: str(value) for word, value in conninfo_to_dict(conninfo).items()}) == url


def test_several_hosts_have_no_such_form() -> None:
    with pytest.raises(ConfigurationError, match="PREFECT_SERVER_DATABASE_CONNECTION_URL"):
        as_url({"host": "a,b", "dbname": "prefect"})
