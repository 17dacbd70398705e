"""Captions by youtube-transcript-api, the real library, against a server that answers as recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
import requests

from alkyone.standins.player import HOME, PlayerStandin
from atlas import clock
from atlas.breakers import Breakers
from atlas.errors import ApiUnavailable, CircuitOpen, Throttled
from maia.scribe.transcripts import (
    MalformedTranscript,
    NoTranscript,
    Segment,
    SourceFailed,
    Transcript,
    TranscriptSource,
    Wanted,
    library,
)
from maia.scribe.transcripts.library import LibrarySource

TALKS, SILENT, GONE, AGED, BOTS = "GJLlxj_dtq8", "dsMFmonKDD4", "gone_______", "aged_______", "bots_______"
WANTED = Wanted(TALKS, "UC" + "x" * 22)


def refused(reason: str, status: str = "LOGIN_REQUIRED") -> bytes:
    return orjson.dumps({"playabilityStatus": {"status": status, "reason": reason}})


@pytest_asyncio.fixture
async def youtube(recorded_data: Path) -> AsyncIterator[PlayerStandin]:
    captions = recorded_data / "youtube" / "captions"
    answers = {
        TALKS: (captions / "yta_youtube.innertube.json").read_bytes(),
        SILENT: (captions / "yta_youtube_transcripts_disabled.innertube.json").read_bytes(),
        GONE: (captions / "yta_youtube_video_unavailable.innertube.json").read_bytes(),
        AGED: refused("This video may be inappropriate for some users."),
        BOTS: refused("Sign in to confirm you’re not a bot"),
        "private____": refused("This video is private", "UNPLAYABLE"),
    }
    async with PlayerStandin(answers, (captions / "yta_transcript.xml").read_bytes()) as standin:
        yield standin


def led_to(youtube: PlayerStandin) -> requests.Session:
    """The session that the source makes for itself, with YouTube's addresses led to the stand-in."""
    session = library.bounded_session()
    bounded: Any = type(session.get_adapter(HOME))

    class Elsewhere(bounded):  # type: ignore[misc]
        def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
            assert request.url
            assert request.url.startswith(HOME)
            request.url = youtube.root + request.url.removeprefix(HOME)
            return super().send(request, *args, **options)

    session.mount("https://", Elsewhere())
    return session


@pytest.fixture
def source(youtube: PlayerStandin, frozen_clock: clock.VirtualClock) -> Any:
    made = LibrarySource(per_minute=60_000, session=led_to(youtube), breakers=Breakers())
    yield made
    made.close()


async def test_a_persons_captions_in_the_language_that_is_heard(
    source: TranscriptSource, youtube: PlayerStandin
) -> None:
    said = await source.fetch(WANTED)
    assert isinstance(said, Transcript)
    assert (said.language, said.generated, said.source) == ("en", False, "youtube-transcript-api")
    assert said.segments[:2] == (
        Segment(0.0, 1.54, "Hey, this is just a test"),
        Segment(1.54, 4.16, "this is not the original transcript"),
    )
    assert len(said.segments) == 3
    assert youtube.asked == ["watch", f"player {TALKS}", "timedtext en"]


async def test_captions_in_the_language_of_the_video(source: TranscriptSource, youtube: PlayerStandin) -> None:
    said = await source.fetch(WANTED._replace(language="ja"))
    assert isinstance(said, Transcript)
    assert said.language == "ja"
    assert youtube.asked[-1] == "timedtext ja"


@pytest.mark.parametrize(
    ("video_id", "reason"),
    [
        pytest.param(SILENT, "captions are disabled", id="disabled"),
        pytest.param(GONE, "unavailable: VideoUnavailable", id="gone"),
        pytest.param(AGED, "unavailable: AgeRestricted", id="for adults"),
        pytest.param("private____", "unavailable: This video is private", id="private"),
    ],
)
async def test_no_captions_is_an_answer_with_its_reason(source: TranscriptSource, video_id: str, reason: str) -> None:
    assert await source.fetch(WANTED._replace(video_id=video_id)) == NoTranscript(reason, "youtube-transcript-api")


@pytest.mark.parametrize(
    ("mishap", "video_id", "error"),
    [
        pytest.param(429, TALKS, Throttled, id="too many requests"),
        pytest.param("captcha", TALKS, Throttled, id="a captcha"),
        pytest.param(None, BOTS, Throttled, id="taken for a bot"),
        pytest.param(503, TALKS, ApiUnavailable, id="out of order"),
        pytest.param("consent", TALKS, SourceFailed, id="asked for a cookie"),
    ],
)
async def test_who_is_turned_away_has_no_answer(
    source: TranscriptSource, youtube: PlayerStandin, mishap: int | str | None, video_id: str, error: type[Exception]
) -> None:
    youtube.mishap = mishap
    with pytest.raises(error):
        await source.fetch(WANTED._replace(video_id=video_id))


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'{"playabilityStatus": {"status": "OK"}, "captions": 7}', b"<html>"])
async def test_an_answer_of_another_kind_is_none(source: TranscriptSource, youtube: PlayerStandin, body: bytes) -> None:
    youtube.answers[TALKS] = body
    with pytest.raises((SourceFailed, ApiUnavailable)):
        await source.fetch(WANTED)


@pytest.mark.parametrize(
    "body", [b"", b"<transcript>", b'<!DOCTYPE a [<!ENTITY b "c">]><transcript><text start="0">&b;</text></transcript>']
)
async def test_captions_that_are_no_xml_are_malformed(
    source: TranscriptSource, youtube: PlayerStandin, body: bytes
) -> None:
    youtube.timed_text = body
    with pytest.raises(MalformedTranscript):
        await source.fetch(WANTED)


async def test_an_answer_without_end_is_not_read_to_it(
    source: TranscriptSource, youtube: PlayerStandin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "ANSWER_BYTES", 10_000)
    with pytest.raises(ApiUnavailable, match="ConnectionError"):
        await source.fetch(WANTED)


async def test_after_three_refusals_youtube_is_left_in_peace_for_an_hour(
    source: TranscriptSource, youtube: PlayerStandin, frozen_clock: clock.VirtualClock
) -> None:
    youtube.mishap = 429
    for _ in range(3):
        with pytest.raises(Throttled):
            await source.fetch(WANTED)
    youtube.mishap = None
    with pytest.raises(CircuitOpen):
        await source.fetch(WANTED)
    assert len(youtube.asked) == 3
    frozen_clock.advance(timedelta(hours=1))
    assert isinstance(await source.fetch(WANTED), Transcript)


async def test_no_cookie_is_ever_sent(source: TranscriptSource, youtube: PlayerStandin) -> None:
    await source.fetch(WANTED)
    youtube.mishap = "consent"
    with pytest.raises(SourceFailed, match="FailedToCreateConsentCookie"):
        await source.fetch(WANTED)
    assert youtube.cookies == []


async def test_an_unreachable_youtube_could_not_be_asked(youtube: PlayerStandin) -> None:
    youtube.root = "http://127.0.0.1:1"
    source = LibrarySource(per_minute=60_000, session=led_to(youtube), breakers=Breakers())
    with pytest.raises(ApiUnavailable, match="ConnectionError"):
        await source.fetch(WANTED)
    source.close()
