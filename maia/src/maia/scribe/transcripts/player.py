"""What a saved answer of YouTube's player (innertube ``player``) says of a video's captions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from maia.scribe.transcripts.formats import MAX_BYTES, plain_text
from maia.scribe.transcripts.model import MalformedTranscript, NoTranscript, SourceFailed, Track

DISABLED = "captions are disabled"
"""The reason why a video that plays has none: nobody uploaded any, and no machine listened."""

_BOT = "not a bot"
"""Of what the player says to whom it takes for a machine ("Sign in to confirm you’re not a bot", November 2026)."""


def read_player(data: bytes, source: str) -> list[Track] | NoTranscript:
    """Read the tracks of a player's answer, or why there are none; a track's address is where timed text is served.

    Raises:
        MalformedTranscript: it is no player's answer.
        SourceFailed: the player turned us away, and said nothing of the video.
    """
    if len(data) > MAX_BYTES:
        raise MalformedTranscript(f"more than {MAX_BYTES} bytes")
    try:
        answer = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        raise MalformedTranscript("not JSON") from None
    status = _inner(answer, "playabilityStatus", "status")
    if not isinstance(status, str):
        raise MalformedTranscript("JSON, but no player's answer")
    if status != "OK":
        said = _text(_inner(answer, "playabilityStatus", "reason"))
        if _BOT in said:
            raise SourceFailed("the player takes us for a bot")
        return NoTranscript(f"unavailable: {said or status}", source)
    listed = _inner(answer, "captions", "playerCaptionsTracklistRenderer", "captionTracks")
    return list(_tracks(listed)) or NoTranscript(DISABLED, source)


def _tracks(listed: Any) -> Iterator[Track]:
    for track in listed if isinstance(listed, list) else ():
        language, address = _inner(track, "languageCode"), _inner(track, "baseUrl")
        if isinstance(language, str) and isinstance(address, str):
            yield Track(language, _inner(track, "kind") == "asr", _text(_inner(track, "name")), address)


def _inner(node: Any, *path: str) -> Any:
    for name in path:
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _text(node: Any) -> str:
    """Read a text as the player gives it: plain, or in runs."""
    if isinstance(node, str):
        return plain_text(node)
    runs = _inner(node, "runs")
    said = [_inner(run, "text") for run in runs] if isinstance(runs, list) else [_inner(node, "simpleText")]
    return plain_text("".join(part for part in said if isinstance(part, str)))
