"""Opening pictures that strangers made: a few formats, a bounded size, and nothing raised for what is none."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP")
"""What YouTube's thumbnails are, and what a folder of one's own frames holds."""

PLAIN = 1.0
"""A picture whose light deviates by less shows nothing: noise of compression does not reach it."""

MOST_BYTES = 16 << 20
MOST_PIXELS = 4096 * 4096
"""YouTube's largest thumbnail has 1280 × 720; a frame of one's own may be a 4K one. Decoded: 50 MB."""


def open_picture(data: bytes, least: int) -> Image.Image | None:
    """Decode a picture to RGB, at a fraction of its size where the format allows that, never below ``least`` pixels.

    None when it is no picture, damaged, or larger than ``MOST_PIXELS``.
    """
    if len(data) > MOST_BYTES:
        return None
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return None
            picture.draft("RGB", (least, least))
            return picture.convert("RGB")
    except Exception as exc:  # whatever a decoder raises about strangers' bytes says the same: it is no picture
        log.debug("not a picture: %s", exc)
        return None


def without_bars(picture: Image.Image) -> tuple[int, int, int, int]:
    """Find what lies between black bars: left, top, right, bottom.

    Bars come in pairs of equal width, where a video has another shape than its thumbnail.
    """
    lit = picture.convert("L").point(_LIT)
    left, top, right, bottom = lit.getbbox() or (0, 0, *picture.size)
    across = _bar(left, picture.width - right, picture.width)
    down = _bar(top, picture.height - bottom, picture.height)
    return across, down, picture.width - across, picture.height - down


def is_plain(light: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Say which of n pictures, as n × … lights of 0 … 255, show one plain colour."""
    spread = light.reshape(len(light), -1).std(1)
    plain: NDArray[np.bool_] = spread < PLAIN
    return plain


_LIT = [0] * 25 + [255] * 231
"""Which lights, 0 … 255, are not the black of a bar; JPEG leaves ripples in it."""

_WIDEST_BAR = 0.4


def _bar(one: int, other: int, size: int) -> int:
    """Measure a pair of bars; a pixel or two is a soft edge."""
    width = min(one, other)
    return width if 2 < width <= size * _WIDEST_BAR else 0
