"""The Hunter's decisions, without a database or a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from maia.hunter.core import (
    FEED_FASTEST,
    FEED_SLOWEST,
    PAGE_TOKEN_LIFE,
    POLL_SLOWEST_IDLE,
    REST_LIFE,
    SEARCH_CAP,
    SEARCH_FASTEST,
    SEARCH_SLOWEST,
    SEARCH_SLOWEST_IDLE,
    Hits,
    TermState,
    Window,
    first_look,
    next_feed,
    next_poll,
    next_search,
    search_window,
    snowball,
    stretch,
    terms_of,
    upload_rate,
)

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TODAY = Window(NOON - DAY, NOON, None)


def term(**changes: object) -> TermState:
    state = TermState(
        pinned=False,
        searched_until=None,
        window_after=None,
        window_before=None,
        window_seen=0,
        window_rest=None,
        next_page_token=None,
        page_token_at=None,
        yield_=0.0,
    )
    return state._replace(**changes)


def paging(token_age: timedelta) -> TermState:
    return term(
        searched_until=NOON - HOUR,
        window_after=NOON - DAY,
        window_before=NOON - HOUR,
        window_seen=50,
        window_rest=NOON - 3 * HOUR,
        next_page_token="CDIQAA",
        page_token_at=NOON - token_age,
    )


def hits(newest: datetime, *, new: int = 50, of: int = 50, token: str | None = "CDIQAA") -> Hits:  # noqa: S107
    return Hits(of, new, new, token, [newest - n * MINUTE for n in range(of)])


class TestSearchWindow:
    def test_a_new_term_starts_with_the_last_day(self) -> None:
        assert search_window(term(), NOON) == TODAY

    def test_each_moment_of_publication_is_searched_twice_within_48_hours(self) -> None:
        assert search_window(term(searched_until=NOON - 20 * HOUR), NOON).after == NOON - 44 * HOUR

    def test_a_term_searched_long_ago_does_not_reach_back_further_than_48_hours(self) -> None:
        assert search_window(term(searched_until=NOON - 9 * DAY), NOON).after == NOON - 48 * HOUR

    def test_a_young_token_goes_on_in_its_own_window(self) -> None:
        expected = Window(NOON - DAY, NOON - HOUR, "CDIQAA", 50, NOON - 3 * HOUR)
        assert search_window(paging(HOUR), NOON) == expected

    def test_past_the_life_of_its_token_a_window_goes_on_below_what_was_passed(self) -> None:
        assert search_window(paging(PAGE_TOKEN_LIFE), NOON) == (NOON - DAY, NOON - 3 * HOUR, None, 0, None)

    def test_a_rest_that_is_too_old_is_given_up(self) -> None:
        later = NOON - DAY + REST_LIFE
        assert search_window(paging(HOUR), later) == Window(later - 48 * HOUR, later, None)


class TestNextSearch:
    def test_a_page_mostly_new_is_followed_at_once_by_the_next(self) -> None:
        following = next_search(term(), TODAY, hits(NOON, new=25), NOON)
        assert following.at == NOON
        assert following.window == Window(NOON - DAY, NOON, "CDIQAA", 50, NOON - 49 * MINUTE)

    def test_a_page_mostly_known_ends_the_window_though_it_has_a_token(self) -> None:
        following = next_search(term(), TODAY, hits(NOON, new=24), NOON)
        assert (following.window.page_token, following.window.rest) == (None, None)
        assert following.at - NOON >= SEARCH_FASTEST

    def test_where_search_shows_no_more_the_older_part_becomes_a_window(self) -> None:
        tenth = TODAY._replace(page_token="CMIDEAA", seen=SEARCH_CAP - 50, rest=NOON - 9 * HOUR)
        following = next_search(term(), tenth, hits(NOON - 9 * HOUR, token=None), NOON)
        oldest = NOON - 9 * HOUR - 49 * MINUTE
        assert following.at == NOON
        assert following.window == Window(NOON - DAY, oldest + SECOND, None, 0, oldest + SECOND)
        stored = term(
            searched_until=following.searched_until,
            window_after=following.window.after,
            window_before=following.window.before,
            window_rest=following.window.rest,
        )
        assert search_window(stored, NOON) == Window(NOON - DAY, oldest + SECOND, None)

    def test_results_that_begin_again_from_the_newest_are_noticed_before_the_cap(self) -> None:
        third = TODAY._replace(page_token="CGQQAA", seen=100, rest=NOON - 5 * HOUR)
        following = next_search(term(), third, hits(NOON, new=0), NOON)
        assert following.at == NOON
        assert following.window == Window(NOON - DAY, NOON - 5 * HOUR + SECOND, None, 0, NOON - 5 * HOUR + SECOND)

    def test_a_page_of_known_videos_that_goes_down_is_no_beginning_again(self) -> None:
        third = TODAY._replace(page_token="CGQQAA", seen=100, rest=NOON - 5 * HOUR)
        following = next_search(term(), third, hits(NOON - 5 * HOUR, new=0), NOON)
        assert following.window.rest is None

    def test_more_videos_of_one_second_than_search_shows_do_not_go_round_for_ever(self) -> None:
        second = Window(NOON - DAY, NOON - HOUR + SECOND, None, SEARCH_CAP - 50)
        page = Hits(50, 50, 50, None, [NOON - HOUR] * 50)
        assert next_search(term(), second, page, NOON).window.rest is None

    def test_the_end_of_what_was_searched_does_not_move_back_with_the_rest(self) -> None:
        state = term(searched_until=NOON)
        following = next_search(state, Window(NOON - DAY, NOON - 9 * HOUR, None), hits(NOON - 10 * HOUR), NOON)
        assert following.searched_until == NOON

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
        following = next_search(state, TODAY, hits(NOON, new=discovered, token=None), NOON)
        assert following.at - NOON == wait

    def test_a_window_without_results_ends(self) -> None:
        assert next_search(term(), TODAY, Hits(0, 0, 0, "CDIQAA"), NOON).window.rest is None


class TestPolls:
    def test_the_rate_counts_four_weeks(self) -> None:
        assert upload_rate([NOON - DAY * n for n in (1, 8, 15, 22, 400)], NOON) == pytest.approx(4 / 28)

    @pytest.mark.parametrize("full", [50, 15])
    def test_a_full_page_of_young_videos_is_rated_over_the_span_it_covers(self, full: int) -> None:
        published = [NOON - HOUR * n for n in range(1, full + 1)]
        assert upload_rate(published, NOON, full=full) == pytest.approx(24)

    def test_a_silent_channel_has_no_rate(self) -> None:
        assert upload_rate([NOON - 100 * DAY], NOON) == 0

    @pytest.mark.parametrize(
        ("rate", "wait"),
        [
            pytest.param(0.05, 3 * DAY, id="fortnightly"),
            pytest.param(1.0, DAY / 2, id="daily"),
            pytest.param(100.0, HOUR, id="a news desk"),
        ],
    )
    def test_a_channel_is_looked_at_twice_per_expected_upload(self, rate: float, wait: timedelta) -> None:
        assert next_poll(rate, NOON) - NOON == wait

    @pytest.mark.parametrize(
        ("silent", "wait"),
        [
            pytest.param(28 * DAY, 3.5 * DAY, id="since lately"),
            pytest.param(80 * DAY, 10 * DAY, id="for a season"),
            pytest.param(4_000 * DAY, POLL_SLOWEST_IDLE, id="for years"),
            pytest.param(None, POLL_SLOWEST_IDLE, id="always"),
        ],
    )
    def test_the_longer_a_channel_is_silent_the_less_it_costs(self, silent: timedelta | None, wait: timedelta) -> None:
        newest = None if silent is None else NOON - silent
        assert next_poll(0.0, NOON, newest=newest) - NOON == wait
        assert next_poll(0.0, NOON, newest=newest, pinned=True) - NOON == 3 * DAY

    def test_a_roster_that_wants_more_than_there_is_waits_longer_all_over(self) -> None:
        assert stretch(100.0, 400.0) == 1.0
        assert stretch(400.0, 100.0) == 4.0
        assert next_poll(1.0, NOON, stretch=4.0) - NOON == 2 * DAY

    @pytest.mark.parametrize("rate", [0.05, 1.0, 10.0, 100.0, 1000.0])
    def test_no_wait_is_so_long_that_uploads_could_leave_the_page_unseen(self, rate: float) -> None:
        wait = next_poll(rate, NOON, stretch=1e6) - NOON
        assert wait <= max(timedelta(days=25 / rate), HOUR)

    def test_feeds_are_looked_at_before_the_next_upload_is_expected_and_not_at_all_in_silence(self) -> None:
        assert next_feed(0.0, NOON) is None
        assert next_feed(1.0, NOON) == NOON + 6 * HOUR
        assert next_feed(0.01, NOON) == NOON + FEED_SLOWEST
        assert next_feed(99.0, NOON) == NOON + FEED_FASTEST


def test_first_looks_spread_over_the_interval_and_stay_the_same() -> None:
    looks = [first_look(f"video{n:06d}", HOUR, NOON) for n in range(600)]
    assert looks == [first_look(f"video{n:06d}", HOUR, NOON) for n in range(600)]
    assert all(NOON < look <= NOON + HOUR for look in looks)
    by_quarter = [sum(NOON + HOUR / 4 * q < look <= NOON + HOUR / 4 * (q + 1) for look in looks) for q in range(4)]
    assert min(by_quarter) > 100


@pytest.mark.parametrize(
    ("tags", "terms"),
    [
        pytest.param(["Lo-Fi  Beats", "lo-fi beats", "rain"], ["lo-fi beats", "rain"], id="folded"),
        pytest.param(["a", "b" * 61, "ok"], ["ok"], id="too short, too long"),
        pytest.param(["one", "two", "three", "four"], ["one", "two", "three"], id="three at most"),
        pytest.param(["Video", "FYP", "2024", "#shorts", "バズ", "видео", "f1"], ["f1"], id="generic"),
        pytest.param(
            ["https://a.b", "www.a.b", "shop.example.com", "10 000", "st. lucia"], ["st. lucia"], id="addresses"
        ),
        pytest.param([" ", ""], [], id="blank"),
    ],
)
def test_tags_become_terms(tags: list[str], terms: list[str]) -> None:
    assert terms_of(tags) == terms


def test_the_terms_of_the_most_channels_come_first_and_as_often_as_they_are_mentioned() -> None:
    tagged = [("UC1", ["spam"]), ("UC1", ["spam"]), ("UC1", ["spam", "jazz"]), ("UC2", ["jazz"]), ("UC3", ["video"])]
    assert snowball(tagged) == ["jazz", "jazz", "spam", "spam", "spam"]
