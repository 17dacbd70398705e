"""The language detector with its model on disk: of 70 MB a title touches little, and only that is held in memory."""

from __future__ import annotations

import lzma
import os
import shutil
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STATES_KEPT = 4096
"""Rows of 1 KB of the automaton that reads a text; most steps of most texts are among a few thousand of 38,000."""

FEATURES_KEPT = 4096
"""Rows of 284 bytes: how much each of 142 languages speaks for a feature."""


def open_detector() -> Any:
    """Give a ``py3langid`` identifier that tells how sure it is, as its own loader does; about a second.

    The model's file has no name, and is there as long as the process.
    """
    from py3langid.langid import MODEL_DIR, MODEL_FILE, LanguageIdentifier

    model = _unpacked(MODEL_DIR / MODEL_FILE)
    return LanguageIdentifier(
        _Weights(model["ptc"]),
        model["pc"].whole(),
        model["classes"].whole().tolist(),
        _Moves(model["nextmove"]),
        model["out_feat"].whole().tolist(),
        tk_row=model["nextmove_row"].whole().tolist(),
        norm_probs=True,
    )


class _Array(NamedTuple):
    """Where an array lies in a file."""

    file: int
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, first: int, count: int) -> bytes:
        """Read items, as if there were one dimension."""
        size = self.dtype.itemsize
        return os.pread(self.file, count * size, self.start + first * size)

    def whole(self) -> NDArray[Any]:
        """Read it all."""
        import numpy as np

        count = int(np.prod(self.shape))
        return np.frombuffer(self.read(0, count), self.dtype).reshape(self.shape)


class _Moves:
    """Which state follows on which letter: 256 numbers a row."""

    def __init__(self, array: _Array) -> None:
        self._array = array
        self._row = lru_cache(STATES_KEPT)(self._read)

    def __getitem__(self, place: int) -> int:
        return self._row(place >> 8)[place & 255]

    def _read(self, row: int) -> memoryview[int]:
        values = memoryview(self._array.read(row << 8, 256))
        return values.cast("H") if self._array.dtype.itemsize == 2 else values.cast("I")


class _Weights:
    """How much each language speaks for each feature."""

    def __init__(self, array: _Array) -> None:
        width = array.shape[1]
        self._row = lru_cache(FEATURES_KEPT)(lambda row: array.read(row * width, width))
        self._width, self._dtype = width, array.dtype

    def __getitem__(self, features: NDArray[np.intp]) -> NDArray[Any]:
        import numpy as np

        rows = b"".join(map(self._row, features.tolist()))
        return np.frombuffer(rows, self._dtype).reshape(-1, self._width)


def _unpacked(path: Path) -> dict[str, _Array]:
    """Unpack a compressed ``.npz`` into a file, and say where its arrays lie."""
    import numpy as np

    with tempfile.TemporaryFile() as file:
        with lzma.open(path) as packed:
            shutil.copyfileobj(packed, file, 1 << 20)
        file.flush()
        kept = os.dup(file.fileno())
        arrays: dict[str, _Array] = {}
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                with archive.open(member) as stream:
                    np.lib.format.read_magic(stream)
                    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
                    header = stream.tell()
                # A member is not packed once more: its bytes lie as they are behind its own header, whose length the
                # directory at the end does not tell.
                file.seek(member.header_offset + 26)
                lengths = int(np.frombuffer(file.read(4), "<u2").sum())
                start = member.header_offset + 30 + lengths + header
                arrays[member.filename.removesuffix(".npy")] = _Array(kept, start, shape, dtype)
    return arrays
