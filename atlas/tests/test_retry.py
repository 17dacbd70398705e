from __future__ import annotations

from datetime import timedelta
from itertools import repeat

import pytest
from pydantic import SecretStr

from atlas.errors import ApiUnavailable, QuotaRefused, RequestRefused, Throttled, VaultUnavailable
from atlas.hydra import SingleKey
from atlas.retry import ATTEMPTS, LONGEST_WAIT, retry_async


class Server:
    """Fails with the given errors in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.keys: list[str] = []

    async def __call__(self, key: str = "") -> str:
        self.keys.append(key)
        if self._errors:
            raise self._errors.pop(0)
        return "answer"

    @property
    def calls(self) -> int:
        return len(self.keys)


class Naps:
    """Sleeps no time at all, and remembers how long it should have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.mark.parametrize(
    "error",
    [ApiUnavailable("backendError", status=503), Throttled("rateLimitExceeded"), VaultUnavailable("slow")],
    ids=lambda error: type(error).__name__,
)
async def test_what_can_heal_is_tried_again(error: Exception) -> None:
    server, naps = Server(error, error), Naps()

    assert await retry_async(server, sleep=naps) == "answer"

    assert server.calls == 3
    assert len(naps.seconds) == 2


@pytest.mark.parametrize(
    "error",
    [
        QuotaRefused("quotaExceeded", status=403),
        RequestRefused("invalidFilters", status=400),
        TypeError("ours"),
        TimeoutError("not classified"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_cannot_heal_is_raised_at_once(error: Exception) -> None:
    server, naps = Server(error), Naps()

    with pytest.raises(type(error)) as raised:
        await retry_async(server, sleep=naps)

    assert raised.value is error
    assert (server.calls, naps.seconds) == (1, [])


async def test_the_last_error_is_raised_as_it_is_when_the_attempts_are_used_up() -> None:
    errors = [ApiUnavailable(f"attempt {number}") for number in range(ATTEMPTS + 1)]
    server = Server(*errors)

    with pytest.raises(ApiUnavailable) as raised:
        await retry_async(server, sleep=Naps())

    assert raised.value is errors[ATTEMPTS - 1]
    assert server.calls == ATTEMPTS


async def test_waits_double_with_jitter_and_are_bounded() -> None:
    naps = Naps()

    await retry_async(Server(*repeat(ApiUnavailable("down"), 9)), attempts=10, sleep=naps)

    for number, seconds in enumerate(naps.seconds):
        assert min(2**number, 30) <= seconds <= min(2**number + 1, 30)


async def test_two_who_fail_together_do_not_come_back_together() -> None:
    first, second = Naps(), Naps()

    await retry_async(Server(*repeat(ApiUnavailable("down"), 3)), sleep=first)
    await retry_async(Server(*repeat(ApiUnavailable("down"), 3)), sleep=second)

    assert first.seconds != second.seconds


async def test_the_servers_own_wish_is_the_least_we_wait() -> None:
    naps = Naps()

    await retry_async(Server(Throttled("rateLimitExceeded", retry_after=timedelta(seconds=20))), sleep=naps)

    assert naps.seconds == [20]


async def test_nobody_waits_for_a_wish_beyond_the_longest_wait() -> None:
    server, naps = Server(Throttled("userRateLimitExceeded", retry_after=LONGEST_WAIT * 2)), Naps()

    with pytest.raises(Throttled):
        await retry_async(server, sleep=naps)

    assert (server.calls, naps.seconds) == (1, [])


@pytest.mark.parametrize("key", ["AIza-one", SecretStr("AIza-one")], ids=["text", "secret"])
async def test_a_single_key_needs_no_database_and_heals_what_can_heal(key: str | SecretStr) -> None:
    server = Server(ApiUnavailable("backendError", status=500))

    assert await SingleKey(key, sleep=Naps()).execute_async(server, bucket="search") == "answer"

    assert server.keys == ["AIza-one", "AIza-one"]


async def test_a_single_key_passes_on_what_the_server_says_of_its_quota() -> None:
    server = Server(QuotaRefused("quotaExceeded", status=403))

    with pytest.raises(QuotaRefused):
        await SingleKey("AIza-one", sleep=Naps()).execute_async(server)

    assert server.calls == 1
