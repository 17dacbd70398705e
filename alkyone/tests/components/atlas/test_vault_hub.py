"""The vault on the Hub keeps every promise of a vault, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from alkyone.standins.hub import HubStandin
from atlas.testing import VaultContract
from atlas.vault.huggingface import HuggingFaceVault

REPOSITORY = "me/vault"


@pytest.fixture(scope="module")
def shared_hub() -> Iterator[HubStandin]:
    with HubStandin() as hub:
        yield hub
    assert hub.violations == []


class TestHuggingFaceVault(VaultContract):
    @pytest.fixture
    def vault(self, shared_hub: HubStandin) -> HuggingFaceVault:
        shared_hub.create(REPOSITORY)
        return HuggingFaceVault(
            REPOSITORY,
            shared_hub.token,
            endpoint=shared_hub.endpoint,
            commits_per_hour=1_000_000,
            sleep=lambda seconds: pytest.fail(f"waited {seconds} s for a Hub that is well"),
        )
