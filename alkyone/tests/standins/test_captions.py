"""The stand-in's captions and access tokens: for their owner, at their price, as YouTube's read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from alkyone.standins.youtube import YouTubeStandin, captions, oauth
from alkyone.worlds.base import Video
from maia.scribe.transcripts import Format, parse

FORM = oauth.FORM


class Caller:
    """Calls one stand-in with an access token of its owner."""

    def __init__(self, standin: YouTubeStandin, http: aiohttp.ClientSession) -> None:
        self.standin = standin
        self.token = ""
        self._http = http

    async def __call__(self, path: str, **query: str) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self.token}"}
        address = f"{self.standin.endpoint}/youtube/v3/{path}"
        async with self._http.get(address, params=query, headers=headers) as answer:
            return answer.status, await answer.read()

    async def grant(self, **form: str) -> tuple[int, dict[str, Any]]:
        async with self._http.post(self.standin.token_endpoint, data={**FORM, **form}) as answer:
            return answer.status, orjson.loads(await answer.read())

    def videos(self, *, own: bool, kind: str = "ASR") -> list[tuple[Video, captions.Captions]]:
        at, authority = self.standin.now(), self.standin.authority
        known = (self.standin.world.video(name, at) for name in self.standin.world.search("", order="date", at=at))
        return [
            (video, track)
            for video in known
            if video is not None and (video.channel_id in authority.owned) == own
            for track in captions.tracks(video)
            if track.kind == kind
        ]


@pytest_asyncio.fixture
async def call() -> AsyncIterator[Caller]:
    async with YouTubeStandin("generated:channels=12,videos=400", validate=True) as standin:
        async with aiohttp.ClientSession() as http:
            standin.set_clock(standin.world.start + timedelta(days=20))
            caller = Caller(standin, http)
            caller.token = (await caller.grant())[1]["access_token"]
            yield caller
        assert standin.violations == []


@pytest.mark.parametrize("kind", ["standard", "ASR"])
@pytest.mark.parametrize("form", ["vtt", "srt"])
async def test_what_its_owner_downloads_says_what_is_said(call: Caller, kind: str, form: Format) -> None:
    video, track = call.videos(own=True, kind=kind)[0]

    status, body = await call(f"captions/{track.id}", tfmt=form)

    said = [(line.start, line.text) for line in captions.lines(video)]
    assert status == 200
    assert [(segment.start, segment.text) for segment in parse(body, form)] == said


async def test_a_list_costs_fifty_units_and_a_download_two_hundred(call: Caller) -> None:
    video, track = call.videos(own=True)[0]
    await call("captions", videoId=video.id, part="snippet")
    await call(f"captions/{track.id}")
    (days,) = call.standin.quota.usage().values()
    (buckets,) = days.values()
    assert buckets["general"] == 250


@pytest.mark.parametrize(
    ("own", "track", "query", "status", "reason"),
    [
        pytest.param(False, None, {}, 403, "forbidden", id="somebody else's"),
        pytest.param(True, "ASR.nobody.en", {}, 404, "captionNotFound", id="no such track"),
        pytest.param(True, None, {"tfmt": "doc"}, 400, "couldNotConvert", id="no such form"),
    ],
)
async def test_what_cannot_be_downloaded_is_refused_with_its_reason(
    call: Caller, own: bool, track: str | None, query: dict[str, str], status: int, reason: str
) -> None:
    _, known = call.videos(own=own)[0]
    answered, body = await call(f"captions/{track or known.id}", **query)
    assert (answered, orjson.loads(body)["error"]["errors"][0]["reason"]) == (status, reason)


async def test_the_tracks_of_anybody_are_listed(call: Caller) -> None:
    video, track = call.videos(own=False)[0]
    _, body = await call("captions", videoId=video.id, part="snippet")
    assert track.id in [item["id"] for item in orjson.loads(body)["items"]]
    status, _ = await call("captions", videoId="nosuchvideo", part="snippet")
    assert status == 404


async def test_the_owners_own_channels_are_told(call: Caller) -> None:
    _, body = await call("channels", mine="true", part="id")
    assert [item["id"] for item in orjson.loads(body)["items"]] == list(call.standin.authority.owned)


@pytest.mark.parametrize(
    ("form", "error"),
    [
        pytest.param({"client_id": "another"}, "invalid_client", id="client"),
        pytest.param({"client_secret": "wrong"}, "invalid_client", id="secret"),
        pytest.param({"refresh_token": "revoked"}, "invalid_grant", id="refresh token"),
        pytest.param({"grant_type": "password"}, "unsupported_grant_type", id="grant"),
    ],
)
async def test_whoever_cannot_say_who_they_are_gets_no_token(call: Caller, form: dict[str, str], error: str) -> None:
    status, body = await call.grant(**form)
    assert status in {400, 401}
    assert body["error"] == error


async def test_a_token_ends_after_an_hour(call: Caller) -> None:
    video, _ = call.videos(own=True)[0]
    call.standin.set_clock(call.standin.now() + timedelta(hours=1))
    status, body = await call("captions", videoId=video.id, part="snippet")
    assert (status, orjson.loads(body)["error"]["errors"][0]["reason"]) == (401, "authError")


async def test_a_key_does_not_speak_for_an_owner(call: Caller) -> None:
    video, track = call.videos(own=True)[0]
    async with aiohttp.ClientSession() as http:
        for path in (f"captions?videoId={video.id}&part=id&", f"captions/{track.id}?"):
            async with http.get(f"{call.standin.endpoint}/youtube/v3/{path}key={call.standin.key}") as answer:
                assert answer.status == 401
