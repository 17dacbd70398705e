"""The methods of the API: parameters in, an answer or a ``Problem`` out; no HTTP, no quota."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple, get_args

from alkyone.standins.youtube import captions, problems, tokens, wire
from alkyone.standins.youtube.wire import Json
from alkyone.worlds.base import Counts, Order, World
from atlas.errors import Bucket

MAX_IDS = 50
# Search caps at about 500 results and can wrap round, an uploads playlist near 20,000 (observed up to November 2026).
SEARCH_CAP = 500
UPLOADS_CAP = 20_000
_GUESS_CAP = 1_000_000

HitKind = Literal["video", "channel"]

_VIDEO_PARTS = frozenset({
    "contentDetails", "fileDetails", "id", "liveStreamingDetails", "localizations", "paidProductPlacementDetails",
    "player", "processingDetails", "recordingDetails", "snippet", "statistics", "status", "suggestions", "topicDetails",
})  # fmt: skip
_STATS_PARTS = frozenset({"contentDetails", "id", "snippet", "statistics"})
_CHANNEL_PARTS = frozenset({
    "auditDetails", "brandingSettings", "contentDetails", "contentOwnerDetails", "id", "localizations", "snippet",
    "statistics", "status", "topicDetails",
})  # fmt: skip
_PLAYLIST_PARTS = frozenset({"contentDetails", "id", "snippet", "status"})
_SEARCH_PARTS = frozenset({"id", "snippet"})
_CAPTION_PARTS = frozenset({"id", "snippet"})


@dataclass
class Answer:
    """A body, and what the caller learned by it; ``media`` is what comes in the place of JSON."""

    body: Json
    readings: list[tuple[str, Counts]] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    media: bytes | None = None


class Parameters:
    """The query of a call: lists may be repeated or separated by commas.

    ``resource`` is what the address names; ``owned`` are the caller's channels, None when it came with a key.
    """

    def __init__(
        self, query: Mapping[str, Sequence[str]], *, resource: str = "", owned: Collection[str] | None = None
    ) -> None:
        self._query = query
        self.resource = resource
        self.owned = owned

    def get(self, name: str) -> str | None:
        """The last value, None when absent or empty."""
        values = self._query.get(name)
        return (values[-1] or None) if values else None

    def many(self, name: str) -> list[str]:
        """All values, once each, in their order."""
        parts = (part.strip() for value in self._query.get(name, ()) for part in value.split(","))
        return list(dict.fromkeys(filter(None, parts)))

    def parts(self, known: frozenset[str]) -> set[str]:
        """The ``part`` parameter.

        Raises:
            Problem: it is missing, or names something unknown.
        """
        parts = self.many("part")
        if not parts:
            raise problems.required("part")
        for part in parts:
            if part not in known:
                raise problems.unknown_part(part)
        return set(parts)

    def page_size(self, low: int = 0) -> int:
        """The ``maxResults`` parameter, 5 by default.

        Raises:
            Problem: it is no number from ``low`` to 50.
        """
        text = self.get("maxResults") or "5"
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= MAX_IDS:
            message = f"Invalid value '{text}'. Values must be within the range: [{low}, {MAX_IDS}]"
            raise problems.invalid_parameter("maxResults", message)
        return int(text)

    def offset(self, size: int) -> int:
        """Where the page of ``pageToken`` begins.

        Raises:
            Problem: the token is none of ours.
        """
        token = self.get("pageToken")
        if token is None:
            return 0
        offset = tokens.offset_of(token, size)
        if offset is None:
            raise problems.invalid_page_token()
        return offset

    def instant(self, name: str) -> datetime | None:
        """A time.

        Raises:
            Problem: it is no RFC 3339 time with an offset.
        """
        text = self.get(name)
        if text is None:
            return None
        try:
            instant = datetime.fromisoformat(text.upper())
        except ValueError:
            instant = None
        if instant is None or instant.tzinfo is None:
            raise problems.invalid_parameter(
                name, f"Invalid value at '{name}' (type.googleapis.com/google.protobuf.Timestamp), \"{text}\""
            )
        return instant.astimezone(UTC)

    def choice(self, name: str, known: Sequence[str], default: str) -> str:
        """One of a few values.

        Raises:
            Problem: it is another.
        """
        value = self.get(name) or default
        if value not in known:
            raise problems.invalid_parameter(
                name, f"Invalid string value: '{value}'. Allowed values: [{', '.join(sorted(known))}]"
            )
        return value


def videos_list(world: World, asked: Parameters, at: datetime, left_out: frozenset[str] = frozenset()) -> Answer:
    """``videos.list``: by id, or the chart."""
    parts = asked.parts(_VIDEO_PARTS)
    ids, chart = asked.many("id"), asked.get("chart")
    if bool(ids) == (chart is not None):
        raise problems.invalid_filters() if ids else problems.no_filter("chart, id, myRating")
    if chart is not None:
        return _chart(world, asked, at, parts, left_out)
    if len(ids) > MAX_IDS:
        raise problems.invalid_filters()
    items, readings = _video_items(world, [name for name in ids if name not in left_out], parts, at)
    page = {"totalResults": len(items), "resultsPerPage": len(items)}
    return Answer(_collection("youtube#videoListResponse", items, page), readings)


def batch_get_stats(world: World, asked: Parameters, at: datetime, left_out: frozenset[str] = frozenset()) -> Answer:
    """``videos.batchGetStats``: counters of up to 50 videos; whom it leaves out it does not say."""
    parts = asked.parts(_STATS_PARTS)
    ids = asked.many("id")
    if not ids:
        raise problems.required("id")
    if len(ids) > MAX_IDS:
        raise problems.invalid_parameter("id", f"The number of IDs specified cannot exceed {MAX_IDS}.")
    counts = world.readings([name for name in ids if name not in left_out], at)
    full = bool(parts & {"snippet", "contentDetails"})
    items: list[Json] = []
    for name, reading in counts.items():
        if not full:
            content = {"statistics": wire.statistics(reading, favourites=False)} if "statistics" in parts else {}
            items.append(wire.resource("youtube#videoStats", name, content))
        elif (video := world.video(name, at)) is not None:
            items.append(wire.stats_item(video, reading, parts))
    body = {"kind": "youtube#batchGetStatsResponse", "etag": wire.etag(items), "items": items}
    return Answer(body, list(counts.items()) if "statistics" in parts else [])


def search_list(world: World, asked: Parameters, at: datetime, left_out: frozenset[str] = frozenset()) -> Answer:
    """``search.list``: public videos that match, in pages, 500 at most; then it may begin again."""
    parts = asked.parts(_SEARCH_PARTS)
    size, order = asked.page_size(), asked.choice("order", get_args(Order), "relevance")
    after, before = asked.instant("publishedAfter"), asked.instant("publishedBefore")
    kinds = asked.many("type") or ["video", "channel", "playlist"]
    offset = asked.offset(size)
    q, channel_id = asked.get("q") or "", asked.get("channelId")
    found = world.search(q, after, before, _order(order), at) if "video" in kinds else []
    if channel_id is not None:
        own = set(world.uploads(channel_id, at) or ())
        found = [name for name in found if name in own]
    found = [name for name in found if name not in left_out]
    hits = _hits(world, q, found[:SEARCH_CAP], kinds, at)
    # Of the queries with more than YouTube will show, some start over where others end.
    wraps = len(found) > SEARCH_CAP and hashlib.blake2b(q.encode(), digest_size=1).digest()[0] % 2 == 0
    reach = 2 * len(hits) if wraps else len(hits)
    page = [hits[place % len(hits)] for place in range(offset, min(offset + size, reach))]
    items = [item for kind, name in page if (item := _hit_item(world, kind, name, at, snippet="snippet" in parts))]
    body: Json = {"kind": "youtube#searchListResponse", "etag": wire.etag(items)}
    if size and offset + size < reach:
        body["nextPageToken"] = tokens.search_token(offset + size)
    if offset:
        body["prevPageToken"] = tokens.previous_token(offset)
    body |= {
        "regionCode": asked.get("regionCode") or "US",
        "pageInfo": {"totalResults": _guess(len(found)), "resultsPerPage": size},
        "items": items,
    }
    return Answer(body, candidates=[name for kind, name in page if kind == "video"])


def channels_list(world: World, asked: Parameters, at: datetime, left_out: frozenset[str] = frozenset()) -> Answer:
    """``channels.list``: by id or handle; ``items`` is absent when there is none."""
    parts = asked.parts(_CHANNEL_PARTS)
    ids, handle = asked.many("id"), asked.get("forHandle")
    if handle is not None:
        wanted = "@" + handle.lstrip("@").casefold()
        known = ((name, world.channel(name, at)) for name in world.channels_at(at))
        ids = [name for name, channel in known if channel is not None and channel.handle == wanted]
    elif asked.get("mine") == "true":
        if asked.owned is None:
            raise problems.login_required("V3DataChannelService.List")
        ids = list(asked.owned)
    elif not ids:
        raise problems.no_filter("categoryId, forHandle, forUsername, id, managedByMe, mine, mySubscribers")
    if len(ids) > MAX_IDS:
        raise problems.invalid_filters()
    channels = (world.channel(name, at) for name in ids if name not in left_out)
    items = [wire.channel_item(channel, parts) for channel in channels if channel is not None]
    body = _collection(
        "youtube#channelListResponse", items, {"totalResults": len(items), "resultsPerPage": asked.page_size()}
    )
    if not items:
        del body["items"]
    return Answer(body)


def playlist_items_list(
    world: World, asked: Parameters, at: datetime, left_out: frozenset[str] = frozenset()
) -> Answer:
    """``playlistItems.list`` of an uploads playlist, newest first, 20,000 at most."""
    parts = asked.parts(_PLAYLIST_PARTS)
    playlist = asked.get("playlistId")
    if playlist is None:
        raise problems.no_filter("id, playlistId")
    size = asked.page_size()
    uploads = world.uploads("UC" + playlist[2:], at) if playlist.startswith("UU") else None
    if uploads is None:
        raise problems.playlist_not_found()
    uploads = uploads[:UPLOADS_CAP]
    offset = asked.offset(size)
    if offset > len(uploads):
        raise problems.invalid_page_token()
    page = [
        (place, video)
        for place in range(offset, min(offset + size, len(uploads)))
        if (video := world.video(uploads[place], at))
    ]
    items = [wire.playlist_item(video, playlist, place, parts) for place, video in page if video.id not in left_out]
    body: Json = {"kind": "youtube#playlistItemListResponse", "etag": wire.etag(items)}
    if size and offset + size < len(uploads):
        body["nextPageToken"] = tokens.playlist_token(offset + size)
    if offset:
        body["prevPageToken"] = tokens.playlist_token(max(offset - size, 0))
    body |= {"items": items, "pageInfo": {"totalResults": len(uploads), "resultsPerPage": size}}
    return Answer(body, candidates=[video.id for _, video in page if not video.private and video.id not in left_out])


def captions_list(world: World, asked: Parameters, at: datetime, left_out: frozenset[str] = frozenset()) -> Answer:
    """``captions.list``: the tracks of anybody's video, for whoever comes with a token."""
    if asked.owned is None:
        raise problems.login_required("V3DataCaptionService.List")
    parts, name = asked.parts(_CAPTION_PARTS), asked.get("videoId")
    if name is None:
        raise problems.required("videoId")
    video = world.video(name, at)
    if video is None or (video.private and video.channel_id not in asked.owned):
        raise problems.video_not_found()
    items = [captions.item(video, track) for track in captions.tracks(video) if track.id not in left_out]
    for item in items:
        if "snippet" not in parts:
            del item["snippet"]
    return Answer({"kind": "youtube#captionListResponse", "etag": wire.etag(items), "items": items})


def captions_download(world: World, asked: Parameters, at: datetime, left_out: frozenset[str] = frozenset()) -> Answer:
    """``captions.download``: what a track says, for the owner of the video alone."""
    del left_out
    if asked.owned is None:
        raise problems.login_required("V3DataCaptionService.Download")
    video = world.video(captions.of_track(asked.resource), at)
    track = next((track for track in captions.tracks(video) if track.id == asked.resource), None) if video else None
    if video is None or track is None:
        raise problems.caption_not_found()
    if video.channel_id not in asked.owned:
        raise problems.caption_forbidden()
    written = captions.FORMATS.get(asked.get("tfmt") or "vtt")
    if written is None:
        raise problems.could_not_convert()
    return Answer({}, media=written(video, track).encode())


class Method(NamedTuple):
    """A method of the API: its name, what it costs, the schema of its answer (media has none), how it is answered."""

    name: str
    bucket: Bucket
    cost: int
    response: str
    answer: Callable[[World, Parameters, datetime, frozenset[str]], Answer]


# Costs: YouTube Data API, "Quota costs" and the pages of the methods, as of November 2026.
METHODS: Mapping[str, Method] = {
    "videos": Method("videos.list", "general", 1, "VideoListResponse", videos_list),
    "videos:batchGetStats": Method("videos.batchGetStats", "stats", 1, "BatchGetStatsResponse", batch_get_stats),
    "search": Method("search.list", "search", 1, "SearchListResponse", search_list),
    "channels": Method("channels.list", "general", 1, "ChannelListResponse", channels_list),
    "playlistItems": Method("playlistItems.list", "general", 1, "PlaylistItemListResponse", playlist_items_list),
    "captions": Method("captions.list", "general", 50, "CaptionListResponse", captions_list),
    "captions/": Method("captions.download", "general", 200, "", captions_download),
}


def _chart(world: World, asked: Parameters, at: datetime, parts: set[str], left_out: frozenset[str]) -> Answer:
    asked.choice("chart", ["mostPopular"], "mostPopular")
    size = asked.page_size(1)
    offset, category = asked.offset(size), asked.get("videoCategoryId") or "0"
    charted = [name for name in world.popular(at) if name not in left_out]
    if category != "0":
        charted = [name for name in charted if (video := world.video(name, at)) and video.category_id == category]
    items, readings = _video_items(world, charted[offset : offset + size], parts, at)
    body = _collection("youtube#videoListResponse", items, {"totalResults": len(charted), "resultsPerPage": size})
    if offset + size < len(charted):
        body["nextPageToken"] = tokens.search_token(offset + size)
    if offset:
        body["prevPageToken"] = tokens.previous_token(offset)
    return Answer(body, readings, [item["id"] for item in items])


def _video_items(
    world: World, ids: list[str], parts: set[str], at: datetime
) -> tuple[list[Json], list[tuple[str, Counts]]]:
    counted = "statistics" in parts
    counts = world.readings(ids, at) if counted else {}
    videos = (world.video(name, at) for name in ids)
    items = [
        wire.video_item(video, counts.get(video.id), parts)
        for video in videos
        if video is not None and not video.private
    ]
    return items, [(item["id"], counts[item["id"]]) for item in items if item["id"] in counts]


def _collection(kind: str, items: list[Json], page: Json) -> Json:
    return {"kind": kind, "etag": wire.etag(items), "items": items, "pageInfo": page}


def _hits(world: World, q: str, found: Sequence[str], kinds: list[str], at: datetime) -> list[tuple[HitKind, str]]:
    """Videos, and ahead of them the channel most of them are of, when channels were asked for too."""
    hits: list[tuple[HitKind, str]] = [("video", name) for name in found]
    if "channel" in kinds and q:
        first = next((video.channel_id for name in found if (video := world.video(name, at))), None)
        hits[:0] = [("channel", first)] if first is not None else []
    return hits[:SEARCH_CAP]


def _hit_item(world: World, kind: HitKind, name: str, at: datetime, *, snippet: bool) -> Json | None:
    if kind == "video":
        video = world.video(name, at)
        return None if video is None else wire.search_item(video, snippet=snippet)
    channel = world.channel(name, at)
    return None if channel is None else wire.channel_search_item(channel, snippet=snippet)


def _order(name: str) -> Order:
    return next(order for order in get_args(Order) if order == name)


def _guess(found: int) -> int:
    """``totalResults``, which is no count: right when there is nothing, a wild guess otherwise."""
    return min(found * found * 7 // 5, _GUESS_CAP)
