"""Pleiades' infrastructure: settings, database, vault, events, alerts. Importing it reads and opens nothing."""

from __future__ import annotations

from atlas._lazy import lazy
from atlas.config import Settings, get_settings
from atlas.db import db
from atlas.events import events
from atlas.notifications import AlertChannel, AlertLevel
from atlas.notifier import notifier  # the module is bound first, then the object takes its name
from atlas.vault import vault

__all__ = ["AlertChannel", "AlertLevel", "Settings", "db", "events", "notifier", "settings", "vault"]

settings: Settings = lazy(get_settings, Settings)
