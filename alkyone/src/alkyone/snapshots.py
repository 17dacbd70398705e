"""What is stored, in a form that two runs can be compared by: tables and vault, less what may differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.rows import dict_row
from psycopg.types.datetime import TimestamptzLoader

from atlas.vault import LocalVault, VaultStrategy
from atlas.vault.base import MARKER

TABLES = (
    "channels",
    "channel_history",
    "channel_stats_log",
    "videos",
    "video_history",
    "video_stage",
    "watchlist",
    "rises",
    "expectations",
    "expected_rates",
    "video_stats_log",
    "video_vectors",
    "video_features",
    "search_queue",
    "sources",
    "rejected",
    "system_events",
    "vault_manifest",
    "work_leases",
)
"""What an agent's run leaves; the quota ledger is judged against the server's own count instead."""

QUEUES = ("search_queue", "channels", "sources", "watchlist", "rises", "video_stage", "work_leases", "heartbeat")
"""The tables whose rows are claimed."""

Reading = tuple[int | None, int | None, int | None]
"""Views, likes, comments."""

END_OF_TIME = datetime.max.replace(tzinfo=UTC)

SURROGATES = frozenset({"id", "lease_token", "xact"})
"""Drawn anew in each run: row numbers (where ``id`` is one), tokens and transactions."""


class _Endless(TimestamptzLoader):
    """Reads the end of time, too, which Python's calendar does not reach."""

    def load(self, data: Buffer) -> datetime:
        return END_OF_TIME if bytes(data) == b"infinity" else super().load(data)


def tables(conninfo: str) -> dict[str, list[tuple[tuple[str, Any], ...]]]:
    """Read every table, its rows in an order of their own, without surrogates."""
    with psycopg.Connection[dict[str, Any]].connect(conninfo, row_factory=dict_row) as conn:
        conn.adapters.register_loader("timestamptz", _Endless)
        return {name: _rows(conn, name) for name in TABLES}


def files(vault: Path) -> dict[str, str]:
    """Digest every object of a local vault, by path; what is hidden, and the vault's name, is its own affair."""
    found = sorted(path for path in vault.rglob("*") if path.is_file())
    relative = ((path, path.relative_to(vault)) for path in found)
    return {
        name.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path, name in relative
        if not any(part.startswith(".") for part in name.parts) and name.as_posix() != MARKER
    }


def objects(vault: VaultStrategy) -> dict[str, str]:
    """Digest every object of any vault, by path, but for its name."""
    return {path: hashlib.sha256(vault.read(path)).hexdigest() for path in vault.list_strict() if path != MARKER}


def lapse_leases(conninfo: str) -> None:
    """Let every lease run out, as time would: a dead worker's rows come back."""
    with psycopg.connect(conninfo) as conn:
        for table in QUEUES:
            conn.execute(
                sql.SQL("UPDATE {} SET leased_until = 'epoch' WHERE leased_until IS NOT NULL").format(
                    sql.Identifier(table)
                )
            )
        conn.execute("UPDATE work_leases SET leased_until = 'epoch' WHERE name LIKE 'run %'")  # the turns of agents


def spoil_page_tokens(conninfo: str) -> None:
    """Let every page token be one that YouTube does not know, or no longer."""
    with psycopg.connect(conninfo) as conn:
        for table in ("search_queue", "sources"):
            column = "next_page_token" if table == "search_queue" else "page_token"
            conn.execute(
                sql.SQL("UPDATE {} SET {column} = 'CAUQAQ-' WHERE {column} IS NOT NULL").format(
                    sql.Identifier(table), column=sql.Identifier(column)
                )
            )


def column(conninfo: str, query: LiteralString) -> list[Any]:
    """Read the first column of a query's rows."""
    with psycopg.connect(conninfo) as conn:
        return [row[0] for row in conn.execute(query)]


def leased(conninfo: str) -> int:
    """Count what somebody holds: rows of the queues, and work; an announcement for the day holds nothing up."""
    (rows,) = column(
        conninfo,
        """
        SELECT (SELECT count(lease_token) FROM search_queue)
             + (SELECT count(lease_token) FROM channels)
             + (SELECT count(lease_token) FROM sources)
             + (SELECT count(lease_token) FROM watchlist)
             + (SELECT count(lease_token) FROM video_stage)
             + (SELECT count(lease_token) FROM rises)
             + (SELECT count(lease_token) FROM heartbeat)
             + (SELECT count(lease_token) FROM work_leases WHERE name NOT LIKE 'quota.exhausted/%')
        """,
    )
    return int(rows)


def ledger(conninfo: str) -> dict[tuple[date, str], int]:
    """Read the units used, by Pacific day and bucket, over all projects."""
    with psycopg.connect(conninfo) as conn:
        rows = conn.execute(
            "SELECT day, bucket, sum(used)::int FROM quota_usage WHERE used > 0 GROUP BY day, bucket"
        ).fetchall()
    return {(day, bucket): used for day, bucket, used in rows}


def readings(conninfo: str, vault: Path | VaultStrategy) -> dict[tuple[str, datetime], Reading]:
    """Read every sample of SQL and vault together.

    Raises:
        AssertionError: a sample is there twice.
    """
    rows = samples(conninfo, vault)
    stored = {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}
    assert len(stored) == len(rows), f"{len(rows) - len(stored)} samples are stored twice"
    return stored


def samples(conninfo: str, vault: Path | VaultStrategy) -> list[tuple[Any, ...]]:
    """Read every row of samples as it lies there, in SQL and vault: video, time, views, likes, comments."""
    with psycopg.connect(conninfo) as conn:
        rows = conn.execute("SELECT video_id, timestamp, views, likes, comment_count FROM video_stats_log").fetchall()
    cold = _opened(vault)
    for shard in cold.shards("metrics"):
        rows += [tuple(row.values()) for row in cold.read_metrics(shards=[shard]).to_pylist()]
    return rows


def known(conninfo: str, vault: Path | VaultStrategy) -> dict[tuple[str, datetime], Reading]:
    """Read every sample as a reader does, who minds no doubles: halfway through an archiving both sides have it."""
    with psycopg.connect(conninfo) as conn:
        rows = conn.execute("SELECT video_id, timestamp, views, likes, comment_count FROM video_stats_log").fetchall()
    rows += [tuple(row.values()) for row in _opened(vault).read_metrics().to_pylist()]
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows}


def served(columns: Mapping[str, Sequence[Any]]) -> dict[tuple[str, datetime], Reading]:
    """What a stand-in served, in the form of ``readings``."""
    names = ("video_id", "timestamp", "views", "likes", "comment_count")
    rows = zip(*(columns[name] for name in names), strict=True)
    return {
        (video_id, datetime.fromisoformat(at)): (views, likes, comments)
        for video_id, at, views, likes, comments in rows
    }


def _opened(vault: Path | VaultStrategy) -> VaultStrategy:
    return LocalVault(vault) if isinstance(vault, Path) else vault


def _rows(conn: psycopg.Connection[dict[str, Any]], table: str) -> list[tuple[tuple[str, Any], ...]]:
    rows = conn.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall()
    return sorted((_canonical(row) for row in rows), key=repr)


def _canonical(row: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    surrogate = SURROGATES - ({"id"} if isinstance(row.get("id"), str) else set())
    return tuple((name, _plain(value)) for name, value in sorted(row.items()) if name not in surrogate)


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, dict | list) else value
