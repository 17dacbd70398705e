"""The pictures that YouTube publishes of a video, drawn from what a world says it looks like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from io import BytesIO
from typing import NamedTuple

from PIL import Image

from alkyone import pictures
from alkyone.worlds import World

MANY = 2048
"""Pictures remembered: those that a test or a demo asks for again."""

# What each file is called, and its size, as they have stood for years. The larger ones do not exist for every video.
_SIZES: Mapping[str, tuple[int, int]] = {
    "maxres": (1280, 720),
    "sd": (640, 480),
    "hq": (480, 360),
    "mq": (320, 180),
    "": (120, 90),
}
_NAME = re.compile(r"(maxres|sd|hq|mq|)(default|default_live|[123])")
_PERCENT = {1280: 85, 640: 97}


class Asked(NamedTuple):
    """What a file's name asks for: which frame, 0 being the cover, and how large."""

    frame: int
    width: int
    height: int


def asked(name: str) -> Asked | None:
    """Read a file's name, such as ``hqdefault`` or ``mq2``; None when there is no such file of any video."""
    if name == "0":
        name = "hqdefault"
    match = _NAME.fullmatch(name)
    return match and Asked(int(match[2]) if match[2].isdigit() else 0, *_SIZES[match[1]])


def thumbnail(world: World, video_id: str, wanted: Asked) -> bytes | None:
    """Draw a picture as JPEG; None when this video has none of that size. Those of deleted videos stay."""
    look = world.look(video_id)
    if look is None:
        return None
    if look % 100 >= _PERCENT.get(wanted.width, 100):
        return None
    return _drawn(look, wanted, None if world.original(video_id) is None else video_id)


@lru_cache(maxsize=MANY)
def _drawn(look: int, wanted: Asked, copy: str | None) -> bytes:
    """Draw a frame; of a ``copy``, by its id, as whoever uploaded it again has changed it."""
    if copy is None:
        return pictures.frame(look, wanted.frame, width=wanted.width, height=wanted.height)
    changed = pictures.combined(pictures.frame(look, wanted.frame), seed=int.from_bytes(copy.encode(), "big"))
    return _jpeg(Image.open(BytesIO(changed)).resize((wanted.width, wanted.height), Image.Resampling.BICUBIC))


@lru_cache(maxsize=1)
def placeholder() -> bytes:
    """Draw the grey picture that stands for one which does not exist."""
    return _jpeg(Image.new("RGB", (120, 90), (204, 204, 204)))


def _jpeg(picture: Image.Image) -> bytes:
    out = BytesIO()
    picture.save(out, "JPEG", quality=85)
    return out.getvalue()
