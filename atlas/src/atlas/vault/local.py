"""A vault in a folder: every write is a transaction that survives a kill -9 and a power cut.

A transaction is staged in a private folder, made durable, and committed by one rename that puts its journal in
place; then its objects are moved to where they belong and the journal goes away. Whoever finds a journal finishes
that work before anything else, so nobody ever sees half a transaction. Locks are flock's: they end with their holder.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import orjson

from atlas.errors import (
    ConfigurationError,
    VaultDenied,
    VaultError,
    VaultFull,
    VaultNotFound,
    VaultUnavailable,
)
from atlas.vault.base import VaultStrategy
from atlas.vault.paths import PRIVATE, parents, safe_path, safe_prefix, safe_together

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMLINK})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.EEXIST, errno.ENOTDIR, errno.EISDIR})
_CHUNK = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Transaction:
    """What a journal says: staged files that become objects, in this order, and objects that go."""

    name: str
    written: Sequence[str] = ()  # the n-th is staged as a file named n
    deleted: Sequence[str] = ()


class LocalVault(VaultStrategy):
    """Keeps objects as files below ``root``, which is made when it is first written to."""

    provider: ClassVar[str] = "local"

    def __init__(self, root: Path | str) -> None:
        super().__init__()
        self.root = Path(root).expanduser().absolute()
        self._private = self.root / PRIVATE
        self._lock = self._private / "lock"
        self._journal = self._private / "journal"
        self._staging = self._private / "staging"

    def __repr__(self) -> str:
        return f"LocalVault({str(self.root)!r})"

    # -- The primitives -----------------------------------------------------------------------------------------------

    def write(self, objects: Mapping[str, bytes], message: str = "") -> None:  # noqa: D102 - as promised above
        paths = safe_together(objects, provider=self.provider)
        if not paths:
            return
        # The slow part, writing, needs no lock: nobody looks into a staging folder but its owner.
        with self._staged([objects[path] for path in paths], paths) as name, self._exclusive():
            self._commit(_Transaction(name, written=paths))

    def read(self, path: str) -> bytes:  # noqa: D102
        with (
            self._shared(),
            self._descriptor(path) as fd,
            self._translated(path),
            open(fd, "rb", closefd=False) as file,
        ):
            return file.read()

    def exists(self, path: str) -> bool:  # noqa: D102
        try:
            with self._shared(), self._descriptor(path):
                return True
        except VaultNotFound:
            return False

    def list_strict(self, prefix: str = "") -> list[str]:  # noqa: D102
        safe_prefix(prefix, provider=self.provider)
        folder = prefix.rpartition("/")[0]
        with self._shared(), self._translated(prefix):
            if not (self.root / folder).is_dir():
                return []
            self._refuse_links(folder)
            return sorted(path for path in self._files(folder) if path.startswith(prefix))

    def delete(self, paths: Iterable[str], message: str = "") -> None:  # noqa: D102
        wanted = safe_together(paths, provider=self.provider)
        if not self._private.exists():
            return  # nothing was ever written here
        with self._exclusive():
            there = [path for path in wanted if self._is_there(path)]
            if there:
                self._commit(_Transaction(uuid4().hex, deleted=there))

    # -- Improvements -------------------------------------------------------------------------------------------------

    def _open(self, path: str) -> Any:
        import pyarrow as pa

        with self._shared(), self._descriptor(path), self._translated(path):
            return pa.OSFile(str(self.root / path))

    def _create(self, path: str, data: bytes) -> bytes:
        if not self.exists(path):
            with self._staged([data], [path]) as name, self._exclusive():
                if not self._is_there(path):
                    self._commit(_Transaction(name, written=[path]))
        return self.read(path)

    def provision(self) -> str:  # noqa: D102
        try:
            identity = super().provision()
            with self._exclusive():
                self._try_out()
        except VaultDenied as exc:
            reason = exc.__cause__.strerror if isinstance(exc.__cause__, OSError) else str(exc)
            raise ConfigurationError(
                f"the vault's folder {self.root} cannot be used ({reason}): make it writable for this user, "
                "or set LOCAL_VAULT_PATH to another folder"
            ) from exc
        return identity

    def _try_out(self) -> None:
        """Make a folder and take it away again: the only proof that one may write here."""
        trial = self.root / f"{PRIVATE}-trial"
        with self._translated(""):
            trial.mkdir(exist_ok=True)
            trial.rmdir()

    # -- Transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def _staged(self, contents: Sequence[bytes], paths: Sequence[str]) -> Iterator[str]:
        """Write ``contents`` durably where nobody sees them; unless they get committed they are gone after the block.

        The staging folder is locked by its owner: one that is not was left by the dead.
        """
        name = uuid4().hex
        folder = self._staging / name
        with self._translated(""), self._exclusive():
            folder.mkdir()
            owner = _opened(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(owner, fcntl.LOCK_EX)
        try:
            for number, (data, path) in enumerate(zip(contents, paths, strict=True)):
                with self._translated(path):
                    _write_durably(folder / str(number), data)
            with self._translated(paths[0]):
                _make_durable(folder)
                _make_durable(self._staging)
            yield name
        finally:
            if not self._journal_names(name):
                shutil.rmtree(folder, ignore_errors=True)
            os.close(owner)

    def _commit(self, transaction: _Transaction) -> None:
        """Make a transaction happen, under the exclusive lock. What can fail does so before the rename."""
        for path in transaction.written:
            with self._translated(path):
                self._make_room(path)
        with self._translated((*transaction.written, *transaction.deleted)[0]):
            draft = self._private / "journal.draft"
            _write_durably(draft, _to_bytes(transaction))
            draft.replace(self._journal)
            _make_durable(self._private)
            self._finish(transaction)

    def _finish(self, transaction: _Transaction) -> None:
        """Move what is staged to its place and remove what is to go; done twice it is the same."""
        staged = self._staging / transaction.name
        for number, path in enumerate(transaction.written):
            if (staged / str(number)).exists():
                self._make_room(path)
                (staged / str(number)).replace(self.root / path)
        for path in transaction.deleted:
            (self.root / path).unlink(missing_ok=True)
        for folder in sorted({(self.root / path).parent for path in (*transaction.written, *transaction.deleted)}):
            if folder.exists():
                _make_durable(folder)
        self._journal.unlink()
        _make_durable(self._private)
        for path in transaction.deleted:
            self._remove_empty(path)
        shutil.rmtree(staged, ignore_errors=True)

    def _recover(self) -> None:
        """Finish what a dead writer committed, and throw away what others did not, under the exclusive lock."""
        with self._translated(""):
            with suppress(FileNotFoundError):
                self._finish(_from_bytes(self._journal.read_bytes()))
            for folder in self._staging.iterdir():
                if _is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)

    def _journal_names(self, name: str) -> bool:
        try:
            return _from_bytes(self._journal.read_bytes()).name == name
        except FileNotFoundError:
            return False

    # -- Locks --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Be the only one at the vault, with everything committed in its place."""
        with self._translated(""):
            _make_folders(self._staging)
            fd = _opened(self._lock, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            self._recover()
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # not by closing alone: a forked child may hold the descriptor too
            os.close(fd)

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Look into the vault while nobody changes it, with everything committed in its place."""
        with self._translated(""):
            try:
                fd = _opened(self._lock, os.O_RDONLY)
            except (FileNotFoundError, NotADirectoryError):
                fd = None
        if fd is None:
            yield  # nothing was ever written here
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            while self._journal.exists():  # its writer is dead, or it would hold the lock
                fcntl.flock(fd, fcntl.LOCK_UN)
                with self._exclusive():
                    pass
                fcntl.flock(fd, fcntl.LOCK_SH)
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    # -- Files --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _descriptor(self, path: str) -> Iterator[int]:
        """Open an object for reading."""
        safe_path(path, provider=self.provider)
        missing = VaultNotFound("it is not there", provider=self.provider, path=path)
        with self._translated(path):
            try:
                self._refuse_links(path.rpartition("/")[0])
                fd = _opened(self.root / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                raise missing from None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise missing
            yield fd
        finally:
            os.close(fd)

    def _is_there(self, path: str) -> bool:
        try:
            with self._descriptor(path):
                return True
        except VaultNotFound:
            return False

    def _refuse_links(self, folder: str) -> None:
        """Go down to ``folder``; a link on the way could lead out of the vault."""
        for step in (*parents(folder), folder) if folder else ():
            mode = (self.root / step).lstat().st_mode
            if stat.S_ISLNK(mode):
                raise VaultDenied("a link leads elsewhere", provider=self.provider, path=step)
            if not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    def _make_room(self, path: str) -> None:
        """Make the folders that ``path`` needs; refuse what is in its way."""
        for folder in parents(path):
            with suppress(FileNotFoundError):
                self._refuse_links(folder)
                continue
            (self.root / folder).mkdir()
            _make_durable((self.root / folder).parent)
        with suppress(FileNotFoundError):
            if not stat.S_ISREG((self.root / path).lstat().st_mode):
                raise VaultDenied("something else is in its place", provider=self.provider, path=path)

    def _files(self, folder: str) -> Iterator[str]:
        with os.scandir(self.root / folder) as entries:
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if path != PRIVATE:
                        yield from self._files(path)
                elif entry.is_file(follow_symlinks=False):
                    yield path

    def _remove_empty(self, path: str) -> None:
        with suppress(OSError):
            for folder in reversed(parents(path)):
                (self.root / folder).rmdir()

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Turn what the file system says into what a vault says."""
        try:
            yield
        except OSError as exc:
            kind: type[VaultError] = VaultUnavailable
            if exc.errno in _FULL:
                kind = VaultFull
            elif exc.errno in _DENIED:
                kind = VaultDenied
            raise kind(exc.strerror or str(exc), provider=self.provider, path=path) from exc


def _opened(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o666)


def _write_durably(path: Path, data: bytes) -> None:
    fd = _opened(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest[:_CHUNK]) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_durable(folder: Path) -> None:
    """Make the names in ``folder`` survive a power cut."""
    fd = _opened(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_folders(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
    _make_durable(folder.parent)


def _is_abandoned(folder: Path) -> bool:
    """Does no living process own this staging folder?"""
    try:
        fd = _opened(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _to_bytes(transaction: _Transaction) -> bytes:
    return orjson.dumps(transaction)


def _from_bytes(data: bytes) -> _Transaction:
    return _Transaction(**orjson.loads(data))
