"""What a path in a vault may look like: relative, with forward slashes, and never out of the root."""

from __future__ import annotations

from collections.abc import Iterable

from atlas.errors import VaultDenied

MAX_PATH_BYTES = 1024
"""The longest object name that every provider takes (S3 and GCS, "Object naming", as of November 2026)."""

MAX_NAME_BYTES = 255
"""The longest file name of the usual file systems."""

PRIVATE = ".pleiades"
"""The first part of paths that a backend keeps for itself."""


def safe_path(path: str, *, provider: str = "") -> str:
    """Return ``path`` if it names an object below the root and nothing else.

    Raises:
        VaultDenied: it does not, or no provider could keep it.
    """
    if problem := _problem(path):
        raise VaultDenied(f"{problem} in the path {path!r}", provider=provider)
    return path


def safe_prefix(prefix: str, *, provider: str = "") -> str:
    """Return ``prefix`` if paths below the root may begin with it; "" is the whole vault.

    Raises:
        VaultDenied: it leads elsewhere.
    """
    if prefix and (problem := _problem(prefix.removesuffix("/"))):
        raise VaultDenied(f"{problem} in the prefix {prefix!r}", provider=provider)
    return prefix


def safe_together(paths: Iterable[str], *, provider: str = "") -> list[str]:
    """Return ``paths`` if each is safe and none is the folder of another.

    Raises:
        VaultDenied: they cannot all be objects of one vault.
    """
    safe = [safe_path(path, provider=provider) for path in paths]
    folders = {folder for path in safe for folder in parents(path)}
    if clash := folders.intersection(safe):
        raise VaultDenied("an object cannot be a folder too", provider=provider, path=min(clash))
    return safe


def parents(path: str) -> list[str]:
    """List the folders that ``path`` lies in, the outermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]


def _problem(path: str) -> str | None:
    parts = path.split("/")
    try:
        longest, length = max(len(part.encode()) for part in parts), len(path.encode())
    except UnicodeEncodeError:
        return "a character outside Unicode text"
    if "" in parts:
        return "an empty part"  # also absolute, and doubled or trailing slashes
    if "." in parts or ".." in parts:
        return "a part that moves elsewhere"
    if "\0" in path or "\\" in path:
        return "a forbidden character"
    if parts[0] == PRIVATE:
        return "a reserved name"
    if longest > MAX_NAME_BYTES or length > MAX_PATH_BYTES:
        return "too long a name"
    return None
