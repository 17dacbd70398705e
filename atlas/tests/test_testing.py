"""What Atlas ships for tests, and that importing the rest costs nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import atlas.testing
from atlas import db, settings, vault
from atlas.config import Settings
from atlas.db import DatabaseManager
from atlas.testing import MemoryVault, override
from atlas.vault import LocalVault, get_vault


def made(**given: object) -> Settings:
    return Settings(_env_file=None, **given)  # type: ignore[call-arg, arg-type]


def test_names_imported_long_ago_follow_a_swap(tmp_path: Path) -> None:
    other = MemoryVault()
    with override(vault_=other, settings_=made(PLEIADES_HOME=tmp_path), db_=DatabaseManager("dbname=elsewhere")):
        vault.write({"a": b"1"})

        assert other.read("a") == b"1"
        assert settings.home == tmp_path
        assert db.conninfo == "dbname=elsewhere"


def test_a_swap_ends_with_its_block_even_when_that_fails(tmp_path: Path) -> None:
    before = dict(vars(db))
    with override(vault_=MemoryVault()):
        outer = vault.provider
        with pytest.raises(RuntimeError):
            _fail_within(made(PLEIADES_HOME=tmp_path))

        assert vault.provider == outer == "memory"
    assert vars(db) == before


def _fail_within(settings_: Settings) -> None:
    with override(settings_=settings_, db_=DatabaseManager("dbname=elsewhere")):
        assert vault.provider == "local"  # which builds it
        assert repr(vault) == f"LocalVault({str(settings_.home / 'vault')!r})"
        raise RuntimeError


def test_the_settings_say_which_vault(tmp_path: Path) -> None:
    found = get_vault(made(PLEIADES_HOME=tmp_path, LOCAL_VAULT_PATH=tmp_path / "elsewhere"))

    assert isinstance(found, LocalVault)
    assert found.root == tmp_path / "elsewhere"
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_not_there_is_no_contract() -> None:
    with pytest.raises(AttributeError):
        _ = atlas.testing.nothing  # type: ignore[attr-defined]


def test_importing_the_vault_brings_neither_arrow_nor_anything_open() -> None:
    program = (
        "import sys, atlas, atlas.vault, atlas.history, atlas.testing, atlas.epochs;"
        "print(sorted({'pyarrow', 'pytest', 'psycopg', 'aiohttp'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)

    assert (done.stdout.strip(), done.stderr) == ("[]", "")
