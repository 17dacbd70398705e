"""The vault: where data goes to stay."""

from __future__ import annotations

from atlas._lazy import lazy
from atlas.vault.base import VaultStrategy, get_vault
from atlas.vault.local import LocalVault
from atlas.vault.manifests import ShardInfo
from atlas.vault.memory import MemoryVault

__all__ = ["LocalVault", "MemoryVault", "ShardInfo", "VaultStrategy", "get_vault", "vault"]

vault: VaultStrategy = lazy(get_vault, VaultStrategy)  # type: ignore[type-abstract]
