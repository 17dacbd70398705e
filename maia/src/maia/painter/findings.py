"""What a round of the Painter finds out about its videos, before it is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from atlas.adapters.records import ChannelReading, Failure, Sample, StageRow
from maia.backoff import retry_at
from maia.painter import core
from maia.painter.frames import Frame, NoFrames
from maia.youtube.models import Video

if TYPE_CHECKING:
    from atlas.vault import ShardInfo

Fault = Literal["video", "source"]

LIMITS: Mapping[Fault, int] = {"video": core.GIVE_UP_AFTER, "source": core.PATIENCE}
"""Attempts, by what is at fault."""


class Trouble(NamedTuple):
    """Why a video does not come to its end now, and what is at fault."""

    reason: str
    fault: Fault


@dataclass(slots=True)
class Findings:
    """What was found out. A video that gets into none of ``done`` and ``troubles`` is given back in the end."""

    now: datetime
    videos: dict[str, Video] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    channels: dict[str, ChannelReading] = field(default_factory=dict)
    channels_gone: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    """Videos that were read, or are gone, with their channels; nobody has looked for their frames yet."""
    frames: dict[str, Sequence[Frame] | NoFrames] = field(default_factory=dict)
    """What was found of a portion, not packed yet."""
    done: dict[str, int | NoFrames] = field(default_factory=dict)
    """Videos that come to their end, with the number of their frames."""
    troubles: dict[str, Trouble] = field(default_factory=dict)
    shards: list[ShardInfo] = field(default_factory=list)

    def samples(self) -> list[Sample]:
        """The counts that were read."""
        return [
            Sample(video_id, self.now, video.views, video.likes, video.comment_count)
            for video_id, video in self.videos.items()
        ]

    def failures(self, rows: Sequence[StageRow], fault: Fault) -> list[Failure]:
        """The videos that ``fault`` keeps from their end, and when they are due again."""
        found = ((row, self.troubles.get(row["video_id"])) for row in rows)
        return [
            Failure(
                row["video_id"],
                row["lease_token"],
                trouble.reason,
                retry_at(row["attempts"], self.now, longest=core.LONGEST_RETRY),
            )
            for row, trouble in found
            if trouble is not None and trouble.fault == fault
        ]

    def given_up(self, rows: Sequence[StageRow]) -> list[StageRow]:
        """The videos that fail for the last time."""
        found = ((row, self.troubles.get(row["video_id"])) for row in rows)
        return [row for row, trouble in found if trouble is not None and row["attempts"] + 1 >= LIMITS[trouble.fault]]

    def forget_stored(self) -> None:
        """Go on with what is not stored yet."""
        for stored in (self.channels, self.channels_gone, self.done, self.troubles):
            stored.clear()
        self.shards = []
