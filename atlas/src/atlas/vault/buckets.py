"""What the object stores have in common: a flat bucket, and writes that depend on what lies there."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any, ClassVar

from atlas.errors import ConfigurationError, VaultDenied, VaultUnavailable
from atlas.vault import manifests
from atlas.vault.cache import RemoteVault
from atlas.vault.guard import guarded
from atlas.vault.paths import safe_path, safe_prefix, safe_together

THREADS = 8
"""Objects sent at once."""

_ROUNDS = 20  # of a write, when others write to the same path at the same moment
_MEDIA_TYPES = {".json": "application/json", ".parquet": "application/vnd.apache.parquet"}


@dataclass(frozen=True, slots=True)
class Version:
    """What lies at a path: the store's own mark for it, and its digest as ``_digest`` makes it, where that is known."""

    token: str
    digest: str | None


class BucketVault(RemoteVault):
    """Keeps objects in a bucket, one request each; every write says what it expects to replace.

    A store has no transactions: objects become visible one after another, in the order given; only shards, which
    nobody looks for before their manifest is there, are sent several at once. A write whose answer got lost finds its
    own object when it is tried again, and is content.
    """

    setting: ClassVar[str]
    """The variable that names the bucket."""

    def __init__(self, bucket: str, endpoint: str | None) -> None:
        super().__init__()
        self.bucket = bucket
        self.endpoint = endpoint
        self._connecting = threading.Lock()
        self._connection: Any = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.bucket!r}" + (f", {self.endpoint!r})" if self.endpoint else ")")

    # -- What a store supplies ----------------------------------------------------------------------------------------

    @abstractmethod
    def _connect(self) -> Any:
        """Make the SDK's client."""

    @abstractmethod
    def _put(self, path: str, data: bytes, token: str | None) -> bool:
        """Write an object in place of what ``token`` marks (None: of nothing); False when something else lies there."""

    @abstractmethod
    def _get(self, path: str) -> bytes:
        """Fetch an object."""

    @abstractmethod
    def _version(self, path: str) -> Version | None:
        """Look what lies at a path; None when nothing does."""

    @abstractmethod
    def _names(self, prefix: str) -> Iterator[str]:
        """List objects."""

    @abstractmethod
    def _remove(self, path: str) -> None:
        """Remove an object; it need not be there."""

    @abstractmethod
    def _digest(self, data: bytes) -> str:
        """Say what ``Version.digest`` would be."""

    # -- The primitives -----------------------------------------------------------------------------------------------

    @guarded("writing")
    def write(self, objects: Mapping[str, bytes], message: str = "") -> None:  # noqa: D102 - as promised above
        paths = safe_together(objects, provider=self.provider)
        for packed, group in groupby(paths, _is_shard):
            _each(lambda path: self._replace(path, bytes(objects[path])), list(group), at_once=packed)

    @guarded("reading")
    def read(self, path: str) -> bytes:  # noqa: D102
        return self._get(safe_path(path, provider=self.provider))

    @guarded("reading")
    def exists(self, path: str) -> bool:  # noqa: D102
        return self._version(safe_path(path, provider=self.provider)) is not None

    @guarded("reading")
    def list_strict(self, prefix: str = "") -> list[str]:  # noqa: D102
        return sorted(filter(_is_ours, self._names(safe_prefix(prefix, provider=self.provider))))

    @guarded("writing")
    def delete(self, paths: Iterable[str], message: str = "") -> None:  # noqa: D102
        gone = safe_together(paths, provider=self.provider)
        for packed, group in groupby(gone, _is_shard):
            _each(self._remove, list(group), at_once=packed)
        self._forget(gone)

    # -- Improvements -------------------------------------------------------------------------------------------------

    def _create(self, path: str, data: bytes) -> bytes:
        return data if self._put(path, data, None) else self.read(path)

    def provision(self) -> str:  # noqa: D102
        try:
            return super().provision()
        except VaultDenied as exc:
            raise ConfigurationError(
                f"the bucket {self.bucket} cannot be used ({exc}): check {self.setting}, the credentials, "
                "and that they may read, write, list and delete there"
            ) from exc

    @property
    def _client(self) -> Any:
        with self._connecting:
            if self._connection is None:
                self._connection = self._connect()
            return self._connection

    def _replace(self, path: str, data: bytes) -> None:
        """Write an object in place of whatever lies there; most are new, so that is tried first."""
        token: str | None = None
        for _ in range(_ROUNDS):
            if self._put(path, data, token):
                break
            there = self._version(path)
            if there is not None and there.digest == self._digest(data):
                break  # an answer got lost, or it was written before
            token = there.token if there else None
        else:
            raise VaultUnavailable("others keep writing to it", provider=self.provider, path=path)
        self._forget([path])


def media_type(path: str) -> str:
    """Say what an object is, for those who look into the bucket."""
    return _MEDIA_TYPES.get(PurePosixPath(path).suffix, "application/octet-stream")


def _is_shard(path: str) -> bool:
    return manifests.day_of(path) is not None and not path.startswith(f"{manifests.FOLDER}/")


def _is_ours(name: str) -> bool:
    """Could the vault have written it? Consoles leave objects for folders, with a slash at the end."""
    try:
        return safe_path(name) == name
    except VaultDenied:
        return False


def _each(do: Callable[[str], None], paths: Sequence[str], *, at_once: bool) -> None:
    """Do it for every path, in order or several at once; the first failure ends it."""
    if not at_once or len(paths) == 1:
        for path in paths:
            do(path)
        return
    with ThreadPoolExecutor(THREADS, "vault-bucket") as threads:
        running = [threads.submit(do, path) for path in paths]
        try:
            for future in running:
                future.result()
        finally:
            for future in running:
                future.cancel()
