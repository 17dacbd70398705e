"""Fixtures of the fault tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from alkyone.scenes import AMPLE, SMALL, OpenScene, open_scene
from atlas.embedded import EmbeddedServer


@pytest.fixture
def scene(postgres: EmbeddedServer, template: str, tmp_path: Path) -> OpenScene:
    """Open a world behind a real stand-in, ten days in."""
    return lambda world=SMALL, limits=AMPLE: open_scene(postgres, template, tmp_path, world, limits)
