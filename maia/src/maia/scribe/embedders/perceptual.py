"""A descriptor that needs no download: what of a picture survives re-encoding, a small crop, a logo, other light.

Four parts, each of length 1 before it is weighted:

======================  ===  ========================================================================================
gradients, fine         288  8 orientations in 6 × 6 soft windows: where which edges are
gradients, coarse        72  the same in 3 × 3 windows, which a shift changes less
light                   102  the lowest frequencies of its cosine transform, without the mean
colour                   50  5 × 5 of the lowest frequencies of both colour differences
======================  ===  ========================================================================================

Nothing is learnt, so that nothing depends on what was seen before; the weights and exponents were chosen on the
generated frames of ``alkyone bench vision``, and docs/similarity.md has what they achieve.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from maia.scribe.embedders.pictures import is_plain, open_picture, without_bars

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.floating[Any]]

SOURCE_TYPE = "perceptual-1"
"""The version goes up with any change that moves vectors."""

SAME_PICTURE = 0.78
"""From this cosine on two frames show the same picture.

Of 4.5 million pairs of covers of different videos none reached 0.75, while 996 of 1,000 that were cropped, overlaid,
brightened, resized and re-encoded stayed above (``alkyone bench vision``).
"""

DIMENSIONS = 512
SIDE = 64  # pixels that a picture is brought to, whatever its shape
MARGIN = 0.035  # of each side, left out: frames drawn around a picture lie there
ORIENTATIONS = 8
FINE, COARSE = 6, 3  # windows a side
LIGHT, COLOUR = 102, 5

_WEIGHTS = (1.0, 0.5, 0.8, 0.6)
_CENTRE = 0.7  # how much the middle counts more: what is laid over a picture lies at its edges
_AT_ONCE = 64  # pictures; 9 MB of gradients


class PerceptualEmbedder:
    """The built-in descriptor, about a millisecond a picture."""

    source_type = SOURCE_TYPE

    def embed(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Describe pictures; see ``Embedder``."""
        rows = np.zeros((len(images), DIMENSIONS), np.float32)
        for start in range(0, len(images), _AT_ONCE):
            looks = enumerate(map(_look, images[start : start + _AT_ONCE]), start)
            seen = {place: pixels for place, pixels in looks if pixels is not None}
            if seen:
                rows[list(seen)] = _describe(np.stack(list(seen.values())))
        return rows


def _look(data: bytes) -> NDArray[np.uint8] | None:
    """Bring a picture to SIDE × SIDE × 3 (light and both colour differences)."""
    picture = open_picture(data, 2 * SIDE)
    if picture is None:
        return None
    if max(picture.size) > 4 * SIDE:  # no format but JPEG is decoded small
        picture.thumbnail((4 * SIDE, 4 * SIDE), Image.Resampling.BOX)
    left, top, right, bottom = without_bars(picture)
    across, down = (right - left) * MARGIN, (bottom - top) * MARGIN
    box = (left + across, top + down, right - across, bottom - down)
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX, box=box).convert("YCbCr"))


def _describe(pixels: NDArray[np.uint8]) -> Floats:
    """Describe n × SIDE × SIDE × 3 pixels as n × 512."""
    values = pixels.astype(np.float32)
    light = values[..., 0] - values[..., 0].mean((1, 2), keepdims=True)
    edges = _gradients(light)
    parts = (_layout(edges, FINE), _layout(edges, COARSE), _frequencies(light), _colours(values[..., 1:] - 128))
    whole = np.concatenate([weight * _unit(part) for weight, part in zip(_WEIGHTS, parts, strict=True)], axis=1)
    whole[is_plain(light)] = 0
    return _unit(whole)


def _gradients(light: Floats) -> Floats:
    """Spread the gradients of n pictures over planes of n × ORIENTATIONS; a strong edge counts little more."""
    across, down = np.zeros_like(light), np.zeros_like(light)
    across[:, :, 1:-1] = light[:, :, 2:] - light[:, :, :-2]
    down[:, 1:-1] = light[:, 2:] - light[:, :-2]
    strength = np.sqrt(np.hypot(across, down))
    place = np.arctan2(down, across) % np.pi * (ORIENTATIONS / np.pi)
    first = place.astype(np.int64)
    share = (place - first) * strength
    planes = np.zeros((len(light), ORIENTATIONS, SIDE, SIDE), np.float32)
    np.put_along_axis(planes, (first % ORIENTATIONS)[:, None], (strength - share)[:, None], 1)
    np.put_along_axis(planes, ((first + 1) % ORIENTATIONS)[:, None], share[:, None], 1)  # another plane than the first
    return planes


def _layout(edges: Floats, windows: int) -> Floats:
    """Sum up planes in soft windows, and tell how each window differs from the picture's mean."""
    soft = _windows(windows)
    sums = soft @ edges @ soft.T
    return (_compressed(sums - sums.mean((2, 3), keepdims=True), 0.6) * _centred(windows)).reshape(len(edges), -1)


def _frequencies(light: Floats) -> Floats:
    """The lowest frequencies of the light, the lowest ones weighing most."""
    across, down, weights = _lowest(LIGHT)
    basis = _cosines(int(max(across.max(), down.max())) + 1)
    return _compressed((basis @ light @ basis.T)[:, down, across], 0.5) * weights


def _colours(differences: Floats) -> Floats:
    """The lowest frequencies of the colour differences, their means included."""
    basis = _cosines(COLOUR)
    planes = basis @ np.moveaxis(differences, 3, 1) @ basis.T
    return _compressed(planes, 0.5).reshape(len(differences), -1)


def _compressed(values: Floats, exponent: float) -> Floats:
    """Make large values smaller, so that no single one decides."""
    compressed: Floats = np.copysign(np.abs(values) ** exponent, values)
    return compressed


def _unit(rows: Floats) -> Floats:
    """Scale rows to length 1; zero stays zero."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.where(lengths > 0, lengths, 1)
    return scaled


@cache
def _windows(count: int) -> Floats:
    """Make ``count`` overlapping bell-shaped windows over a side: count × SIDE."""
    middles = (np.arange(count) + 0.5) * SIDE / count
    bells = np.exp(-0.5 * ((np.arange(SIDE) + 0.5 - middles[:, None]) / (0.6 * SIDE / count)) ** 2)
    windows: Floats = (bells / bells.sum(1, keepdims=True)).astype(np.float32)
    return windows


@cache
def _centred(count: int) -> Floats:
    """Weigh count × count windows by how near the middle they are."""
    place = np.linspace(-1, 1, count)
    weights: Floats = np.exp(-_CENTRE * (place[:, None] ** 2 + place**2)).astype(np.float32)
    return weights


@cache
def _cosines(count: int) -> Floats:
    """Make the first ``count`` functions of the cosine transform (DCT-II, orthonormal but for the first)."""
    waves = np.cos(np.pi * np.outer(np.arange(count), np.arange(SIDE) + 0.5) / SIDE)
    return np.asarray(waves * (2 / SIDE) ** 0.5, np.float32)


@cache
def _lowest(count: int) -> tuple[Any, Any, Floats]:
    """Name the ``count`` lowest frequencies, the mean left out: across, down, and their weights."""
    order = sorted((a + d, a, d) for a in range(SIDE // 4) for d in range(SIDE // 4))[1 : count + 1]
    sums, across, down = np.array(order).T
    return across, down, (1 / (1 + 0.15 * sums)).astype(np.float32)
