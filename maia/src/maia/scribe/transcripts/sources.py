"""The source of transcripts that the settings ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import TypeVar

from atlas import db, settings
from atlas.adapters.maia import MaiaDAO
from atlas.errors import ConfigurationError
from atlas.quota import QuotaLedger
from maia.planner import plan
from maia.scribe.transcripts.folder import FolderSource
from maia.scribe.transcripts.model import NoTranscript, Transcript, TranscriptSource, Wanted
from maia.toolbox import outlook
from maia.youtube.oauth import Owner, OwnerExecutor
from maia.youtube.owner import OwnersYouTube

T = TypeVar("T")


class NoSource:
    """Knows nothing of any video, and says so."""

    name = "none"
    units = 0
    at_once = 100

    async def fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
        """Answer that nobody looked."""
        del wanted
        return NoTranscript("nobody looked: TRANSCRIPT_SOURCE is none", self.name)


@asynccontextmanager
async def open_source(dao: MaiaDAO, every: timedelta) -> AsyncIterator[TranscriptSource]:
    """Open the source for a run that comes round ``every`` so often, and close it at the end.

    Raises:
        ConfigurationError: it needs what is not installed, or not set.
    """
    async with AsyncExitStack() as stack:
        match settings.TRANSCRIPT_SOURCE:
            case "none":
                yield NoSource()
            case "folder":
                yield FolderSource(_needed("TRANSCRIPT_FOLDER", settings.TRANSCRIPT_FOLDER).expanduser())
            case "youtube-transcript-api":
                from maia.scribe.transcripts.library import LibrarySource  # an extra

                library = LibrarySource(per_minute=settings.TRANSCRIPTS_PER_MINUTE)
                stack.callback(library.close)
                yield library
            case "owned":
                yield await stack.enter_async_context(_owned(dao, every))


@asynccontextmanager
async def _owned(dao: MaiaDAO, every: timedelta) -> AsyncIterator[TranscriptSource]:
    from maia.scribe.transcripts.owned import OwnedSource

    owner = Owner(
        _needed("YOUTUBE_OAUTH_CLIENT_ID", settings.YOUTUBE_OAUTH_CLIENT_ID),
        _needed("YOUTUBE_OAUTH_CLIENT_SECRET", settings.YOUTUBE_OAUTH_CLIENT_SECRET),
        _needed("YOUTUBE_OAUTH_REFRESH_TOKEN", settings.YOUTUBE_OAUTH_REFRESH_TOKEN),
        settings.YOUTUBE_OAUTH_TOKEN_ENDPOINT,
    )
    project = settings.api_keys[0].project
    ledger = QuotaLedger(db)
    share = plan(await outlook(dao, ledger, [project]), every).run["caption"]
    async with OwnersYouTube(
        OwnerExecutor(owner, project, ledger=ledger), endpoint=settings.YOUTUBE_API_ENDPOINT
    ) as youtube:
        yield OwnedSource(youtube, share)


def _needed(name: str, value: T | None) -> T:
    if value is None:
        raise ConfigurationError(f"{name} is not set: TRANSCRIPT_SOURCE={settings.TRANSCRIPT_SOURCE} needs it")
    return value
