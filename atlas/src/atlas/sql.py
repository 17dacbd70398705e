"""Named statements from ``.sql`` files: each begins with ``-- name: the_method_that_runs_it``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def load(package: str, filename: str) -> Mapping[str, LiteralString]:
    """Read the statements of ``filename``, which lies in ``package``, by name.

    Raises:
        ValueError: the same name stands twice.
    """
    text = resources.files(package).joinpath(filename).read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{filename}: a statement's name stands twice")
    # Text of our own wheel, never of a user: literal in all but the type checker's eyes.
    return {name: cast("LiteralString", body.strip()) for name, body in zip(names, bodies, strict=True)}
