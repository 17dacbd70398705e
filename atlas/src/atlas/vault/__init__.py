"""The vault: where data goes to stay."""

from __future__ import annotations

from atlas._lazy import lazy
from atlas.vault.base import VaultStrategy, get_vault

__all__ = ["VaultStrategy", "get_vault", "vault"]

vault: VaultStrategy = lazy(get_vault, VaultStrategy)
