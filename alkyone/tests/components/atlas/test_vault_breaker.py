"""A remote vault that does not answer is left in peace; that nobody could look is never taken for nothing there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from alkyone.standins.gcs import GCSStandin
from atlas import breakers
from atlas.breakers import FAILURES, PAUSE, Breakers
from atlas.clock import VirtualClock
from atlas.errors import VaultNotFound, VaultUnavailable
from atlas.vault.gcs import GCSVault

READS: list[Callable[[GCSVault], Any]] = [
    lambda vault: vault.read("here"),
    lambda vault: vault.exists("here"),
    lambda vault: vault.exists("nowhere"),
    lambda vault: vault.list_strict(),
    lambda vault: vault.fetch_json("nowhere"),
]


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch, frozen_clock: VirtualClock) -> Breakers:
    own = Breakers()
    monkeypatch.setattr(breakers, "breakers", own)
    return own


@pytest.fixture
def server() -> Iterator[GCSStandin]:
    with GCSStandin("bucket") as standin:
        yield standin


@pytest.fixture
def vault(server: GCSStandin) -> GCSVault:
    vault = GCSVault("bucket", endpoint=server.endpoint, timeout=timedelta(seconds=1), patience=timedelta(0))
    vault.write({"here": b"1"}, "")
    return vault


def break_down(vault: GCSVault, server: GCSStandin) -> None:
    server.mishaps.add("status", times=10_000)
    for _ in range(FAILURES):
        with pytest.raises(VaultUnavailable):
            vault.read("here")
    server.mishaps.clear()
    server.mishaps.seen.clear()


@pytest.mark.parametrize("ask", READS, ids=["read", "exists", "exists not", "list", "fetch"])
def test_whoever_asks_meanwhile_is_told_that_nobody_could_look(
    vault: GCSVault, server: GCSStandin, ask: Callable[[GCSVault], Any]
) -> None:
    break_down(vault, server)

    with pytest.raises(VaultUnavailable, match="is left in peace until"):
        ask(vault)

    assert server.mishaps.seen == []


def test_writing_goes_on_while_reading_is_left_in_peace(vault: GCSVault, server: GCSStandin, own: Breakers) -> None:
    break_down(vault, server)

    vault.write({"other": b"2"}, "")

    assert {name.split()[0]: state.state for name, state in own.states().items()} == {
        "reading": "opened", "writing": "closed",
    }  # fmt: skip


def test_after_the_pause_one_look_decides(vault: GCSVault, server: GCSStandin, frozen_clock: VirtualClock) -> None:
    break_down(vault, server)
    frozen_clock.advance(PAUSE)

    assert vault.exists("here")
    assert not vault.exists("nowhere")


def test_what_is_not_there_is_an_answer_and_opens_nothing(vault: GCSVault) -> None:
    for _ in range(3 * FAILURES):
        with pytest.raises(VaultNotFound):
            vault.read("nowhere")

    assert vault.read("here") == b"1"
