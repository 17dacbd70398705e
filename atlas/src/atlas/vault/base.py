"""What every vault promises: five primitives that a backend supplies, and everything with meaning above them."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import uuid4

import orjson

from atlas import clock
from atlas.config import Settings
from atlas.errors import ConfigurationError, VaultCorrupt, VaultError, VaultNotFound
from atlas.vault import manifests
from atlas.vault.manifests import Index, Manifest, ShardInfo

if TYPE_CHECKING:
    import pyarrow as pa

    from atlas.vault.batch import Batch
    from atlas.vault.kinds import Kind
    from atlas.vault.shards import Rows, Shard, Stored

# Arrow is imported by the first use of a packed kind, not by ``import atlas``.

T = TypeVar("T")

log = logging.getLogger(__name__)

MARKER = "pleiades.json"
FORMAT = 1

_READERS = 4  # shards read at once
_READINGS = 3  # of the index, when the same shard that it names is gone each time


class VaultStrategy(ABC):
    """A place where data goes to stay. It is synchronous: from a coroutine call it through ``asyncio.to_thread``.

    Every method may be called by any number of threads and processes at once.
    """

    provider: ClassVar[str]

    def __init__(self) -> None:
        # Manifests that were read, by path. One that changes does so only by naming more shards that it replaces:
        # whoever does not know yet reads the same rows from those.
        self._known: dict[str, Manifest] = {}

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
        A video has one sample at an instant: of several the greatest is kept. In a batch nothing is written before
        its end, so it names no shards.

        Raises:
            ValueError: a row does not fit.
            VaultError: as ``write``.
        """
        from atlas.vault.kinds import METRICS

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
        from atlas.vault.kinds import METRICS

        return self._rows(METRICS, video_ids, start, end, shards)

    def store_metadata(self, video_id: str, document: Mapping[str, Any]) -> None:
        """Keep what is known of a video, as of the document's ``observed_at`` (default: now).

        Raises:
            ValueError: a field does not fit.
            VaultError: as ``write``.
        """
        self.append_metadata([{"observed_at": clock.now(), **document, "video_id": video_id}])

    def append_metadata(self, rows: Rows) -> list[ShardInfo]:
        """Keep what is known of videos, one shard per UTC day of ``observed_at``.

        Fields without a column of their own are kept too. The rest is as for ``append_metrics``.
        """
        from atlas.vault.kinds import METADATA

        return self._append(METADATA, rows)

    def fetch_metadata(self, video_id: str) -> dict[str, Any] | None:
        """Fetch the newest of what was kept of a video; None when there is nothing.

        What was absent is absent. Times are aware, in UTC. Fails as ``read_metrics`` does.
        """
        from atlas.vault.kinds import METADATA

        return next(iter(self._newest(METADATA, [video_id])), None)

    def store_transcript(self, video_id: str, document: Mapping[str, Any]) -> None:
        """Keep a transcript: ``language`` (default "und"), ``text``, ``segments`` (start and duration in seconds,
        text), ``source``, ``generated``; without captions the ``reason``. The rest is as for ``store_metadata``.
        """
        self.append_transcripts([{"observed_at": clock.now(), **document, "video_id": video_id}])

    def append_transcripts(self, rows: Iterable[Mapping[str, Any]]) -> list[ShardInfo]:
        """Keep transcripts; a video may have several at an instant, of different languages. As ``append_metadata``."""
        from atlas.vault.kinds import TRANSCRIPTS

        return self._append(TRANSCRIPTS, [{**row, "language": row.get("language") or "und"} for row in rows])

    def fetch_transcript(self, video_id: str, language: str | None = None) -> dict[str, Any] | None:
        """Fetch the newest transcript of a video, of any language unless one is named; None when there is none.

        Fails as ``read_metrics`` does.
        """
        from atlas.vault.kinds import TRANSCRIPTS

        only = None if language is None else ("language", language)
        return next(iter(self._newest(TRANSCRIPTS, [video_id], only)), None)

    def store_visual_evidence(
        self,
        video_id: str,
        frames: Iterable[tuple[int, bytes] | Mapping[str, Any]],
        *,
        observed_at: datetime | None = None,
    ) -> None:
        """Keep pictures of a video: each its number and its file, or a mapping of ``frame_index`` and ``data`` with
        ``media_type``, ``source`` and what else is known. The rest is as for ``store_metadata``.
        """
        seen = {"observed_at": observed_at or clock.now()}
        rows = [frame if isinstance(frame, Mapping) else _frame(*frame) for frame in frames]
        self.append_visuals([{**seen, **row, "video_id": video_id} for row in rows])

    def append_visuals(self, rows: Rows) -> list[ShardInfo]:
        """Keep pictures of videos, one shard per UTC day of ``observed_at``. As ``append_metadata``."""
        from atlas.vault.kinds import VISUALS

        return self._append(VISUALS, rows)

    def fetch_visual_evidence(self, video_id: str) -> list[tuple[int, bytes]]:
        """Fetch the pictures that were seen last of a video, by number; none is an empty list.

        Fails as ``read_metrics`` does.
        """
        from atlas.vault.kinds import VISUALS

        return [(frame["frame_index"], frame["data"]) for frame in self._newest(VISUALS, [video_id])]

    def read_visual_evidence(
        self, video_ids: Collection[str], start: datetime | None = None
    ) -> dict[str, list[tuple[int, bytes]]]:
        """Fetch the pictures that were seen last of each of several videos, by number; they are held in memory.

        A video without pictures is absent. ``start`` says that none were taken earlier, so that no older shard is
        looked into for the sake of one that has none. Fails as ``read_metrics`` does.
        """
        from atlas.vault.kinds import VISUALS

        found: dict[str, list[tuple[int, bytes]]] = {}
        for frame in self._newest(VISUALS, video_ids, start=start):
            found.setdefault(frame["video_id"], []).append((frame["frame_index"], frame["data"]))
        return found

    def append_events(self, rows: Rows) -> list[ShardInfo]:
        """Keep events (id, event_type, entity_id, payload, created_at), one shard per UTC day.

        A payload is any mapping. The rest is as for ``append_metrics``.
        """
        from atlas.vault.kinds import EVENTS

        return self._append(EVENTS, rows)

    def read_events(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        entity_ids: Collection[str] | None = None,
        shards: Iterable[ShardInfo] | None = None,
    ) -> pa.Table:
        """Read events from ``start`` to before ``end`` in the order they happened; their payload is JSON text.

        ``entity_ids`` None means those of all, and of none. Fails as ``read_metrics`` does.
        """
        from atlas.vault.kinds import EVENTS

        return self._rows(EVENTS, entity_ids, start, end, shards)

    @contextmanager
    def batch(self, message: str = "") -> Iterator[Batch]:
        """Collect what the block stores into one write at its end; when the block fails nothing is written.

        The batch that is lent is a vault itself, which reads back what was put into it.

        Raises:
            VaultError: as ``write``.
        """
        from atlas.vault.batch import Batch

        batch = Batch(self, message)
        yield batch
        batch.commit()

    # -- The index ----------------------------------------------------------------------------------------------------

    def shards(self, kind: str, start: datetime | None = None, end: datetime | None = None) -> list[ShardInfo]:
        """List the shards of ``kind`` that can hold rows from ``start`` to before ``end``, oldest first.

        Shards that others replaced are not among them.

        Raises:
            VaultCorrupt: a manifest is damaged.
            VaultError: as ``list_strict``.
        """
        return self.index(kind, start, end).live

    def index(self, kind: str, start: datetime | None = None, end: datetime | None = None) -> Index:
        """List shards as ``shards`` does, and name those that others replaced."""
        return _settled(lambda: self._index(kind, start, end))

    def _index(self, kind: str, start: datetime | None, end: datetime | None) -> Index:
        paths = []
        for path in self.list_strict(manifests.folder(kind)):
            day = manifests.day_of(path)
            if day is not None and _overlaps(day, start, end):
                paths.append(path)
        if fresh := [path for path in paths if path not in self._known]:
            # One that is gone since it was listed was replaced by another, which must not be missed.
            with ThreadPoolExecutor(_READERS, "vault-index") as threads:
                list(threads.map(self.manifest, fresh))
        listed = [self._known[path] for path in paths]
        superseded = frozenset(path for manifest in listed for path in manifest.replaces)
        live = [
            manifest.info
            for manifest in listed
            if manifest.info.path not in superseded
            and (end is None or manifest.info.min_time < end)
            and (start is None or manifest.info.max_time >= start)
        ]
        return Index(sorted(live, key=lambda info: (info.day, info.path)), superseded)

    def publish(self, manifest: Manifest, objects: Mapping[str, bytes], message: str) -> None:
        """Write ``objects`` and the manifest that makes them visible, in the place of one that is there already."""
        self.write({**objects, manifest.info.manifest_path: manifest.to_bytes()}, message)
        self._known[manifest.info.manifest_path] = manifest

    def manifest(self, path: str, *, anew: bool = True) -> Manifest:
        """Read the manifest at ``path``, as it is now or, unless ``anew``, as it was when it was read before.

        Raises:
            VaultNotFound: it is not there.
            VaultCorrupt: it is damaged.
            VaultError: as ``read``.
        """
        if anew or path not in self._known:
            self._known[path] = Manifest.from_bytes(self.read(path), path)
        return self._known[path]

    def verify(self, shard: ShardInfo) -> None:
        """Read a shard back and prove that it is what was written: every byte of it, and the rows.

        Raises:
            VaultNotFound: the shard or its manifest is not there.
            VaultCorrupt: something differs.
            VaultError: as ``read``.
        """
        import pyarrow as pa

        from atlas.vault import shards

        # A column at a time: a day's shard would take a quarter of a gigabyte.
        stored = shards.Stored(shards.KINDS[shard.kind], pa.BufferReader(self._proven(shard)), shard.path)
        self._prove(shard, stored)

    def load(self, shard: ShardInfo) -> pa.Table:
        """Read all rows of a shard, proving that they are what was written. Fails as ``verify`` does."""
        import pyarrow as pa

        from atlas.vault import shards

        table = shards.decode(shards.KINDS[shard.kind], pa.BufferReader(self._proven(shard)), shard.path)
        self._prove(shard, table)
        return table

    def _proven(self, shard: ShardInfo) -> bytes:
        """Read the bytes of a shard, and prove that they are those that were written."""
        manifest = self.manifest(shard.manifest_path)
        if replace(manifest.info, bytes=shard.bytes) != shard:  # the size is the encoding's, and guarded by sha256
            raise self._corrupt(shard, "the manifest tells of another shard")
        data = self.read(shard.path)
        if hashlib.sha256(data).hexdigest() != manifest.sha256:
            raise self._corrupt(shard, "its bytes have changed")
        return data

    def _prove(self, shard: ShardInfo, rows: pa.Table | Stored) -> None:
        from atlas.vault import shards

        if rows.num_rows != shard.rows or shards.digest(shards.KINDS[shard.kind], rows) != shard.digest:
            raise self._corrupt(shard, "its rows are not those that were written")

    def _append(self, kind: Kind, rows: Rows) -> list[ShardInfo]:
        from atlas.vault.shards import pack

        return self._store(list(pack(kind, rows)))

    def _store(
        self, packed: Iterable[Shard], objects: Mapping[str, bytes] | None = None, message: str = ""
    ) -> list[ShardInfo]:
        """Write ``objects`` and those shards that are not there yet, at once, with the manifests last."""
        infos: list[ShardInfo] = []
        missing: list[Shard] = []
        for shard in packed:
            kept = self._kept(shard.info)
            infos.append(kept or shard.info)
            if kept is None:
                missing.append(shard)
        if missing or objects:
            data = {shard.info.path: shard.data for shard in missing}
            index = {shard.info.manifest_path: shard.manifest for shard in missing}
            self.write({**(objects or {}), **data, **index}, message or _told(missing))
        return infos

    def _kept(self, shard: ShardInfo) -> ShardInfo | None:
        """Find the shard if it is there already and intact, however it was encoded; a damaged one is written anew."""
        try:
            kept = self.manifest(shard.manifest_path).info
            self.verify(kept)
        except (VaultNotFound, VaultCorrupt):
            return None
        return kept

    def _rows(
        self,
        kind: Kind,
        subjects: Collection[str] | None,
        start: datetime | None,
        end: datetime | None,
        shards: Iterable[ShardInfo] | None,
    ) -> pa.Table:
        """Read rows of ``kind`` in order, none twice."""
        from atlas.vault.shards import merge, select

        wanted = None if subjects is None else sorted(set(subjects))

        def read(shard: ShardInfo) -> pa.Table:
            with self._open(shard.path) as source:
                return select(kind, source, shard.path, video_ids=wanted, start=start, end=end)

        def read_all() -> pa.Table:
            known = self.shards(kind.name, start, end) if shards is None else shards
            with ThreadPoolExecutor(_READERS, "vault-reader") as threads:
                parts = list(threads.map(read, known))
            return merge(kind, [*parts, self._pending(kind, wanted, start, end)])

        return _settled(read_all) if shards is None else read_all()

    def _pending(
        self, kind: Kind, subjects: Sequence[str] | None, start: datetime | None, end: datetime | None
    ) -> pa.Table:
        """Give the rows that were stored but are in no shard yet: only a batch has such."""
        return kind.schema.empty_table()

    def _newest(
        self,
        kind: Kind,
        subjects: Collection[str],
        only: tuple[str, str] | None = None,
        start: datetime | None = None,
    ) -> list[dict[str, Any]]:
        """Read, of each of ``subjects``, the rows that have its latest time, in order, as documents.

        ``only`` is a column and the value that is asked for.
        """
        from atlas.vault.shards import as_document, merge, select

        wanted = sorted(set(subjects))
        columns = [kind.subject, kind.time, *([only[0]] if only else ())]

        def read() -> list[dict[str, Any]]:
            parts: list[pa.Table] = []
            latest: dict[str, datetime] = {}

            def keep(part: pa.Table) -> None:
                parts.append(part)
                for row in part.select(columns).to_pylist():
                    if only is None or row[only[0]] == only[1]:
                        seen: datetime = row[kind.time]
                        latest[row[kind.subject]] = max(seen, latest.get(row[kind.subject], seen))

            keep(self._pending(kind, wanted, start, None))
            for shard in sorted(self.shards(kind.name, start), key=lambda shard: shard.max_time, reverse=True):
                # An older shard can tell only of those that nothing as new was found of.
                left = [subject for subject in wanted if subject not in latest or latest[subject] <= shard.max_time]
                if not left:
                    break
                with self._open(shard.path) as source:
                    keep(select(kind, source, shard.path, video_ids=left, start=start))
            rows = merge(kind, parts).to_pylist()
            return [
                as_document(kind, row)
                for row in rows
                if row[kind.time] == latest.get(row[kind.subject]) and (only is None or row[only[0]] == only[1])
            ]

        return _settled(read)

    def _corrupt(self, shard: ShardInfo, problem: str) -> VaultCorrupt:
        return VaultCorrupt(problem, provider=self.provider, path=shard.path)


def get_vault(settings: Settings | None = None) -> VaultStrategy:
    """Build the vault that the settings ask for; nothing is opened yet.

    Raises:
        ConfigurationError: the settings are wrong.
    """
    from atlas import settings as shared_settings  # bound after this module
    from atlas.vault.providers import build

    return build(settings or shared_settings)


def _settled(read: Callable[[], T]) -> T:
    """Read anew when a shard is gone that was listed a moment ago: a compaction has put another in its place.

    Shards are named by their content, so one that was replaced does not come back: as long as it is another each time,
    the vault moves and the reader follows; the same one again and again is lost.
    """
    missing: Counter[str] = Counter()
    while True:
        try:
            return read()
        except VaultNotFound as exc:
            missing[exc.path] += 1
            if missing[exc.path] == _READINGS:
                raise
            log.info("the vault's index changed while it was read; reading it again")


def _frame(number: int, data: bytes) -> dict[str, Any]:
    return {"frame_index": number, "data": data}


def _told(packed: Iterable[Shard]) -> str:
    """Say in a line what a write is about."""
    counts: dict[str, list[int]] = {}
    for shard in packed:
        counts.setdefault(shard.info.kind, []).append(shard.info.rows)
    return ", ".join(f"append {sum(rows)} {kind} rows in {len(rows)} shards" for kind, rows in counts.items())


def _overlaps(day: date, start: datetime | None, end: datetime | None) -> bool:
    begins = datetime.combine(day, time(), UTC)
    return (end is None or begins < end) and (start is None or begins + timedelta(days=1) > start)


def _json(document: Any) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
