"""The vaults that need no server: on disk and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.testing import VaultContract
from atlas.vault import LocalVault, MemoryVault


class TestLocalVault(VaultContract):
    @pytest.fixture
    def vault(self, tmp_path: Path) -> LocalVault:
        return LocalVault(tmp_path / "vault")


class TestMemoryVault(VaultContract):
    @pytest.fixture
    def vault(self) -> MemoryVault:
        return MemoryVault()
