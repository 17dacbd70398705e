"""Read decoded answers into models, as they come and not as they should.

Lenient field by field, strict about what identifies a row: a value that is not of its kind is None, an item
without an id is left out. Where videos or channels are asked for by id, one that cannot be read might be anybody's, so
that nobody may be taken for gone: that raises ``ApiUnavailable``, as what has no list of items does. Nothing here does
I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from html import unescape
from typing import Any, Final

import isodate
import orjson

from maia.youtube.errors import unusable
from maia.youtube.models import (
    BatchStats,
    CaptionTrack,
    Channel,
    SearchHit,
    SearchPage,
    Stats,
    Upload,
    UploadsPage,
    Video,
    VideoPage,
)

Json = dict[str, Any]

_NOTHING: Final[Json] = {}
_BIGGEST = 2**63 - 1
_SAFE_DIGITS, _UINT64_DIGITS = 19, 20
_LONGEST_DURATION = 40
_COUNTS = ("viewCount", "likeCount", "commentCount")
_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
# Exactly what YouTube escapes: html.unescape alone would spoil "&copy" in a title that came unescaped.
_ESCAPED = re.compile(r"&(?:amp|lt|gt|quot|#39|#x27);")


def decode(body: bytes) -> Any:
    """Decode JSON, without the NULs that JSON can spell and PostgreSQL cannot store.

    Raises:
        orjson.JSONDecodeError: it is not JSON, or not all of it.
    """
    return orjson.loads(_NUL.sub(rb"\1", body) if b"\\u0000" in body else body)


def search_page(answer: Any) -> SearchPage:
    """Read an answer of ``search.list``; hits that are channels or playlists are left out."""
    hits = tuple(hit for item in _items(answer) if (hit := _search_hit(item)) is not None)
    return SearchPage(hits, _text(answer.get("nextPageToken")), _total(answer))


def videos(answer: Any) -> list[Video]:
    """Read an answer of ``videos.list``."""
    return [_video(item, id_) for id_, item in _named(answer)]


def video_page(answer: Any) -> VideoPage:
    """Read an answer of ``videos.list`` that has pages."""
    return VideoPage(tuple(videos(answer)), _text(answer.get("nextPageToken")), _total(answer))


def batch_stats(answer: Any, asked: Iterable[str]) -> BatchStats:
    """Read an answer of ``videos.batchGetStats``, accounting for each id that was asked for."""
    missing = set(asked)
    returned: dict[str, Stats] = {}
    failed: dict[str, str] = {}
    for item in _items(answer):
        id_ = item.get("id")
        if type(id_) is str and id_ in missing:
            missing.discard(id_)
            reading = _stats(item)
            if isinstance(reading, Stats):
                returned[id_] = reading
            else:
                failed[id_] = reading
    return BatchStats(returned, failed, frozenset(missing))


def captions(answer: Any) -> list[CaptionTrack]:
    """Read an answer of ``captions.list``."""
    found = ((_text(item.get("id")), _part(item, "snippet")) for item in _items(answer))
    return [
        CaptionTrack(
            id_,
            _text(told.get("language")),
            _text(told.get("trackKind")),
            _text(told.get("name")),
            _text(told.get("status")),
            told.get("isDraft") is True,
        )
        for id_, told in found
        if id_ is not None
    ]


def channels(answer: Any) -> list[Channel]:
    """Read an answer of ``channels.list``."""
    return [_channel(item, id_) for id_, item in _named(answer)]


def uploads_page(answer: Any) -> UploadsPage:
    """Read an answer of ``playlistItems.list``."""
    uploads = tuple(upload for item in _items(answer) if (upload := _upload(item)) is not None)
    return UploadsPage(uploads, _text(answer.get("nextPageToken")), _total(answer))


def count(value: Any) -> int | None:
    """Read a count, which is a string on the wire; None for what is absent or no count."""
    if type(value) is str and value.isdigit() and value.isascii():
        if len(value) < _SAFE_DIGITS:
            return int(value)
        value = int(value) if len(value) <= _UINT64_DIGITS else None  # int() is slow on a hostile length
    return value if type(value) is int and 0 <= value <= _BIGGEST else None


def instant(value: Any) -> datetime | None:
    """Read an RFC 3339 time with any number of fractional digits, in UTC."""
    if type(value) is not str:
        return None
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is UTC:
            return moment
        # A time without a zone is UTC's: YouTube's documents know no other.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def duration(value: Any) -> timedelta | None:
    """Read an ISO 8601 or protobuf duration; None for nought, the length of what is live or yet to come."""
    return _duration(value) if type(value) is str and len(value) <= _LONGEST_DURATION else None


@lru_cache(maxsize=8192)  # the lengths of videos repeat
def _duration(value: str) -> timedelta | None:
    length: object
    try:
        if value.isascii() and value.endswith("s"):  # google.protobuf.Duration: seconds, "194s", "90.5s"
            length = timedelta(seconds=float(value[:-1]))
        else:
            length = isodate.parse_duration(value)
    except (ValueError, OverflowError, ArithmeticError):
        return None
    # Years and months have no length of their own, and nothing lasts less than no time.
    return length if isinstance(length, timedelta) and length > timedelta(0) else None


def _items(answer: Any) -> Iterable[Json]:
    if not isinstance(answer, dict):
        raise unusable("unexpectedAnswer", "JSON, but no object")
    items = answer.get("items")
    if items is None:  # also {}: that is how a partial response says "none"
        return ()
    if not isinstance(items, list):
        raise unusable("unexpectedAnswer", "the items are no list")
    return (item for item in items if isinstance(item, dict))


def _named(answer: Any) -> Iterator[tuple[str, Json]]:
    """Give the items of an answer that was asked for by id; who is not among them is not there."""
    for item in _items(answer):
        id_ = item.get("id", "")
        if not isinstance(id_, str | dict):  # an object is the id of a search's result
            raise unusable("unexpectedAnswer", "an item's id is no text")
        if id_ and isinstance(id_, str):
            yield id_, item


def _total(answer: Json) -> int | None:
    return count(_part(answer, "pageInfo").get("totalResults"))


def _search_hit(item: Json) -> SearchHit | None:
    id_, snippet = item.get("id"), _part(item, "snippet")
    video_id = _text(id_.get("videoId")) if isinstance(id_, dict) else None
    if video_id is None:
        return None
    title = _text(snippet.get("title"))
    if title is not None and "&" in title:
        title = _ESCAPED.sub(lambda entity: unescape(entity[0]), title)
    return SearchHit(
        video_id,
        _text(snippet.get("channelId")),
        _text(snippet.get("channelTitle")),
        title,
        instant(snippet.get("publishedAt") or snippet.get("publishTime")),
        _text(snippet.get("liveBroadcastContent")),
    )


def _video(item: Json, id_: str) -> Video:
    snippet, statistics, status = _part(item, "snippet"), _part(item, "statistics"), _part(item, "status")
    return Video(
        id_,
        _text(snippet.get("channelId")),
        _text(snippet.get("channelTitle")),
        _text(snippet.get("title")),
        instant(snippet.get("publishedAt")),
        _texts(snippet.get("tags")),
        _text(snippet.get("categoryId")),
        _text(snippet.get("defaultLanguage")),
        _text(snippet.get("defaultAudioLanguage")),
        _text(snippet.get("liveBroadcastContent")),
        _text(snippet.get("description")),
        duration(_part(item, "contentDetails").get("duration")),
        count(statistics.get("viewCount")),
        count(statistics.get("likeCount")),
        count(statistics.get("commentCount")),
        _text(status.get("privacyStatus")),
        _text(status.get("uploadStatus")),
        _texts(_part(item, "topicDetails").get("topicCategories")),
    )


def _stats(item: Json) -> Stats | str:
    """Read one item of a batch, or say why it is no reading."""
    statistics = item.get("statistics")
    if type(statistics) is not dict:
        told = _part(item, "error")
        return _text(told.get("reason")) or _text(told.get("message")) or "no statistics"
    views = count(statistics.get("viewCount"))
    likes = count(statistics.get("likeCount"))
    comments = count(statistics.get("commentCount"))
    if views is None or likes is None or comments is None:  # hidden is fine, garbage is not
        for name in _COUNTS:
            if (value := statistics.get(name)) is not None and count(value) is None:
                return f"{name} is no count"
    published = instant(_part(item, "snippet").get("publishTime"))
    return Stats(views, likes, comments, published, duration(_part(item, "contentDetails").get("duration")))


def _channel(item: Json, id_: str) -> Channel:
    snippet, statistics = _part(item, "snippet"), _part(item, "statistics")
    hidden = statistics.get("hiddenSubscriberCount") is True  # the count beside it is then "0" or a leftover
    return Channel(
        id_,
        _text(snippet.get("title")),
        _text(snippet.get("country")),
        _text(snippet.get("customUrl")),
        instant(snippet.get("publishedAt")),
        _text(_part(_part(item, "contentDetails"), "relatedPlaylists").get("uploads")),
        count(statistics.get("viewCount")),
        None if hidden else count(statistics.get("subscriberCount")),
        count(statistics.get("videoCount")),
        _texts(_part(item, "topicDetails").get("topicCategories")),
    )


def _upload(item: Json) -> Upload | None:
    snippet, details = _part(item, "snippet"), _part(item, "contentDetails")
    video_id = _text(details.get("videoId")) or _text(_part(snippet, "resourceId").get("videoId"))
    if video_id is None:
        return None
    return Upload(
        video_id,
        _text(snippet.get("title")),
        instant(details.get("videoPublishedAt")),
        instant(snippet.get("publishedAt")),
    )


def _part(item: Json, name: str) -> Json:
    part = item.get(name)
    return part if type(part) is dict else _NOTHING


def _text(value: Any) -> str | None:
    """Take a text; YouTube's empty ones say "none"."""
    return value if type(value) is str and value else None


def _texts(value: Any) -> tuple[str, ...]:
    return tuple([text for text in value if type(text) is str and text]) if type(value) is list else ()
