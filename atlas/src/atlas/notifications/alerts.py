"""What an alert is, cut to what Discord takes, and how many that come together become one message."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

from atlas.plain import literal

# Limits in characters (Discord developer documentation, "Embed Limits", as of November 2026). The last two hold for
# a message: the characters of all its embeds together, and how many embeds it may have.
TITLE_LIMIT = 256
DESCRIPTION_LIMIT = 4096
FIELD_LIMIT = 25
NAME_LIMIT = 256
VALUE_LIMIT = 1024
MESSAGE_LIMIT = 6000
EMBED_LIMIT = 10

FOOTER_ROOM = 80
"""Characters kept free for the footer."""

EXAMPLE_LIMIT = 160
"""Characters of an alert that a digest quotes."""


class AlertLevel(Enum):
    """How grave it is; the value is the colour of the embed."""

    INFO = 0x3498DB
    SUCCESS = 0x2ECC71
    WARNING = 0xF1C40F
    CRITICAL = 0xE74C3C


class AlertChannel(Enum):
    """Who should see it; ALERTS also takes what its own channel cannot."""

    ALERTS = "alerts"
    HUNT = "hunt"
    SURVEILLANCE = "watch"
    OPS = "ops"


GRAVITY = (AlertLevel.CRITICAL, AlertLevel.WARNING, AlertLevel.SUCCESS, AlertLevel.INFO)
LOG_LEVELS = {
    AlertLevel.INFO: logging.INFO,
    AlertLevel.SUCCESS: logging.INFO,
    AlertLevel.WARNING: logging.WARNING,
    AlertLevel.CRITICAL: logging.CRITICAL,
}


class Alert(NamedTuple):
    """What is said, cut to the limits of one embed."""

    title: str
    description: str
    channel: AlertChannel
    level: AlertLevel
    fields: tuple[tuple[str, str], ...]
    repeated: int = 0
    """How often it was said since it was last delivered."""

    def __str__(self) -> str:
        """Tell it in one line."""
        facts = ", ".join(f"{name} {value}" for name, value in self.fields)
        return f"{self.title}: {self.description}{f' ({facts})' if facts else ''}"

    @property
    def length(self) -> int:
        """Characters that count towards the limit of a message."""
        texts = [self.title, self.description, self.footer, *(text for field in self.fields for text in field)]
        return sum(map(len, texts))

    @property
    def footer(self) -> str:
        """What stands below it."""
        return f"repeated {self.repeated:,} times since it was last said" if self.repeated else ""


Message: TypeAlias = tuple[Alert, ...]
"""What one call delivers; never empty."""


def compose(
    title: str,
    description: str,
    channel: AlertChannel | str,
    level: AlertLevel | str,
    fields: Mapping[str, object] | Sequence[tuple[str, object]],
) -> Alert:
    """Make an alert that Discord accepts whatever the lengths; channels and levels may be given by name.

    Markdown is for the description alone: titles and fields are taken literally, for they quote strangers.

    Raises:
        ValueError, KeyError: there is no such channel or level.
    """
    level = AlertLevel[level.upper()] if isinstance(level, str) else level
    channel = AlertChannel(channel.lower()) if isinstance(channel, str) else channel
    title = cut(literal(title), TITLE_LIMIT) or level.name.capitalize()
    description = cut(description, DESCRIPTION_LIMIT)
    room = MESSAGE_LIMIT - FOOTER_ROOM - len(title) - len(description)
    kept: list[tuple[str, str]] = []
    pairs = fields.items() if isinstance(fields, Mapping) else fields
    for name, value in list(pairs)[:FIELD_LIMIT]:
        field = (cut(literal(name), NAME_LIMIT) or "–", cut(literal(str(value)), VALUE_LIMIT) or "–")
        room -= len(field[0]) + len(field[1])
        if room < 0:
            break
        kept.append(field)
    return Alert(title, description, channel, level, tuple(kept))


def pack(alerts: Sequence[Alert], uncounted: Mapping[tuple[AlertLevel, str], int] | None = None) -> Message:
    """Say all of ``alerts``, at least one, in one message: each for itself where they fit, else as a digest.

    A digest counts them by level and title, the gravest kinds first, and says the gravest in full as far as there is
    room. ``uncounted`` are further ones of which no more than level and title is known.
    """
    if not uncounted and _fit(alerts):
        return tuple(alerts)
    ordered = sorted(alerts, key=lambda alert: GRAVITY.index(alert.level))
    counts = Counter(map(_kind, ordered))
    counts.update(uncounted or {})
    digest = _digest(counts, {_kind(alert): alert for alert in reversed(ordered)}, alerts[0].channel)
    message = [digest]
    for alert in dict.fromkeys(ordered):
        if not _fit([*message, alert]):
            break
        message.append(alert)
    return tuple(message)


def _fit(alerts: Sequence[Alert]) -> bool:
    return len(alerts) <= EMBED_LIMIT and sum(alert.length for alert in alerts) <= MESSAGE_LIMIT


def _kind(alert: Alert) -> tuple[AlertLevel, str]:
    return alert.level, alert.title


def _digest(
    counts: Counter[tuple[AlertLevel, str]],
    examples: Mapping[tuple[AlertLevel, str], Alert],
    channel: AlertChannel,
) -> Alert:
    """Count the kinds of alerts in one embed that leaves half of the message to others."""
    kinds = sorted(counts, key=lambda kind: (GRAVITY.index(kind[0]), -counts[kind]))
    fields: list[tuple[str, str]] = []
    room = MESSAGE_LIMIT // 2
    for level, title in kinds[: FIELD_LIMIT - 1]:
        example = examples.get((level, title))
        told = cut(example.description or ", ".join(map(" ".join, example.fields)), EXAMPLE_LIMIT) if example else ""
        field = (f"{counts[level, title]:,} × {cut(title, 100)}", f"{level.name.lower()}{f': {told}' if told else ''}")
        room -= len(field[0]) + len(field[1])
        if room < 0:
            break
        fields.append(field)
    if others := kinds[len(fields) :]:
        fields.append((f"{sum(counts[kind] for kind in others):,} × others", f"of {len(others):,} kinds"))
    title = f"{counts.total():,} alerts"
    return compose(title, "They came close together; the log has each of them.", channel, kinds[0][0], fields)


def cut(text: str, limit: int) -> str:
    """Shorten ``text`` to ``limit`` characters; Discord does not count the space around it."""
    text = text.strip()
    return text if len(text) <= limit else text[: limit - 1] + "…"
