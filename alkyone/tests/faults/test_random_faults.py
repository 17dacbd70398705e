"""Random schedules of faults: the same seed is the same schedule, promises hold, and a broken one is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from alkyone.__main__ import app
from alkyone.faults.life import Ground
from alkyone.faults.schedule import AGENTS, KINDS, OCCASIONS, STEPS, WORLDS, draw
from atlas.embedded import EmbeddedServer
from atlas.quota import QuotaLedger

SEEDS = (3, 14)

OF_A_SHARED_SERVER = tuple(kind for kind in KINDS if kind not in {"database.out of connections", "database.restarted"})
"""Other tests use the same server."""


def test_a_seed_is_a_schedule_and_every_agent_and_kind_of_fault_has_its_turn() -> None:
    schedules = [draw(seed) for seed in range(600)]
    assert schedules == [draw(seed) for seed in range(600)]
    assert len({schedule.turns for schedule in schedules}) > 590
    for schedule in schedules:
        assert {agent for turn in schedule.turns for agent in turn.agents} >= set(AGENTS)
    drawn = {fault.kind for schedule in schedules for turn in schedule.turns for fault in turn.faults}
    assert drawn == set(KINDS)
    assert {schedule.world for schedule in schedules} == set(WORLDS)


def test_a_fault_befalls_only_an_agent_that_can_meet_it() -> None:
    for seed in range(200):
        for turn in draw(seed).turns:
            for fault in turn.faults:
                if step := STEPS.get(fault.kind):
                    assert fault.nth < OCCASIONS[turn.agents[0]][step]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
async def test_every_invariant_holds_after_a_schedule_of_faults(
    postgres: EmbeddedServer, template: str, tmp_path: Path, seed: int
) -> None:
    outcome = await Ground(postgres, template, tmp_path).run(draw(seed, OF_A_SHARED_SERVER))
    assert outcome.struck.total() > 0
    assert outcome.readings > 0
    assert [str(breach) for breach in outcome.breaches] == []


@pytest.mark.engine
@pytest.mark.timeout(900)
async def test_every_invariant_holds_after_agents_died_by_kill_9(
    postgres: EmbeddedServer, template: str, tmp_path: Path
) -> None:
    kills = tuple(kind for kind in KINDS if kind.startswith("kill."))
    outcome = await Ground(postgres, template, tmp_path).run(draw(2, kills), processes=True)
    assert outcome.struck.total() > 0
    assert [str(breach) for breach in outcome.breaches] == []


@pytest.mark.timeout(300)
def test_a_broken_promise_ends_it_and_the_command_that_shows_it_again_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def uncounted(*_: Any, **__: Any) -> None:
        """Let a call be made that no ledger knows of."""

    monkeypatch.setattr(QuotaLedger, "reserve", uncounted)

    result = CliRunner().invoke(app, ["faults", "--runs", "3", "--seed", "7", "--only", "clock.back", "--json"])

    assert result.exit_code == 1
    report = orjson.loads(result.stdout)
    assert report["runs"] == 1
    assert [breach["name"] for breach in report["breaches"]] == ["ledger_is_youtubes"]
    assert report["replay"] == 'alkyone faults --runs 1 --seed 7 --only "clock.back"'


def test_a_fault_that_nobody_knows_is_refused() -> None:
    result = CliRunner().invoke(app, ["faults", "--only", "meteor"])
    assert result.exit_code == 2
    assert "kill.before commit" in result.stderr
