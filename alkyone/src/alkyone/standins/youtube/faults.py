"""Faults on demand: which calls are to go wrong, how, and how often."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

Kind = Literal[
    "status_500",
    "status_503",
    "burst_429",
    "quota_403",
    "quota_429",
    "hang",
    "reset",
    "slow",
    "drip",
    "truncated",
    "oversized",
    "wrong_types",
    "unknown_fields",
    "html",
    "missing_ids",
    "placeholder",
    "huge",
    "redirect",
    "key_invalid",
    "api_disabled",
    "key_blocked",
]


@dataclass
class Fault:
    """One thing that goes wrong.

    It strikes calls of ``method`` (``search.list``, ``videos.batchGetStats``, …, ``feed``, ``thumbnail``; any when
    None) made with ``key`` (any when None), ``times`` times (for ever when None), each with ``probability``, drawn from
    ``seed``. ``ids`` are what ``missing_ids`` leaves out, and the only videos whose thumbnails are struck (all when
    there are none); ``seconds`` is how long ``slow``, ``hang`` and ``drip`` take at most; the last sends its answer in
    small pieces, and ``over``, when set, ends the others. Only a thumbnail is a ``placeholder`` (grey, with status
    200), ``huge``, or a ``redirect``.
    """

    kind: Kind
    method: str | None = None
    times: int | None = None
    probability: float = 1.0
    ids: tuple[str, ...] = ()
    key: str | None = None
    seconds: float | None = None
    seed: int = 0
    hits: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False, compare=False)
    """Set, it lets those go at once that are slow or hang."""
    _random: random.Random = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"{self.kind!r} is no fault: {', '.join(get_args(Kind))}")
        self.ids = tuple(self.ids)
        self._random = random.Random(self.seed)

    def strikes(self, method: str, key: str | None, video_id: str | None = None) -> bool:
        """Say whether this call is hit, and count it; ``video_id`` when it is about one video."""
        if self.method not in (None, method) or self.key not in (None, key):
            return False
        if video_id is not None and self.ids and video_id not in self.ids:
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        if self.probability < 1.0 and self._random.random() >= self.probability:
            return False
        self.hits += 1
        return True

    def as_json(self) -> dict[str, Any]:
        """The fault as it was asked for, with its ``hits``; the key stays out."""
        return {
            entry.name: getattr(self, entry.name)
            for entry in fields(self)
            if entry.init and entry.name != "key" and getattr(self, entry.name) not in (None, ())
        }


class Faults:
    """The faults in force; of several that strike the same call the first decides. ``missing_ids`` adds to it."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self.active = list(faults)

    def add(self, kind: Kind, **details: Any) -> Fault:
        """Put one more fault in force."""
        fault = Fault(kind, **details)
        self.active.append(fault)
        return fault

    def replace(self, specs: Iterable[Mapping[str, Any]]) -> None:
        """Put these in force instead of all others.

        Raises:
            TypeError: a field is unknown.
            ValueError: a kind is unknown.
        """
        self.active = [Fault(**spec) for spec in specs]

    def clear(self) -> None:
        """Let everything go well again."""
        self.active = []

    def strike(self, method: str, key: str | None, video_id: str | None = None) -> Fault | None:
        """The fault that hits this call, if any; ``video_id`` when it is about one video."""
        faults = (fault for fault in self.active if fault.kind != "missing_ids")
        return next((fault for fault in faults if fault.strikes(method, key, video_id)), None)

    def left_out(self, method: str, key: str | None) -> frozenset[str]:
        """The ids that this call's answer must not have."""
        faults = (fault for fault in self.active if fault.kind == "missing_ids" and fault.strikes(method, key))
        return frozenset().union(*(fault.ids for fault in faults))
