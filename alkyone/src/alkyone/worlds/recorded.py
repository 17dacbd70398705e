"""A world of real curves: what was recorded at the recorded instants, a straight line in between."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq

from alkyone.worlds.base import Channel, Counts, Order, Video, parse_query, words
from alkyone.worlds.chance import Ints, salt

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1) // _MICROSECOND
_COUNTERS = ("views", "likes", "comments")


class RecordedWorld:
    """An imported world. Videos are numbered by publication; times are microseconds since 1970.

    Unlike YouTube its search forgets nothing: there is little enough to find.
    """

    def __init__(self, head: dict[str, Any], videos: Any, channels: Any, samples: Any) -> None:
        self.report: dict[str, Any] = head["report"]
        self.start = datetime.fromisoformat(head["start"])
        self.end = datetime.fromisoformat(head["end"])
        self._terms: list[str] = head["terms"]
        self._videos: dict[str, list[Any]] = {name: videos.column(name).to_pylist() for name in videos.column_names}
        self._number = {video_id: number for number, video_id in enumerate(self._videos["id"])}
        self._published: Ints = videos.column("published").to_numpy()
        self._channels = {row["id"]: row for row in channels.to_pylist()}
        self._uploads: dict[str, list[int]] = defaultdict(list)
        for number, channel_id in enumerate(self._videos["channel_id"]):
            self._uploads[channel_id].append(number)
        self._times: Ints = samples.column("time").to_numpy()
        self._curves = [_Curve(samples, name, self.size()) for name in _COUNTERS]

    @classmethod
    def open(cls, folder: Path) -> RecordedWorld:
        """Open the world that ``alkyone world import`` wrote.

        Raises:
            ValueError: there is none in ``folder``.
        """
        try:
            head = orjson.loads((folder / "world.json").read_bytes())
            if head.get("format") != 1:
                raise ValueError(f"{folder} is a world of another version; import it again")
            tables = (pq.read_table(folder / f"{name}.parquet") for name in ("videos", "channels", "samples"))
            return cls(head, *tables)
        except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
            raise ValueError(f"{folder} is no world: make one with `alkyone world import DIR --out {folder}`") from None

    def terms(self) -> list[str]:
        """Search terms that lead to videos, the most rewarding first."""
        return list(self._terms)

    def stretch(self, length: timedelta) -> datetime:
        """Where the stretch with the most recorded samples begins, at a midnight UTC."""
        days, counts = np.unique(self._times // _DAY, return_counts=True)
        span = max(length // timedelta(days=1), 1)
        sums = np.concatenate([[0], np.cumsum(counts)])
        within = sums[np.searchsorted(days, days + span)] - sums[:-1]
        return _EPOCH + timedelta(days=int(days[int(np.argmax(within))]))

    def size(self) -> int:
        """How many videos there are in all."""
        return len(self._videos["id"])

    def channels_at(self, at: datetime) -> list[str]:
        """The ids of the channels that have published something, those with most uploads in the last month first."""
        recent = self._born_before(at - timedelta(days=30))
        counts: dict[str, int] = defaultdict(int)
        for number, channel_id in enumerate(self._videos["channel_id"][: self._born_before(at)]):
            counts[channel_id] += number >= recent
        return sorted(counts, key=lambda channel_id: (-counts[channel_id], channel_id))

    def channel(self, channel_id: str, at: datetime) -> Channel | None:
        """The channel; None when there is none. Nobody recorded subscribers: they are hidden."""
        row = self._channels.get(channel_id)
        if row is None:
            return None
        uploads = [number for number in self._uploads[channel_id] if number < self._born_before(at)]
        counts = [self._reading(number, at) for number in uploads]
        return Channel(
            id=channel_id,
            title=row["title"],
            description="",
            handle="@" + channel_id[2:].casefold(),
            created_at=_EPOCH + row["created"] * _MICROSECOND,
            country=None,
            subscribers=None,
            views=sum(reading.views for reading in counts),
            videos=len(uploads),
        )

    def video(self, video_id: str, at: datetime) -> Video | None:
        """The video; None when it is unknown or not published yet. None was ever recorded as deleted."""
        number = self._number.get(video_id)
        if number is None or number >= self._born_before(at):
            return None
        row = {name: column[number] for name, column in self._videos.items()}
        return Video(
            id=video_id,
            channel_id=row["channel_id"],
            channel_title=self._channels[row["channel_id"]]["title"],
            title=row["title"],
            description=row["description"],
            published_at=_EPOCH + row["published"] * _MICROSECOND,
            duration=timedelta(seconds=row["seconds"]),
            tags=tuple(row["tags"]),
            category_id=row["category_id"],
            language=row["language"],
        )

    def counts(self, video_id: str, at: datetime) -> Counts | None:
        """Its counters; None when it is unknown or not published yet."""
        number = self._number.get(video_id)
        return None if number is None or number >= self._born_before(at) else self._reading(number, at)

    def readings(self, video_ids: Sequence[str], at: datetime) -> dict[str, Counts]:
        """The counters of those that are published."""
        found = ((video_id, self.counts(video_id, at)) for video_id in video_ids)
        return {video_id: counts for video_id, counts in found if counts is not None}

    def search(
        self,
        q: str,
        after: datetime | None = None,
        before: datetime | None = None,
        order: Order = "relevance",
        at: datetime | None = None,
    ) -> list[str]:
        """Ids of videos published in [after, before) that match every word of ``q``."""
        now = at or self.end
        low = 0 if after is None else int(np.searchsorted(self._published, _micros(after)))
        high = self._born_before(now)
        if before is not None:
            high = min(high, int(np.searchsorted(self._published, _micros(before))))
        query = parse_query(q)
        found = set(range(low, high))
        for options in query.wanted:
            found &= set().union(*(self._holders.get(word, ()) for word in options))
        for word in query.unwanted:
            found -= self._holders.get(word, set())
        return [self._videos["id"][number] for number in self._ranked(found, order, now)]

    def uploads(self, channel_id: str, at: datetime) -> list[str] | None:
        """Ids of a channel's uploads, newest first; None when there is no such channel."""
        if channel_id not in self._channels:
            return None
        born = self._born_before(at)
        return [self._videos["id"][number] for number in reversed(self._uploads[channel_id]) if number < born]

    def popular(self, at: datetime) -> list[str]:
        """Ids of the two hundred most viewed videos of the last thirty days."""
        return self.search("", at - timedelta(days=30), None, "viewCount", at)[:200]

    def look(self, video_id: str) -> int | None:
        """What it looks like; nobody recorded that, so each has a look of its own. None when it is unknown."""
        return salt(0, video_id) if video_id in self._number else None

    def original(self, video_id: str) -> str | None:
        """None: nobody recorded which videos are re-uploads."""
        del video_id
        return None

    def recorded(self, video_id: str) -> list[tuple[datetime, int]]:
        """The instants at which the video was really sampled, and the views then."""
        times, values = self._curves[0].samples(self._number[video_id])
        return [
            (_EPOCH + int(instant) * _MICROSECOND, int(views)) for instant, views in zip(times, values, strict=True)
        ]

    def _born_before(self, at: datetime) -> int:
        return int(np.searchsorted(self._published, _micros(at), side="right"))

    def _reading(self, number: int, at: datetime) -> Counts:
        instant, born = _micros(at), int(self._published[number])
        views, likes, comments = (curve.at(number, instant, born) for curve in self._curves)
        return Counts(views or 0, likes, comments)

    def _ranked(self, found: set[int], order: Order, now: datetime) -> list[int]:
        numbers = sorted(found, reverse=True)
        if order == "date":
            return numbers
        if order == "title":
            return sorted(numbers, key=lambda number: str(self._videos["title"][number]))
        views = {number: self._reading(number, now).views for number in numbers}
        if order == "relevance":
            instant = _micros(now)
            return sorted(
                numbers, key=lambda number: -views[number] / (2.0 + (instant - int(self._published[number])) / _DAY)
            )
        return sorted(numbers, key=lambda number: -views[number])

    @cached_property
    def _holders(self) -> dict[str, set[int]]:
        """Which videos have a word in their title, tags, keywords or channel's name."""
        holders: dict[str, set[int]] = defaultdict(set)
        columns = (self._videos[name] for name in ("title", "tags", "keywords", "channel_id"))
        for number, (title, tags, keywords, channel_id) in enumerate(zip(*columns, strict=True)):
            text = " ".join([title, *tags, *keywords, self._channels[channel_id]["title"]])
            for word in words(text):
                holders[word].add(number)
        return dict(holders)


class _Curve:
    """One counter of all videos: the samples that have it, video after video."""

    def __init__(self, samples: Any, name: str, videos: int) -> None:
        column = samples.column(name)
        present = column.is_valid().to_numpy(zero_copy_only=False)
        self._values: Ints = column.drop_null().to_numpy()
        self._times: Ints = samples.column("time").to_numpy()[present]
        self._bounds = np.searchsorted(samples.column("video").to_numpy()[present], np.arange(videos + 1))

    def samples(self, number: int) -> tuple[Ints, Ints]:
        """The instants of a video's samples, and the values."""
        part = slice(int(self._bounds[number]), int(self._bounds[number + 1]))
        return self._times[part], self._values[part]

    def at(self, number: int, instant: int, born: int) -> int | None:
        """The counter: as recorded, on the line between two samples, from zero at birth, flat after the last.

        None when this counter of this video was never recorded.
        """
        times, values = self.samples(number)
        if not len(times):
            return None
        after = int(np.searchsorted(times, instant, side="right"))
        if after == len(times):
            return int(values[-1])
        end, high = int(times[after]), int(values[after])
        begin, low = (int(times[after - 1]), int(values[after - 1])) if after else (born, 0)
        # Whole numbers throughout: exact at the samples, however big the counters are.
        return low + (high - low) * (instant - begin) // (end - begin)


def _micros(instant: datetime) -> int:
    return (instant - _EPOCH) // _MICROSECOND
