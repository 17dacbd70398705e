"""Importing costs nothing: no environment is needed, nothing of ours is opened, no heavy library comes along."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

HEAVY = frozenset(("prefect", "pyarrow", "aiohttp", "psycopg", "psycopg_pool", "numpy", "duckdb", "psutil"))

AGENTS = ("hunter", "tracker", "painter", "scribe", "janitor", "heartbeat")

HOSTILE = {
    "DATABASE_URL": "nonsense",
    "VAULT_PROVIDER": "nonsense",
    "YOUTUBE_API_KEY_POOL_JSON": "{",
    "JANITOR_RETENTION_DAYS": "nonsense",
}
"""Settings of which none could be read."""

PROBE = """
import sys
events = []

def watch(event, arguments):
    if event == "open" or event.startswith(("socket.", "subprocess.", "os.exec", "os.mkdir", "os.putenv", "os.posix")):
        events.append((event, str(arguments[0]) if arguments else ""))

sys.addaudithook(watch)
import {module}
sys.stdout.write(repr((events, sorted(sys.modules))))
"""


class Import(NamedTuple):
    """What an import did, and what it left."""

    events: list[tuple[str, str]]
    modules: list[str]


def imported(module: str, folder: Path, environment: dict[str, str]) -> Import:
    """Import ``module`` in a process of its own, in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", PROBE.format(module=module)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return Import(*ast.literal_eval(done.stdout))


@pytest.mark.parametrize("environment", [pytest.param({}, id="nothing set"), pytest.param(HOSTILE, id="all wrong")])
@pytest.mark.parametrize("module", ["atlas", "maia"])
def test_an_import_needs_no_environment_and_opens_nothing(
    module: str, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("VAULT_PROVIDER=nonsense\n")

    done = imported(module, tmp_path, environment)

    code = tuple(str(Path(root).resolve()) for root in (sys.prefix, sys.base_prefix, *sys.path) if root)
    beyond = [(event, what) for event, what in done.events if event != "open" or not what.startswith(code)]
    assert beyond == []
    assert list(tmp_path.iterdir()) == [tmp_path / ".env"]


@pytest.mark.parametrize(
    "module",
    ["atlas", "maia", *(f"maia.{agent}" for agent in AGENTS), "maia.cli", "maia.__main__", "atlas.cli"],
)
def test_an_import_brings_no_heavy_library_along(module: str, tmp_path: Path) -> None:
    done = imported(module, tmp_path, {})

    assert HEAVY.isdisjoint(done.modules)


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_without_its_flow_needs_no_prefect(agent: str, tmp_path: Path) -> None:
    assert "prefect" not in imported(f"maia.{agent}.agent", tmp_path, {}).modules


def test_the_installed_packages_are_imported_and_not_the_folders_of_the_workspace() -> None:
    import alkyone
    import atlas
    import maia

    for package in (atlas, maia, alkyone):
        assert package.__file__ is not None, f"{package.__name__} is a folder, not a package"
        assert Path(package.__file__).parent.parent.name in {"src", "site-packages"}
