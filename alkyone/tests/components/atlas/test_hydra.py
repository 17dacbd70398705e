from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from atlas import clock
from atlas.config import ApiKey, Settings
from atlas.db import DatabaseManager
from atlas.errors import (
    ApiError,
    ApiUnavailable,
    Bucket,
    InvalidPageToken,
    KeyRejected,
    NoLiveKey,
    QuotaExhausted,
    QuotaRefused,
    ResourceRefused,
    Throttled,
)
from atlas.hydra import FRESH, HydraExecutor
from atlas.keys import KeyRing
from atlas.notifications import AlertChannel, DiscordNotifier
from atlas.quota import QuotaLedger, reset_at
from atlas.retry import ATTEMPTS

LIMITS: dict[Bucket, int] = {"search": 10, "stats": 10, "general": 100}
A1, A2, B1 = (ApiKey(SecretStr(f"AIza-{name}"), name[0]) for name in ("a1", "a2", "b1"))

COMPLIANT: dict[str, Any] = {"COMPLIANCE_MODE": True, "HYDRA_ENABLED": True}
BY_AGREEMENT = COMPLIANT | {"COMPLIANCE_MODE": False}
ALONE = BY_AGREEMENT | {"HYDRA_ENABLED": False}


class Google:
    """Serves calls as the API does: keys have projects, projects have quota, and some keys are bad."""

    def __init__(self, *, quota: int = 1_000_000, bad: tuple[ApiKey, ...] = ()) -> None:
        self.quota = quota
        self.bad = {key.secret.get_secret_value() for key in bad}
        self.plan: list[ApiError] = []
        self.calls: list[str] = []
        self.served: Counter[str] = Counter()
        self.during: Callable[[], object] = lambda: None

    async def __call__(self, key: str) -> str:
        self.calls.append(key)
        self.during()
        await asyncio.sleep(0)
        if self.plan:
            raise self.plan.pop(0)
        if key in self.bad:
            raise KeyRejected("API_KEY_INVALID", status=400)
        project = key.removeprefix("AIza-")[0]
        if self.served[project] >= self.quota:
            raise QuotaRefused("quotaExceeded", status=403)
        self.served[project] += 1
        return "answer"

    @property
    def called(self) -> list[str]:
        return [key.removeprefix("AIza-") for key in self.calls]


class Ops(DiscordNotifier):
    """Notes the alerts that would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.alerts: list[str] = []

    async def send(self, title: str = "", description: str = "", channel: Any = None, *rest: Any, **more: Any) -> bool:
        assert channel is AlertChannel.OPS
        self.alerts.append(f"{title} {description} {rest} {more}")
        return True


class Naps:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


class Stage:
    """Builds executors that share a database, a Google and an OPS channel, as two agents would."""

    def __init__(self, database: DatabaseManager) -> None:
        self.database = database
        self.ledger = QuotaLedger(database, LIMITS)
        self.google = Google()
        self.ops = Ops()
        self.naps = Naps()

    def hydra(self, *keys: ApiKey, mode: dict[str, Any] = COMPLIANT, agent: str = "hunter") -> HydraExecutor:
        return HydraExecutor(
            self.ring(*keys),
            agent,
            ledger=self.ledger,
            notifier=self.ops,
            settings=Settings(**mode | {"_env_file": None}),
            sleep=self.naps,
        )

    def ring(self, *keys: ApiKey) -> KeyRing:
        return KeyRing("pool", keys=keys, database=self.database)

    async def used(self, bucket: Bucket = "general") -> dict[str, int]:
        return {use.project: use.used for use in await self.ledger.usage() if use.bucket == bucket and use.used}


@pytest.fixture(autouse=True)
def now(frozen_clock: clock.VirtualClock) -> clock.VirtualClock:
    return frozen_clock


@pytest.fixture
def stage(database: DatabaseManager) -> Stage:
    return Stage(database)


async def test_a_call_gets_the_plain_key_and_its_cost_is_counted(stage: Stage) -> None:
    assert await stage.hydra(A1).execute_async(stage.google, bucket="general", cost=50) == "answer"

    assert stage.google.calls == ["AIza-a1"]
    assert await stage.used() == {"a": 50}


async def test_what_can_heal_is_tried_again_on_the_same_key_and_each_attempt_is_counted(stage: Stage) -> None:
    stage.google.plan = [ApiUnavailable("backendError", status=503), Throttled("rateLimitExceeded")]

    assert await stage.hydra(A1, A2, B1, mode=BY_AGREEMENT).execute_async(stage.google) == "answer"

    assert stage.google.called == ["a1", "a1", "a1"]
    assert len(stage.naps.seconds) == 2
    assert await stage.used() == {"a": 3}


async def test_attempts_are_few_and_the_last_error_is_the_callers(stage: Stage) -> None:
    stage.google.plan = [ApiUnavailable("backendError", status=500) for _ in range(10)]

    with pytest.raises(ApiUnavailable):
        await stage.hydra(A1, B1, mode=BY_AGREEMENT).execute_async(stage.google)

    assert stage.google.called == ["a1"] * ATTEMPTS


async def test_attempts_that_never_left_the_machine_cost_nothing(stage: Stage) -> None:
    stage.google.plan = [ApiUnavailable("connection refused", sent=False) for _ in range(ATTEMPTS)]

    with pytest.raises(ApiUnavailable):
        await stage.hydra(A1).execute_async(stage.google)

    assert await stage.used() == {}


@pytest.mark.parametrize(
    "error",
    [ResourceRefused("playlistNotFound", status=404), InvalidPageToken("invalidPageToken", status=400)],
    ids=lambda error: type(error).__name__,
)
async def test_an_answer_about_the_resource_leaves_keys_and_quota_alone(stage: Stage, error: ApiError) -> None:
    stage.google.plan = [error]

    with pytest.raises(type(error)):
        await stage.hydra(A1, A2).execute_async(stage.google)

    assert stage.google.called == ["a1"]
    assert await stage.used() == {"a": 1}
    assert all(state.live for state in await stage.ring().states())
    assert stage.ops.alerts == []


async def test_a_bug_in_the_call_is_raised_as_it_is(stage: Stage) -> None:
    async def broken(key: str) -> str:
        raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        await stage.hydra(A1).execute_async(broken)


async def test_no_call_is_made_that_the_ledger_has_no_room_for(stage: Stage, now: clock.VirtualClock) -> None:
    hydra = stage.hydra(A1, A2)
    for _ in range(10):
        await hydra.execute_async(stage.google, bucket="search")

    with pytest.raises(QuotaExhausted) as raised:
        await hydra.execute_async(stage.google, bucket="search")

    assert (raised.value.bucket, raised.value.reset_at) == ("search", reset_at(now()))
    assert len(stage.google.calls) == 10
    assert await hydra.execute_async(stage.google, bucket="general") == "answer"


async def test_many_calls_at_once_reach_the_server_exactly_as_often_as_the_ledger_allows(stage: Stage) -> None:
    agents = [stage.hydra(A1, agent=f"agent {number}") for number in range(5)]

    results = await asyncio.gather(
        *(agent.execute_async(stage.google, bucket="search") for agent in agents for _ in range(20)),
        return_exceptions=True,
    )

    assert Counter(type(result) for result in results) == {str: 10, QuotaExhausted: 90}
    assert len(stage.google.calls) == 10
    assert len(stage.ops.alerts) == 1


async def test_a_bucket_the_server_says_is_spent_is_never_asked_again_that_day(
    stage: Stage, now: clock.VirtualClock
) -> None:
    stage.google.quota = 3
    hydra = stage.hydra(A1, A2)
    for _ in range(3):
        await hydra.execute_async(stage.google, bucket="stats")

    for executor in (hydra, hydra, stage.hydra(A2, agent="tracker")):
        with pytest.raises(QuotaExhausted):
            await executor.execute_async(stage.google, bucket="stats")

    assert stage.google.called == ["a1"] * 4
    assert await stage.used("stats") == {"a": 3}
    stage.google.quota = 6
    now.set(reset_at(now()))
    assert await hydra.execute_async(stage.google, bucket="stats") == "answer"


async def test_in_compliance_mode_a_spent_bucket_never_moves_a_call_to_another_project(stage: Stage) -> None:
    stage.google.quota = 0

    with pytest.raises(QuotaExhausted):
        await stage.hydra(A1, A2, B1).execute_async(stage.google)

    assert stage.google.called == ["a1"]


async def test_outside_compliance_mode_a_spent_bucket_moves_a_call_to_another_project(stage: Stage) -> None:
    stage.google.quota = 2
    hydra = stage.hydra(A1, A2, B1, mode=BY_AGREEMENT)

    for _ in range(4):
        assert await hydra.execute_async(stage.google) == "answer"
    with pytest.raises(QuotaExhausted):
        await hydra.execute_async(stage.google)

    assert stage.google.called == ["a1", "a1", "a1", "b1", "b1", "b1"]
    assert await stage.used() == {"a": 2, "b": 2}
    assert len(stage.ops.alerts) == 2


async def test_without_rotation_a_spent_bucket_ends_it(stage: Stage) -> None:
    stage.google.quota = 0

    with pytest.raises(QuotaExhausted):
        await stage.hydra(A1, B1, mode=ALONE).execute_async(stage.google)

    assert stage.google.called == ["a1"]


async def test_a_rejected_key_is_disabled_for_everybody_and_the_next_one_serves(stage: Stage) -> None:
    stage.google.bad = {"AIza-a1"}

    assert await stage.hydra(A1, B1).execute_async(stage.google) == "answer"
    assert await stage.hydra(A1, B1, agent="tracker").execute_async(stage.google) == "answer"

    assert stage.google.called == ["a1", "b1", "b1"]
    assert await stage.used() == {"b": 2}
    assert [state.disabled_because for state in await stage.ring().states() if not state.live] == ["API_KEY_INVALID"]
    (alert,) = stage.ops.alerts
    assert f"atlas quota enable {A1.fingerprint}" in alert


async def test_a_key_that_many_calls_find_bad_at_once_is_alerted_once(stage: Stage) -> None:
    stage.google.bad = {"AIza-a1", "AIza-a2"}
    agents = [stage.hydra(A1, A2, B1, agent=f"agent {number}") for number in range(4)]

    answers = await asyncio.gather(*(agent.execute_async(stage.google) for agent in agents for _ in range(5)))

    assert set(answers) == {"answer"}
    assert len(stage.ops.alerts) == 2


async def test_with_every_key_rejected_no_call_is_made_any_more(stage: Stage) -> None:
    stage.google.bad = {"AIza-a1", "AIza-a2"}
    hydra = stage.hydra(A1, A2)

    for _ in range(3):
        with pytest.raises(NoLiveKey, match="every API key that hunter may use is disabled"):
            await hydra.execute_async(stage.google)

    assert stage.google.called == ["a1", "a2"]


async def test_an_empty_pool_has_no_live_key(stage: Stage) -> None:
    with pytest.raises(NoLiveKey):
        await stage.hydra().execute_async(stage.google)


async def test_without_rotation_a_rejected_key_is_not_replaced(stage: Stage) -> None:
    stage.google.bad = {"AIza-a1"}

    with pytest.raises(NoLiveKey):
        await stage.hydra(A1, A2, mode=ALONE).execute_async(stage.google)

    assert stage.google.called == ["a1"]


async def test_a_key_enabled_by_hand_is_back_at_once_where_none_was_left_and_soon_elsewhere(
    stage: Stage, now: clock.VirtualClock
) -> None:
    stage.google.bad = {"AIza-a1"}
    alone, other = stage.hydra(A1), stage.hydra(A1, A2)
    with pytest.raises(NoLiveKey):
        await alone.execute_async(stage.google)
    await other.execute_async(stage.google)

    stage.google.bad = set()
    await stage.ring().enable(A1.fingerprint)
    stage.google.calls.clear()

    await alone.execute_async(stage.google)
    await other.execute_async(stage.google)
    now.advance(FRESH)
    await other.execute_async(stage.google)
    assert stage.google.called == ["a1", "a2", "a1"]


async def test_a_spent_bucket_alerts_ops_once_a_day_whoever_notices(stage: Stage, now: clock.VirtualClock) -> None:
    stage.google.quota = 0
    for day in range(1, 3):
        for agent in ("hunter", "tracker", "janitor"):
            for _ in range(2):
                with pytest.raises(QuotaExhausted):
                    await stage.hydra(A1, agent=agent).execute_async(stage.google, bucket="search")
        assert len(stage.ops.alerts) == day
        now.set(reset_at(now()))


async def test_a_call_refused_after_midnight_is_corrected_on_the_day_it_was_counted(
    stage: Stage, now: clock.VirtualClock
) -> None:
    midnight = reset_at(now())
    now.set(midnight - timedelta(seconds=1))
    stage.google.quota = 0
    stage.google.during = lambda: now.advance(timedelta(seconds=2))

    with pytest.raises(QuotaExhausted):
        await stage.hydra(A1).execute_async(stage.google)

    assert await stage.ledger.left("general", ["a"], now=midnight - timedelta(seconds=1)) == 0
    assert await stage.ledger.left("general", ["a"]) == 100


async def test_a_cancelled_call_stays_counted(stage: Stage) -> None:
    begun = asyncio.Event()

    async def hang(key: str) -> str:
        begun.set()
        await asyncio.Event().wait()
        return key

    task = asyncio.create_task(stage.hydra(A1).execute_async(hang))
    await begun.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await stage.used() == {"a": 1}


async def test_the_key_is_in_no_alert_error_or_log(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.google.bad = {"AIza-a1"}
    stage.google.quota = 0
    errors = []

    with caplog.at_level(logging.DEBUG):
        for keys in ((A1, B1), (A1,)):
            with pytest.raises((QuotaExhausted, NoLiveKey)) as raised:
                await stage.hydra(*keys).execute_async(stage.google)
            errors.append(repr(raised.value))

    assert len(stage.ops.alerts) == 2
    assert "AIza" not in f"{stage.ops.alerts} {errors} {caplog.text}"
