"""The benches work, small as they are run here; what they find is not judged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from alkyone.__main__ import app
from alkyone.bench.command import BENCHES, measure
from alkyone.bench.lab import Lab

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(quick=True) as lab:
        yield lab


@pytest.mark.parametrize("name", BENCHES)
def test_a_quick_bench_finds_positive_figures_and_judges_nothing(lab: Lab, name: str) -> None:
    result = measure(name, lab)

    assert result.figures
    assert [figure.name for figure in result.figures if figure.value <= 0] == []
    assert {target.met for target in result.targets} == {None}


def test_an_unknown_bench_is_refused_with_the_names_there_are() -> None:
    outcome = CliRunner().invoke(app, ["bench", "warp"])

    assert outcome.exit_code == 2
    assert "no bench warp: there are samples, " in outcome.stderr
