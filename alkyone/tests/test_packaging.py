"""What the wheels carry, and that each member declares what it imports."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
MEMBERS = ("atlas", "maia", "alkyone")


@pytest.mark.parametrize("member", MEMBERS)
def test_a_wheel_carries_every_file_of_its_package(member: str, tmp_path: Path) -> None:
    build = "import sys, uv_build; print(uv_build.build_wheel(sys.argv[1]))"
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    built = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)],
        cwd=ROOT / member,
        env=os.environ | {"PATH": tools},
        check=True,
        capture_output=True,
        text=True,
    )
    wheel = zipfile.ZipFile(tmp_path / built.stdout.strip().splitlines()[-1])
    source = ROOT / member / "src"
    tracked = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    expected = {path for path in tracked if "__pycache__" not in path}
    assert f"{member}/py.typed" in expected
    assert expected <= set(wheel.namelist())


@pytest.mark.parametrize("member", MEMBERS)
def test_a_member_imports_only_what_it_declares(member: str) -> None:
    """All members share one environment here; elsewhere a missing declaration is a broken install."""
    declared = declared_by(member)
    undeclared = {
        f"{package} in {file.relative_to(ROOT)}"
        for file in (ROOT / member / "src").rglob("*.py")
        for package in imported_by(file)
        if package not in sys.stdlib_module_names and package != member and not distributions_of(package) & declared
    }
    assert undeclared == set()


def declared_by(member: str) -> set[str]:
    """The distributions that a member names, in its extras too; an extra such as psycopg[pool] brings psycopg-pool."""
    project = tomllib.loads((ROOT / member / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project.get("optional-dependencies", {}).values()
    requirements = [Requirement(text) for texts in (project["dependencies"], *optional) for text in texts]
    names = {requirement.name for requirement in requirements}
    names |= {f"{requirement.name}-{extra}" for requirement in requirements for extra in requirement.extras}
    return {canonicalize_name(name) for name in names}


def imported_by(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


@cache
def distributions_of(package: str) -> set[str]:
    if package in MEMBERS:
        return {f"pleiades-{package}"}
    return {canonicalize_name(name) for name in packages_distributions().get(package, [package])}


def test_the_deployments_that_a_wheel_carries_are_those_at_the_top() -> None:
    """Two files, for a link does not survive every way in which a repository travels."""
    assert (ROOT / "maia/src/maia/prefect.yaml").read_bytes() == (ROOT / "prefect.yaml").read_bytes()
