"""The ``maia`` command, as a person or a script meets it: processes, their output and exit codes, over real HTTP."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
import pytest_asyncio

from alkyone import snapshots
from alkyone.environments import bare
from alkyone.standins.youtube import YouTubeStandin
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import WatchEntry
from atlas.db import DatabaseManager

SECRET = "AIzaSySecretSecretSecret"
POOL = orjson.dumps([SECRET]).decode()
NOBODY = f"postgresql://me:{SECRET}@127.0.0.1:9/nowhere"
TIMEOUT_S = 120


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


Meanwhile = Callable[[asyncio.subprocess.Process], Awaitable[None]]
Maia = Callable[..., Awaitable[Done]]


@pytest.fixture
def maia(tmp_path: Path) -> Maia:
    """Run ``python -m maia …``, or another module, in an empty folder, with no setting but those given."""

    async def call(*arguments: str, module: str = "maia", meanwhile: Meanwhile | None = None, **variables: str) -> Done:
        environment = {
            **bare(),
            "HOME": str(tmp_path),
            "PLEIADES_HOME": str(tmp_path / "home"),
            "PREFECT_HOME": str(tmp_path / "prefect"),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments,
            env=environment | variables, cwd=tmp_path,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if meanwhile is not None:
                    await meanwhile(process)
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        done = Done(process.returncode or 0, out.decode(), err.decode())
        assert SECRET not in done.out + done.err
        return done

    return call


@pytest_asyncio.fixture
async def youtube() -> AsyncIterator[YouTubeStandin]:
    """A world that is ten days old by the clock on the wall: commands have no other."""
    start = (datetime.now(UTC) - timedelta(days=10)).replace(microsecond=0)
    world = f"generated:seed=5,channels=8,videos=320,past=20,start={start.isoformat()}"
    async with YouTubeStandin(world, keys={SECRET: "moon"}, limits={"search": 3}) as standin:
        standin.set_clock(None)
        yield standin


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        *(
            pytest.param([*command], {}, "YOUTUBE_API_KEY_POOL_JSON is not set: give", id=f"{command[0]}, no key")
            for command in (["hunter"], ["tracker"], ["watch", "dQw4w9WgXcQ"])
        ),
        *(
            pytest.param(
                [*command],
                {"DATABASE_URL": NOBODY, "YOUTUBE_API_KEY_POOL_JSON": POOL},
                "start the server or mend the address",
                id=f"{command[0]}, no database",
            )
            for command in (
                ["hunter"],
                ["tracker"],
                ["painter"],
                ["scribe"],
                ["janitor"],
                ["status"],
                ["seed", "a term"],
            )
        ),
        pytest.param(["tracker"], {"YOUTUBE_API_KEY_POOL_JSON": f'["{SECRET}'}, "must be a JSON list", id="bad JSON"),
        pytest.param(
            ["tracker"], {"YOUTUBE_API_KEY_POOL_JSON": f'{{"key": "{SECRET}"}}'}, "must be a JSON list", id="no list"
        ),
        pytest.param(["janitor"], {"VAULT_PROVIDER": SECRET}, "VAULT_PROVIDER: input should be", id="no such provider"),
        pytest.param(
            ["tracker"],
            {"YOUTUBE_API_KEY_POOL_JSON": POOL, "YOUTUBE_API_ENDPOINT": "ftp://x"},
            "YOUTUBE_API_ENDPOINT",
            id="no such endpoint",
        ),
        pytest.param(
            ["scribe"],
            {"TRANSCRIPT_SOURCE": "youtube-transcript-api"},
            "compliance mode refuses",
            id="not in compliance",
        ),
        pytest.param(["janitor"], {"JANITOR_RETENTION_DAYS": "0"}, "JANITOR_RETENTION_DAYS", id="a number too small"),
        pytest.param(
            ["painter"],
            {"YOUTUBE_API_KEY_POOL_JSON": POOL, "FRAME_SOURCE": "local"},
            "FRAME_FOLDER is not set",
            id="frames from nowhere",
        ),
        pytest.param(["hunter", "--every", "0"], {}, "--every", id="a share of nothing"),
    ],
)
async def test_wrong_settings_are_told_in_one_line_with_exit_code_2(
    maia: Maia, arguments: list[str], variables: dict[str, str], says: str
) -> None:
    done = await maia(*arguments, **{"DATABASE_URL": NOBODY} | variables)

    assert done.code == 2
    assert done.out == ""
    assert says in done.err
    if "--every" not in arguments:
        assert done.err.count("\n") == 1
        assert done.err.startswith("error: ")


@pytest.mark.parametrize(
    "module", ["maia.hunter.flow", "maia.tracker.flow", "maia.painter.flow", "maia.scribe.flow", "maia.janitor.flow"]
)
async def test_a_flow_by_hand_tells_of_wrong_settings_before_an_engine_starts(maia: Maia, module: str) -> None:
    done = await maia(module=module, DATABASE_URL=NOBODY, YOUTUBE_API_KEY_POOL_JSON=POOL)

    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "start the server or mend the address" in done.err


async def test_a_vault_that_cannot_be_written_is_told_before_anything_is_dropped(
    maia: Maia, database_url: str, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()

    done = await maia("janitor", "--plain", DATABASE_URL=database_url, LOCAL_VAULT_PATH=str(in_the_way / "vault"))

    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert "make it writable for this user, or set LOCAL_VAULT_PATH" in done.err


async def test_a_database_that_was_not_set_up_is_told_how(maia: Maia, database_url: str, conninfo: str) -> None:
    import psycopg

    with psycopg.connect(conninfo) as conn:
        conn.execute("DROP TABLE schema_migrations")

    done = await maia("status", DATABASE_URL=database_url)

    assert (done.code, done.err) == (2, "error: the database has no schema yet: run atlas setup\n")


async def test_from_a_seed_to_the_archive_by_hand(
    maia: Maia, database_url: str, conninfo: str, youtube: YouTubeStandin
) -> None:
    place = {
        "DATABASE_URL": database_url,
        "YOUTUBE_API_KEY_POOL_JSON": POOL,
        "YOUTUBE_API_ENDPOINT": youtube.endpoint,
    }
    world, now = youtube.world, youtube.now()
    channels = world.channels_at(now)

    seeded = await maia("seed", *world.terms()[:5], "--channel", channels[0], "--json", **place)
    assert seeded.json == {"terms_added": 5, "channels_added": 1, "charts_added": 0}

    # Three searches a day is what this project has: the run ends early, and that is no failure; nor is a dead Discord.
    dead = {"DISCORD_WEBHOOK_OPS": f"http://127.0.0.1:9/api/webhooks/1/{SECRET}"}
    hunted = await maia("hunter", "--plain", "--json", "--every", "1440", QUOTA_SEARCH_PER_DAY="1000", **place, **dead)
    assert hunted.code == 0, hunted.err
    assert "The search quota is spent: " in hunted.err
    assert hunted.json["stopped_by"].startswith("the search bucket is spent until ")
    assert hunted.json["videos_discovered"] > 0
    assert hunted.json["quota"]["search"] == 3

    again = await maia("hunter", "--plain", "--json", "--every", "1440", QUOTA_SEARCH_PER_DAY="1000", **place)
    assert (again.code, again.json["quota"]["search"]) == (0, 0)

    stranger = next(v for v in world.uploads(channels[-1], now) or () if world.counts(v, now) is not None)
    watched = await maia("watch", f"https://youtu.be/{stranger}", "nobody00000", "--json", **place)
    assert watched.json["not_found"] == ["nobody00000"]
    assert watched.json["added"] + watched.json["already_tracked"] == 1

    tracked = await maia("tracker", "--plain", **place)
    assert (tracked.code, tracked.err) == (0, "")
    assert "nothing due" in tracked.out

    cleaned = await maia("janitor", "--plain", "--dry-run", "--json", **place)
    assert cleaned.json["dry_run"] is True

    state = (await maia("status", "--json", **place)).json
    watchlist = snapshots.column(conninfo, "SELECT video_id FROM watchlist")
    assert state["overview"]["watchlist"] == len(watchlist) > 0
    assert {run["agent"]: run["reason"] for run in state["runs"]} == dict.fromkeys(["hunter", "janitor", "tracker"])
    assert "discord ops" in {breaker["name"] for breaker in state["breakers"]}
    assert next(bucket["left"] for bucket in state["quota"] if bucket["bucket"] == "search") == 0
    assert stranger in watchlist
    assert {video_id for video_id, _, _ in youtube.served.readings} == set(watchlist)
    assert snapshots.leased(conninfo) == 0
    assert {purpose: share["used"] for purpose, share in state["plan"].items() if share["used"]}.keys() == {
        "search", "poll", "enrich"
    }  # fmt: skip
    assert all(share["hourly"] <= share["planned"] for share in state["plan"].values())
    assert (state["plan"]["search"]["planned"], state["plan"]["track"]["planned"] > 0) == (0, True)
    shown = await maia("status", **place)
    assert shown.code == 0
    assert "what for" in shown.out
    assert "what for" not in (await maia("status", DATABASE_URL=database_url)).out


@pytest.mark.parametrize("agent", ["hunter", "tracker"])
async def test_sigterm_gives_the_work_back(
    maia: Maia, agent: str, database_url: str, database: DatabaseManager, conninfo: str, youtube: YouTubeStandin
) -> None:
    dao, world, now = MaiaDAO(database), youtube.world, youtube.now()
    await dao.add_to_search_queue(world.terms()[:3], now=now)
    (video_id,) = (world.uploads(world.channels_at(now)[0], now) or [])[:1]
    await dao.add_to_watchlist([WatchEntry(video_id, now, "HOURLY", now)], now=now)
    hanging = youtube.faults.add("hang")
    place = {"DATABASE_URL": database_url, "YOUTUBE_API_KEY_POOL_JSON": POOL, "YOUTUBE_API_ENDPOINT": youtube.endpoint}

    async def terminate(process: asyncio.subprocess.Process) -> None:
        while not hanging.hits:  # noqa: ASYNC110 - another process makes the call
            await asyncio.sleep(0.02)
        assert snapshots.leased(conninfo) > 0
        process.terminate()

    done = await maia(agent, "--plain", meanwhile=terminate, **place)

    assert (done.code, done.out, done.err) == (143, "", "")
    assert snapshots.leased(conninfo) == 0


@pytest.mark.engine
async def test_through_the_engine_a_spent_quota_is_a_completed_run(
    maia: Maia, database_url: str, conninfo: str, youtube: YouTubeStandin
) -> None:
    place = {
        "DATABASE_URL": database_url,
        "YOUTUBE_API_KEY_POOL_JSON": POOL,
        "YOUTUBE_API_ENDPOINT": youtube.endpoint,
    }
    await maia("seed", *youtube.world.terms()[:5], **place)

    done = await maia("--json", "--every", "1440", module="maia.hunter.flow", QUOTA_SEARCH_PER_DAY="9", **place)

    assert done.code == 0, done.err
    assert done.json["stopped_by"].startswith("the search bucket is spent until ")
    assert done.json["videos_discovered"] == len(snapshots.column(conninfo, "SELECT video_id FROM watchlist")) > 0
    assert snapshots.leased(conninfo) == 0


async def test_a_file_of_seeds_is_taken_whole_or_not_at_all(
    maia: Maia, database_url: str, conninfo: str, youtube: YouTubeStandin, tmp_path: Path
) -> None:
    place = {
        "DATABASE_URL": database_url,
        "YOUTUBE_API_KEY_POOL_JSON": POOL,
        "YOUTUBE_API_ENDPOINT": youtube.endpoint,
    }
    first, second, *_ = youtube.world.channels_at(youtube.now())
    channel = youtube.world.channel(second, youtube.now())
    assert channel is not None
    file = tmp_path / "seeds.txt"
    file.write_text(f"# mine\njazz piano\n{first}\nhttps://www.youtube.com/{channel.handle}\n@nobodyatall\n", "utf-8")

    refused = await maia("seed", "--file", str(file), "--chart", "US", **place)

    assert refused.code == 2
    assert "@nobodyatall" in refused.err
    assert snapshots.column(conninfo, "SELECT query_term FROM search_queue") == []
    file.write_text(file.read_text("utf-8").replace("@nobodyatall", ""), "utf-8")

    done = await maia("seed", "--file", str(file), "--chart", "us:10", "--json", **place)

    assert done.json == {"terms_added": 1, "channels_added": 2, "charts_added": 1}
    pinned = snapshots.column(conninfo, "SELECT id FROM channels WHERE pinned AND in_roster ORDER BY id")
    assert pinned == sorted([first, second])
    assert snapshots.column(conninfo, "SELECT name FROM sources WHERE kind = 'chart'") == ["US:10"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["watch", "not a video"],
        ["seed"],
        ["seed", "--channel", "no-channel"],
        ["seed", "x", "--priority", "101"],
        ["seed", "--chart", "America"],
    ],
)
async def test_what_cannot_be_meant_is_refused_with_exit_code_2(
    maia: Maia, database_url: str, conninfo: str, arguments: list[str]
) -> None:
    done = await maia(*arguments, DATABASE_URL=database_url, YOUTUBE_API_KEY_POOL_JSON=POOL)

    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert snapshots.column(conninfo, "SELECT query_term FROM search_queue") == []


@pytest.mark.engine
async def test_the_demo_lives_a_day_and_finds_every_reading_it_was_served(maia: Maia) -> None:
    done = await maia("demo", "--days", "1", "--json")

    assert done.code == 0, done.err
    report = done.json
    assert (report["lost"], report["doubled"]) == (0, 0)
    assert report["samples"] > report["videos_discovered"] > 0
    assert report["quota_used"] == report["quota_charged"]
    assert report["engine_runs"] == 5, "each agent ran as its flow"
