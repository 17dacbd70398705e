from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr

from atlas import clock
from atlas.config import ApiKey
from atlas.db import DatabaseManager
from atlas.errors import ConfigurationError
from atlas.keys import SQL, KeyRing


def key(secret: str, project: str = "p") -> ApiKey:
    return ApiKey(SecretStr(secret), project)


ONE, TWO, THREE = key("AIza-one"), key("AIza-two"), key("AIza-three", "q")


@pytest.fixture(autouse=True)
def now(frozen_clock: clock.VirtualClock) -> clock.VirtualClock:
    return frozen_clock


@pytest.fixture
def ring(database: DatabaseManager) -> KeyRing:
    return KeyRing("hunting", keys=[TWO, ONE, THREE], database=database)


def test_each_statement_has_its_method() -> None:
    assert set(SQL) <= set(dir(KeyRing))


async def test_keys_come_in_the_pools_order(ring: KeyRing) -> None:
    assert await ring.live() == [TWO, ONE, THREE]
    assert await ring.live() == [TWO, ONE, THREE]
    assert ring.projects == ("p", "q")


async def test_a_key_that_stands_twice_counts_once(database: DatabaseManager) -> None:
    ring = KeyRing("hunting", keys=[ONE, TWO, key("AIza-one", "q"), ONE], database=database)

    assert await ring.live() == [ONE, TWO]


async def test_a_disabled_key_is_left_out_by_every_ring(ring: KeyRing, database: DatabaseManager) -> None:
    await ring.live()
    await ring.disable(ONE, "API_KEY_INVALID")

    assert await ring.live() == [TWO, THREE]
    assert await KeyRing("tracking", keys=[ONE, TWO], database=database).live() == [TWO]


async def test_a_key_can_be_disabled_before_it_was_ever_seen(ring: KeyRing) -> None:
    assert await ring.disable(ONE, "API_KEY_INVALID")
    assert await ring.live() == [TWO, THREE]


async def test_only_the_first_disables_and_its_reason_stays(
    ring: KeyRing, database: DatabaseManager, now: clock.VirtualClock
) -> None:
    begin = now()
    first = await asyncio.gather(*(ring.disable(ONE, "API_KEY_INVALID") for _ in range(20)))
    now.advance(timedelta(hours=1))
    later = await ring.disable(ONE, "SERVICE_DISABLED")

    assert (sum(first), later) == (1, False)
    (state,) = await ring.states()
    assert (state.disabled_at, state.disabled_because, state.live) == (begin, "API_KEY_INVALID", False)
    async with database.get_connection() as conn:
        events = await conn.fetch("SELECT event_type, entity_id, payload FROM system_events")
    assert events == [
        {
            "event_type": "key.disabled",
            "entity_id": ONE.fingerprint,
            "payload": {"project": "p", "reason": "API_KEY_INVALID"},
        }
    ]


async def test_an_enabled_key_is_used_again(ring: KeyRing) -> None:
    await ring.disable(ONE, "API_KEY_INVALID")

    assert await ring.enable(ONE.fingerprint)
    assert not await ring.enable(ONE.fingerprint)
    assert not await ring.enable("no such key")
    assert await ring.live() == [TWO, ONE, THREE]
    assert all(state.live and state.disabled_because is None for state in await ring.states())


async def test_a_key_moved_to_another_project_is_known_there(ring: KeyRing, database: DatabaseManager) -> None:
    await ring.live()
    await KeyRing("hunting", keys=[key("AIza-one", "new")], database=database).live()

    assert {state.fingerprint: state.project for state in await ring.states()}[ONE.fingerprint] == "new"


async def test_many_rings_may_meet_a_new_key_at_once(database: DatabaseManager) -> None:
    keys = [key(f"AIza-{number}") for number in range(30)]
    rings = [
        KeyRing(f"ring {number}", keys=keys if number % 2 else keys[::-1], database=database) for number in range(20)
    ]

    lives = await asyncio.gather(*(ring.live() for ring in rings))

    assert all(len(live) == 30 for live in lives)
    assert len(await rings[0].states()) == 30


async def test_the_database_never_holds_the_key(ring: KeyRing, database: DatabaseManager) -> None:
    await ring.live()
    await ring.disable(ONE, "API_KEY_INVALID")

    async with database.get_connection() as conn:
        rows = await conn.fetch(
            "SELECT api_keys::text FROM api_keys UNION ALL SELECT system_events::text FROM system_events"
        )
    assert rows
    assert "AIza" not in str(rows)
    assert "AIza" not in str(await ring.states())


async def test_an_empty_pool_has_no_live_key(database: DatabaseManager) -> None:
    ring = KeyRing("hunting", keys=[], database=database)

    assert await ring.live() == []
    assert ring.projects == ()


@pytest.mark.parametrize(("compliance", "projects"), [("true", ("a",)), ("false", ("a", "b"))])
async def test_keys_are_those_of_the_settings_unless_given(
    database: DatabaseManager, settings_env: object, compliance: str, projects: tuple[str, ...]
) -> None:
    pool = '[{"key": "AIza-a", "project": "a"}, {"key": "AIza-b", "project": "b"}]'
    settings_env(YOUTUBE_API_KEY_POOL_JSON=pool, COMPLIANCE_MODE=compliance)  # type: ignore[operator]

    ring = KeyRing("hunting", database=database)

    assert ring.projects == projects
    assert [live.project for live in await ring.live()] == list(projects)


async def test_without_keys_in_the_settings_states_still_work(database: DatabaseManager, settings_env: object) -> None:
    ring = KeyRing("quota", database=database)

    assert await ring.states() == []
    with pytest.raises(ConfigurationError, match="YOUTUBE_API_KEY_POOL_JSON is not set"):
        await ring.live()
