"""What events somebody asks for: ``video.discovered``, ``video.*``, ``*``."""

from __future__ import annotations

from collections.abc import Iterable

ALL = "*"


def matches(pattern: str, event_type: str) -> bool:
    """Say whether a type is one that ``pattern`` asks for; a star stands for any text."""
    head, *rest = pattern.split(ALL)
    if not rest:
        return pattern == event_type
    if not event_type.startswith(head):
        return False
    place = len(head)
    *middle, tail = rest
    for part in middle:
        found = event_type.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return event_type.endswith(tail) and len(event_type) - len(tail) >= place


def likes(patterns: Iterable[str]) -> list[str]:
    """Say the same to SQL's LIKE."""
    escaped = (pattern.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") for pattern in patterns)
    return [pattern.replace(ALL, "%") for pattern in escaped]
