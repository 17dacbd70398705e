"""Faults on demand: which calls are to go wrong, how, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import Event, Lock
from typing import Literal, get_args

Kind = Literal[
    "status",  # an error of this status, and nothing is done
    "hang",  # no answer, ever
    "reset",  # the connection goes away, and nothing is done
    "half",  # half of the body is taken, then a 503
    "html",  # a page for people instead of JSON
    "truncated",  # half of the answer
    "done_hang",  # it is done, and never answered
    "lost",  # it is done, and the connection goes away before the answer
    "lost_500",  # it is done, and answered with a 500
]
Method = Literal[
    "create_repo", "delete_repo", "info", "auth_check", "whoami", "validate_yaml", "preupload", "lfs_batch",
    "lfs_put", "lfs_verify", "commit", "commits", "tree", "paths_info", "resolve", "cdn",
]  # fmt: skip


MESSAGE = "Something is wrong today"


@dataclass
class Fault:
    """One thing that goes wrong: calls of ``method`` (any when None), ``times`` times, after the first ``skip``.

    ``retry_after`` goes into the header of that name, as it is. ``message`` is what the Hub says. ``struck`` is set
    when it has struck: for ``done_hang`` that is when it is done.
    """

    kind: Kind
    method: Method | None = None
    times: int = 1
    skip: int = 0
    status: int = 503
    retry_after: str | None = None
    message: str = MESSAGE
    hits: int = 0
    struck: Event = field(default_factory=Event, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"{self.kind!r} is no fault: {', '.join(get_args(Kind))}")

    def strikes(self, method: str) -> bool:
        """Say whether this call is hit, and count it."""
        if self.method not in (None, method) or self.times == 0:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        self.times -= 1
        self.hits += 1
        return True


class Faults:
    """The faults in force; of several that strike the same call the first decides."""

    def __init__(self) -> None:
        self._active: list[Fault] = []
        self._lock = Lock()

    def add(
        self,
        kind: Kind,
        method: Method | None = None,
        *,
        times: int = 1,
        skip: int = 0,
        status: int = 503,
        retry_after: str | None = None,
        message: str = MESSAGE,
    ) -> Fault:
        """Put one more fault in force."""
        fault = Fault(kind, method, times, skip, status, retry_after, message)
        with self._lock:
            self._active.append(fault)
        return fault

    def clear(self) -> None:
        """Let everything go well again."""
        with self._lock:
            self._active.clear()

    def strike(self, method: str) -> Fault | None:
        """Find the fault that hits this call, if any."""
        with self._lock:
            return next((fault for fault in self._active if fault.strikes(method)), None)
