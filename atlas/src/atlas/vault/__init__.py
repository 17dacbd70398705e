"""The vault: where data goes to stay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atlas._lazy import lazy
from atlas.vault.base import VaultStrategy, get_vault
from atlas.vault.local import LocalVault
from atlas.vault.manifests import ShardInfo
from atlas.vault.memory import MemoryVault

if TYPE_CHECKING:
    from atlas.vault.gcs import GCSVault
    from atlas.vault.huggingface import HuggingFaceVault
    from atlas.vault.s3 import S3Vault

__all__ = [
    "GCSVault",
    "HuggingFaceVault",
    "LocalVault",
    "MemoryVault",
    "S3Vault",
    "ShardInfo",
    "VaultStrategy",
    "get_vault",
    "vault",
]

_REMOTE = {"GCSVault": "gcs", "HuggingFaceVault": "huggingface", "S3Vault": "s3"}

vault: VaultStrategy = lazy(get_vault, VaultStrategy)  # type: ignore[type-abstract]


def __getattr__(name: str) -> Any:
    if name not in _REMOTE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # of a module that imports its SDK, an extra

    return getattr(import_module(f"{__name__}.{_REMOTE[name]}"), name)
