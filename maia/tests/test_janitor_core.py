"""Which closed days leave SQL."""

from __future__ import annotations

from datetime import date, timedelta

from maia.janitor.core import Day, due_days

TODAY = date(2026, 11, 10)
MB = 1_000_000


def days_ago(*ages: int, size: int = 10 * MB) -> list[Day]:
    return [Day(TODAY - timedelta(days=age), size) for age in ages]


def due(days: list[Day], *, database: int = 100 * MB, budget: int = 500 * MB) -> list[int]:
    chosen = due_days(days, today=TODAY, retention_days=7, database_bytes=database, budget_bytes=budget)
    return [(TODAY - day).days for day in chosen]


def test_days_past_retention_go_and_the_youngest_stay() -> None:
    assert due(days_ago(1, 6, 7, 8, 30)) == [30, 8]


def test_nothing_is_due_in_a_young_database() -> None:
    assert due(days_ago(1, 2, 3)) == []


def test_over_budget_the_oldest_closed_days_go_early_and_no_more_than_needed() -> None:
    assert due(days_ago(1, 2, 3, 4, size=50 * MB), database=590 * MB) == [4, 3]


def test_far_over_budget_every_closed_day_goes() -> None:
    assert due(days_ago(1, 2), database=5_000 * MB) == [2, 1]


def test_days_past_retention_count_towards_the_budget() -> None:
    assert due(days_ago(1, 9, size=200 * MB), database=600 * MB) == [9]
