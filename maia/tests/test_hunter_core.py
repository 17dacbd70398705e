"""The Hunter's decisions, without a database or a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from maia.hunter.core import (
    PAGE_TOKEN_LIFE,
    SEARCH_FASTEST,
    SEARCH_SLOWEST,
    SEARCH_SLOWEST_IDLE,
    TermState,
    first_look,
    next_poll,
    next_search,
    search_window,
    snowball,
    upload_rate,
)

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def term(**changes: object) -> TermState:
    state = TermState(
        pinned=False,
        window_after=None,
        window_before=None,
        next_page_token=None,
        page_token_at=None,
        last_mentioned_at=NOON,
        yield_=0.0,
    )
    return state._replace(**changes)


def paging(token_age: timedelta) -> TermState:
    return term(
        window_after=NOON - DAY, window_before=NOON - HOUR, next_page_token="CDIQAA", page_token_at=NOON - token_age
    )


class TestSearchWindow:
    def test_a_new_term_starts_with_the_last_day(self) -> None:
        assert search_window(term(), NOON) == (NOON - DAY, NOON, None)

    def test_each_moment_of_publication_is_searched_twice_within_48_hours(self) -> None:
        assert search_window(term(window_before=NOON - 20 * HOUR), NOON).after == NOON - 44 * HOUR

    def test_a_term_searched_long_ago_does_not_reach_back_further_than_48_hours(self) -> None:
        assert search_window(term(window_before=NOON - 9 * DAY), NOON).after == NOON - 48 * HOUR

    def test_a_young_token_goes_on_in_its_own_window(self) -> None:
        assert search_window(paging(HOUR), NOON) == (NOON - DAY, NOON - HOUR, "CDIQAA")

    def test_a_token_past_its_life_starts_a_fresh_window(self) -> None:
        assert search_window(paging(PAGE_TOKEN_LIFE), NOON).page_token is None


class TestNextSearch:
    def test_a_page_mostly_new_is_followed_at_once_by_the_next(self) -> None:
        following = next_search(term(), candidates=50, discovered=25, next_page_token="CDIQAA", now=NOON)
        assert (following.at, following.page_token) == (NOON, "CDIQAA")

    def test_a_page_that_wrapped_round_ends_the_window_though_it_has_a_token(self) -> None:
        assert next_search(term(), candidates=50, discovered=0, next_page_token="CDIQAA", now=NOON).page_token is None

    @pytest.mark.parametrize(
        ("state", "discovered", "wait"),
        [
            pytest.param(term(yield_=50.0), 50, SEARCH_FASTEST, id="rich"),
            pytest.param(term(pinned=True), 0, SEARCH_SLOWEST, id="pinned and dry"),
            pytest.param(term(), 0, SEARCH_SLOWEST_IDLE, id="dry"),
            pytest.param(term(yield_=10.0), 10, DAY, id="middling"),
        ],
    )
    def test_yield_decides_the_wait(self, state: TermState, discovered: int, wait: timedelta) -> None:
        following = next_search(state, candidates=50, discovered=discovered, next_page_token=None, now=NOON)
        assert following.at - NOON == wait

    @pytest.mark.parametrize(
        ("state", "asleep"),
        [
            pytest.param(term(last_mentioned_at=NOON - 15 * DAY), True, id="dry and unmentioned"),
            pytest.param(term(last_mentioned_at=NOON - 13 * DAY), False, id="mentioned lately"),
            pytest.param(term(last_mentioned_at=NOON - 15 * DAY, pinned=True), False, id="pinned"),
            pytest.param(term(last_mentioned_at=NOON - 15 * DAY, yield_=9.0), False, id="still yields"),
        ],
    )
    def test_only_a_dry_unpinned_unmentioned_term_falls_asleep(self, state: TermState, asleep: bool) -> None:
        assert next_search(state, candidates=0, discovered=0, next_page_token=None, now=NOON).asleep is asleep


class TestPolls:
    def test_the_rate_counts_four_weeks(self) -> None:
        assert upload_rate([NOON - DAY * n for n in (1, 8, 15, 22, 400)], NOON) == pytest.approx(4 / 28)

    def test_a_full_page_of_young_videos_is_rated_over_the_span_it_covers(self) -> None:
        assert upload_rate([NOON - HOUR * n for n in range(1, 51)], NOON) == pytest.approx(50 / (50 / 24))

    def test_a_silent_channel_has_no_rate(self) -> None:
        assert upload_rate([NOON - 100 * DAY], NOON) == 0

    @pytest.mark.parametrize(
        ("rate", "wait"),
        [
            pytest.param(0.0, 3 * DAY, id="silent"),
            pytest.param(1.0, DAY / 2, id="daily"),
            pytest.param(100.0, HOUR, id="a news desk"),
        ],
    )
    def test_a_channel_is_looked_at_twice_per_expected_upload(self, rate: float, wait: timedelta) -> None:
        assert next_poll(rate, NOON) - NOON == wait


def test_first_looks_spread_over_the_interval_and_stay_the_same() -> None:
    looks = [first_look(f"video{n:06d}", HOUR, NOON) for n in range(600)]
    assert looks == [first_look(f"video{n:06d}", HOUR, NOON) for n in range(600)]
    assert all(NOON < look <= NOON + HOUR for look in looks)
    by_quarter = [sum(NOON + HOUR / 4 * q < look <= NOON + HOUR / 4 * (q + 1) for look in looks) for q in range(4)]
    assert min(by_quarter) > 100


@pytest.mark.parametrize(
    ("tags", "known", "terms"),
    [
        pytest.param(["Lo-Fi  Beats", "lo-fi beats", "rain"], set(), ["lo-fi beats", "rain"], id="folded"),
        pytest.param(["a", "b" * 61, "ok"], set(), ["ok"], id="too short, too long"),
        pytest.param(["one", "two", "three", "four"], {"one"}, ["two", "three", "four"], id="known ones are no use"),
        pytest.param(["one", "two", "three", "four"], set(), ["one", "two", "three"], id="three at most"),
        pytest.param([" ", ""], set(), [], id="blank"),
    ],
)
def test_tags_become_terms(tags: list[str], known: set[str], terms: list[str]) -> None:
    assert snowball(tags, known) == terms
