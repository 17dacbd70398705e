"""Reading the cells of recordings: times, counters, durations, tags, in whatever form they were written down."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import orjson

# videoCategories.list for the US, and the names some archives use instead.
CATEGORIES = {
    "1": "film animation", "2": "autos vehicles", "10": "music", "15": "pets animals", "17": "sports",
    "19": "travel events", "20": "gaming", "22": "people blogs", "23": "comedy", "24": "entertainment",
    "25": "news politics", "26": "howto style", "27": "education", "28": "science technology",
    "29": "nonprofits activism",
}  # fmt: skip
_OTHER_NAMES = {"movies": "1", "film": "1", "default": "24", "news": "25"}
_CATEGORY_IDS = {name: number for number, name in CATEGORIES.items()} | _OTHER_NAMES
_ISO_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_instant(value: Any) -> datetime | None:
    """Read a time in any form recordings have it; one without an offset is UTC, a date is its midnight."""
    if isinstance(value, datetime):
        return _utc(value)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(r"\d{9,}(\.\d+)?", text):
            return _parsed(lambda: _utc(datetime.fromisoformat(text)))
        value = float(text)
    if isinstance(value, int | float) and value == value:
        # Seconds, milli-, micro- or nanoseconds since 1970, told apart by their size.
        scale = next((scale for scale in (1, 1e3, 1e6, 1e9) if abs(value) / scale < 1e11), None)
        return None if scale is None else _parsed(lambda: _EPOCH + timedelta(seconds=value / scale))
    return None


def _parsed(read: Callable[[], datetime]) -> datetime | None:
    try:
        return read()
    except (ValueError, OverflowError):
        return None


def _utc(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


def read_count(value: Any) -> int | None:
    """Read a counter; None when it is absent, negative or no number."""
    if isinstance(value, str):
        try:
            value = float(value) if "." in value or "e" in value.casefold() else int(value)
        except ValueError:
            return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 2**63:
        return None
    return int(value)


def read_text(value: Any) -> str | None:
    """Read a text; None when it is absent or blank."""
    if value is None:
        return None
    text = str(value).strip()
    return text or None


def read_seconds(value: Any) -> int | None:
    """Read a length: seconds, a protobuf or an ISO duration; None when unknown."""
    text = read_text(value)
    if text is None:
        return None
    if match := _ISO_DURATION.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    count = read_count(text.removesuffix("s"))
    return count if count else None


def read_category(value: Any) -> str | None:
    """Read a category as its id; None when it is absent or nobody's."""
    text = read_text(value)
    if text is None:
        return None
    text = text.removesuffix(".0")
    return text if text in CATEGORIES else _CATEGORY_IDS.get(text.casefold())


def read_tags(value: Any) -> list[str]:
    """Read tags: a list, JSON, or a text separated by bars or commas."""
    if isinstance(value, list | tuple):
        return [str(tag) for tag in value if tag]
    text = read_text(value)
    if text is None:
        return []
    if text.startswith("["):
        try:
            return [str(tag) for tag in orjson.loads(text)]
        except (orjson.JSONDecodeError, TypeError):
            text = text.strip("[]")
    parts = text.split("|") if "|" in text else text.split(",")
    return list(dict.fromkeys(tag for part in parts if (tag := part.strip().strip("\"'"))))
