"""The Janitor on a real database and a real vault: what it says beforehand, what it proves, what it never drops."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import orjson
import psycopg
import pytest
import pytest_asyncio

from alkyone import snapshots
from alkyone.databases import NOON
from atlas import clock
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery, Failure, Sample
from atlas.adapters.vault_index import VaultIndex
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.errors import VaultCorrupt, VaultDenied, VaultFull, VaultNotFound
from atlas.history import timeline
from atlas.vault import LocalVault, ShardInfo
from atlas.vault.audit import audit
from maia.janitor.agent import JanitorSummary, clean
from maia.toolbox import Stores

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
BEGIN = NOON - 12 * DAY
VIDEOS = [f"video{number:06}" for number in range(30)]

Readings = Mapping[tuple[str, datetime], snapshots.Reading]


class Place:
    """A database with twelve days of samples, and an empty vault."""

    def __init__(self, database: DatabaseManager, vault: LocalVault, conninfo: str) -> None:
        self.database = database
        self.dao = MaiaDAO(database)
        self.vault = vault
        self.conninfo = conninfo

    async def clean(
        self, *, dry_run: bool = False, vault: LocalVault | None = None, later: timedelta = timedelta(), **changes: Any
    ) -> JanitorSummary:
        """Run the Janitor at noon, or later, with these settings."""
        with clock.stopped(NOON + later):
            stores = Stores(self.dao, vault or self.vault)
            return await clean(stores, dry_run=dry_run, rules=rules(**changes))

    def readings(self) -> Readings:
        """Every sample of SQL and vault."""
        return snapshots.readings(self.conninfo, self.vault.root)

    def hot_videos(self) -> set[str]:
        """The videos in the hot queue."""
        return set(snapshots.column(self.conninfo, "SELECT id FROM videos"))

    def hot_days(self) -> list[date]:
        """The days that hold samples in SQL."""
        return snapshots.column(
            self.conninfo,
            "SELECT DISTINCT (timestamp AT TIME ZONE 'UTC')::date FROM video_stats_log ORDER BY 1",
        )

    def tables(self) -> Any:
        """Everything in SQL."""
        return snapshots.tables(self.conninfo)


def rules(**changes: Any) -> Settings:
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    return Settings.model_construct(**defaults | changes)


@pytest_asyncio.fixture
async def place(database: DatabaseManager, vault: LocalVault, conninfo: str) -> Place:
    place = Place(database, vault, conninfo)
    dao = place.dao
    # The first days have partitions, the last ones too (the template's); those between lie in the default one.
    await dao.ensure_partitions(now=BEGIN, days_ahead=4)
    found = [
        Discovery(
            id=video_id,
            channel_id="UC" + "c" * 22,
            channel_title="A channel",
            title=f"Video {video_id}",
            published_at=BEGIN - DAY,
            tracking_tier="DAILY",
            next_track_at=NOON + DAY,
            tags=("one", "two"),
        )
        for video_id in VIDEOS
    ]
    await dao.ingest_video_metadata(found[:20], stages=(), now=BEGIN)
    await dao.ingest_video_metadata(found[20:25], stages=("painter",), now=BEGIN)
    await dao.ingest_video_metadata(found[25:], stages=(), now=NOON - DAY)
    await dao.add_to_search_queue(["forgotten", "remembered"], now=NOON - 50 * DAY)
    await dao.add_to_search_queue(["pinned"], pinned=True, now=NOON - 50 * DAY)
    await dao.add_to_search_queue(["remembered"], now=NOON - DAY)
    samples = [
        Sample(video_id, BEGIN + day * DAY + timedelta(hours=hour), 100 * day + hour, None if day % 2 else day, 0)
        for day in range(13)
        for hour in (0, 5, 11)
        for video_id in VIDEOS
        if BEGIN + day * DAY + timedelta(hours=hour) <= NOON
    ]
    await dao.log_video_stats_batch(samples)
    return place


async def test_a_dry_run_says_exactly_what_the_run_then_does_and_changes_nothing(place: Place) -> None:
    before = place.tables()

    promised = await place.clean(dry_run=True)

    assert place.tables() == before
    assert snapshots.files(place.vault.root) == {}
    done = await place.clean()
    assert promised == {**done, "dry_run": True}
    assert done["days_archived"] == [(BEGIN + day * DAY).date().isoformat() for day in range(5)]
    assert (done["samples_archived"], done["videos_retired"], done["terms_asleep"]) == (5 * 90, 20, 1)
    assert done["partitions_created"] == 0
    nothing = {**done, "days_archived": [], "samples_archived": 0, "samples_verified": 0}
    nothing |= {"event_days_archived": [], "events_archived": 0}
    assert await place.clean() == {**nothing, "videos_retired": 0, "terms_asleep": 0}


async def test_what_left_sql_is_in_the_vault_and_nothing_is_there_twice(place: Place) -> None:
    before = place.readings()

    await place.clean()

    assert place.readings() == before
    assert place.hot_days()[0] == (NOON - 7 * DAY).date()
    curve = await timeline(VIDEOS[3], database=place.database, vault=place.vault)
    assert {row["timestamp"]: (row["views"], row["likes"], row["comment_count"]) for row in curve.to_pylist()} == {
        at: reading for (video_id, at), reading in before.items() if video_id == VIDEOS[3]
    }


async def test_over_its_budget_it_archives_closed_days_early_but_never_today(place: Place) -> None:
    before = place.readings()

    promised = await place.clean(dry_run=True, JANITOR_SQL_BUDGET_MB=1)
    done = await place.clean(JANITOR_SQL_BUDGET_MB=1)

    assert promised == {**done, "dry_run": True}
    assert done["days_archived"] == [(BEGIN + day * DAY).date().isoformat() for day in range(12)]
    assert place.hot_days() == [NOON.date()]
    assert place.readings() == before
    assert done["videos_retired"] == 20, "videos leave by age, not by size"


async def test_within_its_budget_it_waits_for_retention(place: Place) -> None:
    done = await place.clean(JANITOR_RETENTION_DAYS=30)

    assert done["days_archived"] == []
    assert done["videos_retired"] == 0


@pytest.mark.parametrize("flaw", ["a changed byte", "a cut file", "no file"])
async def test_a_day_whose_shard_does_not_read_back_stays_in_sql(place: Place, flaw: str) -> None:
    class Flawed(LocalVault):
        """Spoils a shard between writing and reading it back."""

        def verify(self, shard: ShardInfo) -> None:
            if shard.kind == "metrics":
                spoil(self, shard)
            super().verify(shard)

    def spoil(vault: LocalVault, shard: ShardInfo) -> None:
        file = vault.root / shard.path
        data = bytearray(file.read_bytes())
        if flaw == "a changed byte":
            data[len(data) // 2] ^= 1
            file.write_bytes(data)
        elif flaw == "a cut file":
            file.write_bytes(data[:-100])
        else:
            file.unlink()

    before, readings = place.tables(), place.readings()

    with pytest.raises((VaultCorrupt, VaultNotFound)):
        await place.clean(vault=Flawed(place.vault.root))

    assert place.tables() == before
    assert snapshots.leased(place.conninfo) == 0
    await place.clean()
    assert place.readings() == readings, "the next run mends the shard"


async def test_samples_that_come_late_go_into_another_shard(place: Place) -> None:
    await place.clean()
    before = place.readings()
    late = [Sample(VIDEOS[0], BEGIN + timedelta(hours=hour, minutes=1), 7, 7, 7) for hour in (1, 2)]
    await place.dao.log_video_stats_batch(late)
    day = BEGIN.date().isoformat()

    done = await place.clean()

    assert (done["days_archived"], done["samples_archived"]) == ([day], 2)
    shards = place.vault.shards("metrics", BEGIN, BEGIN + timedelta(hours=12))
    assert sorted(shard.rows for shard in shards) == [2, 90]
    assert place.readings() == {**before, **{(s.video_id, s.timestamp): (7, 7, 7) for s in late}}
    index = snapshots.column(place.conninfo, "SELECT path FROM vault_manifest WHERE kind = 'metrics' ORDER BY path")
    assert index == [shard.path for shard in place.vault.shards("metrics")]


async def test_samples_that_come_while_their_day_is_archived_keep_it_in_sql(place: Place) -> None:
    class Overtaken(LocalVault):
        """While a day is written to it, one more sample of that day comes in."""

        overtaken = False

        def append_metrics(self, rows: Any) -> list[ShardInfo]:
            shards = super().append_metrics(rows)
            if not self.overtaken:
                self.overtaken = True
                with psycopg.connect(place.conninfo) as conn:
                    conn.execute(
                        "INSERT INTO video_stats_log (video_id, timestamp, views) VALUES (%s, %s, 1)",
                        [VIDEOS[0], BEGIN + timedelta(minutes=1)],
                    )
            return shards

    done = await place.clean(vault=Overtaken(place.vault.root))

    day = BEGIN.date().isoformat()
    assert done["days_left"] == [day]
    assert day not in done["days_archived"]
    assert place.hot_days()[0] == BEGIN.date()
    again = await place.clean()
    assert (again["days_archived"], again["samples_archived"]) == ([day], 91)
    curve = await timeline(VIDEOS[0], BEGIN, BEGIN + DAY / 2, database=place.database, vault=place.vault)
    assert curve.num_rows == 4, "the shard of the first try and that of the second hold the same samples, each once"


async def test_videos_with_work_left_stay_until_it_ends_or_is_dead(place: Place) -> None:
    await place.clean()
    assert place.hot_videos() == set(VIDEOS[20:])

    targets = await place.dao.fetch_painter_targets(5, now=NOON)
    dead = [Failure(row["video_id"], row["lease_token"], "no picture", NOON + DAY) for row in targets[:2]]
    await place.dao.fail_stage(dead, "painter", dead_after=1)
    await place.dao.mark_video_done([targets[2]["video_id"]], "painter", targets[2]["lease_token"])

    promised = await place.clean(dry_run=True)
    done = await place.clean()

    ended = {row["video_id"] for row in targets[:3]}
    assert promised["videos_retired"] == done["videos_retired"] == 3
    assert place.hot_videos() == set(VIDEOS[20:]) - ended
    metadata = place.vault.fetch_metadata(targets[0]["video_id"])
    assert metadata is not None
    assert (metadata["title"], metadata["tags"]) == (f"Video {targets[0]['video_id']}", ["one", "two"])
    assert metadata["observed_at"] == BEGIN


async def test_without_the_safety_check_videos_leave_unproven_and_with_work_left(place: Place) -> None:
    promised = await place.clean(dry_run=True, JANITOR_SAFETY_CHECK=False)

    done = await place.clean(JANITOR_SAFETY_CHECK=False)

    assert promised["videos_retired"] == done["videos_retired"] == 25
    assert place.hot_videos() == set(VIDEOS[25:])
    assert place.vault.shards("metadata") == []
    assert done["samples_verified"] == done["samples_archived"] > 0, "samples are always proven"
    assert len(snapshots.column(place.conninfo, "SELECT video_id FROM watchlist")) == len(VIDEOS)


async def test_a_full_vault_drops_nothing(place: Place) -> None:
    place.vault.provision()
    before = place.tables()

    with no_room(), pytest.raises(VaultFull):
        await place.clean()

    assert place.tables() == before
    assert snapshots.leased(place.conninfo) == 0
    promised = await place.clean(dry_run=True)
    assert await place.clean() == {**promised, "dry_run": False}


async def test_a_vault_that_went_away_drops_nothing(place: Place) -> None:
    before = place.tables()
    shutil.rmtree(place.vault.root, ignore_errors=True)
    place.vault.root.write_text("a file where the vault was")

    with pytest.raises(VaultDenied):
        await place.clean()

    assert place.tables() == before
    assert snapshots.leased(place.conninfo) == 0


async def test_switched_off_it_does_nothing(place: Place) -> None:
    before = place.tables()

    done = await place.clean(JANITOR_ENABLED=False)

    assert done["dry_run"] is True
    assert place.tables() == before
    assert snapshots.files(place.vault.root) == {}


@contextmanager
def no_room() -> Iterator[None]:
    """Let no file of this process grow beyond half a kilobyte, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


# ---------------------------------------------------------------------------------------------------------------------
# The vault in order
# ---------------------------------------------------------------------------------------------------------------------


async def crowd(place: Place, *, rounds: int = 3) -> None:
    """Archive all closed days, and let late samples of the oldest come in, a shard's worth in each round."""
    await place.clean(JANITOR_RETENTION_DAYS=1)
    for number in range(1, rounds):
        late = [Sample(video_id, BEGIN + timedelta(minutes=number), number, None, 0) for video_id in VIDEOS[:5]]
        await place.dao.log_video_stats_batch(late)
        await place.clean(JANITOR_RETENTION_DAYS=10)


async def test_the_small_shards_of_a_settled_day_become_one_as_a_dry_run_has_said(place: Place) -> None:
    await crowd(place)
    before, day = place.readings(), f"metrics {BEGIN.date()}"
    small = place.vault.shards("metrics", BEGIN, BEGIN + timedelta(hours=12))
    assert len(small) == 3

    promised = await place.clean(dry_run=True)
    done = await place.clean()

    assert promised == {**done, "dry_run": True}
    assert done["days_compacted"] == [day]
    assert place.readings() == before
    (merged,) = place.vault.shards("metrics", BEGIN, BEGIN + timedelta(hours=12))
    assert {shard.path for shard in await VaultIndex(place.database).shards() if shard.kind == "metrics"} == {
        shard.path for shard in place.vault.shards("metrics")
    }
    events = snapshots.column(
        place.conninfo, "SELECT entity_id FROM system_events WHERE event_type = 'vault.compacted'"
    )
    assert events == [day]

    later = await place.clean(later=HOUR)
    assert later["shards_pruned"] == 3
    assert not any(place.vault.exists(shard.path) for shard in small)
    assert place.readings() == before
    curve = await timeline(VIDEOS[0], BEGIN, BEGIN + DAY, database=place.database, vault=place.vault)
    assert curve.num_rows == 2 + 3
    place.vault.verify(merged)


@pytest.mark.parametrize("compliance", [True, False])
async def test_what_may_not_be_kept_leaves_the_vault_as_a_dry_run_has_said(place: Place, compliance: bool) -> None:
    await crowd(place)
    await place.clean(later=HOUR)
    place.vault.store_visual_evidence(VIDEOS[0], [(0, b"x")], observed_at=BEGIN + 2 * DAY)
    limits: dict[str, Any] = {"JANITOR_RETENTION_DAYS": 60, "COMPLIANCE_MODE": compliance}
    limits |= {} if compliance else {"VAULT_RETENTION_DAYS": 30}
    gone = BEGIN + 30 * DAY + 2 * DAY + HOUR  # the third day began a little more than 30 days ago
    before = place.readings()

    promised = await place.clean(dry_run=True, later=gone - NOON, **limits)
    done = await place.clean(later=gone - NOON, **limits)

    assert promised == {**done, "dry_run": True}
    days = [f"metrics {(BEGIN + number * DAY).date()}" for number in range(3)]
    assert done["days_expired"][:4] == [*days, f"metadata {BEGIN.date()}"]
    assert done["days_expired"][4:] == [f"visuals {(BEGIN + 2 * DAY).date()}"]
    assert done["rows_expired"] == 3 * 90 + 10 + 20 + 1
    assert place.readings() == {
        key: reading for key, reading in before.items() if key[1] >= BEGIN.replace(hour=0) + 3 * DAY
    }
    left = [shard for shard in await VaultIndex(place.database).shards() if shard.kind != "events"]
    assert all(shard.day > (BEGIN + 2 * DAY).date() for shard in left)
    assert place.vault.fetch_visual_evidence(VIDEOS[0]) == []
    assert not [check for check in audit(place.vault, await VaultIndex(place.database).shards()) if check.problem]


async def test_without_compliance_mode_and_a_limit_the_vault_keeps_everything(place: Place) -> None:
    await crowd(place)

    done = await place.clean(dry_run=True, later=400 * DAY, COMPLIANCE_MODE=False)

    assert done["days_expired"] == []
    assert done["rows_expired"] == 0


@pytest.mark.parametrize(("compliance", "left"), [(True, 30), (False, 40)])
async def test_what_was_counted_of_channels_may_be_kept_no_longer(place: Place, compliance: bool, left: int) -> None:
    days = [(number, NOON - timedelta(days=number)) for number in range(40)]
    with psycopg.connect(place.conninfo) as conn:
        for views, at in days:
            conn.execute("INSERT INTO channel_stats_log VALUES ('UC-a-channel', %s, %s, 1, 1)", [at, views])

    promised = await place.clean(dry_run=True, COMPLIANCE_MODE=compliance)
    done = await place.clean(COMPLIANCE_MODE=compliance)
    again = await place.clean(COMPLIANCE_MODE=compliance)

    kept = snapshots.column(place.conninfo, "SELECT view_count FROM channel_stats_log ORDER BY 1")
    assert kept == list(range(left))
    assert (promised["channel_readings_expired"], done["channel_readings_expired"]) == (40 - left, 40 - left)
    assert again["channel_readings_expired"] == 0
    told = snapshots.column(place.conninfo, "SELECT payload FROM system_events WHERE event_type = 'channels.expired'")
    assert [event["readings"] for event in told] == ([10] if compliance else [])


async def test_samples_leave_sql_in_time_to_leave_the_vault(place: Place) -> None:
    done = await place.clean(later=17 * DAY, JANITOR_RETENTION_DAYS=60)

    assert done["days_archived"] == [BEGIN.date().isoformat()]
    assert done["days_expired"] == []


async def test_a_damaged_shard_is_never_the_reason_for_a_deletion(place: Place) -> None:
    await crowd(place)
    await place.clean()
    (merged,) = place.vault.shards("metrics", BEGIN, BEGIN + timedelta(hours=12))
    file = place.vault.root / merged.path
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    before, files = place.tables(), snapshots.files(place.vault.root)

    done = await place.clean(later=2 * HOUR)

    assert done["shards_pruned"] == 0
    assert place.tables() == before
    assert snapshots.files(place.vault.root) == files, "what it replaced is the only whole copy"


async def test_old_events_leave_sql_for_the_vault_as_they_were_and_nothing_else_removes_them(place: Place) -> None:
    kept = "SELECT count(*) FROM system_events WHERE created_at >= '2026-11-07'"
    before = snapshots.column(place.conninfo, "SELECT to_jsonb(e) - 'xact' FROM system_events AS e ORDER BY id")
    recent = snapshots.column(place.conninfo, kept)

    promised = await place.clean(dry_run=True)
    done = await place.clean()

    assert promised["events_archived"] == done["events_archived"] == len(before) - recent[0]
    days = {event["created_at"][:10] for event in before}
    assert {day for day in days if day < "2026-11-07"} <= set(done["event_days_archived"])
    assert snapshots.column(place.conninfo, "SELECT count(*) FROM system_events WHERE created_at < '2026-11-07'") == [0]
    archived = place.vault.read_events().to_pylist()
    assert [
        {**row, "payload": orjson.loads(row["payload"]), "created_at": row["created_at"]} for row in archived
    ] == sorted(
        (
            {**event, "created_at": datetime.fromisoformat(event["created_at"])}
            for event in before
            if event["created_at"] < "2026-11-07"
        ),
        key=lambda event: (event["created_at"], event["id"]),
    )
    for _ in range(2):  # what the first archives is the second's to remove
        await place.clean(later=90 * DAY, VAULT_RETENTION_DAYS=1)
    assert place.vault.read_events().num_rows >= len(before)
    assert place.vault.read_metrics().num_rows == 0


async def test_over_its_budget_events_go_before_samples(place: Place) -> None:
    promised = await place.clean(dry_run=True, JANITOR_SQL_BUDGET_MB=1, JANITOR_EVENT_RETENTION_DAYS=365)
    done = await place.clean(JANITOR_SQL_BUDGET_MB=1, JANITOR_EVENT_RETENTION_DAYS=365)
    assert promised["event_days_archived"] == done["event_days_archived"] != []
    assert NOON.date().isoformat() not in done["event_days_archived"]
