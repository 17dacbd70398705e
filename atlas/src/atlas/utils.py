"""The helpers people look for here; each lives in a module of its own."""

from __future__ import annotations

from atlas.health import health_check_all
from atlas.hydra import Executor, HydraExecutor, SingleKey
from atlas.ids import uploads_playlist, validate_channel_id, validate_youtube_id
from atlas.keys import KeyRing
from atlas.quota import QuotaLedger
from atlas.retry import retry_async

__all__ = [
    "Executor",
    "HydraExecutor",
    "KeyRing",
    "QuotaLedger",
    "SingleKey",
    "health_check_all",
    "retry_async",
    "uploads_playlist",
    "validate_channel_id",
    "validate_youtube_id",
]
