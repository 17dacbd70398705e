"""What a vault says about its own shards: one small document each, written after the shard it describes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import orjson

from atlas.errors import VaultCorrupt

FORMAT = 1
FOLDER = "manifests"

_DAY = re.compile(r"/date=(\d{4}-\d{2}-\d{2})/part-[0-9a-f]+\.\w+$")


@dataclass(frozen=True, slots=True, order=True)
class ShardInfo:
    """An immutable Parquet file of the vault: the rows of a kind that belong to one UTC day."""

    path: str
    kind: str
    day: date
    digest: str
    """SHA-256 of the canonical rows, in hexadecimal; equal rows have equal digests, however they are encoded."""
    rows: int
    bytes: int
    min_time: datetime
    max_time: datetime

    @property
    def manifest_path(self) -> str:
        """Where the vault keeps this description."""
        return path_of(self.path)


class Index(NamedTuple):
    """What a vault lists of a kind."""

    live: list[ShardInfo]
    """Oldest first; together they hold every row."""
    superseded: frozenset[str]
    """Paths of shards that others replace; they may still lie there for a while."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The description as the vault keeps it: with it every byte of a shard can be checked."""

    info: ShardInfo
    sha256: str
    """Of the file, in hexadecimal."""
    replaces: tuple[str, ...] = ()
    """Shards whose every row is in this one too: from the moment this is there, nobody reads them any more."""

    def to_bytes(self) -> bytes:
        """Write it down; equal manifests give equal bytes."""
        document = {
            "format": FORMAT,
            "sha256": self.sha256,
            **asdict(self.info),
            **({"replaces": self.replaces} if self.replaces else {}),
        }
        return _dumped(document | {"seal": hashlib.sha256(_dumped(document)).hexdigest()})

    @classmethod
    def from_bytes(cls, data: bytes, path: str) -> Manifest:
        """Read what ``to_bytes`` wrote at ``path``.

        Raises:
            VaultCorrupt: it is something else.
        """
        try:
            document = orjson.loads(data)
            if document.pop("format") != FORMAT:
                raise VaultCorrupt("a manifest of another format", path=path)
            del document["seal"]  # of all else; it is made anew below, and compared with every byte
            manifest = cls(
                sha256=str(document.pop("sha256")),
                replaces=tuple(document.pop("replaces", ())),
                info=_info(document),
            )
            as_written = manifest.info.manifest_path == path and manifest.to_bytes() == data
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise VaultCorrupt(f"not a manifest ({type(exc).__name__})", path=path) from exc
        if not as_written:
            raise VaultCorrupt("not the manifest that was written", path=path)
        return manifest


def folder(kind: str) -> str:
    """Where the manifests of ``kind`` lie, with a slash at the end."""
    return f"{FOLDER}/{kind}/"


def path_of(shard_path: str) -> str:
    """Where the manifest of the shard at ``shard_path`` lies."""
    return f"{FOLDER}/{shard_path.removesuffix('.parquet')}.json"


def shard_of(manifest_path: str) -> str:
    """Where the shard lies whose manifest is at ``manifest_path``."""
    return f"{manifest_path.removeprefix(f'{FOLDER}/').removesuffix('.json')}.parquet"


def shard_path(kind: str, day: date, digest: str) -> str:
    """Where a shard lies: hive partitions, named by content."""
    return f"{kind}/date={day.isoformat()}/part-{digest}.parquet"


def day_of(path: str) -> date | None:
    """Tell the day from the path of a shard or of its manifest; None when it is neither."""
    found = _DAY.search(path)
    return date.fromisoformat(found[1]) if found else None


def _dumped(document: dict[str, Any]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _info(document: dict[str, Any]) -> ShardInfo:
    return ShardInfo(
        **{
            **document,
            "day": date.fromisoformat(document["day"]),
            "min_time": datetime.fromisoformat(document["min_time"]),
            "max_time": datetime.fromisoformat(document["max_time"]),
        }
    )
