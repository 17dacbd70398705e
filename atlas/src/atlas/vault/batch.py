"""A batch: everything that a cycle stores becomes one write, and every packed kind one shard a day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar

from atlas.errors import VaultNotFound
from atlas.vault.base import VaultStrategy
from atlas.vault.manifests import ShardInfo
from atlas.vault.paths import safe_path, safe_prefix, safe_together

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.vault.kinds import Kind
    from atlas.vault.shards import Rows, Shard


class Batch(VaultStrategy):
    """A vault as it will be at the end of a ``with vault.batch() as batch:`` block.

    What is stored here is held in memory. Rows of packed kinds are checked at once and packed at the end, together,
    so that appending names no shards; ``stored`` does afterwards. What is deleted is deleted after the write.
    """

    provider: ClassVar[str] = "batch"

    def __init__(self, vault: VaultStrategy, message: str = "") -> None:
        super().__init__()
        self._known = vault._known
        self._vault = vault
        self._message = message
        self._lock = Lock()
        self._objects: dict[str, bytes] = {}
        self._deleted: set[str] = set()
        self._tables: dict[str, list[pa.Table]] = {}
        self.stored: list[ShardInfo] = []
        """The shards that hold what was appended, once the block has ended."""

    def commit(self) -> None:
        """Write everything now, at once; the batch is empty then. Fails as ``write`` does, and may be tried again."""
        with self._lock:
            # Atomic or not, nobody relies on a shard before the manifest, and nothing is lost by deleting last.
            packed = self._packed() if self._tables else []
            self.stored += self._vault._store(packed, self._objects, self._message)
            if self._deleted:
                self._vault.delete(sorted(self._deleted), self._message)
            self._objects, self._deleted, self._tables = {}, set(), {}

    def _packed(self) -> list[Shard]:
        import pyarrow as pa

        from atlas.vault.kinds import KINDS
        from atlas.vault.shards import pack

        return [shard for name, tables in self._tables.items() for shard in pack(KINDS[name], pa.concat_tables(tables))]

    # -- The vault as it will be --------------------------------------------------------------------------------------

    def write(self, objects: Mapping[str, bytes], message: str = "") -> None:  # noqa: D102 - as promised above
        paths = safe_together(objects, provider=self.provider)
        with self._lock:
            safe_together([*self._objects, *paths], provider=self.provider)
            self._objects |= {path: bytes(objects[path]) for path in paths}
            self._deleted.difference_update(paths)

    def read(self, path: str) -> bytes:  # noqa: D102
        safe_path(path, provider=self.provider)
        with self._lock:
            if path in self._objects:
                return self._objects[path]
            if path in self._deleted:
                raise VaultNotFound("it is not there", provider=self.provider, path=path)
        return self._vault.read(path)

    def exists(self, path: str) -> bool:  # noqa: D102
        safe_path(path, provider=self.provider)
        with self._lock:
            if path in self._objects or path in self._deleted:
                return path in self._objects
        return self._vault.exists(path)

    def list_strict(self, prefix: str = "") -> list[str]:  # noqa: D102
        safe_prefix(prefix, provider=self.provider)
        there = self._vault.list_strict(prefix)
        with self._lock:
            fresh = (path for path in self._objects if path.startswith(prefix))
            return sorted({*there, *fresh}.difference(self._deleted))

    def delete(self, paths: Iterable[str], message: str = "") -> None:  # noqa: D102
        gone = safe_together(paths, provider=self.provider)
        with self._lock:
            for path in gone:
                self._objects.pop(path, None)
            self._deleted.update(gone)

    def _open(self, path: str) -> Any:
        with self._lock:
            ours = path in self._objects or path in self._deleted
        return super()._open(path) if ours else self._vault._open(path)

    # -- Rows that are not packed yet ---------------------------------------------------------------------------------

    def _append(self, kind: Kind, rows: Rows) -> list[ShardInfo]:
        from atlas.vault.shards import conform

        table = conform(kind, rows)
        with self._lock:
            self._tables.setdefault(kind.name, []).append(table)
        return []

    def _pending(
        self, kind: Kind, subjects: Sequence[str] | None, start: datetime | None, end: datetime | None
    ) -> pa.Table:
        from atlas.vault.shards import filtered, merge

        with self._lock:
            tables = list(self._tables.get(kind.name, ()))
        return filtered(kind, merge(kind, tables), subjects, start, end)
