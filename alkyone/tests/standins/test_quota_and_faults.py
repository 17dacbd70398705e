"""The stand-in's quota, its faults, its clock, and what it remembers to have served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from alkyone.standins.youtube import Fault, YouTubeStandin, spawn
from alkyone.worlds import World, open_world
from atlas.errors import ApiError, ApiUnavailable, KeyRejected, QuotaRefused, Throttled
from maia.youtube.client import YouTube
from maia.youtube.errors import classify

KEYS = {"key-one": "project-one", "key-two": "project-one", "key-three": "project-two"}


@pytest.fixture(scope="module")
def world() -> World:
    return open_world("generated:channels=40,videos=1500")


@pytest_asyncio.fixture
async def standin(world: World) -> AsyncIterator[YouTubeStandin]:
    async with YouTubeStandin(world, keys=KEYS, limits={"search": 2, "stats": 3, "general": 4}) as standin:
        standin.set_clock(world.start + timedelta(days=5))
        yield standin


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def get(http: aiohttp.ClientSession, standin: YouTubeStandin, path: str, **query: str) -> tuple[int, bytes]:
    address = f"{standin.endpoint}/youtube/v3/{path}"
    async with http.get(address, params={"key": standin.key, "part": "id", **query}) as response:
        return response.status, await response.read()


def some_ids(standin: YouTubeStandin, count: int = 5) -> list[str]:
    return list(standin.world.search("", at=standin.now()))[:count]


@pytest.mark.parametrize(
    ("path", "query", "bucket", "limit"),
    [
        pytest.param("search", {"q": "music"}, "search", 2, id="search"),
        pytest.param("videos:batchGetStats", {"id": "x"}, "stats", 3, id="stats"),
        pytest.param("channels", {"id": "x"}, "general", 4, id="general"),
    ],
)
async def test_each_bucket_is_refused_when_it_is_spent_and_counts_no_refusal(
    standin: YouTubeStandin, http: aiohttp.ClientSession, path: str, query: dict[str, str], bucket: str, limit: int
) -> None:
    statuses = [(await get(http, standin, path, **query))[0] for _ in range(limit + 2)]

    refused = 403 if bucket == "general" else 429
    assert statuses == [200] * limit + [refused] * 2
    (used,) = standin.quota.usage()["project-one"].values()
    assert used == {bucket: limit}
    assert standin.quota.refused == {"search": 0, "stats": 0, "general": 0} | {bucket: 2}


async def test_the_day_ends_at_midnight_pacific_also_when_the_clocks_change(
    standin: YouTubeStandin, http: aiohttp.ClientSession
) -> None:
    # On 2026-11-01 at 09:00 UTC California goes back to UTC-8: that day has 25 hours.
    days = []
    for instant in (
        datetime(2026, 11, 1, 6, 59, tzinfo=UTC),
        datetime(2026, 11, 1, 7, 0, tzinfo=UTC),
        datetime(2026, 11, 2, 7, 59, tzinfo=UTC),
        datetime(2026, 11, 2, 8, 0, tzinfo=UTC),
    ):
        standin.set_clock(instant)
        await get(http, standin, "videos", id="x")
        days.append({day: used["general"] for day, used in standin.quota.usage()["project-one"].items()})

    assert days[-1] == {"2026-10-31": 1, "2026-11-01": 2, "2026-11-02": 1}


async def test_keys_of_one_project_share_its_quota_and_another_project_has_its_own(
    standin: YouTubeStandin, http: aiohttp.ClientSession
) -> None:
    for key in ("key-one", "key-two"):
        assert (await get(http, standin, "search", q="x", key=key))[0] == 200

    spent, _ = await get(http, standin, "search", q="x", key="key-two")
    other, _ = await get(http, standin, "search", q="x", key="key-three")

    assert (spent, other) == (429, 200)


async def test_too_many_calls_in_a_minute_are_throttled_by_the_minute(
    world: World, http: aiohttp.ClientSession
) -> None:
    async with YouTubeStandin(world, per_minute=2) as standin:
        answers = [await get(http, standin, "search", q="x") for _ in range(3)]

    assert [status for status, _ in answers] == [200, 200, 429]
    info = orjson.loads(answers[-1][1])["error"]["details"][0]
    assert info["metadata"]["quota_unit"] == "1/min/{project}"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        pytest.param("status_500", ApiUnavailable, id="500"),
        pytest.param("status_503", ApiUnavailable, id="503"),
        pytest.param("html", ApiUnavailable, id="html"),
        pytest.param("burst_429", Throttled, id="throttled"),
        pytest.param("quota_403", QuotaRefused, id="spent, general"),
        pytest.param("quota_429", QuotaRefused, id="spent, search and stats"),
        pytest.param("key_invalid", KeyRejected, id="invalid key"),
        pytest.param("api_disabled", KeyRejected, id="API off"),
        pytest.param("key_blocked", KeyRejected, id="restricted key"),
    ],
)
async def test_a_fault_is_what_our_client_takes_it_for(
    standin: YouTubeStandin, http: aiohttp.ClientSession, fault: Any, error: type[ApiError]
) -> None:
    standin.faults.add(fault, times=1)

    status, body = await get(http, standin, "videos:batchGetStats", id="x")
    healed, _ = await get(http, standin, "videos:batchGetStats", id="x")

    assert isinstance(classify(status, body, {}), error)
    assert healed == 200


async def test_a_reset_drops_the_connection(standin: YouTubeStandin, http: aiohttp.ClientSession) -> None:
    standin.faults.add("reset")

    with pytest.raises(aiohttp.ClientError):
        await get(http, standin, "videos", id="x")


async def test_a_hang_lasts_until_the_caller_gives_up(standin: YouTubeStandin, http: aiohttp.ClientSession) -> None:
    standin.faults.add("hang")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await get(http, standin, "videos", id="x")


async def test_faults_strike_the_method_and_the_times_they_name(
    standin: YouTubeStandin, http: aiohttp.ClientSession
) -> None:
    fault = standin.faults.add("status_500", method="search.list", times=1)

    statuses = [(await get(http, standin, path, q="x", id="x"))[0] for path in ("videos", "search", "search")]

    assert statuses == [200, 500, 200]
    assert fault.hits == 1


def test_a_fault_with_a_probability_strikes_the_same_calls_for_the_same_seed() -> None:
    first, again, other = (Fault("reset", probability=0.5, seed=seed) for seed in (1, 1, 2))

    draws = [[fault.strikes("videos.list", None) for _ in range(40)] for fault in (first, again, other)]

    assert draws[0] == draws[1] != draws[2]
    assert 10 < sum(draws[0]) < 30


async def test_missing_ids_are_left_out_of_answers_and_not_counted_as_served(
    standin: YouTubeStandin, http: aiohttp.ClientSession
) -> None:
    ids = some_ids(standin)
    standin.faults.add("missing_ids", ids=ids[:2])

    _, body = await get(http, standin, "videos:batchGetStats", id=",".join(ids), part="statistics")

    assert [item["id"] for item in orjson.loads(body)["items"]] == ids[2:]
    assert standin.served.columns()["video_id"] == ids[2:]


async def test_only_readings_that_were_delivered_whole_count_as_served(
    standin: YouTubeStandin, http: aiohttp.ClientSession
) -> None:
    ids = some_ids(standin)
    for kind in ("truncated", "status_500", "html"):
        standin.faults.add(kind, times=1)
        await get(http, standin, "videos", id=",".join(ids), part="statistics")
    assert standin.served.columns()["video_id"] == []

    status, body = await get(http, standin, "videos", id=",".join(ids), part="statistics")

    assert status == 200
    columns = standin.served.columns()
    assert columns["video_id"] == ids
    assert columns["timestamp"] == [standin.now().isoformat()] * len(ids)
    assert [str(views) for views in columns["views"]] == [
        item["statistics"]["viewCount"] for item in orjson.loads(body)["items"]
    ]


async def test_truncated_answers_are_no_json(standin: YouTubeStandin, http: aiohttp.ClientSession) -> None:
    standin.faults.add("truncated")

    status, body = await get(http, standin, "videos", id=",".join(some_ids(standin)), part="snippet")

    assert status == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)


async def test_calls_are_counted_by_what_they_asked_for_and_by_page(
    standin: YouTubeStandin, http: aiohttp.ClientSession
) -> None:
    standin.faults.add("status_500", method="search.list", times=1)
    await get(http, standin, "search", q="music")
    await get(http, standin, "search", q="music")
    await get(http, standin, "search", q="refused")
    await get(http, standin, "videos", id="x,y")
    await get(http, standin, "playlistItems", playlistId="UUx")
    await get(http, standin, "playlistItems", playlistId="UUx", pageToken="CAUQAA")
    async with http.get(f"{standin.endpoint}/_standin/calls") as response:
        calls = orjson.loads(await response.read())

    assert calls == {
        "search.list": {"music": [2, 0]},
        "videos.list": {"2": [1, 0]},
        "playlistItems.list": {"UUx": [1, 1]},
    }


async def test_the_admin_addresses_set_the_clock_and_the_faults_and_tell_the_truth(
    standin: YouTubeStandin, http: aiohttp.ClientSession
) -> None:
    admin = f"{standin.endpoint}/_standin"
    instant = standin.world.start + timedelta(days=7, minutes=1)

    async def ask(method: str, what: str, body: Any = None) -> Any:
        async with http.request(
            method, f"{admin}/{what}", data=None if body is None else orjson.dumps(body)
        ) as response:
            return response.status, orjson.loads(await response.read())

    assert await ask("PUT", "clock", {"now": instant.isoformat()}) == (200, {"now": instant.isoformat()})
    assert (await ask("PUT", "clock", {"now": "noon"}))[0] == 400
    assert (await ask("PUT", "faults", {"kind": "status_500", "times": 1}))[1][0]["hits"] == 0
    assert (await ask("PUT", "faults", [{"kind": "rain"}]))[0] == 400
    assert (await get(http, standin, "videos", id="x"))[0] == 500
    assert (await ask("GET", "faults"))[1][0]["hits"] == 1
    assert await ask("DELETE", "faults") == (200, [])
    assert (await ask("GET", "quota"))[1] == {"project-one": {"2026-10-26": {"general": 1}}}
    name = some_ids(standin, 1)[0]
    truth = (await ask("GET", f"truth?video_id={name}"))[1]
    reading = standin.world.counts(name, instant)
    assert reading is not None
    assert truth["counts"] == reading._asdict()
    described = (await ask("GET", "world"))[1]
    assert (described["videos"], len(described["channels"])) == (standin.world.size(), 40)
    assert (await ask("GET", "health"))[1]["ok"] is True


async def test_our_own_client_reads_everything_the_stand_in_serves(standin: YouTubeStandin) -> None:
    world, now = standin.world, standin.now()
    channel = world.channels_at(now)[0]

    async with YouTube.with_key(standin.key, endpoint=standin.endpoint) as youtube:
        page = await youtube.search("", published_after=now - timedelta(days=2), published_before=now, max_results=50)
        ids = [hit.video_id for hit in page.hits]
        videos = await youtube.videos(ids, parts=("snippet", "contentDetails", "statistics"))
        stats = await youtube.batch_stats(ids)
        uploads = await youtube.uploads(channel)
        feed = await youtube.feed(channel)

    readings = world.readings(ids, now)
    assert ids == list(world.search("", now - timedelta(days=2), now, "date", now))[:50]
    assert {video.id: video.title for video in videos} == {
        name: found.title for name in ids if (found := world.video(name, now))
    }
    assert {name: found.views for name, found in stats.returned.items()} == {
        name: found.views for name, found in readings.items()
    }
    assert [upload.video_id for upload in uploads.uploads] == list(world.uploads(channel, now) or ())[:50]
    assert [entry.video_id for entry in feed] == [
        name for name in world.uploads(channel, now) or () if world.counts(name, now)
    ][:15]
    assert len(standin.served.readings) == 2 * len(ids)
    assert set(ids) <= set(standin.served.candidates)


@pytest.mark.engine
async def test_a_stand_in_of_its_own_process_serves_the_same_world(world: World) -> None:
    now = world.start + timedelta(days=5)
    names = list(world.search("", at=now))[:20]

    async with spawn("generated:channels=40,videos=1500", clock=now, limits={"stats": 1}, keys=["k:p"]) as other:
        async with YouTube.with_key(other.key, endpoint=other.endpoint) as youtube:
            stats = await youtube.batch_stats(names)
        quota, served = await other.quota(), await other.served()

    assert {name: found.views for name, found in stats.returned.items()} == {
        name: found.views for name, found in world.readings(names, now).items()
    }
    assert quota == {"p": {"2026-10-24": {"stats": 1}}}
    assert served["video_id"] == names
