"""The planted defects stand where they are said to; whether tests notice them says ``alkyone mutants``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from alkyone.mutants import MUTANTS, Edit, Mutant
from alkyone.mutants.check import ROOT, MovedError, planted, replaced


def named(mutant: Mutant) -> str:
    return mutant.name


def test_no_two_defects_have_one_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize("mutant", MUTANTS, ids=named)
def test_each_anchor_is_there_exactly_once(mutant: Mutant) -> None:
    texts = {edit.path: (ROOT / edit.path).read_text() for edit in mutant.edits}
    for edit in mutant.edits:
        texts[edit.path] = replaced(edit, texts[edit.path])
    for path, text in texts.items():
        if path.endswith(".py"):
            ast.parse(text)


@pytest.mark.parametrize("mutant", MUTANTS, ids=named)
def test_the_tests_that_should_notice_exist(mutant: Mutant) -> None:
    for test in mutant.tests:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not name or name.partition("[")[0] in functions


def test_the_docs_list_every_defect_with_the_rule_it_breaks() -> None:
    listed = (ROOT / "docs/testing.md").read_text().partition("<!-- mutants -->")[2].partition("<!-- end -->")[0]
    for mutant in MUTANTS:
        assert f"| `{mutant.name}` | {mutant.rule} |" in listed
    assert listed.count("\n| `") == len(MUTANTS)


def test_an_anchor_that_moved_is_told_and_nothing_is_planted(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("one\ntwo\ntwo\n")
    for anchor in ("two", "three"):
        mutant = Mutant("x", "", (Edit("code.py", "one", "1"), Edit("code.py", anchor, "2")), ())
        with pytest.raises(MovedError), planted(mutant, tmp_path):
            pass
    with planted(Mutant("x", "", (Edit("code.py", "one", "1"),), ()), tmp_path):
        assert (tmp_path / "code.py").read_text() == "1\ntwo\ntwo\n"
    assert (tmp_path / "code.py").read_text() == "one\ntwo\ntwo\n"
