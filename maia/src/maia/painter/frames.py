"""Pictures of a video: the frames that YouTube publishes, or the operator's own, each proven to be a picture."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import ClassVar, NamedTuple, Protocol, Self

import aiohttp
from yarl import URL

from atlas import Settings, outside, settings
from atlas.breakers import Breakers
from atlas.breakers import breakers as shared_breakers
from atlas.errors import AtlasError, CircuitOpen, ConfigurationError, Throttled
from atlas.ids import validate_youtube_id
from atlas.retry import Sleep, retry_async
from maia.youtube.errors import retry_after

IMAGES = "https://i.ytimg.com"
"""Where YouTube's pictures are when the API is at Google; a stand-in serves both at one address."""

FRAME_BYTES = 2 * 2**20
"""A picture's file may be this long. YouTube takes thumbnails up to 2 MB and publishes them smaller (help page "Add
video thumbnails", as of November 2026); a cover of 1280 pixels rarely has 300 kB."""

VIDEO_BYTES = 8 * 2**20
"""All frames of a video together; those that YouTube publishes are four."""

FRAME_PIXELS = 4096 * 4096
"""A picture may have so many pixels: a small file can unpack to gigabytes."""

SHORTEST_SIDE = 16
"""Pixels; less is no picture of anything."""

FORMATS: Mapping[str, str] = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}

# Names of the files by width, as they have stood for years. The quarter points are 1, 2 and 3. Only the files of 480
# pixels and below exist for every video; for the others the next smaller one is taken.
_PREFIXES: Mapping[int, str] = {1280: "maxres", 640: "sd", 480: "hq", 320: "mq", 120: ""}
_QUARTERS = (1, 2, 3)
_PLACEHOLDER = (120, 90)  # the grey picture that stands for one that does not exist

CONCURRENCY = 8
TIMEOUT = timedelta(seconds=20)
CONNECT_SECONDS = 10
ATTEMPTS = 2
BREAKER = "youtube thumbnails"


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture of a video; index 0 is its cover, 1 to 3 are the quarter points. ``data`` is the file."""

    index: int
    data: bytes
    media_type: str
    width: int
    height: int


class NoFrames(NamedTuple):
    """There is no picture of the video: an answer, with its reason."""

    reason: str


class BrokenFrame(AtlasError):
    """What is there is no picture, or none that we take: the trouble is with this video, not with the source."""


class FramesUnavailable(AtlasError):
    """The source does not answer, or cannot be read: later may work."""

    retryable = True


class FrameSource(Protocol):
    """Knows pictures of videos; open for the length of an ``async with`` block."""

    name: ClassVar[str]

    async def __aenter__(self) -> Self:
        """Open it."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        ...

    async def fetch(self, video_id: str) -> Sequence[Frame] | NoFrames:
        """Fetch the pictures of a video, by index.

        Raises:
            BrokenFrame: one is there and cannot be used.
            FramesUnavailable: the source does not answer.
            Throttled: the source wants to be asked less often.
            CircuitOpen: the source is left in peace for now.
        """
        ...


class _NothingToOpen:
    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class WithoutFrames(_NothingToOpen):
    """The source of who wants no pictures."""

    name: ClassVar[str] = "none"

    async def fetch(self, video_id: str) -> NoFrames:
        """Say so."""
        del video_id
        return NoFrames("no source of frames is set")


class YouTubeThumbnails:
    """The pictures YouTube publishes of every video: the cover, and the frames at its quarter points.

    They come without key and quota. ``width`` is the widest to ask for: 1280, 640, 480 or 320 pixels.
    """

    name: ClassVar[str] = "youtube"

    def __init__(
        self,
        endpoint: str = IMAGES,
        *,
        width: int = 480,
        concurrency: int = CONCURRENCY,
        timeout: timedelta = TIMEOUT,
        breakers: Breakers = shared_breakers,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._root = endpoint.rstrip("/")
        self._prefixes = [prefix for wide, prefix in _PREFIXES.items() if wide <= width]
        self._concurrency = concurrency
        self._timeout = aiohttp.ClientTimeout(timeout.total_seconds(), sock_connect=CONNECT_SECONDS)
        self._slots = asyncio.Semaphore(concurrency)
        self._threads = ThreadPoolExecutor(2, "pictures")
        self._breakers = breakers
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=outside.connector(self._root, limit=self._concurrency),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept": "image/jpeg", "User-Agent": "pleiades-maia"},
            timeout=self._timeout,
        )
        # aiohttp would silently send a GET again when a kept connection breaks: retries have one owner.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        self._threads.shutdown(wait=False)

    async def fetch(self, video_id: str) -> Sequence[Frame] | NoFrames:
        """Fetch cover and quarter points, each as wide as there is one."""
        if not validate_youtube_id(video_id):
            return NoFrames("no id of a video")
        choices = [[f"{prefix}default" for prefix in self._prefixes]]
        choices += [[f"{prefix}{quarter}" for prefix in self._prefixes] for quarter in _QUARTERS]
        best = (self._best(video_id, index, names) for index, names in enumerate(choices))
        found = await asyncio.gather(*best, return_exceptions=True)
        failures = [answer for answer in found if isinstance(answer, BaseException)]
        if failures:
            raise min(failures, key=_says_little)
        frames = [answer for answer in found if isinstance(answer, Frame)]
        return frames or NoFrames("YouTube publishes no pictures of it")

    async def _best(self, video_id: str, index: int, names: Sequence[str]) -> Frame | None:
        """Fetch the first of several files that exists."""
        for name in names:
            address = f"{self._root}/vi/{video_id}/{name}.jpg"
            data = await retry_async(partial(self._get, address), attempts=ATTEMPTS, sleep=self._sleep)
            if data is None:
                continue
            frame = await asyncio.get_running_loop().run_in_executor(self._threads, picture, index, data, name)
            smallest = name in {"default", str(index)}
            if smallest or (frame.width, frame.height) != _PLACEHOLDER:
                return frame
        return None

    async def _get(self, address: str) -> bytes | None:
        """Make one attempt; None when there is no such picture."""
        if self._session is None:
            raise RuntimeError("use the source as `async with YouTubeThumbnails() as frames`")
        async with self._slots, self._breakers.guard(BREAKER, failing=(FramesUnavailable, Throttled)):
            try:
                # Never elsewhere: what another host serves is no picture that YouTube publishes.
                async with self._session.get(URL(address, encoded=True), allow_redirects=False) as response:
                    return await _file(response)
            except (aiohttp.ClientError, OSError, TimeoutError) as exc:
                raise FramesUnavailable(f"thumbnails cannot be reached ({type(exc).__name__})") from exc


def _says_little(failure: BaseException) -> int:
    """Rank failures: why the source was not reached, that it is left in peace for it, that one picture is broken.

    A picture that could not be looked at may be well: that says more than one that is broken.
    """
    if isinstance(failure, BrokenFrame):
        return 2
    return 1 if isinstance(failure, CircuitOpen) else 0


async def _file(response: aiohttp.ClientResponse) -> bytes | None:
    """Read the file of an answer, up to the limit; what is left unread closes the connection."""
    status = response.status
    if status in {404, 410}:  # with a grey picture in the place of the one asked for
        return None
    if status == 429:
        raise Throttled("thumbnailsThrottled", status=status, retry_after=retry_after(response.headers))
    if status >= 500:
        raise FramesUnavailable(f"HTTP {status} in the place of a thumbnail")
    if status != 200:
        raise BrokenFrame(f"HTTP {status} in the place of a picture")
    if not response.content_type.startswith("image/"):
        raise BrokenFrame(f"{response.content_type} in the place of a picture")
    data = bytearray()
    while chunk := await response.content.readany():
        data += chunk
        if len(data) > FRAME_BYTES:
            raise BrokenFrame(f"a picture of more than {FRAME_BYTES} bytes")
    return bytes(data)


class LocalFrames(_NothingToOpen):
    """The operator's own frames in a folder: ``<video>/<index>.jpg`` or ``<video>_<index>.jpg``, PNG and WebP, too.

    What lies in the folder itself is listed once, when the first video is asked for.
    """

    name: ClassVar[str] = "local"

    def __init__(self, folder: Path) -> None:
        self._folder = folder.expanduser().resolve()
        self._loose: Mapping[str, Mapping[int, Path]] | None = None
        self._listing = Lock()
        if not self._folder.is_dir():
            raise ConfigurationError(f"FRAME_FOLDER: {folder} is no folder")

    async def fetch(self, video_id: str) -> Sequence[Frame] | NoFrames:
        """Read the frames of a video."""
        if not validate_youtube_id(video_id):  # so no path can be made of it that leads elsewhere
            return NoFrames("no id of a video")
        return await asyncio.to_thread(self._read, video_id)

    def _read(self, video_id: str) -> Sequence[Frame] | NoFrames:
        try:
            with self._listing:
                self._loose = self._list() if self._loose is None else self._loose
            files = {**self._loose.get(video_id, {}), **_numbered(self._folder / video_id)}
            if sum(path.stat().st_size for path in files.values()) > VIDEO_BYTES:
                raise BrokenFrame(f"its frames have more than {VIDEO_BYTES} bytes together")
            frames = [picture(index, self._data(path), path.name) for index, path in sorted(files.items())]
        except OSError as exc:
            raise FramesUnavailable(f"frames cannot be read ({type(exc).__name__})") from exc
        return frames or NoFrames("no frames of it in the folder")

    def _data(self, path: Path) -> bytes:
        if not path.resolve().is_relative_to(self._folder):
            raise BrokenFrame(f"{path.name} leads out of the folder")
        with path.open("rb") as file:
            data = file.read(FRAME_BYTES + 1)
        if len(data) > FRAME_BYTES:
            raise BrokenFrame(f"a picture of more than {FRAME_BYTES} bytes")
        return data

    def _list(self) -> Mapping[str, Mapping[int, Path]]:
        found: dict[str, dict[int, Path]] = defaultdict(dict)
        for path in sorted(self._folder.iterdir()):
            if match := _LOOSE.fullmatch(path.name):
                found[match[1]].setdefault(int(match[2]), path)
        return found


_SUFFIX = r"(?i:jpe?g|png|webp)"
_LOOSE = re.compile(rf"([A-Za-z0-9_-]{{11}})_(\d{{1,3}})\.{_SUFFIX}")
_NUMBERED = re.compile(rf"(\d{{1,3}})\.{_SUFFIX}")


def _numbered(folder: Path) -> dict[int, Path]:
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {int(match[1]): path for path in paths if (match := _NUMBERED.fullmatch(path.name))}


def picture(index: int, data: bytes, name: str = "it") -> Frame:
    """Make a frame of a file, proven to be a whole picture of a known kind and a bearable size.

    Raises:
        BrokenFrame: it is not.
    """
    from PIL import Image  # a tenth of a second

    bombs = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with Image.open(BytesIO(data), formats=list(FORMATS)) as image:
            width, height = image.size
            if width * height > FRAME_PIXELS:
                raise BrokenFrame(f"{name} has {width} × {height} pixels")
            if min(width, height) < SHORTEST_SIDE:
                raise BrokenFrame(f"{name} has only {width} × {height} pixels")
            kind = FORMATS[str(image.format)]
            image.draft("L", (width // 8, height // 8))  # all of a JPEG is read, and little of it kept
            image.load()
    except (OSError, SyntaxError, ValueError, *bombs) as exc:
        raise BrokenFrame(f"{name} is no whole picture") from exc
    return Frame(index, data, kind, width, height)


@asynccontextmanager
async def open_frames(rules: Settings = settings) -> AsyncIterator[FrameSource]:
    """Open the source of frames that the settings ask for.

    Raises:
        ConfigurationError: it cannot be used.
    """
    source: FrameSource
    match rules.FRAME_SOURCE:
        case "youtube":
            source = YouTubeThumbnails(_endpoint(rules), width=rules.FRAME_WIDTH)
        case "local":
            assert rules.FRAME_FOLDER is not None  # noqa: S101 - the settings insist on it
            source = LocalFrames(rules.FRAME_FOLDER)
        case "none":
            source = WithoutFrames()
    async with source:
        yield source


def _endpoint(rules: Settings) -> str:
    if rules.YOUTUBE_IMAGE_ENDPOINT is not None:
        return rules.YOUTUBE_IMAGE_ENDPOINT
    host = URL(rules.YOUTUBE_API_ENDPOINT).host or ""
    return IMAGES if host.endswith(".googleapis.com") else rules.YOUTUBE_API_ENDPOINT
