"""What every vault promises: five primitives that a backend supplies, and everything with meaning above them."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import uuid4

import orjson

from atlas import clock
from atlas.config import Settings
from atlas.errors import ConfigurationError, VaultCorrupt, VaultError, VaultNotFound
from atlas.vault import manifests
from atlas.vault.manifests import Manifest, ShardInfo

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.vault.shards import Kind, Rows, Shard

# Arrow is imported by the first use of a packed kind, not by ``import atlas``.

T = TypeVar("T")

log = logging.getLogger(__name__)

MARKER = "pleiades.json"
FORMAT = 1

_READERS = 4  # shards read at once
_READINGS = 3  # of the index, when shards that it named are gone: a compaction replaced them


class VaultStrategy(ABC):
    """A place where data goes to stay. It is synchronous: from a coroutine call it through ``asyncio.to_thread``.

    Every method may be called by any number of threads and processes at once.
    """

    provider: ClassVar[str]

    def __init__(self) -> None:
        self._known: dict[str, ShardInfo] = {}  # manifests that were read, by path: they never change

    # -- What a backend supplies --------------------------------------------------------------------------------------

    @abstractmethod
    def write(self, objects: Mapping[str, bytes], message: str = "") -> None:
        """Store all ``objects``, replacing what lies at their paths; all of them become visible, or none does.

        Where a provider has no transactions they become visible in the order given, so what others rely on comes
        last. ``message`` says why, in backends that keep a history.

        Raises:
            VaultDenied: not allowed, or a path leads out of the vault.
            VaultFull: no room.
            VaultUnavailable: later may work; to write the same again is harmless.
        """

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Fetch an object.

        Raises:
            VaultNotFound: it is not there.
            VaultDenied: not allowed, or the path leads out of the vault.
            VaultUnavailable: later may work.
        """

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Say whether an object is there; fails as ``read`` does when that cannot be known."""

    @abstractmethod
    def list_strict(self, prefix: str = "") -> list[str]:
        """List the paths that begin with ``prefix``, in order; fails as ``read`` does when that cannot be known."""

    @abstractmethod
    def delete(self, paths: Iterable[str], message: str = "") -> None:
        """Remove objects, all of them or none; what is not there is no error. Fails as ``write`` does."""

    # -- What a backend may improve -----------------------------------------------------------------------------------

    def _open(self, path: str) -> Any:
        """Open an object for reading parts of it; fails as ``read`` does."""
        import pyarrow as pa

        return pa.BufferReader(self.read(path))

    def _create(self, path: str, data: bytes) -> bytes:
        """Write an object unless it is there, and return what is there now."""
        if not self.exists(path):
            self.write({path: data}, f"create {path}")
        return self.read(path)

    # -- The vault itself ---------------------------------------------------------------------------------------------

    def provision(self) -> str:
        """Make the vault ready for use, and return the name it was given when it was new.

        Raises:
            ConfigurationError: it cannot be used as it is set up; the message says what to do.
            VaultUnavailable: later may work.
        """
        fresh = {"format": FORMAT, "id": uuid4().hex, "created_at": clock.now()}
        data = self._create(MARKER, _json(fresh))
        try:
            marker = orjson.loads(data)
            identity, version = str(marker["id"]), int(marker["format"])
        except (ValueError, TypeError, KeyError) as exc:
            raise VaultCorrupt("not the marker of a vault", provider=self.provider, path=MARKER) from exc
        if version > FORMAT:
            raise ConfigurationError(
                f"the {self.provider} vault has format {version}, which is newer than this program: update Pleiades"
            )
        return identity

    # -- Plain documents ----------------------------------------------------------------------------------------------

    def list_files(self, prefix: str = "") -> list[str]:
        """List paths for a person to look at: when the vault fails that is logged, and the list is empty."""
        try:
            return self.list_strict(prefix)
        except VaultError:
            log.exception("cannot list %r in the %s vault", prefix, self.provider)
            return []

    def store_json(self, path: str, document: Any, message: str | None = None) -> None:
        """Keep ``document`` as JSON at ``path``. Fails as ``write`` does."""
        self.write({path: _json(document)}, message or f"store {path}")

    def fetch_json(self, path: str) -> Any:
        """Fetch the document at ``path``; None when there is none.

        Raises:
            VaultError: it could not be looked up.
            VaultCorrupt: what lies there is no JSON.
        """
        try:
            return orjson.loads(self.read(path))
        except VaultNotFound:
            return None
        except orjson.JSONDecodeError as exc:
            raise VaultCorrupt("not JSON", provider=self.provider, path=path) from exc
        except VaultError:
            log.exception("cannot fetch %r from the %s vault", path, self.provider)
            raise

    # -- Packed kinds -------------------------------------------------------------------------------------------------

    def append_metrics(self, rows: Rows) -> list[ShardInfo]:
        """Keep samples (video_id, timestamp, views, likes, comment_count), one shard per UTC day.

        The same samples give the same shards, in whatever order they come; to append them again changes nothing.
        A video has one sample at an instant: of several the greatest is kept.

        Raises:
            ValueError: a row does not fit.
            VaultError: as ``write``.
        """
        from atlas.vault.shards import METRICS

        return self._append(METRICS, rows)

    def read_metrics(
        self,
        video_ids: Collection[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        shards: Iterable[ShardInfo] | None = None,
    ) -> pa.Table:
        """Read samples from ``start`` to before ``end``, sorted by video and time, none twice.

        ``video_ids`` None means all videos; then the whole table is held in memory. ``shards`` names the only ones
        to look into; None means those that the vault lists.

        Raises:
            VaultNotFound: a shard that should be there is gone.
            VaultCorrupt: a shard is damaged.
            VaultError: as ``read``.
        """
        from atlas.vault.shards import METRICS, merge, select

        wanted = None if video_ids is None else sorted(set(video_ids))

        def read(shard: ShardInfo) -> pa.Table:
            with self._open(shard.path) as source:
                return select(METRICS, source, shard.path, video_ids=wanted, start=start, end=end)

        def read_all() -> pa.Table:
            known = self.shards("metrics", start, end) if shards is None else shards
            with ThreadPoolExecutor(_READERS, "vault-reader") as threads:
                return merge(METRICS, threads.map(read, known))

        return _settled(read_all) if shards is None else read_all()

    def store_metadata(self, video_id: str, document: Mapping[str, Any]) -> ShardInfo:
        """Keep what is known of a video, as of the document's ``observed_at`` (default: now).

        Raises:
            ValueError: a field does not fit.
            VaultError: as ``write``.
        """
        return self.append_metadata([{"observed_at": clock.now(), **document, "video_id": video_id}])[0]

    def append_metadata(self, rows: Rows) -> list[ShardInfo]:
        """Keep what is known of videos, one shard per UTC day of ``observed_at``.

        Fields without a column of their own are kept too. The rest is as for ``append_metrics``.
        """
        from atlas.vault.shards import METADATA

        return self._append(METADATA, rows)

    def fetch_metadata(self, video_id: str) -> dict[str, Any] | None:
        """Fetch the newest of what was kept of a video; None when there is nothing.

        What was absent is absent. Times are aware, in UTC. Fails as ``read_metrics`` does.
        """
        return _settled(lambda: self._newest_metadata(video_id))

    def shards(self, kind: str, start: datetime | None = None, end: datetime | None = None) -> list[ShardInfo]:
        """List the shards of ``kind`` that can hold rows from ``start`` to before ``end``, oldest first.

        Raises:
            VaultCorrupt: a manifest is damaged.
            VaultError: as ``list_strict``.
        """
        infos = []
        for path in self.list_strict(manifests.folder(kind)):
            day = manifests.day_of(path)
            if day is None or not _overlaps(day, start, end):
                continue
            try:
                info = self._known[path] if path in self._known else self._manifest(path).info
            except VaultNotFound:
                continue  # deleted since it was listed
            self._known[path] = info
            if (end is None or info.min_time < end) and (start is None or info.max_time >= start):
                infos.append(info)
        return sorted(infos, key=lambda info: (info.day, info.path))

    def verify(self, shard: ShardInfo) -> None:
        """Read a shard back and prove that it is what was written: every byte of it, and the rows.

        Raises:
            VaultNotFound: the shard or its manifest is not there.
            VaultCorrupt: something differs.
            VaultError: as ``read``.
        """
        import pyarrow as pa

        from atlas.vault import shards

        manifest = self._manifest(shard.manifest_path)
        if replace(manifest.info, bytes=shard.bytes) != shard:  # the size is the encoding's, and guarded by sha256
            raise self._corrupt(shard, "the manifest tells of another shard")
        data = self.read(shard.path)
        if hashlib.sha256(data).hexdigest() != manifest.sha256:
            raise self._corrupt(shard, "its bytes have changed")
        kind = shards.KINDS[shard.kind]
        table = shards.decode(kind, pa.BufferReader(data), shard.path)
        if table.num_rows != shard.rows or shards.digest(kind, table) != shard.digest:
            raise self._corrupt(shard, "its rows are not those that were written")

    def _append(self, kind: Kind, rows: Rows) -> list[ShardInfo]:
        from atlas.vault.shards import pack

        infos: list[ShardInfo] = []
        missing: list[Shard] = []
        for shard in pack(kind, rows):
            kept = self._kept(shard.info)
            infos.append(kept or shard.info)
            if kept is None:
                missing.append(shard)
        if missing:
            data = {shard.info.path: shard.data for shard in missing}
            index = {shard.info.manifest_path: shard.manifest for shard in missing}
            count = sum(shard.info.rows for shard in missing)
            self.write(data | index, f"append {count} {kind.name} rows in {len(missing)} shards")
        return infos

    def _kept(self, shard: ShardInfo) -> ShardInfo | None:
        """Find the shard if it is there already and intact, however it was encoded; a damaged one is written anew."""
        try:
            kept = self._manifest(shard.manifest_path).info
            self.verify(kept)
        except (VaultNotFound, VaultCorrupt):
            return None
        return kept

    def _newest_metadata(self, video_id: str) -> dict[str, Any] | None:
        from atlas.vault.shards import METADATA, as_document, select

        newest: dict[str, Any] | None = None
        for shard in sorted(self.shards("metadata"), key=lambda shard: shard.max_time, reverse=True):
            if newest is not None and shard.max_time <= newest[METADATA.time]:
                break
            with self._open(shard.path) as source:
                rows = select(METADATA, source, shard.path, video_ids=[video_id]).to_pylist()
            newest = max([*rows, *([newest] if newest else [])], key=lambda row: row[METADATA.time], default=None)
        return None if newest is None else as_document(METADATA, newest)

    def _manifest(self, path: str) -> Manifest:
        return Manifest.from_bytes(self.read(path), path)

    def _corrupt(self, shard: ShardInfo, problem: str) -> VaultCorrupt:
        return VaultCorrupt(problem, provider=self.provider, path=shard.path)


def get_vault(settings: Settings | None = None) -> VaultStrategy:
    """Build the vault that the settings ask for; nothing is opened yet.

    Raises:
        ConfigurationError: the settings are wrong.
    """
    from atlas import settings as shared_settings  # bound after this module
    from atlas.vault.local import LocalVault

    return LocalVault((settings or shared_settings).vault_path)


def _settled(read: Callable[[], T]) -> T:
    """Read anew when a shard is gone that was listed a moment ago: a compaction has put another in its place."""
    for _ in range(_READINGS - 1):
        try:
            return read()
        except VaultNotFound:
            log.info("the vault's index changed while it was read; reading it again")
    return read()


def _overlaps(day: date, start: datetime | None, end: datetime | None) -> bool:
    begins = datetime.combine(day, time(), UTC)
    return (end is None or begins < end) and (start is None or begins + timedelta(days=1) > start)


def _json(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
