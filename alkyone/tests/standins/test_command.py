"""The ``alkyone`` command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from alkyone.__main__ import app

runner = CliRunner()


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    (folder / "s.csv").write_text("video_id,ts,views\naaaaaaaaaaa,2026-08-01T10:00:00Z,7\nshort,2026-08-01,7\n")
    return folder


def test_an_import_says_what_it_made_and_what_it_left_out(recordings: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["world", "import", str(recordings), "--out", str(tmp_path / "w")])

    assert result.exit_code == 0
    assert "1 videos" in result.stdout
    assert "Dropped: 1 × not a video id" in result.stdout


def test_an_import_reports_to_machines_as_json(recordings: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["world", "import", str(recordings), "--out", str(tmp_path / "w"), "--json"])

    report = orjson.loads(result.stdout)
    assert (report["videos"], report["samples"], report["dropped"]) == (1, 1, {"not a video id": 1})


def test_show_tells_what_a_world_holds(recordings: Path, tmp_path: Path) -> None:
    runner.invoke(app, ["world", "import", str(recordings), "--out", str(tmp_path / "w")])

    shown = orjson.loads(runner.invoke(app, ["world", "show", str(tmp_path / "w"), "--json"]).stdout)
    drawn = runner.invoke(app, ["world", "show", "generated:channels=20"])

    assert shown["videos"] == 1
    assert shown["most_viewed"] == [{"id": "aaaaaaaaaaa", "title": "Untitled video aaaaaaaaaaa", "views": 7}]
    assert "of 20 channels" in drawn.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["world", "show", "nowhere"], id="no such world"),
        pytest.param(["world", "show", "generated:colour=red"], id="an unknown part of a spec"),
        pytest.param(["youtube", "--clock", "noon"], id="no time"),
        pytest.param(["youtube", "--world", "nowhere"], id="nothing to serve"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = runner.invoke(app, arguments)

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_the_command_starts_without_loading_what_it_does_not_need() -> None:
    heavy = ("numpy", "pyarrow", "aiohttp", "prefect", "jsonschema", "psycopg")
    program = f"import sys, alkyone.__main__; print([name for name in {heavy} if name in sys.modules])"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == "[]"


def test_maia_knows_nothing_of_its_proving_ground() -> None:
    program = (
        "import sys, maia, maia.youtube.client; print([name for name in sys.modules if name.startswith('alkyone')])"
    )

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert loaded.strip() == "[]"
