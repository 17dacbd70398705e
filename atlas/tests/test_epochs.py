from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from atlas.epochs import EPOCHS, epoch_of


@pytest.mark.parametrize(
    ("instant", "number"),
    [
        pytest.param(datetime(1999, 1, 1, tzinfo=UTC), 0, id="before there was YouTube"),
        pytest.param(
            datetime(2025, 3, 30, 23, 59, 59, 999_999, tzinfo=UTC), 0, id="the last instant of the old Shorts"
        ),
        pytest.param(datetime(2025, 3, 31, tzinfo=UTC), 1, id="the first of the new Shorts"),
        pytest.param(datetime(2026, 8, 23, 23, 59, 59, 999_999, tzinfo=UTC), 1, id="the last of the old views"),
        pytest.param(datetime(2026, 8, 24, tzinfo=UTC), 2, id="the first of the new views"),
        pytest.param(datetime(2030, 1, 1, tzinfo=UTC), 2, id="since then"),
    ],
)
def test_a_count_belongs_to_the_epoch_in_which_it_was_read(instant: datetime, number: int) -> None:
    assert epoch_of(instant).number == number


def test_epochs_are_numbered_in_order_and_name_their_source() -> None:
    assert [epoch.number for epoch in EPOCHS] == list(range(len(EPOCHS)))
    assert all(other.begins - one.begins > timedelta(days=1) for one, other in pairwise(EPOCHS))
    assert all(epoch.source for epoch in EPOCHS)
