"""What an event is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple


class Event(NamedTuple):
    """``event_type`` happened to ``entity_id``; ``payload`` is JSON, dates and UUIDs included.

    Who is told of an event is told when it happened, and its number in the log once it has one.
    """

    event_type: str
    entity_id: str | None = None
    payload: Mapping[str, Any] | None = None
    created_at: datetime | None = None
    id: int | None = None
