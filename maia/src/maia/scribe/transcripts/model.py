"""What was said in a video, in one normal form, and why nothing is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from atlas.errors import AtlasError

UNKNOWN = "und"
"""The language of a transcript whose language nobody tells (ISO 639-2)."""


class Segment(NamedTuple):
    """A line: when it begins and how long it stands, in seconds with three decimals; plain text without newlines."""

    start: float
    duration: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """The lines of a video in one language, in the order they begin; they may overlap, none is empty."""

    language: str  # BCP 47
    segments: tuple[Segment, ...]
    generated: bool | None  # by a machine; None when nobody tells
    source: str

    @property
    def text(self) -> str:
        """All that was said, a line each."""
        return "\n".join(segment.text for segment in self.segments)

    def document(self) -> dict[str, Any]:
        """The transcript as the vault keeps it."""
        return {
            "language": self.language,
            "source": self.source,
            "generated": self.generated,
            "text": self.text,
            "segments": [segment._asdict() for segment in self.segments],
        }


@dataclass(frozen=True, slots=True)
class NoTranscript:
    """The answer that there is none, and why."""

    reason: str
    source: str

    def document(self) -> dict[str, Any]:
        """The answer as the vault keeps it."""
        return {"language": UNKNOWN, "source": self.source, "reason": self.reason}


class MalformedTranscript(AtlasError):
    """Captions came that cannot be read; the message says what is wrong with them and quotes nothing."""


class SourceFailed(AtlasError):
    """A source could not look for captions; trying later may work."""

    retryable = True


class Postponed(AtlasError):
    """A source does not look at this video in this run; at others it may."""


class Wanted(NamedTuple):
    """A video whose transcript is asked for, and what may help to find the right one."""

    video_id: str
    channel_id: str
    language: str | None = None  # that of the video, as its owner says


class TranscriptSource(Protocol):
    """Whoever may know what was said in a video."""

    @property
    def name(self) -> str:
        """What the vault calls it."""
        ...

    @property
    def units(self) -> int:
        """Units of the general bucket that it has used."""
        ...

    @property
    def at_once(self) -> int:
        """How many videos it may be asked about at the same time."""
        ...

    async def fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
        """Fetch the transcript of a video, in its own language if there is one, else in the one that is spoken.

        Raises:
            MalformedTranscript: there are captions, but they cannot be read.
            SourceFailed, ApiError: the source could not look; later it may.
            Postponed, QuotaExhausted, CircuitOpen: it did not try, for a while.
            ConfigurationError: it can never look as it is set up.
        """
        ...


class Track(NamedTuple):
    """A set of captions that a video has; ``address`` is what its source finds it by."""

    language: str
    generated: bool
    name: str
    address: str


def choose(tracks: Sequence[Track], language: str | None) -> Track | None:
    """Choose the track that says best what is said: in ``language`` or its kin, a person's before a machine's.

    Without a track in that language, or without a language, the one that a machine heard tells what is spoken.
    """
    heard = next((track.language for track in tracks if track.generated), None)
    for wanted in filter(None, (language, heard)):
        kin = [track for track in tracks if _primary(track.language) == _primary(wanted)]
        if kin:
            return min(kin, key=lambda track: (track.language.casefold() != wanted.casefold(), track.generated))
    return min(tracks, key=lambda track: track.generated, default=None)


def _primary(language: str) -> str:
    return language.casefold().replace("_", "-").partition("-")[0]
