"""Looking after a vault by what it says of itself: what is damaged, what is past its time, what nobody needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

from atlas.errors import VaultCorrupt, VaultNotFound
from atlas.vault import manifests
from atlas.vault.base import VaultStrategy
from atlas.vault.manifests import Manifest, ShardInfo

GRACE = timedelta(hours=1)
"""How long what nobody needs still lies there: longer than any reading that began before it was replaced."""

CONDEMNED = f"{manifests.FOLDER}/condemned.json"
"""What nobody needs, and since when that is known: no backend tells the age of an object."""

Problem = Literal["missing", "altered", "unlisted"]


class Check(NamedTuple):
    """What came of looking at a shard; no problem means that every byte of it is what was written."""

    path: str
    problem: Problem | None = None
    detail: str = ""
    shard: ShardInfo | None = None
    superseded: bool = False


class Expired(NamedTuple):
    """A day of a kind that is past its time: its rows, as listed, and all its objects."""

    kind: str
    day: date
    rows: int
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} {self.day}"


class Useless(NamedTuple):
    """Shards that can be removed now, those that stay for a reason, and the live ones that hold their rows, proven."""

    due: tuple[str, ...]
    waiting: tuple[str, ...]
    kept: tuple[Check, ...]
    replacements: tuple[ShardInfo, ...]


def audit(
    vault: VaultStrategy, indexed: Iterable[ShardInfo] = (), *, kinds: Iterable[str] | None = None
) -> Iterator[Check]:
    """Read every shard again, and look for what is missing, altered or unlisted.

    ``indexed`` are shards that SQL believes to be there: only so is one found missing whose manifest is gone too.

    Raises:
        VaultError: as ``read``.
    """
    names = list(_kinds(kinds))
    seen: set[str] = set()
    for kind in names:
        data = set(vault.list_strict(f"{kind}/"))
        listed, damaged = _listed(vault, kind)
        yield from damaged
        superseded = _superseded(listed.values())
        seen |= {*listed, *superseded, *(check.path for check in damaged)}
        for path, manifest in sorted(listed.items()):
            check = _look(vault, manifest.info)
            if check.problem == "missing" and (path in superseded or not vault.exists(manifests.path_of(path))):
                continue  # somebody is removing it
            yield check._replace(superseded=path in superseded)
        for path in sorted(data.difference(listed, (check.path for check in damaged))):
            if vault.exists(path) and not vault.exists(manifests.path_of(path)):
                yield Check(path, "unlisted", "no manifest tells of it")
    for shard in sorted(indexed):
        if shard.kind in names and shard.path not in seen:
            yield Check(shard.path, "missing", "SQL knows of it, the vault does not", shard)


def expired(vault: VaultStrategy, *, through: date, kinds: Iterable[str] | None = None) -> list[Expired]:
    """Name the days up to ``through`` that the vault still holds something of, oldest first."""
    found = []
    for kind in _kinds(kinds):
        paths: dict[date, list[str]] = {}
        for path in (*vault.list_strict(manifests.folder(kind)), *vault.list_strict(f"{kind}/")):
            day = manifests.day_of(path)
            if day is not None and day <= through:
                paths.setdefault(day, []).append(path)  # manifests first
        if paths:
            rows = dict.fromkeys(paths, 0)
            for shard in vault.shards(kind):
                if shard.day in rows:
                    rows[shard.day] += shard.rows
            found += [Expired(kind, day, rows[day], tuple(objects)) for day, objects in sorted(paths.items())]
    return found


def find_useless(
    vault: VaultStrategy,
    *,
    now: datetime,
    grace: timedelta = GRACE,
    unlisted: bool = False,
    keep: Collection[str] = (),
) -> Useless:
    """Find shards that others replaced and, if asked for, that no manifest tells of, known as such for ``grace``.

    What is found for the first time is only noted. A shard is due only when the live ones of its day are proven
    whole. Unlisted shards whose paths are in ``keep`` stay: somebody relies on them.
    """
    noted = {path: datetime.fromisoformat(since) for path, since in (vault.fetch_json(CONDEMNED) or {}).items()}
    candidates: set[str] = set()
    due: list[str] = []
    kept: list[Check] = []
    replacements: list[ShardInfo] = []
    for kind in _kinds(None):
        listed, damaged = _listed(vault, kind, anew=False)
        superseded = _superseded(listed.values())
        data = set(vault.list_strict(f"{kind}/"))
        useless = superseded & {*listed, *data}
        if unlisted:
            told = {*listed, *(check.path for check in damaged)}
            useless |= {path for path in data.difference(told, keep) if manifests.day_of(path)}
        candidates |= useless
        ripe = sorted(path for path in useless if path in noted and now - noted[path] >= grace)
        for day in sorted({day for path in ripe if (day := manifests.day_of(path))}):
            live = [m.info for path, m in sorted(listed.items()) if m.info.day == day and path not in superseded]
            problems = [check for shard in live if (check := _look(vault, shard)).problem]
            problems += [check for check in damaged if manifests.day_of(check.path) == day]
            kept += problems
            if not problems:
                of_day = [path for path in ripe if manifests.day_of(path) == day]
                due += of_day
                replacements += live if superseded.intersection(of_day) else []
    return Useless(tuple(due), tuple(sorted(candidates.difference(due))), tuple(kept), tuple(replacements))


def note_useless(vault: VaultStrategy, found: Useless, *, now: datetime) -> None:
    """Note since when it is known that nobody needs what waits, for the next time."""
    noted = vault.fetch_json(CONDEMNED) or {}
    fresh = {path: noted.get(path, now.isoformat()) for path in found.waiting}
    if fresh != noted:
        if fresh:
            vault.store_json(CONDEMNED, fresh, f"note {len(fresh)} shards that nobody needs")
        else:
            vault.delete([CONDEMNED], "nothing is left that nobody needs")


def remove(vault: VaultStrategy, shards: Iterable[str], message: str) -> None:
    """Remove shards, their manifests first: a shard without one is nobody's, one that is missing is an alarm."""
    paths = list(shards)
    vault.delete([*map(manifests.path_of, paths), *paths], message)


def _look(vault: VaultStrategy, shard: ShardInfo) -> Check:
    try:
        vault.verify(shard)
    except VaultNotFound as exc:
        return Check(shard.path, "missing", str(exc), shard)
    except VaultCorrupt as exc:
        return Check(shard.path, "altered", str(exc), shard)
    return Check(shard.path, shard=shard)


def _listed(vault: VaultStrategy, kind: str, *, anew: bool = True) -> tuple[dict[str, Manifest], list[Check]]:
    """Read the manifests of a kind, by the path of the shard, and name the damaged ones."""
    listed: dict[str, Manifest] = {}
    damaged: list[Check] = []
    for path in vault.list_strict(manifests.folder(kind)):
        if manifests.day_of(path) is None:
            continue
        try:
            manifest = vault.manifest(path, anew=anew)
            listed[manifest.info.path] = manifest
        except VaultNotFound:
            continue  # removed since it was listed
        except VaultCorrupt as exc:
            damaged.append(Check(manifests.shard_of(path), "altered", f"its manifest: {exc}"))
    return listed, damaged


def _superseded(listed: Iterable[Manifest]) -> set[str]:
    return {path for manifest in listed for path in manifest.replaces}


def _kinds(kinds: Iterable[str] | None) -> Iterable[str]:
    from atlas.vault.kinds import KINDS

    return KINDS if kinds is None else kinds
