"""No test waits for a clock or reads one: what is waited for is what happens, what is read is a clock that stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(file for member in ("atlas", "maia", "alkyone") for file in (ROOT / member / "tests").rglob("*.py"))

CLOCKS = {
    "asyncio.sleep",
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
    "time.monotonic",
    "time.monotonic_ns",
    "time.perf_counter",
    "time.perf_counter_ns",
    "time.sleep",
    "time.time",
    "time.time_ns",
}

ANOTHER_PROCESS = "another process tells nobody that it is ready: asked again and again, up to a generous limit"
OTHERS_CLOCK = "whoever is tested has no clock but the machine's: a process of its own, or a library"
A_SLOW_SERVER = "the server that is tested against takes its time; the test waits for its answer, not for a clock"

_HUB = "alkyone/tests/components/atlas/test_vault_hub_faults.py"
EXCEPTIONS = {
    f"{_HUB}::opened": A_SLOW_SERVER,
    f"{_HUB}::test_writers_in_several_processes_lose_nothing": A_SLOW_SERVER,
    f"{_HUB}::test_a_wish_to_wait_is_obeyed": OTHERS_CLOCK,
    f"{_HUB}::fill": OTHERS_CLOCK,
    "alkyone/tests/components/maia/test_cli.py::youtube": OTHERS_CLOCK,
    "alkyone/tests/components/maia/test_cli.py::terminate": ANOTHER_PROCESS,
    "alkyone/tests/components/maia/test_prefect.py": OTHERS_CLOCK,
    "alkyone/tests/components/maia/test_youtube_client.py::answer": A_SLOW_SERVER,
    "alkyone/tests/components/maia/test_youtube_client.py::drip": A_SLOW_SERVER,
    "alkyone/tests/faults/test_events_across_a_restart.py::_life": ANOTHER_PROCESS,
    "alkyone/tests/faults/test_lost_leases.py": ANOTHER_PROCESS,
    "alkyone/tests/faults/test_up.py": ANOTHER_PROCESS,
    "alkyone/tests/test_deployment.py::until_well": ANOTHER_PROCESS,
}
"""Functions, or whole files, that may, and why."""


def clocks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Find each mention of a clock, with the innermost function that it is in; ``asyncio.sleep(0)`` waits for none."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}

    def dotted(node: ast.expr) -> str:
        if isinstance(node, ast.Name):
            return names.get(node.id, node.id)
        return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""

    def look(node: ast.AST, function: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = node.name
        if isinstance(node, ast.Call) and dotted(node.func) == "asyncio.sleep" and _is_nought(node):
            return
        if isinstance(node, ast.Name | ast.Attribute) and (name := dotted(node)) in CLOCKS:
            yield function, name
        for child in ast.iter_child_nodes(node):
            yield from look(child, function)

    return look(tree, "")


def _is_nought(call: ast.Call) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0


def found_in(file: Path) -> dict[str, str]:
    where = file.relative_to(ROOT).as_posix()
    return {f"{where}::{function}": name for function, name in clocks(ast.parse(file.read_text()))}


def test_no_test_waits_for_a_clock_or_reads_one() -> None:
    found = {place: name for file in FILES for place, name in found_in(file).items()}
    excused = {place for place in found if place in EXCEPTIONS or place.partition("::")[0] in EXCEPTIONS}

    assert {place: name for place, name in found.items() if place not in excused} == {}
    used = excused | {place.partition("::")[0] for place in excused}
    assert sorted(EXCEPTIONS.keys() - used) == [], "excuses that nobody needs any more"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        pytest.param("import time\ndef f():\n time.sleep(1)", [("f", "time.sleep")], id="a module's function"),
        pytest.param("from time import sleep as nap\ndef f():\n nap(1)", [("f", "time.sleep")], id="by another name"),
        pytest.param(
            "import asyncio as a\nasync def f():\n await a.sleep(0.1)", [("f", "asyncio.sleep")], id="asyncio"
        ),
        pytest.param("import asyncio\nasync def f():\n await asyncio.sleep(0)", [], id="one turn of the loop"),
        pytest.param("import asyncio\nf(sleep=asyncio.sleep)", [("", "asyncio.sleep")], id="handed on"),
        pytest.param("from datetime import datetime\nx = datetime.now()", [("", "datetime.datetime.now")], id="now"),
        pytest.param("import datetime as d\nx = d.date.today()", [("", "datetime.date.today")], id="today"),
        pytest.param("def f(clock):\n clock.sleep(1); clock.now()", [], id="a clock of ours"),
    ],
)
def test_a_clock_is_found_by_whatever_name(code: str, found: list[tuple[str, str]]) -> None:
    assert list(clocks(ast.parse(code))) == found
