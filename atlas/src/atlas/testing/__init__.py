"""For the tests of whoever builds on Atlas: swaps of the shared objects, a vault in memory, what a vault promises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from atlas import db, settings, vault
from atlas._lazy import swapped
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.vault import MemoryVault, VaultStrategy

if TYPE_CHECKING:
    from atlas.testing.vault_contract import VaultContract

__all__ = ["MemoryVault", "VaultContract", "override"]


@contextmanager
def override(
    *,
    vault_: VaultStrategy | None = None,
    settings_: Settings | None = None,
    db_: DatabaseManager | None = None,
) -> Iterator[None]:
    """Put others behind the shared objects for the length of the block; names imported long ago follow.

    Under other settings the shared vault, unless it is given too, is built anew from them.
    """
    with ExitStack() as stack:
        if settings_ is not None:
            stack.enter_context(swapped(settings, settings_))
        if vault_ is not None or settings_ is not None:
            stack.enter_context(swapped(vault, vault_))
        if db_ is not None:
            stack.enter_context(_acting_as(db, db_))
        yield


@contextmanager
def _acting_as(one: DatabaseManager, other: DatabaseManager) -> Iterator[None]:
    """Let ``one`` use the address and the pools of ``other``."""
    before = dict(vars(one))
    vars(one).update(vars(other))
    try:
        yield
    finally:
        vars(one).clear()
        vars(one).update(before)


def __getattr__(name: str) -> Any:
    if name != "VaultContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest  # only who runs tests has it

    pytest.register_assert_rewrite("atlas.testing.vault_contract")
    from atlas.testing.vault_contract import VaultContract

    return VaultContract
