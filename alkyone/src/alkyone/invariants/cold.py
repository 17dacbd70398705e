"""What must hold of the vault, and of the vault and SQL together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import VaultCorrupt, VaultNotFound
from atlas.vault import manifests
from atlas.vault.audit import audit
from atlas.vault.kinds import KINDS

if TYPE_CHECKING:
    from alkyone.invariants import Hot
    from atlas.vault import ShardInfo, VaultStrategy

COMPARED: Mapping[str, tuple[str, ...]] = {"metrics": ("video_id", "timestamp"), "events": ("created_at", "id")}
"""The kinds that SQL holds the young rows of, and what tells rows apart."""

OF_VIDEOS = ("metrics", "metadata", "transcripts", "visuals")

TELLING: Mapping[str, tuple[str, bool]] = {
    "video.discovered": ("videos", True),
    "videos.retired": ("videos", False),
    "video.watched": ("watchlist", True),
    "channel.discovered": ("channels", True),
    "terms.added": ("search_queue", True),
}
"""Events that say who there is: of which table, and whether they come or go."""

Key = tuple[Any, ...]


class Cold:
    """A vault as it was when it was listed, and what breaks its promises. Each look gives what breaks an invariant."""

    def __init__(self, vault: VaultStrategy) -> None:
        self.vault = vault
        self.leftovers: list[str] = []
        self._damaged: set[str] = set()
        self._live = {kind: vault.index(kind).live for kind in KINDS}

    @property
    def days(self) -> set[tuple[str, date]]:
        """The days of the compared kinds that there is something of."""
        return {(kind, shard.day) for kind in COMPARED for shard in self._live[kind]}

    # -- The invariants -----------------------------------------------------------------------------------------------

    def vault_is_whole(self, hot: Hot) -> list[str]:
        """Read every byte again. A shard that no manifest tells of was never finished: it is only left over."""
        del hot
        found = []
        for check in audit(self.vault):
            if check.problem == "unlisted":
                self.leftovers.append(f"{check.path} has no manifest")
            elif check.problem:
                self._damaged.add(check.path)
                found.append(f"{check.path} is {check.problem}: {check.detail}")
        return found

    def index_matches_the_vault(self, hot: Hot) -> list[str]:
        """Look for each shard of the index in the vault, as it is now."""
        found = []
        for kind, shards in groupby(sorted(hot.index, key=lambda shard: shard.kind), key=lambda shard: shard.kind):
            live, superseded = self.vault.index(kind)
            there = {shard.path: shard for shard in live}
            for shard in shards:
                if shard.path in superseded:
                    continue  # the index follows
                told = there.get(shard.path)
                if told is None:
                    found.append(f"{shard.path} is not in the vault")
                elif (told.digest, told.rows, told.day) != (shard.digest, shard.rows, shard.day):
                    found.append(f"{shard.path} has {told.rows} rows, the index says {shard.rows}, or another digest")
        return found

    def vault_matches_the_index(self, hot: Hot) -> list[str]:
        """Look for rows in shards that the index does not name: SQL must have them still, or another shard."""
        found = []
        for kind in COMPARED:
            relied = self._relied_on(kind, hot)
            for shard in self._live[kind]:
                if shard in relied:
                    continue
                elsewhere = set(hot.days[kind, shard.day])
                for other in relied:
                    if other.day == shard.day:
                        elsewhere.update(self._keys(other))
                if alone := set(self._keys(shard)) - elsewhere:
                    found += [f"{_told(key)} is in {shard.path} alone" for key in alone]
                else:
                    self.leftovers.append(f"{shard.path} is not in the index, its rows are elsewhere")
        for kind in KINDS.keys() - COMPARED.keys():
            named = self._relied_on(kind, hot)
            self.leftovers += [f"{shard.path} is not in the index" for shard in self._live[kind] if shard not in named]
        return found

    def nothing_twice(self, hot: Hot) -> list[str]:
        """Count the rows of each day, in SQL and in the shards that the index names."""
        found = []
        for kind in COMPARED:
            relied = self._relied_on(kind, hot)
            for day in sorted({shard.day for shard in relied}):
                rows = Counter(hot.days[kind, day])
                for shard in relied:
                    if shard.day == day:
                        rows.update(self._keys(shard))
                found += [f"{_told(key)} is there {times} times" for key, times in rows.items() if times > 1]
        return found

    def last_look_is_stored(self, hot: Hot) -> list[str]:
        """Look in the vault for the last looks that SQL has no sample of."""
        found = []
        looks = sorted(hot.looks, key=lambda look: look["timestamp"])
        for day, of_day in groupby(looks, key=lambda look: look["timestamp"].date()):
            if not hot.is_kept(day):
                continue
            start = datetime.combine(day, time(), UTC)
            rows = self.vault.read_metrics(start=start, end=start + timedelta(days=1))
            names = ("video_id", "timestamp", "views")
            stored = set(zip(*(rows.column(name).to_pylist() for name in names), strict=True))
            alone = (look for look in of_day if tuple(look[name] for name in names) not in stored)
            found += [f"{look['video_id']} at {look['timestamp']}" for look in alone]
        return found

    def vault_of_tracked_videos(self, hot: Hot) -> list[str]:
        """Look for videos in the vault that nobody tracks."""
        return [
            f"{video_id} in {kind}" for kind in OF_VIDEOS for video_id in self._videos_of(kind) - hot.known["watchlist"]
        ]

    def retired_is_in_the_vault(self, hot: Hot) -> list[str]:
        """Look for the metadata of videos that were discovered and left the hot queue."""
        if not hot.proves_retired:
            return []
        described = self._videos_of("metadata")
        discovered = self._told_of(hot)["videos"]
        return [
            video_id
            for video_id, since in hot.gone.items()
            if video_id in discovered and video_id not in described and hot.is_kept(since.date())
        ]

    def log_tells_the_state(self, hot: Hot) -> list[str]:
        """Compare the names in the log with those in the tables."""
        told, known = self._told_of(hot), dict(hot.known)
        known["watchlist"] |= known["videos"]  # a video that is not enrolled is another invariant's affair
        told["watchlist"] |= told["videos"]
        told["videos"] -= self._retired(hot)
        return [
            f"{name} is in {'the log' if name in told[place] else place} alone"
            for place, names in known.items()
            for name in told[place] ^ names
        ]

    # -- Reading ------------------------------------------------------------------------------------------------------

    def samples(self, hot: Hot) -> list[tuple[Any, ...]]:
        """Give every sample of SQL and of the vault; of a day in both, or in several shards, each once."""
        cold = self.vault.read_metrics().to_pylist()
        return list(dict.fromkeys([*hot.samples, *(tuple(row.values()) for row in cold)]))

    def _relied_on(self, kind: str, hot: Hot) -> list[ShardInfo]:
        """Name the live shards that the index names, or that stand in for some that it names."""
        indexed = {shard.path for shard in hot.index}
        return [
            shard
            for shard in self._live[kind]
            if shard.path in indexed or indexed.intersection(self._replaced_by(shard))
        ]

    def _replaced_by(self, shard: ShardInfo) -> Sequence[str]:
        with suppress(VaultNotFound, VaultCorrupt):
            return self.vault.manifest(manifests.path_of(shard.path), anew=False).replaces
        return ()

    def _keys(self, shard: ShardInfo) -> list[Key]:
        return self._columns(shard, COMPARED[shard.kind])

    def _columns(self, shard: ShardInfo, names: Sequence[str]) -> list[Key]:
        """Read columns of a shard; nothing of one that is gone or damaged, which ``vault_is_whole`` has told of."""
        if shard.path in self._damaged:
            return []
        with suppress(VaultNotFound):
            table = pq.read_table(pa.BufferReader(self.vault.read(shard.path)), columns=list(names))
            return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
        return []

    def _videos_of(self, kind: str) -> set[str]:
        return {row[0] for shard in self._live[kind] for row in self._columns(shard, ["video_id"])}

    @cached_property
    def _archived(self) -> list[Mapping[str, Any]]:
        names = ("id", "event_type", "entity_id", "payload")
        rows = (row for shard in self._live["events"] for row in self._columns(shard, names))
        return [dict(zip(names, row, strict=True)) for row in rows if row[1] in TELLING]

    def _told_of(self, hot: Hot) -> dict[str, set[str]]:
        told: dict[str, set[str]] = {place: set() for place in hot.known}
        for event in (*hot.events, *self._archived):
            place, comes = TELLING[event["event_type"]]
            if comes:
                told[place].update(_names(event))
        return told

    def _retired(self, hot: Hot) -> set[str]:
        events = (*hot.events, *self._archived)
        return {name for event in events if not TELLING[event["event_type"]][1] for name in _names(event)}


def _names(event: Mapping[str, Any]) -> Iterable[str]:
    if event["entity_id"] is not None:
        return (event["entity_id"],)
    payload = orjson.loads(event["payload"])
    names: list[str] = payload.get("terms") or payload.get("videos") or []
    return names


def _told(key: Key) -> str:
    return " ".join(map(str, key))
