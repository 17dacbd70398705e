"""Chance that is a function: the same seed, name and number give the same draw in any order and any process."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MASK = (1 << 64) - 1
# The finaliser of splitmix64 (Steele, Lea, Flood, 2014): a bijection on 64 bits, so it can be run backwards.
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_INVERSES = tuple(pow(multiplier, -1, 1 << 64) for multiplier in _MULTIPLIERS)
_GOLDEN = 0x9E3779B97F4A7C15


def mix(value: int) -> int:
    """Scatter 64 bits."""
    value = ((value ^ (value >> 30)) * _MULTIPLIERS[0]) & _MASK
    value = ((value ^ (value >> 27)) * _MULTIPLIERS[1]) & _MASK
    return value ^ (value >> 31)


def unmix(value: int) -> int:
    """Undo ``mix``."""
    value = ((value ^ (value >> 31) ^ (value >> 62)) * _INVERSES[1]) & _MASK
    value = ((value ^ (value >> 27) ^ (value >> 54)) * _INVERSES[0]) & _MASK
    return value ^ (value >> 30) ^ (value >> 60)


def salt(seed: int, name: str) -> int:
    """Make 64 bits of a seed and a name."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest(), "big")


class Dice:
    """Draws for a row of numbered things, one array a name."""

    def __init__(self, seed: int, kind: str, size: int) -> None:
        self._seed = seed
        self._kind = kind
        self._index = np.arange(size, dtype=np.uint64) * np.uint64(_GOLDEN)

    def uniform(self, name: str) -> Floats:
        """Draw from (0, 1)."""
        value = self._index + np.uint64(salt(self._seed, f"{self._kind}.{name}"))
        value = (value ^ (value >> np.uint64(30))) * np.uint64(_MULTIPLIERS[0])
        value = (value ^ (value >> np.uint64(27))) * np.uint64(_MULTIPLIERS[1])
        value ^= value >> np.uint64(31)
        return ((value >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def between(self, name: str, low: float, high: float) -> Floats:
        """Draw evenly from [low, high)."""
        return low + (high - low) * self.uniform(name)

    def normal(self, name: str) -> Floats:
        """Draw from the standard normal distribution (Box-Muller)."""
        radius = np.sqrt(-2.0 * np.log(self.uniform(f"{name}.radius")))
        return radius * np.cos(2.0 * np.pi * self.uniform(f"{name}.angle"))

    def exponential(self, name: str, mean: float) -> Floats:
        """Draw waiting times."""
        return -mean * np.log(self.uniform(name))

    def integers(self, name: str, high: int | Ints) -> Ints:
        """Draw from 0 … high - 1."""
        return (self.uniform(name) * high).astype(np.int64)

    def chance(self, name: str, probability: float | Floats) -> NDArray[np.bool_]:
        """Say yes with that probability."""
        return self.uniform(name) < probability


def name_of(number: int, *salts: int) -> str:
    """Write a number as unpadded URL-safe base64, 64 scattered bits for each salt."""
    raw = b"".join(mix(number ^ key).to_bytes(8, "big") for key in salts)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def number_of(name: str, *salts: int) -> int | None:
    """Read the number back; None when ``name_of`` never wrote that name."""
    try:
        raw = base64.urlsafe_b64decode(name + "=" * (-len(name) % 4))
    except ValueError:
        return None
    if len(raw) != 8 * len(salts):
        return None
    number = unmix(int.from_bytes(raw[:8], "big")) ^ salts[0]
    return number if name_of(number, *salts) == name else None


def as_ints(values: Any) -> Ints:
    """Round down."""
    whole: Ints = np.floor(values).astype(np.int64)
    return whole
