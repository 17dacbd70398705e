"""What the Scribe decides: what is asked about a video, what is kept of the answers, whose fault it is without one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from atlas.adapters.records import FrameVector, StageRow
from maia.scribe.transcripts.model import NoTranscript, Transcript, Wanted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Fault = Literal["video", "source"]

LIMITS: Mapping[Fault, int] = {"video": 5, "source": 20}
"""Attempts, by what is at fault: captions that cannot be read stay so, while outages end, within four days of them."""

LONGEST_RETRY = timedelta(hours=6)


class Trouble(NamedTuple):
    """Why a video does not come to its end now, and what is at fault."""

    reason: str
    fault: Fault


class Pause(NamedTuple):
    """Why a video is not looked at now, and when it is due again."""

    reason: str
    until: datetime


def wanted(row: StageRow) -> Wanted:
    """Make the question for a video's transcript."""
    return Wanted(row["video_id"], row["channel_id"], row["default_language"])


def transcript(row: StageRow, answer: Transcript | NoTranscript, now: datetime) -> dict[str, Any]:
    """Make what the vault keeps of an answer, also of the one that there is none."""
    return {"video_id": row["video_id"], "observed_at": now, **answer.document()}


def frame_vectors(
    frames: Mapping[str, Sequence[tuple[int, bytes]]], vectors: NDArray[np.float32], source_type: str
) -> Iterator[FrameVector]:
    """Say which vector (a row of n × 512) belongs to which frame; they are in the order of ``frames``."""
    known = [(video_id, index) for video_id, shown in frames.items() for index, _ in shown]
    for (video_id, index), vector in zip(known, vectors, strict=True):
        yield FrameVector(video_id, index, source_type, vector)


def kind_of(reason: str) -> str:
    """Shorten a reason to what is counted: "unavailable: This video is private" is "unavailable"."""
    return reason.partition(":")[0]
