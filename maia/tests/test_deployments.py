"""prefect.yaml: each deployment names a flow that exists and takes its parameters."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from atlas.errors import ConfigurationError
from maia.deployments import PACKAGED, read

AGENTS = ("hunter", "tracker", "painter", "scribe", "janitor")
FLOWS = (*AGENTS, "heartbeat")
MINUTES = {"janitor": 24 * 60, "heartbeat": 15}
"""How often those come round whose parameters do not say so."""


def deployments(config: pytest.Config) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((config.rootpath / "prefect.yaml").read_text())["deployments"]
    return found


def test_there_is_a_deployment_for_each_agent_and_the_heartbeat(pytestconfig: pytest.Config) -> None:
    assert [deployment["name"] for deployment in deployments(pytestconfig)] == list(FLOWS)


@pytest.mark.parametrize("number", range(len(FLOWS)), ids=FLOWS)
def test_a_deployment_names_a_flow_that_takes_its_parameters(pytestconfig: pytest.Config, number: int) -> None:
    deployment = deployments(pytestconfig)[number]
    module, _, name = deployment["entrypoint"].rpartition(".")
    flow = getattr(import_module(module), name)

    bound = inspect.signature(flow.fn).bind(**deployment["parameters"])

    assert flow.name == name, "Prefect knows the run under the name people look for"
    assert flow.validate_parameters(bound.arguments) == deployment["parameters"]


@pytest.mark.parametrize("number", range(len(FLOWS)), ids=FLOWS)
async def test_a_schedule_comes_round_as_often_as_its_parameters_say(pytestconfig: pytest.Config, number: int) -> None:
    from prefect.server.schemas.schedules import CronSchedule

    deployment = deployments(pytestconfig)[number]
    (schedule,) = deployment["schedules"]

    first, second = await CronSchedule(**schedule).get_dates(2, datetime(2026, 11, 10, 12, 1, tzinfo=UTC))

    minutes = deployment["parameters"].get("every_minutes") or MINUTES[deployment["name"]]
    assert (second - first).total_seconds() == minutes * 60
    assert schedule["timezone"] == "UTC"


def test_serve_reads_the_same_file_as_prefect_does(pytestconfig: pytest.Config) -> None:
    served = read(PACKAGED)

    assert PACKAGED.read_bytes() == (pytestconfig.rootpath / "prefect.yaml").read_bytes()
    assert [(one.name, one.entrypoint, one.parameters) for one in served] == [
        (one["name"], one["entrypoint"], one["parameters"]) for one in deployments(pytestconfig)
    ]
    assert [str(one.schedules[0]) for one in served] == [
        f"{one['schedules'][0]['cron']} UTC" for one in deployments(pytestconfig)
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("deployments: []", "has no deployment", id="empty"),
        pytest.param("name: pleiades", "has no list of deployments", id="no list"),
        pytest.param("deployments: [", "is not YAML", id="broken"),
        pytest.param("deployments: [{name: a}]", "entrypoint: Field required", id="no entrypoint"),
        pytest.param("deployments: [{name: a, entrypoint: b.c, pull: []}]", "pull: Extra inputs", id="not done by us"),
        pytest.param(
            "deployments: [{name: a, entrypoint: b.c, schedules: [{cron: '* * * * *', interval: 60}]}]",
            "a cron line or an interval",
            id="two schedules in one",
        ),
        pytest.param(
            "deployments: [{name: a, entrypoint: b.c, schedules: [{interval: 60, anchor_date: 2026-11-10T12:00:00}]}]",
            "timezone",
            id="an anchor without a zone",
        ),
    ],
)
def test_a_file_that_serve_would_not_do_as_it_says_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(text)

    with pytest.raises(ConfigurationError, match=says) as refused:
        read(file)

    assert str(file) in str(refused.value)


async def test_an_interval_is_counted_from_its_anchor(tmp_path: Path) -> None:
    from prefect.server.schemas.schedules import IntervalSchedule

    file = tmp_path / "prefect.yaml"
    schedule = "{interval: 90, anchor_date: '2026-11-10T12:00:30+00:00'}"
    file.write_text(
        f"deployments: [{{name: a, entrypoint: maia.hunter.flow.run_hunter_cycle, schedules: [{schedule}]}}]"
    )

    (timing,) = read(file)[0].schedules
    asked = timing.as_prefect()

    assert asked.interval is not None
    planned = IntervalSchedule(interval=asked.interval, anchor_date=asked.anchor_date, timezone=asked.timezone)
    dates = await planned.get_dates(2, datetime(2026, 11, 10, 12, 5, tzinfo=UTC))
    assert [date.astimezone(UTC).strftime("%H:%M:%S") for date in dates] == ["12:05:00", "12:06:30"]
