"""Plant one defect after the other into a copy of the tree, and run the tests that should notice."""

from __future__ import annotations

import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from alkyone.mutants.planted import MUTANTS, Edit, Mutant

ROOT = Path(__file__).parents[4]
MEMBERS = ("atlas", "maia", "alkyone")
TIMEOUT_S = 1_800
"""For the tests of one defect, which may make them hang; that is noticed too."""

TESTS_FAILED = 1  # pytest's exit code, as against 2: interrupted, 4: no such test

_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+::\S.*?)(?: - |$)", re.M)


class MovedError(Exception):
    """The code has moved away from under a defect."""


class Outcome(NamedTuple):
    """What became of a defect: ``killed`` by a test, or ``survived``; else the tests could not be run with it."""

    name: str
    verdict: Literal["killed", "survived", "not run"]
    by: str = ""
    log: str = ""

    def as_json(self) -> dict[str, Any]:
        """It, without the log."""
        return {"name": self.name, "verdict": self.verdict, "by": self.by}


def check(names: Sequence[str] = ()) -> Iterator[Outcome]:
    """Plant the defects of these names, all when there are none; first of all the tests must pass without any.

    Raises:
        KeyError: there is no defect of a name.
        MovedError: an anchor is not there exactly once.
        ValueError: the tests fail as it is; its text is their output.
    """
    known = {mutant.name: mutant for mutant in MUTANTS}
    chosen = [known[name] for name in names] if names else list(MUTANTS)
    with _copy() as tree:
        done = _test(tree, dict.fromkeys(test for mutant in chosen for test in mutant.tests), timeout_s=None)
        if done.returncode:
            raise ValueError(done.stdout)
        for mutant in chosen:
            with planted(mutant, tree):
                yield _judge(mutant, tree)


@contextmanager
def planted(mutant: Mutant, tree: Path) -> Iterator[None]:
    """Plant a defect for the length of a block.

    Raises:
        MovedError: an anchor is not there exactly once.
    """
    before = {edit.path: (tree / edit.path).read_text() for edit in mutant.edits}
    after = dict(before)
    for edit in mutant.edits:
        after[edit.path] = replaced(edit, after[edit.path])
    try:
        for path, text in after.items():
            (tree / path).write_text(text)
        yield
    finally:
        for path, text in before.items():
            (tree / path).write_text(text)


def replaced(edit: Edit, text: str) -> str:
    """Put what is planted in the place of the anchor.

    Raises:
        MovedError: the anchor is not there exactly once.
    """
    if (found := text.count(edit.anchor)) != 1:
        raise MovedError(f"{edit.path} has {found} times, not once: {edit.anchor!r}")
    return text.replace(edit.anchor, edit.planted)


@contextmanager
def _copy() -> Iterator[Path]:
    """Lend a copy of the tree with an interpreter whose ``atlas``, ``maia`` and ``alkyone`` are the copy's."""
    with tempfile.TemporaryDirectory(prefix="pleiades-mutants-") as name:
        tree = Path(name)
        tree.chmod(0o755)  # another account runs PostgreSQL
        passed_over = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis", "dist")
        for folder in (*MEMBERS, "docs"):
            shutil.copytree(ROOT / folder, tree / folder, ignore=passed_over)
        for path in ROOT.iterdir():
            if path.is_file():
                shutil.copy(path, tree)
        venv.create(tree / ".venv")
        packages = tree / ".venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        # Paths alone: what the packages' own .pth files name would be the tree that this is a copy of.
        paths = [*(tree / member / "src" for member in MEMBERS), *site.getsitepackages()]
        (packages / "copy.pth").write_text("".join(f"{path}\n" for path in paths))
        yield tree


def _test(tree: Path, tests: Iterable[str], *, timeout_s: float | None = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    recorded = ROOT.parent / "shared" / "data"
    return subprocess.run(
        [str(tree / ".venv/bin/python"), "-B", "-m", "pytest", "-n", "0", "-q", "-x", "-p", "no:cacheprovider", *tests],
        cwd=tree,
        env={"PLEIADES_RECORDED_DATA": str(recorded), **os.environ},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def _judge(mutant: Mutant, tree: Path) -> Outcome:
    try:
        done = _test(tree, mutant.tests)
    except subprocess.TimeoutExpired:
        return Outcome(mutant.name, "killed", f"no end within {TIMEOUT_S} s")
    by = _FAILED.search(done.stdout)
    if done.returncode == TESTS_FAILED and by is not None:
        return Outcome(mutant.name, "killed", by[1], done.stdout)
    return Outcome(mutant.name, "survived" if done.returncode == 0 else "not run", log=done.stdout)
