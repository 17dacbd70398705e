"""From settings to a vault."""

from __future__ import annotations

from atlas.config import Settings
from atlas.errors import ConfigurationError
from atlas.vault.base import VaultStrategy
from atlas.vault.cache import RemoteVault, ShardCache
from atlas.vault.local import LocalVault


def build(settings: Settings) -> VaultStrategy:
    """Build the vault that ``settings`` ask for, a remote one with its read cache; nothing is opened yet.

    Raises:
        ConfigurationError: a setting or an extra is missing.
    """
    if settings.VAULT_PROVIDER == "local":
        return LocalVault(settings.vault_path)
    vault = _remote(settings)
    if settings.VAULT_CACHE_MB:
        vault.cache = ShardCache(settings.cache_path, settings.VAULT_CACHE_MB * 1_000_000)
    return vault


def _remote(settings: Settings) -> RemoteVault:
    # Each module imports its SDK, which is an extra.
    match settings.VAULT_PROVIDER:
        case "huggingface":
            from atlas.vault.huggingface import HuggingFaceVault

            token = settings.HF_TOKEN.get_secret_value() if settings.HF_TOKEN else None
            return HuggingFaceVault(_given(settings.HF_DATASET_ID, "HF_DATASET_ID"), token)
        case "gcs":
            from atlas.vault.gcs import GCSVault

            return GCSVault(
                _given(settings.GCS_BUCKET_NAME, "GCS_BUCKET_NAME"), credentials=settings.GOOGLE_APPLICATION_CREDENTIALS
            )
        case "s3":
            from atlas.vault.s3 import S3Vault

            return S3Vault(_given(settings.S3_BUCKET, "S3_BUCKET"), endpoint_url=settings.S3_ENDPOINT_URL)
        case provider:
            raise ConfigurationError(f"VAULT_PROVIDER: there is no vault called {provider}")


def _given(value: str | None, name: str) -> str:
    if value is None:  # refused by the settings before, unless they were put together without being checked
        raise ConfigurationError(f"{name} is not set")
    return value
