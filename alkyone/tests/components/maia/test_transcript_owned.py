"""Captions of the owner's own videos, in their name, at their price, counted before they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
import pytest_asyncio
from pydantic import SecretStr

from alkyone.standins.youtube import YouTubeStandin, captions, oauth
from alkyone.worlds.base import Video
from atlas import clock
from atlas.db import DatabaseManager
from atlas.errors import ApiUnavailable, Bucket, ConfigurationError, QuotaExhausted
from atlas.quota import QuotaLedger
from maia.planner import CAPTIONS
from maia.scribe.transcripts import MalformedTranscript, NoTranscript, Postponed, SourceFailed, Transcript, Wanted
from maia.scribe.transcripts.owned import OwnedSource
from maia.youtube.models import CaptionTrack
from maia.youtube.oauth import Owner, OwnerExecutor
from maia.youtube.owner import OwnersYouTube

LIMITS: dict[Bucket, int] = {"search": 100, "stats": 10_000, "general": 2_000}
PROJECT = "standin-project"


async def no_wait(seconds: float) -> None:
    del seconds


class House:
    """A YouTube and who looks into it for the owner."""

    def __init__(self, youtube: YouTubeStandin, ledger: QuotaLedger) -> None:
        self.youtube = youtube
        self.ledger = ledger

    @asynccontextmanager
    async def client(self, **owner: str) -> AsyncIterator[OwnersYouTube]:
        known = {"client_id": oauth.CLIENT_ID, "client_secret": oauth.CLIENT_SECRET, "refresh_token": "", **owner}
        secrets = {name: SecretStr(value or oauth.REFRESH_TOKEN) for name, value in known.items()}
        who = Owner(**secrets, token_endpoint=self.youtube.token_endpoint)
        executor = OwnerExecutor(who, PROJECT, ledger=self.ledger, sleep=no_wait)
        async with OwnersYouTube(executor, endpoint=self.youtube.endpoint) as client:
            yield client

    def videos(self, *, own: bool, tracks: int) -> list[Video]:
        at, owned = self.youtube.now(), self.youtube.authority.owned
        known = (self.youtube.world.video(name, at) for name in self.youtube.world.search("", order="date", at=at))
        return [
            video
            for video in known
            if video is not None and (video.channel_id in owned) == own and len(captions.tracks(video)) == tracks
        ]

    async def assert_the_ledger_counts_as_youtube_does(self) -> int:
        (days,) = self.youtube.quota.usage().values() or ({},)
        charged = sum(buckets.get("general", 0) for buckets in days.values())
        usage = next(usage for usage in await self.ledger.usage([PROJECT]) if usage.bucket == "general")
        assert usage.used == charged == usage.purposes.get("caption", 0)
        return charged


@pytest_asyncio.fixture
async def house(database: DatabaseManager, frozen_clock: clock.VirtualClock) -> AsyncIterator[House]:
    keys = {"standin-key": PROJECT}
    world = "generated:seed=7,channels=10,videos=600"
    async with YouTubeStandin(world, clock=frozen_clock, limits=LIMITS, keys=keys, validate=True) as youtube:
        frozen_clock.set(youtube.world.start + timedelta(days=20))
        youtube.authority.owned = tuple(youtube.world.channels_at(youtube.now())[:4])
        yield House(youtube, QuotaLedger(database, LIMITS))
        assert youtube.violations == []


def wanted(video: Video) -> Wanted:
    return Wanted(video.id, video.channel_id, video.language)


@pytest.mark.parametrize(("tracks", "generated"), [pytest.param(1, True, id="ASR"), pytest.param(2, False, id="both")])
async def test_what_the_owners_video_says(house: House, tracks: int, generated: bool) -> None:
    video = house.videos(own=True, tracks=tracks)[0]
    async with house.client() as client:
        source = OwnedSource(client, share=CAPTIONS)

        said = await source.fetch(wanted(video))

    assert isinstance(said, Transcript)
    assert (said.generated, said.source) == (generated, "owned")
    assert [(line.start, line.text) for line in said.segments] == [
        (line.start, line.text) for line in captions.lines(video)
    ]
    assert source.units == await house.assert_the_ledger_counts_as_youtube_does() == 251


async def test_somebody_elses_videos_cost_nothing(house: House) -> None:
    async with house.client() as client:
        source = OwnedSource(client, share=0)
        for video in house.videos(own=False, tracks=2)[:20]:
            assert await source.fetch(wanted(video)) == NoTranscript("not our own video", "owned")
    assert await house.assert_the_ledger_counts_as_youtube_does() == 1


async def test_the_share_of_the_quota_is_kept_to(house: House) -> None:
    first, second = house.videos(own=True, tracks=2)[:2]
    silent = house.videos(own=True, tracks=0)[0]
    async with house.client() as client:
        source = OwnedSource(client, share=CAPTIONS + 60)
        assert await source.fetch(wanted(silent)) == NoTranscript("captions are disabled", "owned")
        assert isinstance(await source.fetch(wanted(first)), Transcript)
        with pytest.raises(Postponed):
            await source.fetch(wanted(second))
    assert await house.assert_the_ledger_counts_as_youtube_does() == 301


async def test_the_day_s_quota_is_never_passed(house: House) -> None:
    videos = house.videos(own=True, tracks=2)
    async with house.client() as client:
        source = OwnedSource(client, share=1_000_000)
        for video in videos[:7]:
            await source.fetch(wanted(video))
        with pytest.raises(QuotaExhausted):
            await source.fetch(wanted(videos[7]))
    assert LIMITS["general"] - 200 < await house.assert_the_ledger_counts_as_youtube_does() <= LIMITS["general"]


async def test_a_video_that_others_took_over_is_refused_with_its_reason(house: House) -> None:
    video = house.videos(own=False, tracks=2)[0]
    async with house.client() as client:
        source = OwnedSource(client, share=CAPTIONS)
        source._own = frozenset({video.channel_id})  # as we knew it
        assert await source.fetch(wanted(video)) == NoTranscript("refused: forbidden", "owned")


async def test_a_token_serves_for_its_hour_and_is_renewed(house: House, frozen_clock: clock.VirtualClock) -> None:
    video = house.videos(own=True, tracks=1)[0]
    async with house.client() as client:
        for granted in (1, 1, 2):
            await client.captions(video.id)
            assert house.youtube.authority.granted == granted
            frozen_clock.advance(timedelta(minutes=30))
        house.youtube.authority.forget()
        await client.captions(video.id)
    await house.assert_the_ledger_counts_as_youtube_does()


@pytest.mark.parametrize(
    ("owner", "says"),
    [
        pytest.param({"client_id": "x"}, "CLIENT_ID or YOUTUBE_OAUTH_CLIENT_SECRET: .*invalid_client", id="client"),
        pytest.param({"client_secret": "hush"}, "CLIENT_SECRET: .*invalid_client", id="secret"),
        pytest.param({"refresh_token": "hush"}, "REFRESH_TOKEN: .*invalid_grant", id="refresh token"),
    ],
)
async def test_who_is_not_let_in_is_told_which_setting_to_mend(house: House, owner: dict[str, str], says: str) -> None:
    async with house.client(**owner) as client:
        with pytest.raises(ConfigurationError, match=says) as refused:
            await client.own_channels()
    assert "hush" not in str(refused.value)
    assert await house.ledger.usage([PROJECT]) == [] or await house.assert_the_ledger_counts_as_youtube_does() == 0


async def test_a_permission_that_was_taken_back_is_the_operators_to_mend(house: House) -> None:
    video = house.videos(own=True, tracks=1)[0]
    async with house.client() as client:
        await client.captions(video.id)
        house.youtube.authority.revoked = True
        with pytest.raises(ConfigurationError, match="YOUTUBE_OAUTH_REFRESH_TOKEN"):
            await client.captions(video.id)


async def test_an_outage_could_not_be_looked_through_and_heals(house: House) -> None:
    video = house.videos(own=True, tracks=2)[0]
    async with house.client() as client:
        house.youtube.faults.add("status_503", method="token", times=1)
        house.youtube.faults.add("status_503", method="captions.download", times=1)
        assert isinstance(await OwnedSource(client, share=CAPTIONS).fetch(wanted(video)), Transcript)
        house.youtube.faults.add("status_503", method="captions.list")
        with pytest.raises(ApiUnavailable):
            await OwnedSource(client, share=CAPTIONS).fetch(wanted(video))
    await house.assert_the_ledger_counts_as_youtube_does()


class Syncing(OwnersYouTube):
    """A client whose video has captions that are not ready."""

    async def captions(self, video_id: str) -> list[CaptionTrack]:
        return [track._replace(status="syncing") for track in await super().captions(video_id)]


async def test_captions_that_are_not_ready_are_asked_for_again(house: House) -> None:
    video = house.videos(own=True, tracks=1)[0]
    async with house.client() as client:
        client.__class__ = Syncing
        with pytest.raises(SourceFailed, match="not ready"):
            await OwnedSource(client, share=CAPTIONS).fetch(wanted(video))


async def test_captions_that_break_off_are_malformed(house: House) -> None:
    video = house.videos(own=True, tracks=1)[0]
    async with house.client() as client:
        assert await client.caption(captions.tracks(video)[0].id, "srt")
        with pytest.raises(MalformedTranscript):
            await OwnedSource(_Binary(client), share=CAPTIONS).fetch(wanted(video))  # type: ignore[arg-type]


class _Binary:
    def __init__(self, client: OwnersYouTube) -> None:
        self.captions, self.own_channels = client.captions, client.own_channels

    async def caption(self, caption_id: str, form: str) -> bytes:
        del caption_id, form
        return b"\x89PNG"
