"""What is stored, in a form that two runs can be compared by: tables and vault, less what may differ."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

TABLES = (
    "channels",
    "channel_history",
    "videos",
    "video_stage",
    "watchlist",
    "video_stats_log",
    "search_queue",
    "system_events",
    "vault_manifest",
    "work_leases",
)
"""What an agent's run leaves; the quota ledger is judged against the server's own count instead."""

SURROGATES = frozenset({"id", "lease_token"})
"""Drawn anew in each run: row numbers (where ``id`` is one) and tokens."""


def tables(conninfo: str) -> dict[str, list[tuple[tuple[str, Any], ...]]]:
    """Read every table, its rows in an order of their own, without surrogates."""
    with psycopg.connect(conninfo, row_factory=dict_row) as conn:
        return {name: _rows(conn, name) for name in TABLES}


def files(vault: Path) -> dict[str, str]:
    """Digest every object of a local vault, by path; what is hidden is the vault's own affair."""
    found = sorted(path for path in vault.rglob("*") if path.is_file())
    relative = ((path, path.relative_to(vault)) for path in found)
    return {
        name.as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path, name in relative
        if not any(part.startswith(".") for part in name.parts)
    }


def lapse_leases(conninfo: str) -> None:
    """Let every lease run out, as time would: a dead worker's rows come back."""
    with psycopg.connect(conninfo) as conn:
        for table in ("search_queue", "channels", "watchlist", "video_stage", "work_leases"):
            conn.execute(
                sql.SQL("UPDATE {} SET leased_until = 'epoch' WHERE leased_until IS NOT NULL").format(
                    sql.Identifier(table)
                )
            )


def _rows(conn: psycopg.Connection[dict[str, Any]], table: str) -> list[tuple[tuple[str, Any], ...]]:
    rows = conn.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(table))).fetchall()
    return sorted((_canonical(row) for row in rows), key=repr)


def _canonical(row: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    surrogate = {name for name in SURROGATES if not isinstance(row.get(name), str)}
    return tuple((name, _plain(value)) for name, value in sorted(row.items()) if name not in surrogate)


def _plain(value: Any) -> Any:
    return repr(value) if isinstance(value, dict | list) else value
