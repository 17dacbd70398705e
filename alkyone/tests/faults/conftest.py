"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from alkyone import disks
from alkyone.scenes import AMPLE, SMALL, OpenScene, open_scene
from atlas.embedded import EmbeddedServer


@pytest.fixture
def scene(postgres: EmbeddedServer, template: str, tmp_path: Path) -> OpenScene:
    """Open a world behind a real stand-in, ten days in."""
    return lambda world=SMALL, limits=AMPLE: open_scene(postgres, template, tmp_path, world, limits)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a disk of one megabyte, which is soon full; skip where nobody may mount anything."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(disks.small_disk("1m"))
        except disks.MountRefusedError as refused:
            pytest.skip(f"no disk can be mounted here: {refused}")
        yield folder
