"""Ids as YouTube's: eleven characters in no order, the same in every run."""

from __future__ import annotations

import base64
from random import Random


def video_ids(count: int, seed: int = 7) -> list[str]:
    """Draw ``count`` different ids."""
    random = Random(seed)
    unique: dict[str, None] = {}
    while len(unique) < count:
        unique[base64.urlsafe_b64encode(random.randbytes(8)).decode()[:11]] = None
    return list(unique)
