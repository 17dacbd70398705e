"""Every statement of the DAO plans against the schema and belongs to a method; every claim uses its index."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest

from atlas import vitals
from atlas.adapters import (
    _enrichment,
    _event_days,
    _partitions,
    _reports,
    _sources,
    _vectors,
    maia,
    maia_archive,
    maia_discovery,
    maia_ghost,
    maia_operations,
    maia_rises,
    maia_stages,
    vault_index,
)
from atlas.db import DatabaseManager
from atlas.events import bus, listener, webhooks, writer

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
OF_EVENTS: tuple[Any, ...] = (_event_days, bus, listener, webhooks, writer)
OF_WATCHING: tuple[Any, ...] = (_reports, vitals)
OF_AGENTS: tuple[Any, ...] = (maia, maia_archive, maia_discovery, maia_ghost, maia_operations, maia_rises, maia_stages)
STATEMENTS = {
    **{name: text for module in OF_AGENTS for name, text in module.SQL.items()},
    **_vectors.SQL,
    **_enrichment.SQL,
    **{f"index_{name}": text for name, text in vault_index.SQL.items()},
    **{f"{module.__name__} {name}": text for module in (*OF_EVENTS, *OF_WATCHING) for name, text in module.SQL.items()},
    **{f"sources_{name}": text for name, text in _sources.STATEMENTS.items()},
}


class Parameters(Mapping[str, Any]):
    """A value for every parameter: NULL where the statement itself says the type."""

    values_: ClassVar = {
        "now": NOON, "until": NOON, "before": NOON, "start": NOON, "stop": NOON, "after_time": NOON, "after_id": "",
        "lease": timedelta(minutes=10), "token": UUID(int=1), "batch_size": 50, "limit": 50, "below": 1.0,
        "dead_after": 5, "length": 500, "priority": 0, "pinned": False, "in_roster": True, "stages_ended": True,
        "name": "janitor", "videos": "[]", "stage": "painter", "effort": 100, "keep": 100, "frames": 40,
        "own_frames": 16, "k": 10, "after": "", "at_least": 0.8, "per_upload": 2.0, "least": 0.1, "most": 24.0,
        "longest": timedelta(days=7), "ids": [], "likes": [], "count": 1, "since": NOON, "every": timedelta(days=1),
        "ahead": timedelta(hours=1), "pause": timedelta(minutes=15), "size": 50,
    }  # fmt: skip

    def __getitem__(self, name: str) -> Any:
        return self.values_.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


class SourceParameters(Parameters):
    """The same, where ``name`` and ``until`` are arrays and ``kind`` is none."""

    values_: ClassVar = {**Parameters.values_, "name": None, "until": None, "kind": "walk"}


def parameters_of(statement: str) -> Parameters:
    return SourceParameters() if statement.startswith(("sources_", "reject_")) else Parameters()


async def test_every_statement_plans_against_the_schema(database: DatabaseManager) -> None:
    problems = {}
    async with database.get_connection() as conn:
        for name, statement in STATEMENTS.items():
            if "LISTEN " in statement or "SET LOCAL " in statement:
                continue  # it has no plan
            try:
                async with conn.transaction():
                    await conn.execute(f"EXPLAIN {statement}".encode(), parameters_of(name))
            except psycopg.Error as exc:
                problems[name] = str(exc)
    assert problems == {}


@pytest.mark.parametrize("name", sorted(vault_index.SQL))
def test_the_statement_on_the_index_has_a_user(name: str) -> None:
    assert f'SQL["{name}"]' in inspect.getsource(vault_index)


@pytest.mark.parametrize("name", sorted(_vectors.SQL))
def test_the_statement_on_vectors_has_a_user(name: str) -> None:
    source = inspect.getsource(_vectors) + inspect.getsource(maia_stages)
    assert f'SQL["{name}"]' in source


@pytest.mark.parametrize("module", [*OF_EVENTS, *OF_WATCHING], ids=lambda module: module.__name__)
def test_the_statements_on_events_and_on_how_the_system_is_have_a_user(module: Any) -> None:
    assert [name for name in module.SQL if f'SQL["{name}"]' not in inspect.getsource(module)] == []


@pytest.mark.parametrize("module", [*OF_AGENTS, _enrichment], ids=lambda module: module.__name__)
def test_the_statements_belong_to_methods(module: Any) -> None:
    for name in module.SQL:
        method = name.strip("_").split("__")[0]
        owners = (maia.MaiaDAO, module)
        assert any(hasattr(owner, wanted) for owner in owners for wanted in (name, method, f"_{method}")), name


@pytest.mark.parametrize("name", sorted(_partitions.STATEMENTS))
def test_the_statement_on_partitions_has_a_user(name: str) -> None:
    assert f'"{name}"' in inspect.getsource(_partitions)


@pytest.mark.parametrize("name", sorted(_sources.STATEMENTS))
def test_the_statement_on_sources_has_a_user(name: str) -> None:
    assert f'STATEMENTS["{name}"]' in inspect.getsource(_sources)


FILL = """
INSERT INTO search_queue (query_term, next_search_at, added_at, last_mentioned_at, pinned, priority)
SELECT 'term ' || n, %(noon)s + (n - 2000) * interval '1 minute', %(noon)s, %(noon)s, n % 50 = 0, n % 3
  FROM generate_series(1, 20000) AS n;
INSERT INTO channels (id, added_at, in_roster, next_poll_at)
SELECT 'UC' || n, %(noon)s, n % 4 > 0, %(noon)s + (n - 2000) * interval '1 minute' FROM generate_series(1, 20000) AS n;
INSERT INTO videos (id, channel_id, title, published_at, discovered_at)
SELECT 'v' || n, 'UC' || n, '', %(noon)s, %(noon)s + (n - 2000) * interval '1 minute'
  FROM generate_series(1, 20000) AS n;
INSERT INTO video_history (video_id, changed_at, old_title, new_title)
SELECT 'v' || 1 + n % 2000, %(noon)s + n * interval '1 minute', 'old', 'new' FROM generate_series(1, 20000) AS n;
INSERT INTO video_stage (video_id, stage, next_attempt_at)
SELECT 'v' || n, stage, %(noon)s + (n - 2000) * interval '1 minute'
  FROM generate_series(1, 20000) AS n, unnest('{painter,scribe}'::text[]) AS stage;
INSERT INTO watchlist (video_id, published_at, tracking_tier, next_track_at, added_at)
SELECT 'v' || n, %(noon)s, 'DAILY', %(noon)s + (n - 2000) * interval '1 minute', %(noon)s
  FROM generate_series(1, 20000) AS n;
INSERT INTO sources (kind, name, next_read_at, added_at)
SELECT kind, 'UC' || n, %(noon)s + (n - 2000) * interval '1 minute', %(noon)s
  FROM generate_series(1, 20000) AS n, unnest('{walk,feed}'::text[]) AS kind;
INSERT INTO rejected (video_id, reason, until)
SELECT 'r' || n, 'duration', %(noon)s + (n - 2000) * interval '1 minute' FROM generate_series(1, 20000) AS n;
"""


INDEX_OF = {
    "fetch_hunter_batch": "search_queue_due",
    "fetch_channel_batch": "channels_due",
    "fetch_tracking_batch": "watchlist_due",
    "_claim_stage": "video_stage_due",
    "release_tracking": "watchlist_due",
    "release_channels": "channels_due",
    "release_stage": "video_stage_due",
    "fetch_expired_videos": "videos_discovered",
    "sources_claim": "sources_due",
    "sources_release": "sources_due",
    "forget_rejected": "rejected_until",
}


async def test_what_is_due_is_found_through_its_index_in_its_order(database: DatabaseManager) -> None:
    async with database.get_connection() as conn:
        for statement in FILL.split(";\n"):
            await conn.execute(statement.replace("%", "%%").replace("%%(noon)s", "%(noon)s").encode(), {"noon": NOON})
        await conn.execute("ANALYZE")
        for name, index in INDEX_OF.items():
            cursor = await conn.execute(f"EXPLAIN {STATEMENTS[name]}".encode(), parameters_of(name))
            plan = "\n".join(row["QUERY PLAN"] for row in await cursor.fetchall())
            assert index in plan, f"{name}:\n{plan}"
            if name.startswith(("fetch", "_claim", "sources_claim")):
                assert "Sort" not in plan, f"{name}:\n{plan}"
