"""A service that fails several times in a row is left in peace, on our own clock."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from atlas import clock
from atlas.breakers import Breakers
from atlas.errors import CircuitOpen

MINUTE = timedelta(minutes=1)


async def call(breakers: Breakers, error: BaseException | None = None, *, name: str = "hub") -> None:
    async with breakers.guard(name, failing=OSError, threshold=3, pause=MINUTE):
        if error is not None:
            raise error


async def fail(breakers: Breakers, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(OSError, match="reset"):
            await call(breakers, OSError("reset"))


async def test_it_refuses_calls_after_failures_in_a_row_and_says_until_when(frozen_clock: clock.VirtualClock) -> None:
    breakers = Breakers()
    await fail(breakers, 3)
    with pytest.raises(CircuitOpen) as refused:
        await call(breakers)
    assert refused.value.name == "hub"
    assert refused.value.until == frozen_clock() + MINUTE
    assert breakers.states()["hub"] == ("opened", 0, frozen_clock() + MINUTE)


async def test_a_call_that_goes_well_begins_the_count_anew(frozen_clock: clock.VirtualClock) -> None:
    breakers = Breakers()
    await fail(breakers, 2)
    await call(breakers)
    await fail(breakers, 2)
    assert breakers.states()["hub"] == ("closed", 2, None)


async def test_after_the_pause_one_call_decides(frozen_clock: clock.VirtualClock) -> None:
    breakers = Breakers()
    await fail(breakers, 3)
    frozen_clock.advance(MINUTE)
    await fail(breakers, 1)  # the one that is let through
    with pytest.raises(CircuitOpen):
        await call(breakers)
    frozen_clock.advance(MINUTE)
    await call(breakers)
    assert breakers.states()["hub"] == ("closed", 0, None)
    await call(breakers)


async def test_while_one_call_finds_out_the_others_are_refused(frozen_clock: clock.VirtualClock) -> None:
    breakers = Breakers()
    await fail(breakers, 3)
    frozen_clock.advance(MINUTE)
    async with breakers.guard("hub", failing=OSError, threshold=3, pause=MINUTE):
        assert breakers.states()["hub"].state == "half-opened"
        with pytest.raises(CircuitOpen):
            await call(breakers)
    await call(breakers)


async def test_a_call_that_was_cancelled_while_it_found_out_says_nothing(frozen_clock: clock.VirtualClock) -> None:
    breakers = Breakers()
    await fail(breakers, 3)
    frozen_clock.advance(MINUTE)
    with pytest.raises(asyncio.CancelledError):
        await call(breakers, asyncio.CancelledError())
    with pytest.raises(CircuitOpen):
        await call(breakers)
    frozen_clock.advance(MINUTE)
    await call(breakers)
    assert breakers.states()["hub"].state == "closed"


async def test_an_answer_that_is_no_failure_of_the_service_opens_nothing(frozen_clock: clock.VirtualClock) -> None:
    breakers = Breakers()
    for _ in range(5):
        with pytest.raises(LookupError):
            await call(breakers, LookupError("not there"))
    assert breakers.states()["hub"].state == "closed"


async def test_the_breakers_of_two_services_know_nothing_of_each_other(frozen_clock: clock.VirtualClock) -> None:
    breakers = Breakers()
    await fail(breakers, 3)
    await call(breakers, name="feeds")
    assert [(name, state.state) for name, state in breakers.states().items()] == [
        ("feeds", "closed"),
        ("hub", "opened"),
    ]


def test_a_call_that_blocks_has_the_same_breaker_from_any_thread(frozen_clock: clock.VirtualClock) -> None:
    breakers = Breakers()

    def fail_in_vain() -> type[BaseException] | None:
        try:
            with breakers.guarding("hub", failing=OSError, threshold=3, pause=MINUTE):
                raise OSError("reset")
        except (OSError, CircuitOpen) as error:
            return type(error)

    with ThreadPoolExecutor(8) as threads:
        errors = [future.result() for future in [threads.submit(fail_in_vain) for _ in range(40)]]

    assert set(errors) <= {OSError, CircuitOpen}
    assert errors.count(OSError) >= 3
    assert breakers.states()["hub"] == ("opened", 0, frozen_clock() + MINUTE)
    frozen_clock.advance(MINUTE)
    with breakers.guarding("hub", failing=OSError, threshold=3, pause=MINUTE):
        assert breakers.states()["hub"].state == "half-opened"
    assert breakers.states()["hub"].state == "closed"
