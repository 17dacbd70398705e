"""YouTube's identifiers: what they look like, and what follows from one."""

from __future__ import annotations

import re

_VIDEO_ID = re.compile(r"[A-Za-z0-9_-]{11}")
_CHANNEL_ID = re.compile(r"UC[A-Za-z0-9_-]{22}")


def validate_youtube_id(value: object) -> bool:
    """Say whether ``value`` has the form of a video id."""
    return isinstance(value, str) and _VIDEO_ID.fullmatch(value) is not None


def validate_channel_id(value: object) -> bool:
    """Say whether ``value`` has the form of a channel id."""
    return isinstance(value, str) and _CHANNEL_ID.fullmatch(value) is not None


def uploads_playlist(channel_id: str) -> str:
    """Name the playlist of all the channel's uploads: ``UC…`` becomes ``UU…``.

    Raises:
        ValueError: ``channel_id`` is no channel id.
    """
    if not validate_channel_id(channel_id):
        raise ValueError(f"not a channel id: {channel_id!r}")
    return "UU" + channel_id[2:]
