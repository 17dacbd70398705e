"""The demo's own judge: what the stand-in served against what is stored, reading for reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa


class Verdict(NamedTuple):
    """``lost`` readings were served but are not stored as they were; ``doubled`` rows are stored more than once."""

    served: int
    lost: int
    doubled: int


def compare(served: Mapping[str, Sequence[Any]], stored: pa.Table, stored_rows: int) -> Verdict:
    """Hold the readings that were ``served`` against the ``stored`` timeline.

    ``served`` has columns video_id, timestamp (ISO 8601), views, likes, comment_count; ``stored`` the same with real
    timestamps, deduplicated; ``stored_rows`` counts the rows of SQL and vault together, as they lie there.
    """
    readings = {
        (video_id, datetime.fromisoformat(at)): (views, likes, comments)
        for video_id, at, views, likes, comments in zip(
            served["video_id"],
            served["timestamp"],
            served["views"],
            served["likes"],
            served["comment_count"],
            strict=True,
        )
    }
    kept = {
        (video_id, at): (views, likes, comments)
        for video_id, at, views, likes, comments in zip(
            *(stored.column(name).to_pylist() for name in ("video_id", "timestamp", "views", "likes", "comment_count")),
            strict=True,
        )
    }
    lost = sum(kept.get(instant) != counts for instant, counts in readings.items())
    return Verdict(len(readings), lost, stored_rows - stored.num_rows)
