"""Stand-ins for objects whose content depends on the environment: bound at import, built on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Lazy(Generic[T]):
    """Passes every attribute on to a target that is built when first needed."""

    __slots__ = ("_build", "_kind", "_target")

    def __init__(self, build: Callable[[], T], kind: type[T]) -> None:
        object.__setattr__(self, "_build", build)
        object.__setattr__(self, "_kind", kind)
        object.__setattr__(self, "_target", None)

    def __getattr__(self, name: str) -> Any:
        return getattr(target(self), name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(target(self), name, value)

    @property  # type: ignore[misc]
    def __class__(self) -> type[T]:  # type: ignore[override]
        """Claim the target's kind, so that ``isinstance`` holds without building it."""
        return cast("type[T]", object.__getattribute__(self, "_kind"))

    def __repr__(self) -> str:
        built = object.__getattribute__(self, "_target")
        return f"<{self.__class__.__name__}, not built yet>" if built is None else repr(built)


def lazy(build: Callable[[], T], kind: type[T]) -> T:
    """Stand in for a ``kind`` until the first use calls ``build``."""
    return cast("T", Lazy(build, kind))


def target(stand_in: Any) -> Any:
    """The object behind ``stand_in``, built if need be."""
    built = object.__getattribute__(stand_in, "_target")
    if built is None:
        built = object.__getattribute__(stand_in, "_build")()
        object.__setattr__(stand_in, "_target", built)
    return built


def forget(stand_in: Any) -> None:
    """Build the target anew on the next use."""
    object.__setattr__(stand_in, "_target", None)


@contextmanager
def swapped(stand_in: Any, other: object) -> Iterator[None]:
    """Put ``other`` behind ``stand_in`` for the length of the block."""
    before = object.__getattribute__(stand_in, "_target")
    object.__setattr__(stand_in, "_target", other)
    try:
        yield
    finally:
        object.__setattr__(stand_in, "_target", before)
