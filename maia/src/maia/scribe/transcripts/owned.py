"""Captions of the operator's own channels, through YouTube's API, in their name."""

from __future__ import annotations

import asyncio

from atlas.errors import RequestRefused, ResourceRefused
from maia.planner import CAPTIONS, CAPTIONS_DOWNLOAD, CAPTIONS_LIST
from maia.scribe.transcripts.formats import parse
from maia.scribe.transcripts.model import (
    UNKNOWN,
    MalformedTranscript,
    NoTranscript,
    Postponed,
    SourceFailed,
    Track,
    Transcript,
    Wanted,
    choose,
)
from maia.scribe.transcripts.player import DISABLED
from maia.youtube.models import CaptionTrack
from maia.youtube.owner import OwnersYouTube


class OwnedSource:
    """Lists and downloads captions: 250 general units for a video of the owner's, none for anybody else's.

    It uses about ``share`` units, one more to learn whose channels are the owner's.
    """

    name = "owned"
    at_once = 4

    def __init__(self, youtube: OwnersYouTube, share: int) -> None:
        self.units = 0
        self._youtube = youtube
        self._left = share
        self._own: frozenset[str] | None = None
        self._asking = asyncio.Lock()

    async def fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
        """Download the captions that say best what is said.

        Raises:
            Postponed: the share does not suffice for another video.
            QuotaExhausted: the day's units do not.
            ConfigurationError: the owner's permission is not good any more.
            ApiError: YouTube could not be asked.
            SourceFailed: the captions are not ready yet.
            MalformedTranscript: they cannot be read.
        """
        if wanted.channel_id not in await self._own_channels():
            return NoTranscript("not our own video", self.name)
        if self._left < CAPTIONS:
            raise Postponed("share of the day's quota used")
        self._left -= CAPTIONS
        try:
            return await self._fetch(wanted)
        except ResourceRefused as refused:
            return NoTranscript(f"refused: {refused.reason}", self.name)
        except RequestRefused as refused:
            raise MalformedTranscript(f"YouTube cannot convert them ({refused.reason})") from refused

    async def _own_channels(self) -> frozenset[str]:
        async with self._asking:
            if self._own is None:
                self._own = await self._youtube.own_channels()
                self.units += 1
            return self._own

    async def _fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
        listed = [track for track in await self._youtube.captions(wanted.video_id) if not track.draft]
        self.units += CAPTIONS_LIST
        chosen = choose([_track(track) for track in listed if track.status == "serving"], wanted.language)
        if chosen is None:
            self._left += CAPTIONS_DOWNLOAD
            if any(track.status == "syncing" for track in listed):
                raise SourceFailed("the captions are not ready yet")
            return NoTranscript(DISABLED, self.name)
        captions = await self._youtube.caption(chosen.address, "vtt")
        self.units += CAPTIONS_DOWNLOAD
        if segments := parse(captions, "vtt"):
            return Transcript(chosen.language, tuple(segments), chosen.generated, self.name)
        return NoTranscript("nothing is said", self.name)


def _track(track: CaptionTrack) -> Track:
    return Track(track.language or UNKNOWN, track.kind == "ASR", track.name or "", track.id)
