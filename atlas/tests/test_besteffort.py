from __future__ import annotations

import asyncio
import logging

import pytest

from atlas._besteffort import best_effort, losses


def test_a_failure_is_logged_with_its_traceback_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    losses.clear()

    for _ in range(2):
        with best_effort("alert"):
            raise OSError("no route")

    assert losses == {"alert": 2}
    assert [record.getMessage() for record in caplog.records] == ["lost: alert (1 so far)", "lost: alert (2 so far)"]
    assert "OSError: no route" in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


@pytest.mark.parametrize("stop", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
def test_what_should_stop_the_program_passes(stop: type[BaseException]) -> None:
    losses.clear()

    with pytest.raises(stop), best_effort("alert"):
        raise stop

    assert not losses
