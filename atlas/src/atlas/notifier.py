"""The shared notifier under the name people look for; it lives in ``atlas.notifications``."""

from __future__ import annotations

from atlas.notifications import AlertChannel, AlertLevel, DiscordNotifier, notifier

__all__ = ["AlertChannel", "AlertLevel", "DiscordNotifier", "notifier"]
