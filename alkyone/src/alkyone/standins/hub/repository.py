"""A repository as the Hub keeps it: commits in a line, each with all its files."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

LFS_FROM = 10 * 1024 * 1024  # bytes; larger files are kept apart
_LFS_ENDINGS = (
    ".parquet",
    ".bin",
    ".gz",
    ".zst",
    ".onnx",
    ".jpg",
    ".png",
)  # as .gitattributes of a new repository says
_ATTRIBUTES = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in _LFS_ENDINGS).encode()


class Refused(Exception):
    """A request that the Hub refuses: status, error code, message."""

    def __init__(self, status: int, message: str, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})


@dataclass(frozen=True)
class Blob:
    """A file's content; ``lfs`` when only a pointer to it is in git."""

    data: bytes
    lfs: bool = False

    @cached_property
    def sha256(self) -> str:
        """The name of a large file."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """What git keeps in place of a large file."""
        return (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.data)}\n"
        ).encode()

    @cached_property
    def oid(self) -> str:
        """The name that git gives it."""
        return git_oid(self.pointer if self.lfs else self.data)

    def entry(self, path: str) -> dict[str, Any]:
        """The file as tree and paths-info tell of it."""
        entry: dict[str, Any] = {"type": "file", "oid": self.oid, "size": len(self.data), "path": path}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.data), "pointerSize": len(self.pointer)}
        return entry


@dataclass(frozen=True)
class Commit:
    """A state of the repository, and how it came to be."""

    oid: str
    title: str
    description: str
    at: datetime
    files: Mapping[str, Blob]

    @cached_property
    def folders(self) -> dict[str, str]:
        """Every folder with the name git gives its content."""
        contents: dict[str, list[str]] = {}
        for path, blob in sorted(self.files.items()):
            for folder in _folders(path):
                contents.setdefault(folder, []).append(f"{path} {blob.oid}")
        return {folder: _sha1("\n".join(lines).encode()) for folder, lines in contents.items()}

    def entry(self, path: str) -> dict[str, Any] | None:
        """What lies at ``path``: a file, a folder, or nothing."""
        if path in self.files:
            return self.files[path].entry(path)
        if path in self.folders:
            return {"type": "directory", "oid": self.folders[path], "size": 0, "path": path}
        return None

    def tree(self, folder: str, *, recursive: bool) -> list[dict[str, Any]]:
        """What lies below ``folder`` ("" is the root), in order.

        Raises:
            Refused: there is no such folder.
        """
        if folder and folder not in self.folders:
            raise Refused(404, f'{folder} does not exist on "main"', "EntryNotFound")
        below = f"{folder}/" if folder else ""
        paths = (path for path in sorted([*self.files, *self.folders]) if path.startswith(below))
        return [
            entry
            for path in paths
            if (recursive or "/" not in path.removeprefix(below)) and (entry := self.entry(path)) is not None
        ]


@dataclass
class Repository:
    """The branch main of a repository, and the large files it has been given."""

    kind: str
    name: str
    private: bool
    created: datetime
    commits: list[Commit] = field(default_factory=list)
    large: dict[str, Blob] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._add("initial commit", "", self.created, {".gitattributes": Blob(_ATTRIBUTES)})

    @property
    def head(self) -> Commit:
        """The newest commit."""
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        """The commit that ``revision`` names: the branch, or a commit's oid.

        Raises:
            Refused: there is none.
        """
        if revision == "main":
            return self.head
        for commit in self.commits:
            if commit.oid == revision:
                return commit
        raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def upload_mode(self, path: str, size: int) -> str:
        """Say whether a file goes into git or is kept apart."""
        return "lfs" if size > LFS_FROM or path.endswith(_LFS_ENDINGS) else "regular"

    def ignores(self, path: str, patterns: str | None = None) -> bool:
        """Say whether .gitignore hides ``path``; whole names and ``*.ending`` are understood."""
        if patterns is None:
            patterns = self.head.files[".gitignore"].data.decode() if ".gitignore" in self.head.files else ""
        name = path.rpartition("/")[2]
        return any(
            name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:])) for pattern in patterns.split()
        )

    def put(self, path: str, data: bytes, at: datetime) -> Commit:
        """Put a file there, as its owner does."""
        blob = Blob(data, lfs=self.upload_mode(path, len(data)) == "lfs")
        if blob.lfs:
            self.large[blob.sha256] = blob
        return self._add(f"Upload {path}", "", at, {**self.head.files, path: blob})

    def commit(self, lines: Iterable[Mapping[str, Any]], at: datetime) -> Commit:
        """Apply a commit's instructions, all of them or none.

        Raises:
            Refused: the branch has moved on, or an instruction cannot be followed.
        """
        files = dict(self.head.files)
        title = description = ""
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "header":
                title, description = value["summary"], value.get("description", "")
                if value.get("parentCommit", self.head.oid) != self.head.oid:
                    raise Refused(412, "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                files[value["path"]] = Blob(base64.b64decode(value["content"], validate=True))
            elif key == "lfsFile":
                if value["oid"] not in self.large:
                    raise Refused(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
                files[value["path"]] = self.large[value["oid"]]
            elif key == "deletedFile":
                if files.pop(value["path"], None) is None:
                    raise Refused(404, f"A file with this name doesn't exist: {value['path']}", "EntryNotFound")
            elif key == "deletedFolder":
                below = value["path"].rstrip("/") + "/"
                files = {path: blob for path, blob in files.items() if not path.startswith(below)}
            else:
                raise Refused(400, f"{key!r} is no instruction")
        if not title:
            raise Refused(400, "a commit needs a summary")
        if clash := {folder for path in files for folder in _folders(path)}.intersection(files):
            raise Refused(400, f"{min(clash)} is a file and a folder")
        return self._add(title, description, at, files)

    def _add(self, title: str, description: str, at: datetime, files: Mapping[str, Blob]) -> Commit:
        parent = self.commits[-1].oid if self.commits else self.name
        content = "\n".join(f"{path} {blob.oid}" for path, blob in sorted(files.items()))
        oid = _sha1(f"{parent}\n{len(self.commits)}\n{title}\n{description}\n{content}".encode())
        self.commits.append(Commit(oid, title, description, at, files))
        return self.head


def git_oid(data: bytes) -> str:
    """The name that git gives a file with this content."""
    return _sha1(b"blob %d\0" % len(data) + data)


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _folders(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
