"""Every type of event, what it is about, and what its payload holds: a class each.

A class registers itself; a test holds what the code records, and what a demo leaves in the log, against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from atlas.tiers import Tier

P = TypeVar("P", bound="Payload")

CATALOGUE: dict[str, type[Payload]] = {}
"""The payload's model by event type, in the order of this module."""


class Payload(BaseModel):
    """What an event of a type tells; what is absent was not known, or is as it is by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_type: ClassVar[str]
    entity: ClassVar[str]
    when: ClassVar[str]


class Change(Payload):
    """What was known before, and what is known now; first knowledge is no change."""

    old: str
    new: str


def entry(event_type: str, *, entity: str, when: str) -> Callable[[type[P]], type[P]]:
    """Enter a type of event: ``entity`` says what its entity's id names ("": it has none), ``when`` what happened."""

    def enter(payload: type[P]) -> type[P]:
        payload.event_type, payload.entity, payload.when = event_type, entity, when
        CATALOGUE[event_type] = payload
        return payload

    return enter


def check(event_type: str, payload: Mapping[str, Any]) -> None:
    """Make sure that an event is one of the catalogue's.

    Raises:
        ValueError: there is no such type, or its payload is another.
    """
    if event_type not in CATALOGUE:
        raise ValueError(f"{event_type} is no type of event that atlas.events.catalogue knows")
    try:
        CATALOGUE[event_type].model_validate(payload)
    except ValidationError as exc:
        raise ValueError(f"{event_type}: {exc}") from exc


# -- Videos -----------------------------------------------------------------------------------------------------------


@entry("video.discovered", entity="video", when="a video is stored for the first time")
class VideoDiscovered(Payload):
    """All it takes to make the video and its row of the watchlist again."""

    channel_id: str
    published_at: datetime
    tracking_tier: Tier
    next_track_at: datetime
    channel_title: str | None = None
    title: str = ""
    duration: int | None = None
    tags: list[str] = []
    category_id: str | None = None
    default_language: str | None = None
    wiki_topics: list[str] = []
    source: str = ""


@entry("video.watched", entity="video", when="a video joined the watchlist by hand, without being in the hot queue")
class VideoWatched(Payload):
    """All it takes to make its row of the watchlist again."""

    channel_id: str | None
    published_at: datetime
    tracking_tier: Tier
    next_track_at: datetime


@entry("video.unavailable", entity="video", when="the third confirmed miss made it `DORMANT`")
class VideoUnavailable(Payload):
    """Why it was given up."""

    misses: int
    reason: str


@entry("video.revived", entity="video", when="a video given up as missing was read again")
class VideoRevived(Payload):
    """Nothing more."""


class Rise(Payload):
    """How it stood: views an hour over a window, how many times what was expected that is, and since when it rises."""

    score: float
    rate: float
    times: float
    views: int
    began_at: datetime


@entry("video.rising", entity="video", when="a video was faster than expected over one window")
class VideoRising(Rise):
    """A first sign; nobody is alerted yet."""


@entry("video.viral", entity="video", when="it was so over a second window, or far faster: once a rise")
class VideoViral(Rise):
    """What SURVEILLANCE is alerted of."""


@entry("video.cooling", entity="video", when="the rise of a viral video was over")
class VideoCooling(Rise):
    """How it stood then; it is the same rise when it flares up within a day."""


@entry("video.renamed", entity="video", when="a video in the hot queue was found with another title")
class VideoRenamed(Change):
    """Its titles."""


@entry("video.updated", entity="video", when="a video in the hot queue was read again, and something else is different")
class VideoUpdated(Payload):
    """What is different, as it is from now on."""

    title: str | None = None
    duration: int | None = None
    tags: list[str] | None = None
    category_id: str | None = None
    default_language: str | None = None
    wiki_topics: list[str] | None = None


@entry("videos.retired", entity="", when="videos left the hot queue")
class VideosRetired(Payload):
    """Which, and the shards that hold their metadata."""

    videos: list[str]
    shards: list[str]


# -- Channels ---------------------------------------------------------------------------------------------------------


@entry("channel.discovered", entity="channel", when="a channel is stored for the first time")
class ChannelDiscovered(Payload):
    """What was known of it at once."""

    title: str | None
    in_roster: bool
    pinned: bool


@entry("channel.updated", entity="channel", when="a known channel got what it lacked: a name, a place in the roster")
class ChannelUpdated(Payload):
    """What it has from now on."""

    title: str | None = None
    custom_url: str | None = None
    country: str | None = None
    created_at: datetime | None = None
    in_roster: bool = False
    pinned: bool = False


@entry("channel.renamed", entity="channel", when="a channel was found with another name")
class ChannelRenamed(Change):
    """Its names."""


@entry("channel.handle_changed", entity="channel", when="a channel was found with another handle")
class ChannelHandleChanged(Change):
    """Its handles, with "@"."""


@entry("channel.country_changed", entity="channel", when="a channel was found with another country")
class ChannelCountryChanged(Change):
    """Its countries, as ISO 3166-1 has them."""


# -- Search terms -----------------------------------------------------------------------------------------------------


@entry("terms.added", entity="", when="search terms are stored for the first time")
class TermsAdded(Payload):
    """The terms, due at once."""

    terms: list[str]
    priority: int = 0
    pinned: bool = False


@entry("terms.mentioned", entity="", when="known terms are mentioned once more, which also wakes those asleep")
class TermsMentioned(Payload):
    """The terms, and what the mention is worth: the higher priority stays, and so does a pin."""

    terms: list[str]
    priority: int = 0
    pinned: bool = False


@entry("terms.slept", entity="", when="terms fell asleep, for nobody mentions them or they find nothing")
class TermsSlept(Payload):
    """The terms."""

    terms: list[str]


@entry("terms.woken", entity="", when="sleeping terms are searched again")
class TermsWoken(Payload):
    """The terms."""

    terms: list[str]


# -- The vault --------------------------------------------------------------------------------------------------------


@entry("partition.archived", entity="day", when="a day of samples left SQL for the vault")
class PartitionArchived(Payload):
    """How many rows, and the shards that hold them."""

    rows: int
    shards: list[str]


@entry("vault.compacted", entity="kind and day", when="the index follows a compaction")
class VaultCompacted(Payload):
    """The shards struck from the index, and those in their place."""

    gone: list[str]
    shards: list[str]


@entry("vault.expired", entity="kind and day", when="a day of the vault was past the time it may be kept")
class VaultExpired(Payload):
    """The shards struck from the index; nothing is in their place."""

    gone: list[str]
    shards: list[str]


@entry("channels.expired", entity="", when="readings of channels were past the time they may be kept")
class ChannelsExpired(Payload):
    """How many, and the instant from which on they are kept."""

    readings: int
    before: datetime


@entry("vault.adopted", entity="vault", when="`atlas vault adopt` made another vault the one to archive into")
class VaultAdopted(Payload):
    """Where it is."""

    provider: str


# -- The log itself ---------------------------------------------------------------------------------------------------


@entry("events.archived", entity="day", when="a day of events left SQL for the vault")
class EventsArchived(Payload):
    """How many, and the shards that hold them."""

    rows: int
    shards: list[str]


@entry("events.lost", entity="", when="emitted events were lost: too many at once, or what the database refuses")
class EventsLost(Payload):
    """How many since it was told last."""

    count: int


# -- Keys and quota ---------------------------------------------------------------------------------------------------


@entry("key.disabled", entity="fingerprint", when="YouTube rejected a key")
class KeyDisabled(Payload):
    """Whose quota it drew on, and YouTube's word."""

    project: str
    reason: str


@entry("key.enabled", entity="fingerprint", when="somebody put a disabled key back to work")
class KeyEnabled(Payload):
    """Nothing more."""


@entry("quota.exhausted", entity="project", when="a bucket was found spent, once a day")
class QuotaSpent(Payload):
    """Which bucket, of which Pacific day, and when it fills again."""

    bucket: str
    day: date
    reset_at: datetime
