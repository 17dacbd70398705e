"""Worlds: what the YouTube stand-in serves, drawn from a seed or replayed from recordings."""

from __future__ import annotations

from pathlib import Path

from alkyone.worlds.base import Channel, Counts, Order, Video, World

__all__ = ["Channel", "Counts", "Order", "Video", "World", "open_world"]

_GENERATED = "generated"


def open_world(spec: str | Path = _GENERATED) -> World:
    """Open a world: ``generated``, ``generated:seed=7,channels=400,…``, or the folder of an imported one.

    Raises:
        ValueError: the text is no world.
    """
    kind, _, arguments = str(spec).partition(":")
    if kind == _GENERATED and not isinstance(spec, Path):
        from alkyone.worlds.generated import GeneratedWorld, Spec

        return GeneratedWorld(Spec.parse(arguments))
    from alkyone.worlds.recorded import RecordedWorld

    return RecordedWorld.open(Path(spec))
