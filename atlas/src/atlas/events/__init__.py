"""The audit trail: what happened to channels, videos, keys and quota, and who is told of it."""

from __future__ import annotations

from atlas.events.bus import EventBus, events
from atlas.events.event import Event
from atlas.events.listener import BEGINNING, Listener, Position

__all__ = ["BEGINNING", "Event", "EventBus", "Listener", "Position", "events"]
