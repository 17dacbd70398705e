"""What YouTube's API tells a channel's owner alone: which channels are theirs, and their captions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import quote

from maia.planner import CAPTIONS_DOWNLOAD, CAPTIONS_LIST
from maia.youtube import parse
from maia.youtube.client import Call, YouTube
from maia.youtube.models import CaptionTrack

CaptionFormat = Literal["sbv", "srt", "vtt"]

# YouTube Data API, "Quota costs" and "Captions: download", as of November 2026.
OWN_CHANNELS: Final = Call("channels", "general", 1, "caption")
LIST: Final = Call("captions", "general", CAPTIONS_LIST, "caption")
DOWNLOAD: Final = Call("captions/", "general", CAPTIONS_DOWNLOAD, "caption")

_TRACK_FIELDS = "items(id,snippet(language,trackKind,name,status,isDraft))"


class OwnersYouTube(YouTube):
    """The client for an executor that lends access tokens: an ``OwnerExecutor``."""

    async def own_channels(self) -> frozenset[str]:
        """Name the channels of the owner, one general unit."""
        return await self._call(
            OWN_CHANNELS,
            lambda answer: frozenset(channel.id for channel in parse.channels(answer)),
            part="id",
            mine="true",
            fields="items/id",
        )

    async def captions(self, video_id: str) -> list[CaptionTrack]:
        """List the captions of a video, fifty general units.

        Raises:
            ResourceRefused: there is no such video, or it may not be looked at.
        """
        return await self._call(LIST, parse.captions, part="snippet", videoId=video_id, fields=_TRACK_FIELDS)

    async def caption(self, caption_id: str, form: CaptionFormat = "vtt") -> bytes:
        """Download captions, two hundred general units.

        Raises:
            ResourceRefused: there are no such captions, or they are somebody else's.
            RequestRefused: they cannot be had in this form.
        """
        call = DOWNLOAD._replace(path=f"{DOWNLOAD.path}{quote(caption_id, safe='')}")
        return await self._exchange(call, bytes, {"tfmt": form})

    def _signed(self, address: str, credential: str) -> tuple[str, Mapping[str, str]]:
        return address, {"Authorization": f"Bearer {credential}"}
