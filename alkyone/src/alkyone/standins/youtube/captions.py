"""The captions of a world's videos: which tracks there are, and what they say; always the same for the same video."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import cycle, islice
from typing import NamedTuple

from alkyone.standins.youtube import wire
from alkyone.standins.youtube.wire import Json
from alkyone.worlds.base import Video

LINE = timedelta(seconds=3)
MOST_LINES = 200
WORDS_A_LINE = 7


class Line(NamedTuple):
    """What is said from a moment on, in seconds."""

    start: float
    end: float
    text: str


class Captions(NamedTuple):
    """A track: made by a person (``standard``) or by a machine (``ASR``)."""

    id: str
    language: str
    kind: str

    @property
    def generated(self) -> bool:
        """Whether a machine made it."""
        return self.kind == "ASR"


def tracks(video: Video) -> list[Captions]:
    """The tracks of a video: three in ten have none, four one by a machine, three another by a person too."""
    chance = hashlib.blake2b(video.id.encode(), digest_size=1, person=b"captions").digest()[0] / 256
    language = video.language or "en"
    kinds = [] if chance < 0.3 else ["ASR"] if chance < 0.7 else ["standard", "ASR"]
    return [Captions(f"{kind}.{video.id}.{language}", language, kind) for kind in kinds]


def of_track(name: str) -> str:
    """The id of the video that a track's id belongs to; no video's when it is no track's id."""
    return name.partition(".")[2].partition(".")[0]


def lines(video: Video) -> list[Line]:
    """What is said in a video, as captions have it."""
    words = f"{video.title} {video.description} {' '.join(video.tags)}".split() or ["…"]
    length = video.duration.total_seconds() if video.duration else 60.0
    count = max(1, min(int(length / LINE.total_seconds()), MOST_LINES))
    spoken = cycle(words)
    return [
        Line(at * LINE.total_seconds(), (at + 1) * LINE.total_seconds(), " ".join(islice(spoken, WORDS_A_LINE)))
        for at in range(count)
    ]


def item(video: Video, track: Captions) -> Json:
    """A resource of ``captions.list``."""
    snippet = {
        "videoId": video.id,
        "lastUpdated": wire.timestamp(video.published_at),
        "trackKind": track.kind,
        "language": track.language,
        "name": "",
        "audioTrackType": "unknown",
        "isCC": False,
        "isLarge": False,
        "isEasyReader": False,
        "isDraft": False,
        "isAutoSynced": False,
        "status": "serving",
    }
    return wire.resource("youtube#caption", track.id, {"snippet": snippet})


def _vtt(video: Video, track: Captions) -> str:
    """WebVTT; a machine's rolls up, with the time of every word, as YouTube's does."""
    head = f"WEBVTT\nKind: captions\nLanguage: {track.language}\n\n"
    if not track.generated:
        cues = (f"{_clock(line.start)} --> {_clock(line.end)}\n{_escaped(line.text)}\n" for line in lines(video))
        return head + "\n".join(cues)
    rolled, shown = [], " "
    for line in lines(video):
        begin, flash, end = _clock(line.start), _clock(line.end - 0.01), _clock(line.end)
        first, *words = line.text.split()
        step = (line.end - line.start) / (len(words) + 2)
        timed = "".join(f"<{_clock(line.start + n * step)}><c> {_escaped(word)}</c>" for n, word in enumerate(words, 1))
        placed = " align:start position:0%"
        rolled.append(f"{begin} --> {flash}{placed}\n{shown}\n{_escaped(first)}{timed}\n")
        shown = _escaped(line.text)
        rolled.append(f"{flash} --> {end}{placed}\n{shown}\n \n")
    return head + "\n".join(rolled)


def _srt(video: Video, track: Captions) -> str:
    del track
    return "\n".join(
        f"{number}\n{_clock(line.start, ',')} --> {_clock(line.end, ',')}\n{line.text}\n"
        for number, line in enumerate(lines(video), 1)
    )


def _sbv(video: Video, track: Captions) -> str:
    del track
    return "\n".join(f"{_clock(line.start)[1:]},{_clock(line.end)[1:]}\n{line.text}\n" for line in lines(video))


FORMATS: Mapping[str, Callable[[Video, Captions], str]] = {"vtt": _vtt, "srt": _srt, "sbv": _sbv}
"""What ``captions.download`` converts to, by ``tfmt``; without one the captions come as they were uploaded."""


def _clock(seconds: float, point: str = ".") -> str:
    thousandths = round(seconds * 1_000)
    minutes, thousandths = divmod(thousandths, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{thousandths // 1_000:02d}{point}{thousandths % 1_000:03d}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
