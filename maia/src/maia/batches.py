"""Cutting work into the batches that one API call takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

IDS_PER_CALL = 50
"""Ids that one videos.list or videos.batchGetStats call takes (YouTube Data API, as of November 2026)."""


def batched(items: Sequence[T], size: int = IDS_PER_CALL) -> Iterator[Sequence[T]]:
    """Cut ``items`` into runs of ``size``; the last may be shorter."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
