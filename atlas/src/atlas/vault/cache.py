"""Shards never change, so what was read from a remote vault stays on this machine for a while, in a bounded folder."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from atlas import clock
from atlas.errors import VaultNotFound
from atlas.vault import manifests
from atlas.vault.base import VaultStrategy

log = logging.getLogger(__name__)

IDLE = timedelta(days=7)
"""What nobody read for so long goes: a shard that was deleted from the vault is not kept here for ever."""

_SHARD = ".shard"
_DRAFT = ".draft"
_DIGEST = hashlib.sha256().digest_size


class _Identity(NamedTuple):
    """Which file an entry is: another one in its place has another."""

    inode: int
    modified: int
    size: int


class ShardCache:
    """A folder of immutable objects that never holds more than ``limit`` bytes; the longest unread go first.

    Any number of threads and processes may share it. An entry begins with the digest of the rest, which is checked
    when a process first uses it. A cache never fails its reader: when the disk does, that is logged.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self._checked: dict[str, _Identity] = {}

    def open(self, name: str, fetch: Callable[[], tuple[bytes, bool]]) -> Any:
        """Open the object ``name``; ``fetch`` gets it when it is not here, and says whether it may be kept."""
        import pyarrow as pa

        entry = self._entry(name)
        content = None
        with _tolerated("read"):
            content = self._find(entry)
        if content is None:
            data, good = fetch()
            content = memoryview(data)
            if good:
                with _tolerated("keep"):
                    self._keep(entry, content)
        return pa.BufferReader(pa.py_buffer(content))

    def forget(self, names: Iterable[str]) -> None:
        """Keep these no longer."""
        with _tolerated("clear"):
            for name in names:
                self._entry(name).unlink(missing_ok=True)

    def _entry(self, name: str) -> Path:
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()}{_SHARD}"

    def _find(self, entry: Path) -> memoryview | None:
        """Map an entry into memory, or None; a damaged one is thrown away."""
        try:
            with entry.open("rb") as file:
                status = os.fstat(file.fileno())
                whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) if status.st_size else b""
        except FileNotFoundError:
            return None
        identity = _Identity(status.st_ino, status.st_mtime_ns, status.st_size)
        content = memoryview(whole)[_DIGEST:]
        if self._checked.get(entry.name) != identity:
            if hashlib.sha256(content).digest() != bytes(whole[:_DIGEST]):
                log.warning("%s in the vault's cache is damaged: it is fetched anew", entry.name)
                entry.unlink(missing_ok=True)
                return None
            self._checked[entry.name] = identity
        # The time of the last use stands where a file system keeps it, but by our clock and whatever the mount options.
        with suppress(FileNotFoundError):
            os.utime(entry, ns=(_now(), status.st_mtime_ns))
        return content

    def _keep(self, entry: Path, content: memoryview) -> None:
        size = _DIGEST + len(content)
        if size > self.limit:
            return
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._alone():
            self._make_room(size)
            draft = self.folder / f"{uuid4().hex}{_DRAFT}"
            with draft.open("xb") as file:
                file.write(hashlib.sha256(content).digest())
                file.write(content)
            now = _now()
            os.utime(draft, ns=(now, now))
            draft.replace(entry)

    def _make_room(self, size: int) -> None:
        """Remove what is old, and what the dead left, until ``size`` bytes fit."""
        entries = []
        oldest = _now() - int(IDLE.total_seconds() * 1e9)
        for file in self.folder.iterdir():
            if file.suffix == _DRAFT:
                file.unlink(missing_ok=True)  # its writer would hold the lock
            elif file.suffix == _SHARD:
                with suppress(FileNotFoundError):
                    status = file.stat()
                    entries.append((status.st_atime_ns, status.st_size, file))
        total = sum(taken for _, taken, _ in entries)
        for used, taken, file in sorted(entries):
            if used >= oldest and total + size <= self.limit:
                break
            file.unlink(missing_ok=True)  # whoever reads it has it open
            total -= taken

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


class RemoteVault(VaultStrategy):
    """A vault on another machine: its shards are read through a cache, if it has one.

    Only reading for answers is; ``read``, ``manifest``, ``verify`` and ``load`` always ask the provider.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cache: ShardCache | None = None

    @property
    def address(self) -> str:
        """Name this vault among all others."""
        return repr(self)

    def _open(self, path: str) -> Any:
        if self.cache is None or manifests.day_of(path) is None or not path.endswith(".parquet"):
            return super()._open(path)
        return self.cache.open(self._cached_as(path), lambda: self._shard(path))

    def _shard(self, path: str) -> tuple[bytes, bool]:
        """Read a shard, and say whether it is what its manifest says: a damaged one, once mended, has the same name."""
        data = self.read(path)
        manifest_path = manifests.path_of(path)
        try:
            manifest = self._known.get(manifest_path) or self.manifest(manifest_path)
        except VaultNotFound:
            return data, False
        return data, hashlib.sha256(data).hexdigest() == manifest.sha256

    def _forget(self, paths: Iterable[str]) -> None:
        """Drop from the cache what was deleted or replaced."""
        if self.cache is not None:
            self.cache.forget(self._cached_as(path) for path in paths)

    def _cached_as(self, path: str) -> str:
        return f"{self.address}/{path}"


def _now() -> int:
    return int(clock.now().timestamp() * 1e9)


@contextmanager
def _tolerated(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        log.warning("cannot %s an entry of the vault's cache: %s", what, exc.strerror or exc)
