"""Captions by youtube-transcript-api, which asks what YouTube's own player asks, and not YouTube's API.

Compliance mode refuses it; an operator who may do that installs the extra ``transcripts``. One request after another at
a steady pace, no proxies and no cookies: who is turned away waits. The library lists the tracks and reads the one that
we choose.
"""

from __future__ import annotations

import asyncio
import importlib
import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from atlas.breakers import Breakers
from atlas.breakers import breakers as shared_breakers
from atlas.errors import ApiUnavailable, ConfigurationError, Throttled
from maia.scribe.transcripts.formats import LONGEST_SECONDS, plain_text
from maia.scribe.transcripts.model import (
    MalformedTranscript,
    NoTranscript,
    Segment,
    SourceFailed,
    Track,
    Transcript,
    Wanted,
    choose,
)
from maia.scribe.transcripts.player import DISABLED

if TYPE_CHECKING:
    from requests import Session

NAME = "youtube-transcript-api"

BLOCKS = 3
"""Requests in a row that are turned away before YouTube is left in peace."""

PAUSE = timedelta(hours=1)

TIMEOUT_SECONDS = 30.0

ANSWER_BYTES = 16 * 2**20
"""An answer may be this long, unpacked; a page to watch a video on takes 1.5 MiB (November 2026)."""


class LibrarySource:
    """Asks for captions at most ``per_minute`` times a minute; ``session`` is what the library speaks HTTP by.

    Raises:
        ConfigurationError: the extra is not installed.
    """

    name = NAME
    units = 0
    at_once = 1  # a session belongs to one thread

    def __init__(
        self, *, per_minute: int, session: Session | None = None, breakers: Breakers = shared_breakers
    ) -> None:
        try:
            self._library: Any = importlib.import_module("youtube_transcript_api")
            limiter: Any = importlib.import_module("aiolimiter")
        except ImportError as exc:
            raise ConfigurationError(
                f"TRANSCRIPT_SOURCE={NAME} needs the extra transcripts: pip install 'pleiades-maia[transcripts]'"
            ) from exc
        self._session = session or bounded_session()
        self._api = self._library.YouTubeTranscriptApi(http_client=self._session)
        self._pace = limiter.AsyncLimiter(1, 60 / per_minute)  # one at a time, never a burst
        self._breakers = breakers

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    async def fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
        """List the tracks of a video, and read the one that says best what is said.

        Raises:
            CircuitOpen: YouTube turned us away a few times in a row, and is left in peace.
            Throttled: it turns us away.
            ApiUnavailable: it cannot be reached, or answers with an error.
            SourceFailed: its answer is not what the library knows.
            MalformedTranscript: the captions cannot be read.
        """
        guard = self._breakers.guard(NAME, failing=(Throttled, ApiUnavailable), threshold=BLOCKS, pause=PAUSE)
        async with guard, self._pace:
            return await asyncio.to_thread(self._fetch, wanted)

    def _fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
        import requests
        from defusedxml import DefusedXmlException

        library = self._library
        try:
            found = {str(number): track for number, track in enumerate(self._api.list(wanted.video_id))}
            tracks = [
                Track(track.language_code, track.is_generated, track.language, number)
                for number, track in found.items()
            ]
            chosen = choose(tracks, wanted.language)
            if chosen is None:
                return NoTranscript(DISABLED, NAME)
            segments = tuple(_segments(found[chosen.address].fetch()))
        except library.TranscriptsDisabled:
            return NoTranscript(DISABLED, NAME)
        except library.VideoUnplayable as exc:
            return NoTranscript(f"unavailable: {plain_text(exc.reason or 'for no reason given')}", NAME)
        except (library.VideoUnavailable, library.AgeRestricted, library.InvalidVideoId) as exc:
            return NoTranscript(f"unavailable: {type(exc).__name__}", NAME)
        except library.RequestBlocked as exc:
            raise Throttled(type(exc).__name__, message="YouTube turns away who is no browser") from None
        except (library.YouTubeRequestFailed, requests.RequestException) as exc:
            raise ApiUnavailable(type(exc).__name__, message="no answer to go by") from None
        except library.CouldNotRetrieveTranscript as exc:
            raise SourceFailed(f"{NAME}: {type(exc).__name__}") from None
        except (SyntaxError, DefusedXmlException) as exc:  # a ParseError is a SyntaxError
            raise MalformedTranscript(f"not well-formed XML: {type(exc).__name__}") from None
        except (ValueError, LookupError, TypeError, AttributeError) as exc:
            # An answer that the library takes for what it is not: it looks for no such thing.
            raise SourceFailed(f"{NAME}: an answer that it cannot read ({type(exc).__name__})") from None
        if not segments:
            return NoTranscript("nothing is said", NAME)
        return Transcript(chosen.language, segments, chosen.generated, NAME)


def _segments(fetched: Any) -> list[Segment]:
    lines = ((snippet.start, snippet.duration, plain_text(snippet.text)) for snippet in fetched)
    segments = [
        Segment(round(start, 3), round(min(max(duration, 0.0), LONGEST_SECONDS), 3), text)
        for start, duration, text in lines
        if text and 0 <= start <= LONGEST_SECONDS
    ]
    return sorted(segments, key=lambda segment: segment.start)


def bounded_session() -> Session:
    """Make a session without cookies and proxies, which waits for a bounded time for answers of a bounded size."""
    import requests
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        def send(self, request: Any, *_: Any, **options: Any) -> Any:
            request.headers.pop("Cookie", None)  # the library would consent to some
            response = super().send(request, **{**options, "stream": True, "timeout": TIMEOUT_SECONDS})
            body = response.raw.read(ANSWER_BYTES + 1, decode_content=True)
            response.raw.release_conn()
            if len(body) > ANSWER_BYTES:
                raise requests.ConnectionError("the answer is too long")
            response.raw = io.BytesIO(body)
            return response

    session = requests.Session()
    session.trust_env = False  # nor proxies of the environment
    session.mount("https://", Bounded())
    session.mount("http://", Bounded())
    return session
