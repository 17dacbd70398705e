"""Placeholder, replaced at once."""

from enum import Enum


class AlertLevel(Enum):
    """How bad."""

    INFO = 0x3498DB


class AlertChannel(Enum):
    """Where to."""

    OPS = "ops"


class DiscordNotifier:
    """Sends."""


notifier = DiscordNotifier()
