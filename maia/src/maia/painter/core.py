"""What the Painter decides: what is kept of an answer, and whose fault it is when there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from atlas.adapters.records import ChannelReading, StageRow, VideoReading
from maia.youtube.models import Channel, Video

if TYPE_CHECKING:
    from maia.painter.frames import Frame

CHANNEL_AGE = timedelta(days=1)
"""A channel is read again when its last reading is older."""

GIVE_UP_AFTER = 5
"""Attempts on a video that itself is the trouble."""

PATIENCE = 20
"""Attempts on a video that could not be looked at: four days of them, for outages end."""

LONGEST_RETRY = timedelta(hours=6)

SUSPICIOUS = 10
"""So many broken pictures and not one that is well: the trouble is the source, or somebody on the way to it."""


def video_reading(video: Video) -> VideoReading:
    """Take from an answer what SQL keeps of a video."""
    return VideoReading(
        id=video.id,
        title=video.title,
        duration=None if video.duration is None else round(video.duration.total_seconds()),
        tags=video.tags,
        category_id=video.category_id,
        default_language=video.default_language,
        wiki_topics=video.wiki_topics,
    )


def channel_reading(channel: Channel) -> ChannelReading:
    """Take from an answer what SQL keeps of a channel."""
    return ChannelReading(
        id=channel.id,
        title=channel.title,
        country=channel.country,
        custom_url=handle(channel.custom_url),
        created_at=channel.published_at,
        views=channel.views,
        subscribers=channel.subscribers,
        video_count=channel.video_count,
    )


def handle(custom_url: str | None) -> str | None:
    """Write a handle in one way: YouTube gives it with or without "@", and no two differ in case only."""
    return None if custom_url is None else "@" + custom_url.removeprefix("@").casefold()


def observed_at(row: StageRow, now: datetime) -> datetime:
    """Date what is kept of a video: never at its discovery, which is the date of the Janitor's own row of it."""
    return max(now, row["discovered_at"] + timedelta(microseconds=1))


def metadata(row: StageRow, video: Video, now: datetime) -> dict[str, Any]:
    """Make what the vault keeps of a video: all that SQL does, and the description."""
    reading = video_reading(video)
    return {
        "video_id": video.id,
        "observed_at": observed_at(row, now),
        "channel_id": video.channel_id or row["channel_id"],
        "channel_title": video.channel_title,
        "title": reading.title or row["title"],
        "description": video.description,
        "published_at": video.published_at or row["published_at"],
        "discovered_at": row["discovered_at"],
        "duration": reading.duration if reading.duration is not None else row["duration"],
        "tags": list(reading.tags),
        "category_id": reading.category_id or row["category_id"],
        "default_language": reading.default_language or row["default_language"],
        "wiki_topics": list(reading.wiki_topics or row["wiki_topics"]),
        **({"default_audio_language": video.default_audio_language} if video.default_audio_language else {}),
    }


def visuals(row: StageRow, frames: Sequence[Frame], source: str, now: datetime) -> Iterator[dict[str, Any]]:
    """Make what the vault keeps of a video's frames."""
    seen = observed_at(row, now)
    for frame in frames:
        yield {
            "video_id": row["video_id"],
            "observed_at": seen,
            "frame_index": frame.index,
            "data": frame.data,
            "media_type": frame.media_type,
            "source": source,
            "width": frame.width,
            "height": frame.height,
        }


def source_at_fault(*, answered: int, broken: int, unreachable: int) -> bool:
    """Judge a round of looking for frames: is it the source that cannot be used, and not single videos?"""
    return answered == 0 and (unreachable > 0 or broken >= SUSPICIOUS)
