"""The tier rule of ghost tracking, at its edges."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.adapters.maia import MaiaDAO
from atlas.adapters.maia_discovery import normalise_term
from atlas.db import DatabaseManager
from atlas.tiers import INTERVALS, next_track

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("age", "tier", "pause"),
    [
        pytest.param(-timedelta(days=2), "HOURLY", timedelta(hours=1), id="published tomorrow"),
        pytest.param(timedelta(0), "HOURLY", timedelta(hours=1), id="just published"),
        pytest.param(timedelta(days=1) - INSTANT, "HOURLY", timedelta(hours=1), id="almost a day old"),
        pytest.param(timedelta(days=1), "DAILY", timedelta(days=1), id="exactly a day old"),
        pytest.param(timedelta(days=7) - INSTANT, "DAILY", timedelta(days=1), id="almost a week old"),
        pytest.param(timedelta(days=7), "WEEKLY", timedelta(days=7), id="exactly a week old"),
        pytest.param(timedelta(days=4000), "WEEKLY", timedelta(days=7), id="eleven years old"),
    ],
)
def test_the_tier_follows_the_age_and_the_next_look_follows_the_tier(
    age: timedelta, tier: str, pause: timedelta
) -> None:
    assert next_track(NOON - age, NOON) == (tier, NOON + pause)


@given(st.timedeltas(timedelta(days=-30), timedelta(days=9000)))
def test_the_next_look_always_lies_ahead_and_age_alone_makes_nothing_dormant(age: timedelta) -> None:
    chosen = next_track(NOON - age, NOON)
    assert chosen.next_track_at == NOON + INTERVALS[chosen.tier]
    assert chosen.tier != "DORMANT"


def test_the_dao_supplies_the_clock_to_the_rule(frozen_clock: object) -> None:
    dao = MaiaDAO(DatabaseManager("never opened"))
    published = NOON - timedelta(days=3)
    assert dao.calculate_next_track_time(published) == next_track(published, NOON)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        pytest.param("  Lofi   HipHop\t", "lofi hiphop", id="space and case"),
        pytest.param("STRASSE", "strasse", id="upper case"),
        pytest.param("Straße", "strasse", id="case folding beyond ASCII"),
        pytest.param("a\0b", "a b", id="NUL, which PostgreSQL refuses"),
        pytest.param(" \n ", "", id="nothing"),
    ],
)
def test_two_spellings_of_a_term_are_one(typed: str, kept: str) -> None:
    assert normalise_term(typed) == kept
