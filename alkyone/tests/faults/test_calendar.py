"""Days of 23 and of 25 hours, and the turn of a year: the ledger's day is YouTube's, and no invariant minds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from alkyone import snapshots
from alkyone.invariants.truth import Truth
from alkyone.scenes import AMPLE, TINY, assert_sound, cycle, open_scene, seed
from atlas import clock
from atlas.embedded import EmbeddedServer

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("night", "hours"),
    [
        pytest.param(datetime(2026, 11, 1, 7, tzinfo=UTC), 25, id="the clocks of California go back"),
        pytest.param(datetime(2027, 3, 14, 8, tzinfo=UTC), 23, id="they go forward"),
        pytest.param(datetime(2026, 12, 31, 8, tzinfo=UTC), 24, id="the year ends"),
    ],
)
async def test_quota_and_days_agree_with_youtube(
    postgres: EmbeddedServer, template: str, tmp_path: Path, night: datetime, hours: int
) -> None:
    world = f"{TINY},start={(night - timedelta(days=12)).date()}"
    async with open_scene(postgres, template, tmp_path, world, AMPLE) as here:
        with clock.use(here.youtube.clock), here.site(JANITOR_RETENTION_DAYS=1, VIDEO_STAGES=()) as site:
            here.youtube.set_clock(night - 2 * HOUR)
            await seed(site, here.world, night - 2 * HOUR, terms=1, channels=2)
            for hour in (-2, -1, 0, hours - 1, hours, hours + 24):  # Pacific midnight is at 0 and at ``hours``
                here.youtube.set_clock(night + hour * HOUR)
                await cycle("hunter", site, every=HOUR)
                await cycle("tracker", site, every=HOUR)
            await cycle("janitor", site, every=HOUR)

            days = {day for day, _ in snapshots.ledger(site.conninfo)}
            first = (night - timedelta(hours=8)).date()
            assert {first - timedelta(days=1), first, first + timedelta(days=1)} & days
            assert len(days) >= 3
            await assert_sound(site, Truth.of_standin(here.youtube), now=here.youtube.now())
