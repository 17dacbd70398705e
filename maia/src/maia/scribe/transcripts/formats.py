"""Captions as they are found in files and answers, read into segments.

WebVTT and SubRip are read by webvtt-py, which is kept well and takes what is found in the wild (short time stamps,
blank lines within a cue, comments, styles, regions); what YouTube's own captions are peculiar in is mended here: lines
that roll up and are said twice, times of single words, entities, invisible characters. json3 and timed text are
YouTube's own, and no library that does more than fetch reads them.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from html import unescape
from typing import Any, Literal, NamedTuple, get_args
from xml.etree.ElementTree import Element

import orjson
import webvtt
from webvtt.errors import MalformedCaptionError, MalformedFileError

from maia.plain_xml import parse_xml
from maia.scribe.transcripts.model import MalformedTranscript, Segment

Format = Literal["json3", "vtt", "srt", "xml"]
FORMATS: tuple[Format, ...] = get_args(Format)

MAX_BYTES = 8 * 2**20
"""Captions may be this long. Twelve hours of a machine's, as WebVTT with the time of every word, take 6 MiB."""

MAX_CUES = 100_000
"""So many cues take 100 MB to read; twelve hours of a machine's are 34,000."""

LONGEST_SECONDS = 1_000 * 3_600.0
"""No video lasts longer: YouTube takes twelve hours, and live streams end some day."""

_FLASH_SECONDS = 0.05
"""YouTube's rolling captions put a cue of 10 ms between two lines, so that the line before stays where it is."""

_TAGS = re.compile(r"</?[A-Za-z][^<>]*>|<\d[\d:.]*>")
_OVERRIDES = re.compile(r"\{\\[^{}]*\}")  # SubRip files carry those of Advanced SubStation: {\an8}
_WORD_TIME = re.compile(r"<\d+:\d\d(?::\d\d)?\.\d+>")
_ENDLESS = re.compile(r"&#\d{1000,};?")
"""No character has such a number; Python refuses to read numbers of more than 4,300 digits, with an error."""
_UNSEEN = re.compile(r"[\u200b\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")


class _Cue(NamedTuple):
    """Lines that are shown together, from when to when in seconds, as they are written."""

    start: float
    end: float
    lines: list[str]


def parse(data: bytes, form: Format) -> list[Segment]:
    """Read captions into segments, in the order they begin; there may be none.

    Raises:
        MalformedTranscript: they are not of that form, or longer than ``MAX_BYTES``.
    """
    if len(data) > MAX_BYTES:
        raise MalformedTranscript(f"more than {MAX_BYTES} bytes")
    match form:
        case "json3":
            found = _json3(data)
        case "vtt" | "srt":
            found = _cues(data, form)
        case "xml":
            found = _timed_text(data)
    return sorted(found, key=lambda segment: segment.start)


def _segment(start: float, duration: float, text: str) -> Iterator[Segment]:
    """Make a segment of a line, unless nothing is said or its times are none."""
    if not (math.isfinite(start) and math.isfinite(duration) and 0 <= start <= LONGEST_SECONDS):
        return
    if plain := plain_text(text):
        yield Segment(round(start, 3), round(min(max(duration, 0.0), LONGEST_SECONDS), 3), plain)


def plain_text(text: str) -> str:
    """Make one line of a text, without tags, entities, invisible characters and surplus space."""
    bare = _unescaped(_OVERRIDES.sub("", _TAGS.sub("", text)))  # entities last: a tag that is written out stays
    return " ".join(_UNSEEN.sub("", bare).split())


def _unescaped(text: str) -> str:
    return unescape(_ENDLESS.sub("\ufffd", text))


def decode(data: bytes) -> str:
    """Read a text file: UTF-8 or, with its mark, UTF-16; else what Windows wrote."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


# -- json3 ------------------------------------------------------------------------------------------------------------


def _json3(data: bytes) -> Iterator[Segment]:
    """Read YouTube's JSON: events with a start and a duration in milliseconds, and pieces of text.

    In what a machine heard each piece is a word; events without pieces define windows, and events that append to a
    window bring the newline between two lines.
    """
    try:
        document = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        raise MalformedTranscript("not JSON") from None
    events = document.get("events") if isinstance(document, dict) else None
    if not isinstance(events, list):
        raise MalformedTranscript("JSON, but without events")
    for event in events:
        if not isinstance(event, dict) or not isinstance(event.get("segs"), list):
            continue
        pieces = (piece.get("utf8") for piece in event["segs"] if isinstance(piece, dict))
        text = "".join(piece for piece in pieces if isinstance(piece, str))
        yield from _segment(_thousandths(event.get("tStartMs", 0)), _thousandths(event.get("dDurationMs", 0)), text)


def _thousandths(value: Any) -> float:
    """Read milliseconds, as a number or written out, into seconds; NaN for anything else."""
    return _number(value) / 1_000


def _number(value: Any) -> float:
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


# -- WebVTT and SubRip ------------------------------------------------------------------------------------------------


def _cues(data: bytes, form: Literal["vtt", "srt"]) -> Iterator[Segment]:
    if data.count(b"-->") > MAX_CUES:
        raise MalformedTranscript(f"more than {MAX_CUES} cues")
    try:
        read = webvtt.from_buffer(io.StringIO(decode(data)), format=form)
        cues = [
            _Cue(_seconds(cue.start_time.to_tuple()), _seconds(cue.end_time.to_tuple()), cue.lines)
            for cue in read.captions
        ]
    except (MalformedFileError, MalformedCaptionError):
        raise MalformedTranscript(f"not {'WebVTT' if form == 'vtt' else 'SubRip'}") from None
    for cue in _unrolled(cues) if _rolls(cues) else cues:
        yield from _segment(cue.start, cue.end - cue.start, " ".join(cue.lines))


def _seconds(stamp: tuple[int, int, int, int]) -> float:
    hours, minutes, seconds, thousandths = stamp
    return 3_600.0 * hours + 60 * minutes + seconds + thousandths / 1_000


def _rolls(cues: Sequence[_Cue]) -> bool:
    """Say whether the captions roll up: words have their times, or every second line is but a flash.

    A person's captions do neither, and a line of a song that comes twice is sung twice.
    """
    if any(_WORD_TIME.search(line) for cue in cues for line in cue.lines):
        return True
    flashes = sum(0 <= cue.end - cue.start <= _FLASH_SECONDS for cue in cues)
    return flashes > len(cues) / 4


def _unrolled(cues: Iterable[_Cue]) -> Iterator[_Cue]:
    """Leave out of each cue the lines that were on the screen before it."""
    shown: list[str] = []
    for cue in cues:
        lines = [line for line in map(plain_text, cue.lines) if line]
        stayed = next(n for n in range(min(len(shown), len(lines)), -1, -1) if shown[len(shown) - n :] == lines[:n])
        yield cue._replace(lines=lines[stayed:])
        shown = lines


# -- Timed text -------------------------------------------------------------------------------------------------------


def _timed_text(data: bytes) -> Iterator[Segment]:
    """Read YouTube's XML: ``<text start dur>`` in seconds, ``<text t d>`` and ``<p t d>`` in milliseconds."""
    try:
        root = parse_xml(data)
    except ValueError as exc:
        raise MalformedTranscript(str(exc)) from None
    if root.tag not in {"transcript", "timedtext"}:
        raise MalformedTranscript("XML, but no timed text")
    for line in (*root, *root.iterfind("body/*")):
        if line.tag == "text" and "start" in line.attrib:
            yield from _segment(_number(line.get("start")), _number(line.get("dur", 0)), _said(line))
        elif line.tag in {"text", "p"}:
            yield from _segment(_thousandths(line.get("t")), _thousandths(line.get("d", 0)), _said(line))


def _said(line: Element) -> str:
    return _unescaped("".join(line.itertext()))  # what is in there was wrapped once for itself
