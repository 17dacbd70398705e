"""The quality gate: which videos the Hunter keeps, decided before anything is stored. Pure, and closed in doubt.

A rule that is on and lacks its fact refuses: a video that says no language is not taken to speak ours. What was refused
is judged anew where it turns up again after a while (``maia.hunter.core.look_again``), and may have the views by then.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from atlas.config import Settings
from maia.youtube.models import Channel, Video

HOUR = timedelta(hours=1)

UNDETERMINED = "und"
"""What stands in a language's place and names none (ISO 639-2)."""

Verdicts = Iterator[tuple[str, bool | None]]
"""The rules that are on, in turn, each with: does the video pass? None: the fact is missing."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The rules, each off unless given; those of a deployment are the settings ``GATE_*``."""

    min_duration: timedelta | None = None
    max_duration: timedelta | None = None
    accept_live: bool = False
    languages: tuple[str, ...] = ()
    regions: frozenset[str] = frozenset()
    categories: frozenset[str] = frozenset()
    denied_categories: frozenset[str] = frozenset()
    denied_words: tuple[str, ...] = ()
    """Words and phrases in the form of ``words``."""
    min_rate: float | None = None
    min_subscribers: int | None = None
    max_subscribers: int | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Take the rules from the settings."""
        return cls(
            min_duration=_seconds(settings.GATE_MIN_DURATION_SECONDS),
            max_duration=_seconds(settings.GATE_MAX_DURATION_SECONDS),
            accept_live=settings.GATE_ACCEPT_LIVE,
            languages=tuple(map(_tag, settings.GATE_LANGUAGES)),
            regions=frozenset(settings.GATE_REGIONS),
            categories=frozenset(map(str, settings.GATE_CATEGORIES)),
            denied_categories=frozenset(map(str, settings.GATE_DENIED_CATEGORIES)),
            denied_words=tuple(map(words, settings.GATE_DENIED_WORDS)),
            min_rate=settings.GATE_MIN_RATE,
            min_subscribers=settings.GATE_MIN_SUBSCRIBERS,
            max_subscribers=settings.GATE_MAX_SUBSCRIBERS,
        )

    @property
    def active(self) -> bool:
        """Is any rule on?"""
        return self != Gate(accept_live=self.accept_live)

    @property
    def needs_channel(self) -> bool:
        """Does a rule ask for the video's channel?"""
        return bool(self.regions) or self.min_subscribers is not None or self.max_subscribers is not None

    def judge(self, video: Video, now: datetime, channel: Channel | None) -> str | None:
        """Name the first rule that refuses ``video``; None when it is accepted.

        A rule whose fact is missing refuses as ``<rule>_unknown``; so do those on the channel when ``channel`` is not
        the video's own.
        """
        return self.judge_alone(video, now) or _refusal(self._of_channel(video, channel))

    def judge_alone(self, video: Video, now: datetime) -> str | None:
        """Judge by the rules that need no channel: of a video they refuse, the channel need not be read."""
        return _refusal(self._of_video(video, now))

    def _of_video(self, video: Video, now: datetime) -> Verdicts:
        if video.live in ("live", "upcoming"):
            # How long it will have been is not known yet, whatever the answer says.
            if self.min_duration is not None or self.max_duration is not None:
                yield video.live, self.accept_live
        else:
            if self.min_duration is not None:
                yield "min_duration", None if video.duration is None else video.duration >= self.min_duration
            if self.max_duration is not None:
                yield "max_duration", None if video.duration is None else video.duration <= self.max_duration
        if self.languages:
            yield "language", _speaks(video, self.languages)
        if self.categories:
            yield "category", None if not video.category_id else video.category_id in self.categories
        if self.denied_categories:
            yield "denied_category", None if not video.category_id else video.category_id not in self.denied_categories
        if self.denied_words:
            yield (
                "denied_word",
                None if video.title is None else not _holds((video.title, *video.tags), self.denied_words),
            )
        if self.min_rate is not None:
            rate = views_per_hour(video, now)
            yield "min_rate", None if rate is None else rate >= self.min_rate

    def _of_channel(self, video: Video, channel: Channel | None) -> Verdicts:
        own = channel if channel is not None and channel.id == video.channel_id else None
        country = own.country if own is not None else None
        subscribers = own.subscribers if own is not None else None
        if self.regions:
            yield "region", country.upper() in self.regions if country else None
        if self.min_subscribers is not None:
            yield "min_subscribers", None if subscribers is None else subscribers >= self.min_subscribers
        if self.max_subscribers is not None:
            yield "max_subscribers", None if subscribers is None else subscribers <= self.max_subscribers


def views_per_hour(video: Video, now: datetime) -> float | None:
    """Average the views since publication, the first hour counting as a whole: chance rules the first minutes."""
    if video.views is None or video.published_at is None:
        return None
    return video.views / (max(now - video.published_at, HOUR) / HOUR)


def words(text: str) -> str:
    """Fold ``text`` into its words, a space around each, so that a phrase is found by ``in`` and only as whole words.

    Compatible forms and letter case fold together (NFKC, casefold); what does not show, such as a soft hyphen, is left
    out. A word is a run of letters, marks and digits. A symbol is a word of its own, and so is a letter of the scripts
    that set no spaces between words: there a phrase is found anywhere.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    spaced: list[str] = [" "]
    for character in folded:
        kind = unicodedata.category(character)
        if kind == "Cf" or character in _VARIATIONS:
            continue
        if kind[0] == "S" or _unspaced(character):
            spaced.append(f" {character} ")
        else:
            spaced.append(character if kind[0] in "LMN" else " ")
    return f" {' '.join(''.join(spaced).split())} "


_VARIATIONS = frozenset("\N{VARIATION SELECTOR-15}\N{VARIATION SELECTOR-16}")
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "YI ")


def _unspaced(character: str) -> bool:
    return character > "\u0e00" and unicodedata.name(character, "").startswith(_UNSPACED)


def _refusal(verdicts: Verdicts) -> str | None:
    for rule, passes in verdicts:
        if passes is None:
            return f"{rule}_unknown"
        if not passes:
            return rule
    return None


def _holds(texts: Iterable[str], phrases: Iterable[str]) -> bool:
    folded = [words(text) for text in texts]
    return any(phrase in text for phrase in phrases for text in folded)


def _speaks(video: Video, languages: Iterable[str]) -> bool | None:
    """Tell whether what is spoken, or else the language of title and description, falls under one of ``languages``."""
    for named in (video.default_audio_language, video.default_language):
        if named and (tag := _tag(named)) != UNDETERMINED:
            return any(tag == wanted or tag.startswith(f"{wanted}-") for wanted in languages)
    return None


def _tag(language: str) -> str:
    return language.replace("_", "-").casefold()


def _seconds(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
