"""What the Painter decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

import pytest

from atlas.adapters.records import StageRow
from maia.painter import core
from maia.painter.frames import Frame

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)


def row(discovered_at: datetime) -> StageRow:
    return cast("StageRow", {"video_id": "dQw4w9WgXcQ", "discovered_at": discovered_at})


@pytest.mark.parametrize(
    ("told", "kept"),
    [(None, None), ("@Name", "@name"), ("name", "@name"), ("@NAME.two", "@name.two")],
)
def test_a_handle_is_written_in_one_way(told: str | None, kept: str | None) -> None:
    assert core.handle(told) == kept


@pytest.mark.parametrize(
    ("discovered", "observed"),
    [
        pytest.param(NOON - timedelta(hours=1), NOON, id="later"),
        pytest.param(NOON, NOON + timedelta(microseconds=1), id="at once"),
    ],
)
def test_what_is_observed_is_never_dated_as_the_discovery(discovered: datetime, observed: datetime) -> None:
    assert core.observed_at(row(discovered), NOON) == observed
    (visual,) = core.visuals(row(discovered), [Frame(2, b"x", "image/png", 30, 20)], "local", NOON)
    assert visual == {
        "video_id": "dQw4w9WgXcQ", "observed_at": observed, "frame_index": 2, "data": b"x",
        "media_type": "image/png", "source": "local", "width": 30, "height": 20,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answered", "broken", "unreachable", "fault"),
    [
        pytest.param(1, 99, 99, False, id="one is well"),
        pytest.param(0, 0, 0, False, id="nothing was asked"),
        pytest.param(0, 0, 1, True, id="no answer at all"),
        pytest.param(0, 9, 0, False, id="a few broken ones"),
        pytest.param(0, 10, 0, True, id="only broken ones"),
    ],
)
def test_a_source_is_at_fault_when_nothing_of_it_can_be_used(
    answered: int, broken: int, unreachable: int, fault: bool
) -> None:
    assert core.source_at_fault(answered=answered, broken=broken, unreachable=unreachable) is fault
