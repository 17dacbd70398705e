"""Compaction: the small shards of a closed day become one, and no reader ever sees a gap or a double.

The new shard's manifest names the shards it replaces, and is what makes it visible: before that everybody reads the
old ones, after it the new one. The old ones lie there until a pruning, for readers who began before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date
from itertools import groupby
from typing import NamedTuple

from atlas.errors import VaultCorrupt, VaultNotFound
from atlas.vault import manifests
from atlas.vault.base import VaultStrategy
from atlas.vault.manifests import Manifest, ShardInfo

MAX_BYTES = 64 * 1024 * 1024
"""The size of a compacted shard: what is merged is held in memory, several times as large as its file."""

MAX_ROWS = 4_000_000


class Merge(NamedTuple):
    """Shards of one day that are to become one."""

    kind: str
    day: date
    shards: tuple[ShardInfo, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.day}"


def plan(vault: VaultStrategy, *, before: date, kinds: Iterable[str] | None = None) -> list[Merge]:
    """Name what can be merged of the days before ``before``, oldest first.

    Raises:
        VaultError: as ``VaultStrategy.shards``.
    """
    from atlas.vault.kinds import KINDS

    return [
        Merge(kind, day, group)
        for kind in (KINDS if kinds is None else kinds)
        for day, shards in groupby(vault.shards(kind), key=lambda shard: shard.day)
        if day < before
        for group in _groups(shards, KINDS[kind].merged or MAX_ROWS)
    ]


def carry_out(vault: VaultStrategy, merge: Merge) -> ShardInfo:
    """Write the shard that holds the rows of all of them, and prove it; done twice it is the same.

    Raises:
        VaultNotFound: one is gone; somebody else was at it.
        VaultCorrupt: one is damaged, or what was written is not what can be read; the old shards stand.
        VaultError: as ``write``.
    """
    from atlas.vault import shards

    kind = shards.KINDS[merge.kind]
    table = shards.merge(kind, [vault.load(shard) for shard in merge.shards])
    merged = shards.pack_day(kind, merge.day, table)
    old = {shard.path: vault.manifest(shard.manifest_path) for shard in merge.shards}
    # What the old ones replaced, and still lies there, must not come back to life when they are gone.
    earlier = {path for manifest in old.values() for path in manifest.replaces if _is_listed(vault, path)}
    replaced = tuple(sorted({*old, *earlier} - {merged.info.path}))
    if merged.info.path in old:  # the others had nothing that it has not
        manifest = replace(old[merged.info.path], replaces=replaced)
        vault.publish(manifest, {}, f"compact {merge}")
        return manifest.info
    manifest = replace(Manifest.from_bytes(merged.manifest, merged.info.manifest_path), replaces=replaced)
    message = f"compact {merge}: {len(merge.shards)} shards into one of {merged.info.rows} rows"
    vault.publish(manifest, {merged.info.path: merged.data}, message)
    try:
        vault.verify(merged.info)
    except (VaultCorrupt, VaultNotFound):
        vault.delete([merged.info.manifest_path, merged.info.path], f"take back {merge}")
        raise
    return merged.info


def _groups(shards: Iterable[ShardInfo], most_rows: int) -> Iterator[tuple[ShardInfo, ...]]:
    """Put small shards together as long as they stay small enough; what stays alone is left alone."""
    group: list[ShardInfo] = []
    for shard in sorted(shards, key=lambda shard: (shard.bytes, shard.path)):
        fits = sum(s.bytes for s in group) + shard.bytes <= MAX_BYTES
        if group and not (fits and sum(s.rows for s in group) + shard.rows <= most_rows):
            if len(group) > 1:
                yield tuple(group)
            group = []
        group.append(shard)
    if len(group) > 1:
        yield tuple(group)


def _is_listed(vault: VaultStrategy, path: str) -> bool:
    return vault.exists(manifests.path_of(path))
