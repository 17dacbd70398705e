"""Resources in YouTube's wire format, made from what a world says."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import orjson

from alkyone.worlds.base import Channel, Counts, Video

Json = dict[str, Any]

_THUMBNAILS = {
    "default": ("default", 120, 90),
    "medium": ("mqdefault", 320, 180),
    "high": ("hqdefault", 480, 360),
    "standard": ("sddefault", 640, 480),
    "maxres": ("maxresdefault", 1280, 720),
}
_SEARCH_THUMBNAILS = ("default", "medium", "high")
_SNIPPET_LENGTH = 140


def etag(document: Any) -> str:
    """Twenty bytes that change with the content, as today's API writes them."""
    digest = hashlib.blake2b(orjson.dumps(document), digest_size=20).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def timestamp(instant: datetime) -> str:
    """An instant as ``publishedAt`` has it; fractions only where there are some."""
    return instant.strftime("%Y-%m-%dT%H:%M:%S") + (f".{instant.microsecond:06d}" if instant.microsecond else "") + "Z"


def iso_duration(length: timedelta | None) -> str:
    """A length as ``contentDetails.duration`` has it: ``P0D`` when unknown, ``P1DT2H`` beyond a day."""
    if length is None:
        return "P0D"
    seconds = int(length.total_seconds())
    days, seconds = divmod(seconds, 86_400)
    hours, seconds = divmod(seconds, 3_600)
    minutes, seconds = divmod(seconds, 60)
    time = "".join(f"{value}{unit}" for value, unit in ((hours, "H"), (minutes, "M"), (seconds, "S")) if value)
    return "P" + (f"{days}D" if days else "") + (f"T{time}" if time else "" if days else "T0S")


def proto_duration(length: timedelta | None) -> str:
    """A length as batchGetStats has it, a ``google.protobuf.Duration``: ``194s``."""
    return f"{0 if length is None else int(length.total_seconds())}s"


def resource(kind: str, name: object, parts: Json) -> Json:
    """An item: its kind, its etag, its id, its parts."""
    return {"kind": kind, "etag": etag(parts), "id": name, **parts}


def thumbnails(video: Video, names: Collection[str] = tuple(_THUMBNAILS)) -> Json:
    """Where the pictures of a video are; live ones have their own."""
    suffix = "_live" if video.live != "none" else ""
    return {
        name: {"url": f"https://i.ytimg.com/vi/{video.id}/{file}{suffix}.jpg", "width": width, "height": height}
        for name, (file, width, height) in _THUMBNAILS.items()
        if name in names
    }


def statistics(counts: Counts, *, favourites: bool) -> Json:
    """Counters as strings; what is hidden is absent."""
    counters = {"viewCount": str(counts.views)}
    if counts.likes is not None:
        counters["likeCount"] = str(counts.likes)
    if favourites:
        counters["favoriteCount"] = "0"
    if counts.comments is not None:
        counters["commentCount"] = str(counts.comments)
    return counters


def video_item(video: Video, counts: Counts | None, parts: Collection[str]) -> Json:
    """An item of ``videos.list``."""
    content: Json = {}
    if "snippet" in parts:
        content["snippet"] = _video_snippet(video)
    if "contentDetails" in parts:
        content["contentDetails"] = {
            "duration": iso_duration(video.duration),
            "dimension": "2d",
            "definition": "hd",
            "caption": "false",
            "licensedContent": True,
            "contentRating": {},
            "projection": "rectangular",
        }
    if "status" in parts:
        content["status"] = {
            "uploadStatus": "processed" if video.live == "none" else "uploaded",
            "privacyStatus": "public",
            "license": "youtube",
            "embeddable": True,
            "publicStatsViewable": True,
            "madeForKids": False,
        }
    if "statistics" in parts and counts is not None:
        content["statistics"] = statistics(counts, favourites=True)
    if "topicDetails" in parts and video.topics:
        content["topicDetails"] = {"topicCategories": list(video.topics)}
    if "liveStreamingDetails" in parts and video.live != "none":
        content["liveStreamingDetails"] = {"scheduledStartTime": timestamp(video.published_at)}
    return resource("youtube#video", video.id, content)


def stats_item(video: Video, counts: Counts, parts: Collection[str]) -> Json:
    """An item of ``videos.batchGetStats``; its kind is the one the discovery document names."""
    content: Json = {}
    if "snippet" in parts:
        content["snippet"] = {"publishTime": timestamp(video.published_at)}
    if "contentDetails" in parts:
        content["contentDetails"] = {"duration": proto_duration(video.duration)}
    if "statistics" in parts:
        content["statistics"] = statistics(counts, favourites=False)
    return resource("youtube#videoStats", video.id, content)


def search_item(video: Video, *, snippet: bool = True) -> Json:
    """A hit of ``search.list`` that is a video; its texts are HTML-escaped."""
    content: Json = {}
    if snippet:
        published = timestamp(video.published_at)
        content["snippet"] = {
            "publishedAt": published,
            "channelId": video.channel_id,
            "title": html.escape(video.title).replace("&#x27;", "&#39;"),
            "description": _shortened(video.description),
            "thumbnails": thumbnails(video, _SEARCH_THUMBNAILS),
            "channelTitle": html.escape(video.channel_title).replace("&#x27;", "&#39;"),
            "liveBroadcastContent": video.live,
        }
    return resource("youtube#searchResult", {"kind": "youtube#video", "videoId": video.id}, content)


def channel_search_item(channel: Channel, *, snippet: bool = True) -> Json:
    """A hit of ``search.list`` that is a channel."""
    content: Json = {}
    if snippet:
        title, published = html.escape(channel.title), timestamp(channel.created_at)
        content["snippet"] = {
            "publishedAt": published,
            "channelId": channel.id,
            "title": title,
            "description": _shortened(channel.description),
            "thumbnails": _portraits(channel.id, with_size=False),
            "channelTitle": title,
            "liveBroadcastContent": "none",
        }
    return resource("youtube#searchResult", {"kind": "youtube#channel", "channelId": channel.id}, content)


def channel_item(channel: Channel, parts: Collection[str]) -> Json:
    """An item of ``channels.list``."""
    content: Json = {}
    if "snippet" in parts:
        snippet = {
            "title": channel.title,
            "description": channel.description,
            "customUrl": channel.handle,
            "publishedAt": timestamp(channel.created_at),
            "thumbnails": _portraits(channel.id, with_size=True),
            "localized": {"title": channel.title, "description": channel.description},
        }
        content["snippet"] = snippet | ({"country": channel.country} if channel.country else {})
    if "contentDetails" in parts:
        content["contentDetails"] = {"relatedPlaylists": {"likes": "", "uploads": "UU" + channel.id[2:]}}
    if "statistics" in parts:
        hidden = channel.subscribers is None
        counters: Json = {"viewCount": str(channel.views)}
        if channel.subscribers is not None:
            counters["subscriberCount"] = str(_three_digits(channel.subscribers))
        content["statistics"] = counters | {"hiddenSubscriberCount": hidden, "videoCount": str(channel.videos)}
    if "status" in parts:
        content["status"] = {"privacyStatus": "public", "isLinked": True, "longUploadsStatus": "longUploadsUnspecified"}
    if "topicDetails" in parts and channel.topics:
        content["topicDetails"] = {"topicCategories": list(channel.topics)}
    return resource("youtube#channel", channel.id, content)


def playlist_item(video: Video, playlist_id: str, position: int, parts: Collection[str]) -> Json:
    """An item of an uploads playlist; a private video shows no more than that it is there."""
    published = timestamp(video.published_at)
    content: Json = {}
    if "snippet" in parts:
        snippet = {
            "publishedAt": published,
            "channelId": video.channel_id,
            "title": "Private video" if video.private else video.title,
            "description": "This video is private." if video.private else video.description,
            "thumbnails": {} if video.private else thumbnails(video),
            "channelTitle": video.channel_title,
            "playlistId": playlist_id,
            "position": position,
            "resourceId": {"kind": "youtube#video", "videoId": video.id},
        }
        owner = {"videoOwnerChannelTitle": video.channel_title, "videoOwnerChannelId": video.channel_id}
        content["snippet"] = snippet if video.private else snippet | owner
    if "contentDetails" in parts:
        details = {"videoId": video.id}
        content["contentDetails"] = details if video.private else details | {"videoPublishedAt": published}
    if "status" in parts:
        content["status"] = {"privacyStatus": "private" if video.private else "public"}
    name = base64.urlsafe_b64encode(f"{playlist_id}.{video.id}".encode()).rstrip(b"=").decode()
    return resource("youtube#playlistItem", name, content)


def _video_snippet(video: Video) -> Json:
    snippet: Json = {
        "publishedAt": timestamp(video.published_at),
        "channelId": video.channel_id,
        "title": video.title,
        "description": video.description,
        "thumbnails": thumbnails(video),
        "channelTitle": video.channel_title,
    }
    if video.tags:
        snippet["tags"] = list(video.tags)
    snippet |= {"categoryId": video.category_id, "liveBroadcastContent": video.live}
    if video.language:
        snippet["defaultLanguage"] = video.language
    snippet["localized"] = {"title": video.title, "description": video.description}
    if video.language:
        snippet["defaultAudioLanguage"] = video.language
    return snippet


def _portraits(channel_id: str, *, with_size: bool) -> Json:
    sizes = {"default": 88, "medium": 240, "high": 800}
    return {
        name: {"url": f"https://yt3.ggpht.com/{channel_id}=s{size}-c-k-c0x00ffffff-no-rj"}
        | ({"width": size, "height": size} if with_size else {})
        for name, size in sizes.items()
    }


def _shortened(text: str) -> str:
    flat = html.escape(" ".join(text.split())).replace("&#x27;", "&#39;")
    return flat if len(flat) <= _SNIPPET_LENGTH else flat[:_SNIPPET_LENGTH].rsplit(" ", 1)[0] + " ..."


def _three_digits(count: int) -> int:
    """Subscribers are shown to three digits, rounded down."""
    unit = int(10 ** max(len(str(count)) - 3, 0))
    return count // unit * unit
