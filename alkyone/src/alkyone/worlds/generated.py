"""A world drawn from a seed: channels, videos, curves with bursts, deletions, renames; the same in every process."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alkyone.worlds import vocabulary
from alkyone.worlds.base import Channel, Counts, Live, Order, Query, Video, parse_query, words
from alkyone.worlds.chance import Dice, Floats, Ints, as_ints, name_of, number_of, salt
from alkyone.worlds.growth import Growth

DAY = 86_400
# "Search forgets": findable videos drop sharply from 20 days after publication (as observed up to November 2026).
FORGET_AFTER = 20 * DAY
REMEMBERED_SHARE = 0.2
REUPLOADED_SHARE = 0.03
_NEVER = np.iinfo(np.int64).max
_TAG_SLOTS = 5
_WORTH_A_SEARCH = 12  # videos
_PRIMES: Ints = np.array(
    [1, 5, 7, 11], dtype=np.int64
)  # strides that walk all twelve tags of a topic without meeting one twice


@dataclass(frozen=True)
class Spec:
    """What to draw; ``videos`` is about how many, over ``past`` days before the start and ``days`` after it."""

    seed: int = 7
    channels: int = 300
    videos: int = 9_000
    days: int = 31
    past: int = 30
    start: datetime = datetime(2026, 10, 20, tzinfo=UTC)

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Read ``seed=7,channels=400,…``; without ``videos``, thirty a channel.

        Raises:
            ValueError: a part is no ``name=value``, or the name is unknown.
        """
        readers: dict[str, Callable[[str], object]] = {field.name: int for field in dataclasses.fields(cls)}
        readers["start"] = lambda value: _utc(datetime.fromisoformat(value))
        given: dict[str, object] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, equals, value = part.partition("=")
            if not equals or name not in readers:
                raise ValueError(f"{part!r} is not one of {', '.join(f'{known}=…' for known in readers)}")
            given[name] = readers[name](value)
        if "channels" in given and "videos" not in given:
            given["videos"] = 30 * int(str(given["channels"]))
        spec = cls(**given)  # type: ignore[arg-type]
        if min(spec.channels, spec.videos, spec.days) < 1 or spec.past < 0:
            raise ValueError("channels, videos and days must be at least 1, past at least 0")
        return spec


class Trajectories(NamedTuple):
    """The counters of V videos at S instants: video ``i`` has the samples ``bounds[i]:bounds[i + 1]``, by time.

    Times are seconds since 1970; a hidden counter is NaN.
    """

    ids: list[str]
    channels: Ints
    published: Floats
    seconds: Ints
    bounds: Ints
    times: Floats
    views: Floats
    likes: Floats
    comments: Floats


class GeneratedWorld:
    """The world of a spec. Videos are numbered by publication; a name is its number, scattered."""

    def __init__(self, spec: Spec | None = None) -> None:
        self.spec = spec or Spec()
        self.start = self.spec.start
        self.end = self.start + timedelta(days=self.spec.days)
        self._video_salt = (salt(self.spec.seed, "video"),)
        self._channel_salts = (salt(self.spec.seed, "channel"), salt(self.spec.seed, "channel, second half"))
        self._draw_channels()
        self._draw_videos()

    def terms(self) -> list[str]:
        """Search terms: the topics, the busiest first, then their tags."""
        topics = vocabulary.TOPICS
        busy = np.bincount(self._topic, minlength=len(topics))
        names = [topics[number].name for number in np.argsort(-busy, kind="stable") if busy[number] >= _WORTH_A_SEARCH]
        tags = np.zeros((len(topics), len(topics[0].tags)), np.int64)
        np.add.at(tags, (self._topic[:, None], self._tag_slots), 1)
        ranked = (divmod(int(place), tags.shape[1]) for place in np.argsort(-tags, axis=None, kind="stable"))
        worthy = (topics[topic].tags[slot] for topic, slot in ranked if tags[topic, slot] >= _WORTH_A_SEARCH)
        return list(dict.fromkeys([*names, *worthy]))

    def stretch(self, length: timedelta) -> datetime:
        """The start: a generated world is alive throughout."""
        return self.start

    def size(self) -> int:
        """How many videos there are in all."""
        return len(self._published)

    def channels_at(self, at: datetime) -> list[str]:
        """The ids of all channels (they are older than the world), the most subscribed first."""
        del at
        return [self._channel_id(number) for number in np.argsort(-self._subscribers, kind="stable")]

    def channel(self, channel_id: str, at: datetime) -> Channel | None:
        """The channel; None when there is none."""
        number = self._channel_number(channel_id)
        if number is None:
            return None
        instant = at.timestamp()
        uploads = self._by_channel[number]
        uploads = uploads[: np.searchsorted(self._published[uploads], instant, side="right")]
        seen = uploads[self._public(uploads, instant)]
        topic, other = (vocabulary.TOPICS[int(self._channel_topics[number, slot])] for slot in (0, 1))
        title = self._channel_title(number, instant)
        handle = title if self._takes_handle_along[number] else self._channel_title(number, 0.0)
        place = int(self._place[number]) + int(instant >= self._channel_moved[number])
        subscribers = int(self._subscribers[number])
        return Channel(
            id=channel_id,
            title=title,
            description=f"{title}: {topic.name} and {other.name}, {self._uploads_a_week[number]:.0f} times a week.",
            handle="@" + "".join(words(handle)) + str(number),
            created_at=datetime.fromtimestamp(int(self._created[number]), UTC),
            country=vocabulary.PLACES[place % len(vocabulary.PLACES)][1],
            subscribers=None if self._hides_subscribers[number] else subscribers,
            views=subscribers * 90 + int(self._growth.views(seen, instant).sum()),
            videos=int(self._older_videos[number]) + len(seen),
            topics=(topic.wiki, other.wiki),
        )

    def video(self, video_id: str, at: datetime) -> Video | None:
        """The video; None when it is unknown, not published yet, or deleted. It may be private."""
        number = number_of(video_id, *self._video_salt)
        instant = at.timestamp()
        if number is None or number >= self.size() or not self._published[number] <= instant < self._deleted[number]:
            return None
        channel = int(self._channel_of[number])
        live, duration = self._broadcast(number, instant)
        topic = vocabulary.TOPICS[int(self._topic[number])]
        tags = tuple(topic.tags[slot] for slot in self._tag_slots[number])
        title = self._title(number)
        if instant >= self._retitled[number]:
            title = f"{title} (updated)"
        return Video(
            id=video_id,
            channel_id=self._channel_id(channel),
            channel_title=self._channel_title(channel, instant),
            title=title,
            description=f"{title}\n\nMore {topic.name} every week. Tell us what you think of {tags[0]} & {tags[1]}.",
            published_at=datetime.fromtimestamp(int(self._published[number]), UTC),
            duration=duration,
            tags=() if self._untagged[number] else (topic.name, *tags[: 2 + number % (_TAG_SLOTS - 1)]),
            category_id=topic.category_id,
            language=None if number % 4 == 3 else vocabulary.PLACES[int(self._place[channel])][0],
            topics=(topic.wiki,),
            live=live,
            private=bool(self._hidden_from[number] <= instant < self._hidden_until[number]),
        )

    def counts(self, video_id: str, at: datetime) -> Counts | None:
        """Its counters; None when the public cannot see the video."""
        return self.readings((video_id,), at).get(video_id)

    def readings(self, video_ids: Sequence[str], at: datetime) -> dict[str, Counts]:
        """The counters of those the public can see."""
        size, instant = self.size(), at.timestamp()
        numbers = {name: number_of(name, *self._video_salt) for name in video_ids}
        known = {name: number for name, number in numbers.items() if number is not None and number < size}
        index = np.fromiter(known.values(), np.int64, len(known))
        public = self._public(index, instant)
        index = index[public]
        views = self._growth.views(index, instant)
        columns = zip(
            (name for name, seen in zip(known, public.tolist(), strict=True) if seen),
            views.tolist(),
            self._growth.likes(index, views).tolist(),
            self._growth.comments(index, views).tolist(),
            self._growth.likes_hidden[index].tolist(),
            self._growth.comments_hidden[index].tolist(),
            strict=True,
        )
        return {
            name: Counts(viewed, None if no_likes else likes, None if no_comments else comments)
            for name, viewed, likes, comments, no_likes, no_comments in columns
        }

    def published(self, after: datetime, before: datetime) -> dict[str, datetime]:
        """The videos published in [after, before), the oldest first, public or not."""
        low, high = np.searchsorted(self._published, [after.timestamp(), before.timestamp()])
        return {
            self._video_id(number): datetime.fromtimestamp(int(self._published[number]), UTC)
            for number in range(int(low), int(high))
        }

    def trajectories(
        self,
        born_before: datetime,
        step: timedelta,
        *,
        born_after: datetime | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
    ) -> Trajectories:
        """Count the videos published in [born_after, born_before) each ``step``, while they are public.

        From the first whole minute after its publication, but not before ``begin``, and until ``end``. What is not
        given is the world's own start and end.
        """
        began, until = (begin or self.start).timestamp(), (end or self.end).timestamp()
        ends = [(born_after or self.start).timestamp(), min(born_before.timestamp(), until - 60)]
        born = np.arange(*np.searchsorted(self._published, ends))
        first = np.maximum(self._published[born] + 60, began)
        rows = as_ints((until - first) // step.total_seconds()) + 1
        turn = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
        index = np.repeat(born, rows)
        at = np.repeat(first, rows) + turn * step.total_seconds()
        public = self._public(index, at)
        index, at = index[public], at[public]
        seen = np.unique(index)
        views = self._growth.views(index, at)
        likes, comments = self._growth.likes(index, views), self._growth.comments(index, views)
        return Trajectories(
            ids=[self._video_id(number) for number in seen],
            channels=self._channel_of[seen],
            published=self._published[seen].astype(np.float64),
            seconds=self._seconds[seen],
            bounds=np.append(np.searchsorted(index, seen), len(index)),
            times=at,
            views=views.astype(np.float64),
            likes=np.where(self._growth.likes_hidden[index], np.nan, likes),
            comments=np.where(self._growth.comments_hidden[index], np.nan, comments),
        )

    def search(
        self,
        q: str,
        after: datetime | None = None,
        before: datetime | None = None,
        order: Order = "relevance",
        at: datetime | None = None,
    ) -> list[str]:
        """Ids of public videos published in [after, before) that match every word of ``q``.

        As on YouTube a new video takes minutes to be findable, sometimes a day, and most old ones are forgotten.
        """
        instant = (at or self.end).timestamp()
        low = 0 if after is None else int(np.searchsorted(self._published, after.timestamp()))
        until = min(instant, np.inf if before is None else before.timestamp() - 0.001)
        high = max(int(np.searchsorted(self._published, until, side="right")), low)
        index = np.arange(low, high)
        age = instant - self._published[low:high]
        findable = (age >= self._indexed_after[low:high]) & ((age < FORGET_AFTER) | self._remembered[low:high])
        found = index[findable & self._public(index, instant) & self._matches(parse_query(q), slice(low, high))]
        return [self._video_id(number) for number in self._ranked(found, order, instant)]

    def uploads(self, channel_id: str, at: datetime) -> list[str] | None:
        """Ids of a channel's uploads, newest first, private ones among them; None when there is no such channel."""
        number = self._channel_number(channel_id)
        if number is None:
            return None
        index = self._by_channel[number]
        instant = at.timestamp()
        alive = (self._published[index] <= instant) & (instant < self._deleted[index])
        return [self._video_id(upload) for upload in index[alive][::-1]]

    def popular(self, at: datetime) -> list[str]:
        """Ids of the two hundred most viewed videos of the last four days: music, films and games only."""
        instant = at.timestamp()
        low, high = np.searchsorted(self._published, [instant - 4 * DAY, instant], side="right")
        index = np.arange(int(low), int(high))
        charted = np.array([topic.category_id in {"1", "10", "20"} for topic in vocabulary.TOPICS])
        index = index[charted[self._topic[index]] & self._public(index, instant)]
        return [self._video_id(number) for number in self._ranked(index, "viewCount", instant)[:200]]

    def look(self, video_id: str) -> int | None:
        """What it looks like; None when it is unknown. A re-upload looks like its original."""
        number = self._video_number(video_id)
        return None if number is None else salt(self.spec.seed, f"look {self._original[number]}")

    def original(self, video_id: str) -> str | None:
        """The id of the video that this one is a re-upload of; None when it is its own."""
        number = self._video_number(video_id)
        if number is None or self._original[number] == number:
            return None
        return self._video_id(int(self._original[number]))

    def risers(self, count: int = 20) -> list[str]:
        """Ids of the videos whose bursts are the biggest, for who wants to know what there is to find."""
        inside = np.where(self._published >= self.start.timestamp(), self._growth.burst_size, 0.0)
        return [self._video_id(number) for number in np.argsort(-inside, kind="stable")[:count]]

    def _draw_channels(self) -> None:
        spec, topics = self.spec, len(vocabulary.TOPICS)
        dice = Dice(spec.seed, "channel", spec.channels)
        began, ended = self.start.timestamp(), self.end.timestamp()
        shares = np.cumsum([share for _, _, share in vocabulary.PLACES])
        self._place = np.searchsorted(shares / shares[-1], dice.uniform("place"))
        self._subscribers = as_ints(np.clip(np.exp(10.2 + 2.1 * dice.normal("subscribers")), 40, 9e7))
        first = dice.integers("topic", topics)
        self._channel_topics = np.stack(
            [first, (first + 1 + dice.integers("second topic", topics - 1)) % topics], axis=1
        )
        self._shorts_share = dice.uniform("shorts") ** 2
        self._hides_subscribers = dice.chance("hides subscribers", 0.04)
        self._created = as_ints(began - DAY * dice.between("age", 60, 5_000))
        self._older_videos = as_ints(np.exp(4 + 1.2 * dice.normal("older videos")))
        renamed = dice.chance("renamed", 0.07)
        self._channel_renamed = np.where(renamed, as_ints(dice.between("renamed at", began, ended)), _NEVER)
        self._takes_handle_along = dice.chance("new handle", 0.5)
        moved = dice.chance("moved", 0.02)
        self._channel_moved = np.where(moved, as_ints(dice.between("moved at", began, ended)), _NEVER)
        rate = np.exp(0.9 * dice.normal("rate"))
        expected = spec.videos * rate / rate.sum()
        self._uploads_a_week = expected * 7 / (spec.days + spec.past)
        self._uploads = as_ints(expected + dice.uniform("uploads"))

    def _draw_videos(self) -> None:
        spec, began = self.spec, self.start.timestamp()
        owner = np.repeat(np.arange(spec.channels), self._uploads)
        dice = Dice(spec.seed, "video", len(owner))
        ordinal = np.arange(len(owner)) - np.repeat(np.cumsum(self._uploads) - self._uploads, self._uploads)
        # A channel uploads at an even pace, mostly in its evening.
        span = spec.days + spec.past
        day = np.floor((ordinal + dice.uniform("day")) / self._uploads[owner] * span)
        hour = (17 + 4.5 * dice.normal("hour")) % 24
        when = as_ints(began - spec.past * DAY + day * DAY + hour * 3600)
        by_time = np.argsort(when, kind="stable")
        self._published, self._channel_of, self._ordinal = when[by_time], owner[by_time], ordinal[by_time]
        self._by_channel = np.split(
            np.argsort(self._channel_of, kind="stable"),
            np.cumsum(np.bincount(self._channel_of, minlength=spec.channels))[:-1],
        )

        published = self._published
        self._topic = self._channel_topics[self._channel_of, dice.chance("second topic", 0.25).astype(np.int64)]
        first, stride = dice.integers("tag", 12), _PRIMES[dice.integers("stride", len(_PRIMES))]
        self._tag_slots: Ints = np.add(first[:, None], stride[:, None] * np.arange(_TAG_SLOTS, dtype=np.int64)) % 12
        self._template = dice.uniform("template")
        self._short = dice.chance("short", self._shorts_share[self._channel_of])
        live = dice.chance("live", 0.02) & ~self._short
        seconds = np.clip(np.exp(6.3 + 0.8 * dice.normal("seconds")), 62, 30 * 3600)
        seconds = np.where(self._short, dice.between("short seconds", 6, 61), seconds)
        self._seconds = as_ints(np.where(live, dice.between("live seconds", 2_700, 28 * 3600), seconds))
        self._goes_live = np.where(live, published + as_ints(dice.between("goes live", 600, 36 * 3600)), 0)
        self._ends_live = np.where(live, self._goes_live + self._seconds, 0)
        self._untagged = dice.chance("untagged", 0.12)
        self._retitled = np.where(
            dice.chance("retitled", 0.05), published + as_ints(dice.exponential("retitled at", 3 * DAY)), _NEVER
        )

        self._deleted = np.where(
            dice.chance("deleted", 0.03), published + 3600 + as_ints(dice.exponential("deleted at", 6 * DAY)), _NEVER
        )
        private = dice.chance("private", 0.02)
        self._hidden_from = np.where(
            private, published + 3600 + as_ints(dice.exponential("private at", 5 * DAY)), _NEVER
        )
        comes_back = private & dice.chance("comes back", 0.5)
        self._hidden_until = np.where(
            comes_back, self._hidden_from + as_ints(dice.between("back after", 1 * DAY, 9 * DAY)), _NEVER
        )

        late = dice.chance("late in search", 0.08)
        self._indexed_after = np.where(
            late, dice.between("indexed late", 3 * 3600, 30 * 3600), dice.between("indexed", 60, 2400)
        )
        self._remembered = dice.chance("remembered", REMEMBERED_SHARE)

        # A re-upload is of any video before it; where that is one itself, of the same original.
        numbers = np.arange(len(owner))
        again = dice.chance("re-upload", REUPLOADED_SHARE)
        self._original = np.where(again, as_ints(np.floor(dice.uniform("original") * numbers)), numbers)
        while np.any((root := self._original[self._original]) != self._original):
            self._original = root
        # Nobody has seen a premiere before it begins.
        first_shown = np.maximum(published, self._goes_live)
        self._growth = Growth.draw(
            dice, first_shown, self._subscribers[self._channel_of].astype(np.float64), self._short
        )

    def _public(self, index: Ints, instant: float | Floats) -> NDArray[np.bool_]:
        hidden = (self._hidden_from[index] <= instant) & (instant < self._hidden_until[index])
        visible: NDArray[np.bool_] = (self._published[index] <= instant) & (instant < self._deleted[index]) & ~hidden
        return visible

    def _broadcast(self, number: int, instant: float) -> tuple[Live, timedelta | None]:
        if instant < self._goes_live[number]:
            return "upcoming", None
        if instant < self._ends_live[number]:
            return "live", None
        return "none", timedelta(seconds=int(self._seconds[number]))

    def _ranked(self, index: Ints, order: Order, instant: float) -> Ints:
        if order == "date":
            return index[::-1]
        if order == "title":
            return np.array(sorted(index.tolist(), key=self._title), dtype=np.int64)
        views = self._growth.views(index, instant)
        if order == "rating":
            return index[np.argsort(-self._growth.like_rate[index], kind="stable")]
        if order == "relevance":
            age = (instant - self._published[index]) / DAY
            return index[np.argsort(-views / (2.0 + age), kind="stable")]
        return index[np.argsort(-views, kind="stable")]

    def _title(self, number: int) -> str:
        topic = vocabulary.TOPICS[int(self._topic[number])]
        slots = self._tag_slots[number]
        templates = self._templates_of(number)
        template = templates[int(self._template[number] * len(templates))]
        title = template.format(
            a=topic.tags[slots[0]], b=topic.tags[slots[1]], topic=topic.name, n=int(self._ordinal[number]) + 1
        )
        return title[0].upper() + title[1:]

    def _templates_of(self, number: int) -> tuple[str, ...]:
        if self._short[number]:
            return vocabulary.SHORT_TEMPLATES
        return vocabulary.TEMPLATES[vocabulary.PLACES[int(self._place[self._channel_of[number]])][0]]

    def _channel_title(self, number: int, instant: float) -> str:
        first = vocabulary.CREATORS[number % len(vocabulary.CREATORS)]
        second = vocabulary.SUFFIXES[(number // len(vocabulary.CREATORS) + number * 7) % len(vocabulary.SUFFIXES)]
        turn = number // (len(vocabulary.CREATORS) * len(vocabulary.SUFFIXES))
        title = f"{first} {second}" + (f" {turn + 1}" if turn else "")
        return f"{title} — reloaded" if instant >= self._channel_renamed[number] else title

    def _matches(self, query: Query, window: slice) -> NDArray[np.bool_]:
        matching = np.ones(window.stop - window.start, dtype=np.bool_)
        for options in query.wanted:
            matching &= np.logical_or.reduce([self._has_word(word, window) for word in options])
        for word in query.unwanted:
            matching &= ~self._has_word(word, window)
        return matching

    def _has_word(self, word: str, window: slice) -> NDArray[np.bool_]:
        """Which videos have the word in their tags, their topic or their channel's name."""
        in_topic, in_tag, in_channel = self._lexicon
        nothing = np.zeros(window.stop - window.start, dtype=np.bool_)
        topic = self._topic[window]
        found = in_topic[word][topic] if word in in_topic else nothing
        if word in in_tag:
            found = found | in_tag[word][topic[:, None], self._tag_slots[window]].any(axis=1)
        if word in in_channel:
            found = found | in_channel[word][self._channel_of[window]]
        return found

    @cached_property
    def _lexicon(self) -> tuple[dict[str, NDArray[np.bool_]], ...]:
        in_topic: dict[str, NDArray[np.bool_]] = {}
        in_tag: dict[str, NDArray[np.bool_]] = {}
        in_channel: dict[str, NDArray[np.bool_]] = {}
        topics = len(vocabulary.TOPICS)
        for number, topic in enumerate(vocabulary.TOPICS):
            for word in words(topic.name):
                in_topic.setdefault(word, np.zeros(topics, np.bool_))[number] = True
            for slot, tag in enumerate(topic.tags):
                for word in words(tag):
                    in_tag.setdefault(word, np.zeros((topics, len(topic.tags)), np.bool_))[number, slot] = True
        for number in range(self.spec.channels):
            for word in words(self._channel_title(number, 0.0)):
                in_channel.setdefault(word, np.zeros(self.spec.channels, np.bool_))[number] = True
        return in_topic, in_tag, in_channel

    def _video_number(self, video_id: str) -> int | None:
        number = number_of(video_id, *self._video_salt)
        return number if number is not None and number < self.size() else None

    def _video_id(self, number: int) -> str:
        return name_of(int(number), *self._video_salt)

    def _channel_id(self, number: int) -> str:
        return "UC" + name_of(int(number), *self._channel_salts)

    def _channel_number(self, channel_id: str) -> int | None:
        number = number_of(channel_id[2:], *self._channel_salts) if channel_id.startswith("UC") else None
        return number if number is not None and number < self.spec.channels else None


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
