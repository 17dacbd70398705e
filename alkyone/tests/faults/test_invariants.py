"""The invariants themselves: a life of some days keeps them all, and each is broken by what it is there to find."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import orjson
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from typer.testing import CliRunner

from alkyone.__main__ import app
from alkyone.agents import Agent, Site
from alkyone.databases import scratch
from alkyone.invariants import INVARIANTS, SKEW, Report, check
from alkyone.invariants.truth import Truth
from alkyone.scenes import AMPLE, TINY, cycle, open_scene, seed
from atlas import clock
from atlas.db import DatabaseManager
from atlas.embedded import EmbeddedServer
from atlas.testing import override
from atlas.tiers import LONGEST, Tier
from atlas.vault import LocalVault

DAY = timedelta(days=1)
AGENTS: tuple[Agent, ...] = ("hunter", "tracker", "painter", "scribe", "janitor")


@dataclass(frozen=True)
class Lived:
    """A site at rest after some days, the time there, and what was served."""

    site: Site
    now: datetime
    truth: Truth


@pytest.fixture(scope="module")
def lived(postgres: EmbeddedServer, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """Live four days with all agents: some of it is archived, some retired, some hot."""
    folder = tmp_path_factory.mktemp("lived")

    async def live(conninfo: str) -> Lived:
        async with open_scene(postgres, template, folder, TINY, AMPLE) as here:
            changes = {"JANITOR_RETENTION_DAYS": 1, "JANITOR_EVENT_RETENTION_DAYS": 1, "FRAME_WIDTH": 320}
            quotas = {f"QUOTA_{bucket.upper()}_PER_DAY": limit for bucket, limit in AMPLE.items()}
            site = Site(
                conninfo, folder / "vault", here.youtube.endpoint, here.youtube.key, tuple((quotas | changes).items())
            )
            now = here.youtube.now()
            await seed(site, here.world, now)
            with clock.use(here.youtube.clock):
                for day in range(4):
                    here.youtube.set_clock(now + day * DAY)
                    for agent in AGENTS:
                        await cycle(agent, site, every=DAY)
            return Lived(site, now + 3 * DAY, Truth.of_standin(here.youtube))

    with scratch(postgres, template) as conninfo:
        yield asyncio.run(live(conninfo))


@pytest.fixture
def copy(lived: Lived, postgres: EmbeddedServer, tmp_path: Path) -> Iterator[Lived]:
    """Give a copy of that life, to be spoilt."""
    shutil.copytree(lived.site.vault, tmp_path / "vault")
    with scratch(postgres, str(conninfo_to_dict(lived.site.conninfo)["dbname"])) as conninfo:
        yield replace(lived, site=replace(lived.site, conninfo=conninfo, vault=tmp_path / "vault"))


def report_of(lived: Lived, *, truth: Truth | None = None, at_rest: bool = False) -> Report:
    async def look() -> Report:
        async with DatabaseManager(lived.site.conninfo) as database:
            return await check(
                database,
                lived.site.open_vault(),
                rules=lived.site.settings(),
                now=lived.now,
                truth=truth,
                at_rest=at_rest,
            )

    return asyncio.run(look())


def test_a_life_keeps_them_all(lived: Lived) -> None:
    report = report_of(lived, truth=lived.truth, at_rest=True)
    assert report.breaches == ()
    assert report.held == tuple(invariant.name for invariant in INVARIANTS)
    # It says something only of a life that has some of everything.
    with psycopg.connect(lived.site.conninfo) as conn:
        for table in ("video_stats_log", "watchlist", "videos", "vault_manifest", "channel_stats_log", "system_events"):
            assert conn.execute(f"SELECT FROM {table} LIMIT 1").fetchall(), table  # type: ignore[arg-type]
    kinds = {kind for kind in ("metrics", "metadata", "transcripts", "visuals", "events") if vault(lived).shards(kind)}
    assert len(kinds) == 5


def vault(lived: Lived) -> LocalVault:
    return LocalVault(lived.site.vault)


Plant = Callable[[Lived], "Lived | None"]
"""Spoils a life; what it does to the truth it hands back."""


def in_sql(*statements: LiteralString) -> Plant:
    """Do to the database what no code of ours does."""

    def plant(lived: Lived) -> None:
        with psycopg.connect(lived.site.conninfo) as conn:
            conn.execute("SET session_replication_role = replica")  # neither foreign keys nor triggers
            changed = [conn.execute(statement, {"now": lived.now}).rowcount for statement in statements]
            assert 0 not in changed, "there was nothing to spoil"

    return plant


def archived(lived: Lived) -> tuple[object, ...]:
    """Give a sample that left SQL."""
    return tuple(vault(lived).read_metrics().to_pylist()[0].values())


def back_in_sql(lived: Lived) -> None:
    with psycopg.connect(lived.site.conninfo) as conn:
        conn.execute("INSERT INTO video_stats_log VALUES (%s, %s, %s, %s, %s)", archived(lived))


def in_the_vault_alone(lived: Lived) -> None:
    video_id, at, *_ = archived(lived)
    assert isinstance(at, datetime)
    moved = at + timedelta(seconds=1)
    row = {"video_id": video_id, "timestamp": moved, "views": 1, "likes": None, "comment_count": None}
    vault(lived).append_metrics([row])


def of_a_stranger(lived: Lived) -> None:
    vault(lived).store_transcript("strangevid1", {"observed_at": lived.now, "text": "who is this?"})


def named_and_forgotten(lived: Lived) -> Lived:
    return replace(lived, truth=replace(lived.truth, named=lived.truth.named | {"neverheard1"}))


def a_changed_byte(lived: Lived) -> None:
    shard = lived.site.vault / vault(lived).shards("visuals")[0].path
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)


WATCHED: LiteralString = (
    "INSERT INTO watchlist (video_id, channel_id, published_at, tracking_tier, next_track_at, added_at)"
    " SELECT 'strangevid1', id, %(now)s, 'DAILY', %(now)s, %(now)s FROM channels LIMIT 1"
)
DISCOVERED: LiteralString = (
    "INSERT INTO system_events (event_type, entity_id, created_at) VALUES ('video.discovered', 'strangevid1', %(now)s)"
)
RISEN: LiteralString = (
    "INSERT INTO rises (video_id, state, since, began_at, score, rate, times, views, seen_at)"
    " VALUES ('strangevid1', 'RISING', %(now)s, %(now)s, 5, 1000, 10, 1000, %(now)s)"
)

PLANTS: dict[str, Plant] = {
    "enrolled": in_sql(
        "INSERT INTO videos (id, channel_id, title, published_at, discovered_at)"
        " SELECT 'strangevid1', id, '', %(now)s, %(now)s FROM channels LIMIT 1",
        DISCOVERED,
    ),
    "of_a_video": in_sql(
        "INSERT INTO video_stage (video_id, stage, next_attempt_at) VALUES ('strangevid1', 'scribe', %(now)s)"
    ),
    "of_a_channel": in_sql(
        "INSERT INTO channel_history (channel_id, changed_at, event_type) VALUES ('UCstranger', %(now)s, 'renamed')"
    ),
    "sample_of_a_tracked_video": in_sql("INSERT INTO video_stats_log VALUES ('strangevid1', %(now)s, 1, 1, 1)"),
    "rise_of_a_tracked_video": in_sql(RISEN),
    "lease_is_whole": in_sql("UPDATE watchlist SET leased_until = %(now)s"),
    "lease_is_short": in_sql(
        "UPDATE search_queue SET lease_token = gen_random_uuid(), leased_until = %(now)s + interval '1 day'"
    ),
    "lease_comes_back": in_sql(
        "UPDATE watchlist SET lease_token = gen_random_uuid(), leased_until = %(now)s - interval '30 days'"
    ),
    "nobody_at_work": in_sql("INSERT INTO work_leases VALUES ('archive 2026-11-10', gen_random_uuid(), %(now)s)"),
    "failure_has_a_reason": in_sql("UPDATE channels SET poll_attempts = 1"),
    "scribe_waits_for_a_painter": in_sql(
        "INSERT INTO video_stage (video_id, stage, next_attempt_at) SELECT id, 'scribe', 'infinity' FROM videos"
    ),
    "next_look_in_bounds": in_sql("UPDATE watchlist SET next_track_at = %(now)s + interval '40 days'"),
    "nothing_due_for_ever": in_sql("UPDATE channels SET next_poll_at = %(now)s - interval '30 days' WHERE in_roster"),
    "times_in_order": in_sql("UPDATE channels SET last_polled_at = %(now)s + interval '1 day'"),
    "log_is_immutable": in_sql("ALTER TABLE system_events_default DISABLE TRIGGER system_events_immutable"),
    "readers_within_the_log": in_sql(
        "INSERT INTO event_readers (name, seen, last_id, moved_at)"
        " VALUES ('webhook', pg_current_snapshot(), 1000000000, %(now)s)"
    ),
    "purposes_sum_up": in_sql("UPDATE quota_usage SET used = used + 1"),
    "vault_is_whole": a_changed_byte,
    "index_matches_the_vault": in_sql("UPDATE vault_manifest SET rows = rows + 1"),
    "vault_matches_the_index": in_the_vault_alone,
    "nothing_twice": back_in_sql,
    "last_look_is_stored": in_sql("UPDATE watchlist SET last_views = last_views + 1 WHERE last_views IS NOT NULL"),
    "vault_of_tracked_videos": of_a_stranger,
    "retired_is_in_the_vault": in_sql(
        WATCHED,
        DISCOVERED,
        "INSERT INTO system_events (event_type, payload, created_at)"
        """ VALUES ('videos.retired', '{"videos": ["strangevid1"], "shards": []}', %(now)s)""",
    ),
    "log_tells_the_state": in_sql("INSERT INTO channels (id, added_at) VALUES ('UCstranger', %(now)s)"),
    "served_is_stored": in_sql(
        "DELETE FROM video_stats_log AS s USING watchlist AS w"
        " WHERE w.video_id = s.video_id AND w.last_tracked_at <> s.timestamp"
    ),
    "stored_was_served": in_sql(
        "INSERT INTO video_stats_log SELECT video_id, %(now)s - interval '1 second', 1, 1, 1 FROM watchlist LIMIT 1"
    ),
    "ledger_is_youtubes": in_sql(
        "UPDATE quota_usage SET used = used + 1,"
        " purposes = jsonb_set(purposes, '{other}', to_jsonb(coalesce((purposes ->> 'other')::int, 0) + 1))"
    ),
    "candidates_are_judged": named_and_forgotten,
}
"""What makes each invariant fail, and no other."""


@pytest.mark.parametrize("name", [invariant.name for invariant in INVARIANTS])
def test_an_invariant_is_broken_by_what_it_is_there_to_find_and_no_other_is(copy: Lived, name: str) -> None:
    (scope,) = {invariant.scope for invariant in INVARIANTS if invariant.name == name}
    spoilt = PLANTS[name](copy) or copy

    truth = spoilt.truth if scope == "truth" else None
    report = report_of(spoilt, truth=truth, at_rest=scope == "SQL at rest")
    assert [breach.name for breach in report.breaches] == [name]
    assert report.breaches[0].shown


def test_what_a_dead_worker_left_is_told_and_breaks_nothing(copy: Lived) -> None:
    here = vault(copy)
    with psycopg.connect(copy.site.conninfo) as conn:
        (known,) = conn.execute("SELECT min(video_id) FROM watchlist").fetchone() or ()
    here.store_transcript(known, {"observed_at": copy.now, "text": "written, and the commit never came"})
    here.append_metrics(here.read_metrics(shards=here.shards("metrics")[:1]).slice(0, 1))
    here.write({"metrics/date=2026-01-01/part-00.parquet": b"half an upload"})

    report = report_of(copy, truth=copy.truth, at_rest=True)

    assert report.breaches == ()
    assert len(report.leftovers) == 3


AT = datetime(2026, 11, 10, tzinfo=UTC)
TODAY = (date(2026, 11, 10), "stats")


@pytest.mark.parametrize(
    ("ours", "somebody_died", "is_broken"),
    [
        pytest.param(5, False, False, id="equal"),
        pytest.param(6, False, True, id="more, and nobody died"),
        pytest.param(6, True, False, id="reserved by one who died"),
        pytest.param(4, True, True, id="less, whoever died"),
    ],
)
def test_the_ledger_may_count_more_only_when_somebody_died(
    copy: Lived, ours: int, somebody_died: bool, is_broken: bool
) -> None:
    day, bucket = TODAY
    with psycopg.connect(copy.site.conninfo) as conn:
        conn.execute("DELETE FROM quota_usage")
        conn.execute(
            "INSERT INTO quota_usage VALUES ('default', %s, %s, %s, jsonb_build_object('track', %s::int))",
            [bucket, day, ours, ours],
        )
    truth = replace(copy.truth, charged={TODAY: 5}, may_exceed=somebody_died)
    names = [breach.name for breach in report_of(copy, truth=truth).breaches]
    assert names == (["ledger_is_youtubes"] if is_broken else [])


def test_a_reading_may_be_lost_with_its_reader_but_not_be_stored_otherwise_than_it_was(copy: Lived) -> None:
    instant = ("lostwithall", AT)
    served = {**copy.truth.served, instant: (1, 2, 3)}
    assert report_of(copy, truth=replace(copy.truth, served=served)).breaches[0].name == "served_is_stored"
    excused = replace(copy.truth, served=served, excused=frozenset({instant}))
    assert report_of(copy, truth=excused).breaches == ()

    other = next(iter(copy.truth.served))
    wrong = replace(copy.truth, served={**copy.truth.served, other: (0, 0, 0)}, excused=frozenset({other}))
    assert [breach.name for breach in report_of(copy, truth=wrong).breaches] == ["served_is_stored"]


@pytest.mark.parametrize("tier", LONGEST)
@pytest.mark.parametrize(("beyond", "held"), [(timedelta(0), True), (timedelta(minutes=1), False)])
def test_a_schedule_may_wait_as_long_as_its_bounds_and_no_longer(
    copy: Lived, tier: Tier, beyond: timedelta, held: bool
) -> None:
    """The adaptive one does, where there is little quota: for a day, a week, a month."""
    at = copy.now + LONGEST[tier] + SKEW + beyond
    with psycopg.connect(copy.site.conninfo) as conn:
        conn.execute(
            "UPDATE watchlist SET tracking_tier = %s, last_tracked_at = %s, next_track_at = %s", [tier, copy.now, at]
        )

    assert ("next_look_in_bounds" in report_of(copy).held) is held


def test_the_command_tells_what_is_broken_by_exit_code_and_in_json(copy: Lived) -> None:
    database = DatabaseManager(copy.site.conninfo)
    with clock.stopped(copy.now), override(settings_=copy.site.settings(), db_=database):
        sound = CliRunner().invoke(app, ["check", "--at-rest"])
        PLANTS["enrolled"](copy)
        broken = CliRunner().invoke(app, ["check", "--json"])
    assert sound.exit_code == 0, sound.output
    assert "nobody_at_work" in sound.output
    assert broken.exit_code == 1
    report = orjson.loads(broken.stdout)
    assert [breach["name"] for breach in report["breaches"]] == ["enrolled"]
    assert "strangevid1" in report["breaches"][0]["shown"]
    assert "nobody_at_work" not in report["held"]
