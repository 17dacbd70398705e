"""A year is lived by hand (`alkyone soak year`); here are its first days, and what it would complain of."""

from __future__ import annotations

import pytest

from alkyone.soak import year


async def test_the_first_days_of_a_year_keep_every_promise(conninfo: str) -> None:
    said: list[str] = []

    report = await year.live(conninfo, days=2, hours=1, channels=4, show=said.append)

    assert report["failures"] == []
    assert (report["days"], len(said)) == (2, 2)
    assert report["readings_served"] > 0
    assert report["promises_kept"] > 20
    assert all(len(sizes) == 2 for sizes in (report["memory"], report["vault"], *report["tables"].values()))
    assert report["vault"][-1] > 0, "a day was archived, or a picture kept"


async def test_it_stops_when_its_hours_are_over(conninfo: str) -> None:
    report = await year.live(conninfo, days=30, hours=0, channels=2)

    assert (report["days"], report["days_asked"]) == (1, 30)


@pytest.mark.parametrize(("last", "grew"), [(119.0, False), (121.0, True)])
def test_memory_that_grows_is_a_failure(last: float, grew: bool) -> None:
    memory = [150.0] * 7 + [100.0] * 7 + [110.0] * 7 + [last] * 7  # the first quarter fills what is kept

    failures = list(year.failures(memory, []))

    assert bool(failures) == grew
