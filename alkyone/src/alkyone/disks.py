"""Disks of a few megabytes, in memory, which are soon full."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class MountRefusedError(RuntimeError):
    """Nobody may mount anything here."""


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Mount one of ``size``, such as ``4m``, that everybody may write to.

    Raises:
        MountRefusedError: only root may, and not everywhere.
    """
    folder = Path(tempfile.mkdtemp(prefix="pleiades-disk-"))
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        )
        if mounted.returncode:
            raise MountRefusedError(mounted.stderr.decode().strip())
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    finally:
        folder.rmdir()


def fill(filler: Path) -> None:
    """Use up all that is left of a disk."""
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
