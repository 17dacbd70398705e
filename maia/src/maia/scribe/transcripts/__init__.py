"""What is said in a video: captions in any form, read into one, from where the operator may take them."""

from maia.scribe.transcripts.formats import FORMATS, Format, parse
from maia.scribe.transcripts.model import (
    MalformedTranscript,
    NoTranscript,
    Postponed,
    Segment,
    SourceFailed,
    Track,
    Transcript,
    TranscriptSource,
    Wanted,
    choose,
)
from maia.scribe.transcripts.player import read_player

__all__ = [
    "FORMATS",
    "Format",
    "MalformedTranscript",
    "NoTranscript",
    "Postponed",
    "Segment",
    "SourceFailed",
    "Track",
    "Transcript",
    "TranscriptSource",
    "Wanted",
    "choose",
    "parse",
    "read_player",
]
