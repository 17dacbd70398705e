"""Ask the YouTube Data API: typed, asynchronous, one HTTP attempt per try of the executor."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Self, TypeVar
from urllib.parse import quote, quote_plus, urlencode

import aiohttp
import orjson
from pydantic import SecretStr
from yarl import URL

from atlas import outside, settings
from atlas.breakers import Breakers
from atlas.errors import ApiError, ApiUnavailable, Bucket, ConfigurationError, Throttled
from atlas.hydra import SingleKey
from atlas.ids import uploads_playlist, validate_channel_id
from maia.planner import Purpose
from maia.youtube import parse
from maia.youtube.errors import classify, retry_after, unusable
from maia.youtube.feed import parse_feed
from maia.youtube.models import (
    BatchStats,
    Channel,
    FeedEntry,
    SearchPage,
    StatsPart,
    UploadsPage,
    Video,
    VideoPage,
    VideoPart,
)

if TYPE_CHECKING:
    from atlas.hydra import Executor

T = TypeVar("T")
SearchOrder = Literal["date", "rating", "relevance", "title", "viewCount"]

logger = logging.getLogger(__name__)

PAGE = 50
"""Ids or results in one call, at most (YouTube Data API reference, as of November 2026)."""

ANSWER_BYTES = 16 * 2**20
"""An answer may be this long, unpacked. Fifty videos with every part and description stay under one MiB."""

TIMEOUT = timedelta(seconds=30)
CONNECT_SECONDS = 10
FEED_PAUSE = timedelta(minutes=15)
"""How long feeds are left in peace after several failures in a row."""

FEEDS = "https://www.youtube.com"
"""Where feeds are when the API is at Google; a stand-in serves both at one address."""


class Call(NamedTuple):
    """What a method of the API is called, what one call of it costs, and what it is for unless a caller says so."""

    path: str
    bucket: Bucket
    cost: int
    purpose: Purpose


# YouTube Data API, "Quota costs", as of November 2026. Every page is a call.
SEARCH: Final = Call("search", "search", 1, "search")
BATCH_GET_STATS: Final = Call("videos:batchGetStats", "stats", 1, "track")
VIDEOS: Final = Call("videos", "general", 1, "enrich")
CHART: Final = VIDEOS._replace(purpose="poll")
CHANNELS: Final = Call("channels", "general", 1, "enrich")
PLAYLIST_ITEMS: Final = Call("playlistItems", "general", 1, "poll")

_SEARCH_FIELDS = (
    "nextPageToken,pageInfo/totalResults,"
    "items(id/videoId,snippet(channelId,channelTitle,title,publishedAt,liveBroadcastContent))"
)
_VIDEO_FIELDS: Mapping[VideoPart, str] = {
    "snippet": (
        "snippet(channelId,channelTitle,title,publishedAt,tags,categoryId,defaultLanguage,"
        "defaultAudioLanguage,liveBroadcastContent)"
    ),
    "contentDetails": "contentDetails/duration",
    "statistics": "statistics(viewCount,likeCount,commentCount)",
    "status": "status(privacyStatus,uploadStatus)",
    "topicDetails": "topicDetails/topicCategories",
}
_STATS_FIELDS: Mapping[StatsPart, str] = {
    "snippet": "snippet/publishTime",
    "contentDetails": "contentDetails/duration",
    "statistics": "statistics(viewCount,likeCount,commentCount)",
}
_CHANNEL_PARTS = "snippet,contentDetails,statistics,topicDetails"
_CHANNEL_FIELDS = (
    "items(id,snippet(title,country,customUrl,publishedAt),contentDetails/relatedPlaylists/uploads,"
    "statistics(viewCount,subscriberCount,hiddenSubscriberCount,videoCount),topicDetails/topicCategories)"
)
_UPLOADS_PARTS = "snippet,contentDetails"
_UPLOADS_FIELDS = (
    "nextPageToken,pageInfo/totalResults,"
    "items(snippet(title,publishedAt,resourceId/videoId),contentDetails(videoId,videoPublishedAt))"
)
_CHART_PARTS: tuple[VideoPart, ...] = ("snippet", "contentDetails", "statistics", "topicDetails")

_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    # Google packs answers only for a user agent that says "gzip", too (API guide, "Performance").
    "User-Agent": "pleiades-maia (gzip)",
}


class YouTube:
    """A client of the API; use it as ``async with YouTube(executor) as youtube``.

    ``executor`` supplies keys, quota and retries. ``endpoint`` defaults to ``YOUTUBE_API_ENDPOINT``. At most
    ``concurrency`` requests are in flight, each for at most ``timeout``. Every call raises the ``ApiError``s
    of ``atlas.errors``, and what the executor raises. ``breakers`` hold the one of the feeds.
    """

    def __init__(
        self,
        executor: Executor,
        *,
        endpoint: str | None = None,
        concurrency: int = 8,
        timeout: timedelta = TIMEOUT,
        breakers: Breakers | None = None,
    ) -> None:
        root = (endpoint or settings.YOUTUBE_API_ENDPOINT).rstrip("/")
        try:
            host = URL(root).host
        except ValueError:
            host = None
        if not host or not root.startswith(("https://", "http://")):
            raise ConfigurationError(f"YOUTUBE_API_ENDPOINT must be an address such as https://host, not {root!r}")
        self._executor = executor
        self._api = f"{root}/youtube/v3/"
        self._feeds = FEEDS if host.endswith(".googleapis.com") else root
        self._concurrency = concurrency
        self._timeout = aiohttp.ClientTimeout(timeout.total_seconds(), sock_connect=CONNECT_SECONDS)
        self._slots = asyncio.Semaphore(concurrency)
        self._breakers = breakers or Breakers()
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def with_key(
        cls,
        key: str | SecretStr,
        *,
        endpoint: str | None = None,
        concurrency: int = 8,
        timeout: timedelta = TIMEOUT,
    ) -> Self:
        """Make a client that uses one key, keeps no ledger and needs no database."""
        return cls(SingleKey(key), endpoint=endpoint, concurrency=concurrency, timeout=timeout)

    async def __aenter__(self) -> Self:
        if self._session is not None:
            raise RuntimeError("this client is open already")
        self._session = aiohttp.ClientSession(
            connector=outside.connector(self._api, limit=self._concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS,
            timeout=self._timeout,
        )
        # aiohttp would silently send a GET again when a kept connection breaks: a second call that no one
        # reserved quota for. The executor owns retries.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def search(
        self,
        q: str,
        *,
        published_after: datetime | None = None,
        published_before: datetime | None = None,
        page_token: str | None = None,
        order: SearchOrder = "date",
        max_results: int = PAGE,
        region: str | None = None,
        language: str | None = None,
    ) -> SearchPage:
        """Find videos: one page, one call of the search bucket.

        The window is [after, before), cut to whole seconds. ``region`` is ISO 3166-1, ``language`` ISO 639-1.

        Raises:
            InvalidPageToken: restart the window.
        """
        return await self._call(
            SEARCH,
            parse.search_page,
            part="snippet",
            type="video",
            q=q,
            order=order,
            publishedAfter=_wire_time(published_after),
            publishedBefore=_wire_time(published_before),
            pageToken=page_token,
            maxResults=str(max_results),
            regionCode=region,
            relevanceLanguage=language,
            fields=_SEARCH_FIELDS,
        )

    async def videos(
        self,
        ids: Iterable[str],
        *,
        parts: Sequence[VideoPart] = ("snippet", "contentDetails", "statistics"),
        description: bool = False,
        purpose: Purpose = VIDEOS.purpose,
    ) -> list[Video]:
        """Read up to 50 videos, one general unit; those that are gone or private are absent from the answer.

        ``description`` asks for the descriptions too, most of an answer's bytes.
        """
        asked = _ids(ids)
        if not asked:
            return []
        return await self._call(
            VIDEOS._replace(purpose=purpose),
            parse.videos,
            part=",".join(parts),
            id=",".join(asked),
            fields=f"items({_video_fields(parts, description=description)})",
        )

    async def batch_stats(self, ids: Iterable[str], *, parts: Sequence[StatsPart] = ("statistics",)) -> BatchStats:
        """Read the counts of up to 50 videos, one call of the stats bucket; each id is accounted for."""
        asked = _ids(ids)
        if not asked:
            return BatchStats({}, {}, frozenset())
        return await self._call(
            BATCH_GET_STATS,
            lambda answer: parse.batch_stats(answer, asked),
            part=",".join(parts),
            id=",".join(asked),
            fields=f"items(id,{','.join(_STATS_FIELDS[part] for part in parts)})",
        )

    async def channels(self, ids: Iterable[str], *, purpose: Purpose = CHANNELS.purpose) -> list[Channel]:
        """Read up to 50 channels, one general unit; those that are gone are absent from the answer."""
        asked = _ids(ids)
        if not asked:
            return []
        return await self._call(
            CHANNELS._replace(purpose=purpose),
            parse.channels,
            part=_CHANNEL_PARTS,
            id=",".join(asked),
            maxResults=str(PAGE),  # the default is 5
            fields=_CHANNEL_FIELDS,
        )

    async def channel_of(self, handle: str) -> Channel | None:
        """Find the channel with a handle such as ``@NASA``, one general unit; None when there is none."""
        found = await self._call(
            CHANNELS, parse.channels, part=_CHANNEL_PARTS, forHandle=f"@{handle.lstrip('@')}", fields=_CHANNEL_FIELDS
        )
        return found[0] if found else None

    async def uploads(self, channel_id: str, page_token: str | None = None, *, max_results: int = PAGE) -> UploadsPage:
        """Read a page of a channel's uploads, newest first, one general unit.

        Raises:
            ResourceRefused: there is no such playlist: the channel is gone, or never published.
            InvalidPageToken: start from the first page.
        """
        return await self._call(
            PLAYLIST_ITEMS,
            parse.uploads_page,
            part=_UPLOADS_PARTS,
            playlistId=uploads_playlist(channel_id),
            pageToken=page_token,
            maxResults=str(max_results),
            fields=_UPLOADS_FIELDS,
        )

    async def most_popular(self, region: str, category: str | None = None, page_token: str | None = None) -> VideoPage:
        """Read a page of a region's chart, one general unit; the chart covers music, films and games only."""
        return await self._call(
            CHART,
            parse.video_page,
            part=",".join(_CHART_PARTS),
            chart="mostPopular",
            regionCode=region,
            videoCategoryId=category,
            pageToken=page_token,
            maxResults=str(PAGE),
            fields=f"nextPageToken,pageInfo/totalResults,items({_video_fields(_CHART_PARTS)})",
        )

    async def feed(self, channel_id: str) -> list[FeedEntry]:
        """Read a channel's newest fifteen videos from its RSS feed: free, without key, executor or retry.

        Raises:
            ApiUnavailable: also for 404, which feeds answer now and then for channels that live.
            CircuitOpen: several feeds in a row could not be read, and they are left in peace.
        """
        if not validate_channel_id(channel_id):
            raise ValueError(f"not a channel id: {channel_id!r}")
        async with self._breakers.guard("feeds", failing=ApiError, pause=FEED_PAUSE):
            status, body, headers = await self._get(f"{self._feeds}/feeds/videos.xml?channel_id={channel_id}")
            if status == 200:
                return parse_feed(body)
            if status == 429:
                raise Throttled("feedThrottled", status=status, retry_after=retry_after(headers))
            raise ApiUnavailable("feedNotFound" if status == 404 else "feedUnavailable", status=status)

    async def _call(self, call: Call, read: Callable[[Any], T], **parameters: str | None) -> T:
        """Have the executor make ``call``; what ``read`` cannot read is worth another attempt, too."""

        def read_json(body: bytes) -> T | None:
            try:
                answer = parse.decode(body)
            except orjson.JSONDecodeError:
                return None
            return read(answer) if isinstance(answer, dict) and answer.get("error") is None else None

        return await self._exchange(call, read_json, parameters)

    async def _exchange(self, call: Call, read: Callable[[bytes], T | None], parameters: Mapping[str, str | None]) -> T:
        """Have the executor make ``call``; ``read`` gives None for what is no answer to it."""
        query = urlencode({name: value for name, value in parameters.items() if value is not None}, safe=",:/()")
        address = f"{self._api}{call.path}?{query}"

        async def attempt(credential: str) -> T:
            status, body, headers = await self._get(*self._signed(address, credential))
            logger.debug("%s: HTTP %d, %d bytes", call.path, status, len(body))
            if 200 <= status < 300 and (answer := read(body)) is not None:
                return answer
            raise classify(status, _without(credential, body), headers)

        return await self._executor.execute_async(attempt, bucket=call.bucket, cost=call.cost, purpose=call.purpose)

    def _signed(self, address: str, credential: str) -> tuple[str, Mapping[str, str]]:
        """Say who calls: the address, and headers, to call with the executor's credential."""
        return f"{address}&key={quote_plus(credential)}", {}

    async def _get(
        self, address: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Make one HTTP attempt."""
        if self._session is None:
            raise RuntimeError("use the client as `async with YouTube(…) as youtube`")
        async with self._slots:
            try:
                # A redirect would be sent the key; the API has none.
                async with self._session.get(
                    URL(address, encoded=True), headers=headers, allow_redirects=False
                ) as response:
                    return response.status, await _body(response), response.headers
            except (aiohttp.ClientError, OSError, TimeoutError) as exc:
                failure = _unreachable(exc)
        # Raised out here, without its cause: some of aiohttp's errors spell out the address, key and all.
        raise failure


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """Read an answer, up to the limit; what is left unread closes the connection."""
    chunks: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > ANSWER_BYTES:
            raise unusable("answerTooLarge", f"more than {ANSWER_BYTES} bytes", status=response.status)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _unreachable(exc: Exception) -> ApiUnavailable:
    """Say what became of an attempt that got no whole answer."""
    name = type(exc).__name__
    if isinstance(exc, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return ApiUnavailable("noConnection", message=name, sent=False)
    if isinstance(exc, TimeoutError):
        return ApiUnavailable("timeout", message="no whole answer in time")
    if isinstance(exc, aiohttp.ClientPayloadError):
        return ApiUnavailable("brokenAnswer", message="the answer broke off, or could not be unpacked")
    return ApiUnavailable("connectionLost", message=name)


def _without(key: str, body: bytes) -> bytes:
    """Take the key out of an answer that echoes it."""
    for form in {key, quote(key), quote(key, safe=""), quote_plus(key)}:
        body = body.replace(form.encode(), b"***") if form else body
    return body


def _ids(ids: Iterable[str]) -> tuple[str, ...]:
    asked = tuple(dict.fromkeys(ids))
    if len(asked) > PAGE:
        raise ValueError(f"{len(asked)} ids; one call takes {PAGE}")
    if not all(asked) or any("," in id_ for id_ in asked):
        raise ValueError("an id is empty or holds a comma")
    return asked


def _video_fields(parts: Sequence[VideoPart], *, description: bool = False) -> str:
    fields = ",".join(("id", *(_VIDEO_FIELDS[part] for part in parts)))
    return fields.replace("snippet(", "snippet(description,") if description else fields


def _wire_time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise ValueError("a time without its zone")
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
