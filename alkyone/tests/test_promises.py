"""What the pages promise is linked to the test that proves it, and the test is there, by that name."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
SECTIONS = {"README.md": "## What is proven", "docs/testing.md": "## What is proven where"}

_PROOF = re.compile(r"\[([^\]]+)\]\(((?:[\w.-]+/)+test_\w+\.py)\)")


@cache
def found_in(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text())
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions if function.name.startswith("test_"))


def in_words(test: str) -> str:
    """Say the name of a test as the sentence it is; a link to a test has that for its text."""
    return test.removeprefix("test_").replace("_", " ")


def section(page: str) -> str:
    """Give what stands between a page's heading and the next one of its rank."""
    text = (ROOT / page).read_text()
    return text.partition(f"\n{SECTIONS[page]}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_link_to_a_test_is_its_name_in_words_or_that_of_its_file(page: Path) -> None:
    for text, target in _PROOF.findall(page.read_text()):
        file = (page.parent / target).resolve()
        assert file.is_file(), f"there is no {target}"
        if text != f"`{file.name}`":
            assert text in map(in_words, found_in(file)), f"{target} has no such test: {text}"


@pytest.mark.parametrize("page", SECTIONS)
def test_every_promise_that_is_listed_has_a_test(page: str) -> None:
    rows = [line for line in section(page).splitlines() if line.startswith("| ") and not line.startswith("| promise")]

    assert len(rows) > 5
    assert [row for row in rows if not _PROOF.search(row)] == []
