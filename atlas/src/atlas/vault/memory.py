"""A vault that forgets at the end of the process: the twin of the real ones, for tests and experiments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock
from typing import ClassVar

from atlas.errors import VaultNotFound
from atlas.vault.base import VaultStrategy
from atlas.vault.paths import safe_path, safe_prefix, safe_together


class MemoryVault(VaultStrategy):
    """Keeps objects in a dictionary, with the behaviour of a vault on disk."""

    provider: ClassVar[str] = "memory"

    def __init__(self) -> None:
        super().__init__()
        self._objects: dict[str, bytes] = {}
        self._lock = Lock()

    def write(self, objects: Mapping[str, bytes], message: str = "") -> None:  # noqa: D102 - as promised above
        paths = safe_together(objects, provider=self.provider)
        fresh = {path: bytes(objects[path]) for path in paths}
        with self._lock:
            safe_together([*self._objects, *fresh], provider=self.provider)
            self._objects |= fresh

    def read(self, path: str) -> bytes:  # noqa: D102
        safe_path(path, provider=self.provider)
        with self._lock:
            try:
                return self._objects[path]
            except KeyError:
                raise VaultNotFound("it is not there", provider=self.provider, path=path) from None

    def exists(self, path: str) -> bool:  # noqa: D102
        safe_path(path, provider=self.provider)
        with self._lock:
            return path in self._objects

    def list_strict(self, prefix: str = "") -> list[str]:  # noqa: D102
        safe_prefix(prefix, provider=self.provider)
        with self._lock:
            return sorted(path for path in self._objects if path.startswith(prefix))

    def delete(self, paths: Iterable[str], message: str = "") -> None:  # noqa: D102
        gone = set(safe_together(paths, provider=self.provider))
        with self._lock:
            self._objects = {path: data for path, data in self._objects.items() if path not in gone}
