"""The packed kinds: what is kept together in Parquet, and the Arrow schema of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

INSTANT = pa.timestamp("us", tz="UTC")
SEGMENT = pa.struct([("start", pa.float64()), ("duration", pa.float64()), ("text", pa.string())])
"""A line of a transcript; start and duration in seconds."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is packed together. Of rows with the same ``key`` one is kept: the one that is greatest as a whole.

    A newer ``version`` may only add columns that can be absent, so that every shard ever written can be read.
    """

    name: str
    version: int
    schema: pa.Schema
    key: tuple[str, ...]  # also the order of the rows
    time: str  # the column that says which day a row belongs to; part of the key
    subject: str = "video_id"  # the column that rows are looked up by: it has a bloom filter
    delta: tuple[str, ...] = ()  # columns that grow slowly within a video
    large: tuple[str, ...] = ()  # columns whose values are long and never alike: cut by content, without a dictionary
    row_group: int | None = None  # rows; None means the usual number
    merged: int | None = (
        None  # rows of a shard that was made of several, where rows are long; None means the usual number
    )
    json: tuple[str, ...] = ()  # columns that keep any value, as JSON
    extra: str | None = None  # the column that keeps, as JSON, what has no column of its own


METRICS = Kind(
    name="metrics",
    version=1,
    schema=pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("timestamp", INSTANT, nullable=False),
            pa.field("views", pa.int64()),
            pa.field("likes", pa.int64()),  # absent when hidden, which is not zero
            pa.field("comment_count", pa.int64()),
        ]
    ),
    key=("video_id", "timestamp"),
    time="timestamp",
    delta=("views", "likes", "comment_count"),
)

METADATA = Kind(
    name="metadata",
    version=1,
    schema=pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("observed_at", INSTANT, nullable=False),
            pa.field("channel_id", pa.string()),
            pa.field("channel_title", pa.string()),
            pa.field("title", pa.string()),
            pa.field("description", pa.string()),
            pa.field("published_at", INSTANT),
            pa.field("discovered_at", INSTANT),
            pa.field("duration", pa.int64()),  # seconds; absent for live and upcoming videos
            pa.field("tags", pa.list_(pa.string())),
            pa.field("category_id", pa.string()),
            pa.field("default_language", pa.string()),
            pa.field("wiki_topics", pa.list_(pa.string())),
            pa.field("extra_json", pa.string()),
        ]
    ),
    key=("video_id", "observed_at"),
    time="observed_at",
    extra="extra_json",
)

TRANSCRIPTS = Kind(
    name="transcripts",
    version=1,
    schema=pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("observed_at", INSTANT, nullable=False),
            pa.field("language", pa.string(), nullable=False),  # BCP 47; "und" when nobody knows
            pa.field("source", pa.string()),
            pa.field("generated", pa.bool_()),  # by a machine
            pa.field("text", pa.string()),
            pa.field("segments", pa.list_(SEGMENT)),
            pa.field("reason", pa.string()),  # why there is no text: an answer too
            pa.field("extra_json", pa.string()),
        ]
    ),
    key=("video_id", "observed_at", "language"),
    time="observed_at",
    large=("text", "segments"),
    row_group=1024,
    extra="extra_json",
)

VISUALS = Kind(
    name="visuals",
    version=1,
    schema=pa.schema(
        [
            pa.field("video_id", pa.string(), nullable=False),
            pa.field("observed_at", INSTANT, nullable=False),
            pa.field("frame_index", pa.int64(), nullable=False),
            pa.field("data", pa.binary(), nullable=False),  # the picture's file
            pa.field("media_type", pa.string()),
            pa.field("source", pa.string()),
            pa.field("extra_json", pa.string()),
        ]
    ),
    key=("video_id", "observed_at", "frame_index"),
    time="observed_at",
    large=("data",),
    row_group=256,
    extra="extra_json",
)

EVENTS = Kind(
    name="events",
    version=1,
    schema=pa.schema(
        [
            pa.field("created_at", INSTANT, nullable=False),
            pa.field("id", pa.int64(), nullable=False),
            pa.field("event_type", pa.string(), nullable=False),
            pa.field("entity_id", pa.string()),
            pa.field("payload", pa.string()),  # JSON
        ]
    ),
    key=("created_at", "id"),  # the order in which they are replayed
    time="created_at",
    subject="entity_id",
    delta=("id",),
    merged=50_000,
    json=("payload",),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (METRICS, METADATA, TRANSCRIPTS, VISUALS, EVENTS)}
