"""A vault in a dataset repository of the Hugging Face Hub: a write is a commit, and the history tells why.

A commit names the parent it was made for, so that of two at once one is refused, looks again and follows. A commit
whose answer was lost is looked for in the log before it is made again.
"""

from __future__ import annotations

import hashlib
import io
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import uuid4

from pydantic import SecretStr

from atlas.errors import (
    ConfigurationError,
    VaultDenied,
    VaultError,
    VaultFull,
    VaultNotFound,
    VaultUnavailable,
)
from atlas.vault._hub import PROVIDER, HubBusy, HubMoved, HubUnknown, client, understood
from atlas.vault.cache import RemoteVault
from atlas.vault.guard import guarded
from atlas.vault.paths import parents, safe_path, safe_prefix, safe_together

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.hf_api import RepoFile, RepoFolder

    _Entry = RepoFile | RepoFolder

log = logging.getLogger(__name__)

T = TypeVar("T")

FILES_PER_COMMIT = 100
"""Files that a commit should have at most (Hub documentation, "Repository limitations and recommendations", 2026)."""

ENTRIES_PER_FOLDER = 10_000
"""Entries that a folder should have at most (same source)."""

COMMITS_PER_HOUR = 120
"""What we allow ourselves; the Hub refuses more than 128 an hour in a repository, a person's own among them."""

BRANCH = "main"
CARD = "README.md"

_REPOSITORY = "dataset"
_RESERVED = frozenset({".git", ".gitattributes", ".gitignore", ".cache"})  # git's, and what the client refuses
_PATHS_PER_QUESTION = 500  # the Hub takes 1,000
_ATTEMPTS = 4
_COMMIT_ATTEMPTS = 10  # others may commit between any two of them
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 8.0
_SUBJECT_LENGTH = 200
_NOTE = "pleiades-write: "

_CARD = """---
pretty_name: Pleiades vault
tags:
- youtube
- time-series
---

# A Pleiades vault

What Pleiades knows of YouTube videos, as plain hive-partitioned Parquet: one configuration for each kind. The files
under `manifests/` describe the shards; a shard never changes.
"""


class HuggingFaceVault(RemoteVault):
    """Keeps objects as files of the dataset repository ``repo_id`` (``owner/name``), made private when it is new.

    ``timeout`` bounds each step of an exchange. ``patience`` bounds every wait, for the Hub's ``Retry-After`` as for
    our own pace of commits; what would take longer is ``VaultUnavailable`` at once.
    """

    provider: ClassVar[str] = PROVIDER

    def __init__(
        self,
        repo_id: str,
        token: SecretStr | str | None,
        *,
        endpoint: str | None = None,
        private: bool = True,
        commits_per_hour: int = COMMITS_PER_HOUR,
        timeout: timedelta = timedelta(seconds=60),
        patience: timedelta = timedelta(minutes=5),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__()
        if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo_id):
            raise ConfigurationError(f"HF_DATASET_ID is {repo_id!r}: it must be the owner and the name, me/my-vault")
        self.repo_id = repo_id
        self._token = SecretStr(token) if isinstance(token, str) else token
        self._endpoint = endpoint
        self._private = private
        self._timeout = timeout.total_seconds()
        self._patience = patience.total_seconds()
        self._sleep = sleep
        self._asking = _Pause()
        self._committing = _Pause()
        self._pace = _Pace(commits_per_hour)
        self._writing = threading.Lock()  # commits of one process would only refuse each other
        self._listed: tuple[str, dict[str, list[str]]] = ("", {})  # folders, as of a commit
        self._population: dict[str, int] = {}  # entries in folders, when last counted, and ours since

    def __repr__(self) -> str:
        endpoint = f", endpoint={self._endpoint!r}" if self._endpoint else ""
        return f"HuggingFaceVault({self.repo_id!r}{endpoint})"

    # -- The primitives -----------------------------------------------------------------------------------------------

    @guarded("writing")
    def write(self, objects: Mapping[str, bytes], message: str = "") -> None:  # noqa: D102 - as promised above
        paths = _unreserved(safe_together(objects, provider=self.provider))
        for some in _chunks(paths, FILES_PER_COMMIT):
            self._change({path: bytes(objects[path]) for path in some}, (), message)
            self._forget(some)

    @guarded("reading")
    def read(self, path: str) -> bytes:  # noqa: D102
        _unreserved([safe_path(path, provider=self.provider)])
        return self._fetch(path)

    @guarded("reading")
    def exists(self, path: str) -> bool:  # noqa: D102
        _unreserved([safe_path(path, provider=self.provider)])
        return _is_file(self._entries([path], BRANCH).get(path))

    @guarded("reading")
    def list_strict(self, prefix: str = "") -> list[str]:  # noqa: D102
        safe_prefix(prefix, provider=self.provider)
        folder = prefix.rpartition("/")[0]
        head = self._head()  # all pages of a listing are of one commit
        commit, known = self._listed
        if commit != head:
            self._listed = head, known = head, {}
        if folder not in known:
            known[folder] = sorted(
                entry.path for entry in self._tree(folder, head) if _is_file(entry) and not _is_reserved(entry.path)
            )
        return [path for path in known[folder] if path.startswith(prefix)]

    @guarded("writing")
    def delete(self, paths: Iterable[str], message: str = "") -> None:  # noqa: D102
        wanted = _unreserved(safe_together(paths, provider=self.provider))
        for some in _chunks(wanted, FILES_PER_COMMIT):
            self._change({}, some, message)
            self._forget(some)

    # -- Improvements -------------------------------------------------------------------------------------------------

    def _create(self, path: str, data: bytes) -> bytes:
        self._change({path: data}, (), f"create {path}", replace=False)
        return self.read(path)

    def provision(self) -> str:  # noqa: D102
        if self._token is None:
            raise ConfigurationError(
                "HF_TOKEN is not set: make a token with write access at https://huggingface.co/settings/tokens"
            )
        try:
            self._make_repository()
            identity = super().provision()
            self._keep_card()
        except VaultDenied as exc:
            raise ConfigurationError(
                f"the dataset repository {self.repo_id} cannot be used ({exc}): check HF_DATASET_ID, "
                "and that HF_TOKEN may write to it"
            ) from exc
        return identity

    def _make_repository(self) -> None:
        try:
            self._head()
        except HubUnknown:
            self._asked(
                lambda: self._api.create_repo(self.repo_id, repo_type=_REPOSITORY, private=self._private, exist_ok=True)
            )
        self._asked(lambda: self._api.auth_check(self.repo_id, repo_type=_REPOSITORY, write=True))

    def _keep_card(self) -> None:
        """Name every kind in the dataset card; what people wrote into it stays."""
        from huggingface_hub import DatasetCard

        from atlas.vault.shards import KINDS

        try:
            text = self._fetch(CARD).decode()
        except VaultNotFound:
            text = _CARD
        card = DatasetCard(text, ignore_metadata_errors=True)
        ours = [{"config_name": kind, "data_files": f"{kind}/**/*.parquet"} for kind in sorted(KINDS)]
        theirs = [config for config in card.data.get("configs") or [] if dict(config).get("config_name") not in KINDS]
        card.data["configs"] = [*ours, *theirs]
        self._change({CARD: str(card).encode()}, (), "keep the dataset card")

    # -- Commits ------------------------------------------------------------------------------------------------------

    def _change(
        self, added: Mapping[str, bytes], deleted: Iterable[str], message: str, *, replace: bool = True
    ) -> None:
        """Make one commit, unless there is nothing to change; with ``replace`` false what is there stays."""
        note = f"{_NOTE}{uuid4().hex}"
        lost: str | None = None  # the parent of our first commit whose answer was lost
        paid, busy = False, 0
        with self._writing:
            for attempt in range(1, _COMMIT_ATTEMPTS + 1):
                self._rest(self._committing)
                head = self._head()
                if lost is not None and lost != head and self._landed(note, head, lost):
                    return
                there = self._entries([*_folders(added), *added, *deleted], head)
                _refuse_clashes(added, there)
                adding = {
                    path: data
                    for path, data in added.items()
                    if path not in there or (replace and not _holds(there[path], data))
                }
                removing = [path for path in deleted if _is_file(there.get(path))]
                if not adding and not removing:
                    return
                gains = _gains(adding, there)
                self._refuse_crowds(gains, there, head)
                if not paid:
                    paid = True
                    if self._rest(self._pace):
                        continue  # the branch may have moved on meanwhile
                additions = self._uploaded(adding)
                try:
                    self._commit(head, additions, removing, message or _subject(adding, removing), note)
                except (HubBusy, HubMoved) as exc:
                    if isinstance(exc, HubBusy):
                        lost = lost or (None if exc.answered else head)
                        busy += 1
                    if attempt == _COMMIT_ATTEMPTS or busy == _ATTEMPTS:
                        raise
                    log.info("%s: a commit did not succeed (%s); looking again", self.repo_id, exc)
                    if not (isinstance(exc, HubBusy) and exc.retry_after is not None):
                        self._sleep(_backoff(attempt))
                    paid = False
                else:
                    for folder, children in gains.items():
                        self._population[folder] += len(children)
                    return
            raise VaultUnavailable("others kept committing", provider=self.provider, path=self.repo_id)

    def _uploaded(self, objects: Mapping[str, bytes]) -> list[CommitOperationAdd]:
        """Bring the contents to the Hub, where nobody sees them yet."""
        from huggingface_hub import CommitOperationAdd

        def upload() -> list[CommitOperationAdd]:
            # As files, not as bytes: those always take the client's plain HTTP road. And new ones for each attempt:
            # the client leaves a file where the last attempt stopped reading.
            additions = [CommitOperationAdd(path, io.BytesIO(data)) for path, data in objects.items()]
            self._api.preupload_lfs_files(
                self.repo_id, additions, repo_type=_REPOSITORY, revision=BRANCH, free_memory=False
            )
            return additions

        if not objects:
            return []
        additions = self._asked(upload)
        for addition in additions:
            if getattr(addition, "_should_ignore", False):  # the client would leave it out without a word
                raise VaultDenied(
                    "a .gitignore in the repository hides it: remove that file",
                    provider=self.provider,
                    path=addition.path_in_repo,
                )
        return additions

    def _commit(
        self, parent: str, additions: Sequence[CommitOperationAdd], removing: Sequence[str], message: str, note: str
    ) -> None:
        from huggingface_hub import CommitOperationDelete

        deletions = [CommitOperationDelete(path, is_folder=False) for path in removing]
        with self._understood(self._committing):
            self._api.create_commit(
                self.repo_id,
                [*deletions, *additions],
                commit_message=" ".join(message.split())[:_SUBJECT_LENGTH],
                commit_description=note,
                repo_type=_REPOSITORY,
                revision=BRANCH,
                parent_commit=parent,
            )

    def _refuse_crowds(self, gains: Mapping[str, set[str]], there: Mapping[str, _Entry], head: str) -> None:
        for folder, children in gains.items():
            if folder and folder not in there:
                self._population[folder] = 0
            # Exact when it matters: others would have to add thousands between two of our counts.
            elif self._population.get(folder, ENTRIES_PER_FOLDER) + len(children) > ENTRIES_PER_FOLDER // 2:
                self._population[folder] = len(self._tree(folder, head, recursive=False))
            if self._population[folder] + len(children) > ENTRIES_PER_FOLDER:
                raise VaultFull(
                    f"the Hub wants no more than {ENTRIES_PER_FOLDER:,} entries in a folder",
                    provider=self.provider,
                    path=folder,
                )

    # -- Questions ----------------------------------------------------------------------------------------------------

    @cached_property
    def _hub(self) -> Any:
        return client(self._timeout)

    @cached_property
    def _api(self) -> HfApi:
        api: HfApi = self._hub.HfApi(
            endpoint=self._endpoint,
            token=self._token.get_secret_value() if self._token else False,
            library_name="pleiades-atlas",
        )
        return api

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = self._hub.utils.build_hf_headers(
            token=self._api.token, library_name=self._api.library_name
        )
        return headers

    def _fetch(self, path: str) -> bytes:
        def fetch() -> bytes:
            url = self._hub.hf_hub_url(
                self.repo_id, path, repo_type=_REPOSITORY, revision=BRANCH, endpoint=self._api.endpoint
            )
            response = self._hub.utils.get_session().get(url, headers=self._headers())
            self._hub.utils.hf_raise_for_status(response)
            return bytes(response.content)

        return self._asked(fetch, path)

    def _head(self) -> str:
        """Tell the newest commit."""
        info = self._asked(
            lambda: self._api.dataset_info(self.repo_id, revision=BRANCH, expand=["sha"], timeout=self._timeout)
        )
        if info.sha is None:
            raise VaultUnavailable("the repository has no commit", provider=self.provider, path=self.repo_id)
        return info.sha

    def _landed(self, note: str, head: str, parent: str) -> bool:
        """Is a commit with this note among those after ``parent``, up to ``head``?"""

        def search() -> bool:
            url = f"{self._api.endpoint}/api/{_REPOSITORY}s/{self.repo_id}/commits/{head}"
            for commit in self._hub.utils.paginate(url, params={}, headers=self._headers()):
                if commit["id"] == parent:
                    return False
                if note in commit["message"]:
                    return True
            return False

        return self._asked(search)

    def _entries(self, paths: Sequence[str], revision: str) -> dict[str, _Entry]:
        """Look up what lies at ``paths``, files and folders."""
        found: dict[str, _Entry] = {}
        for some in _chunks(paths, _PATHS_PER_QUESTION):
            ask = partial(self._api.get_paths_info, self.repo_id, some, revision=revision, repo_type=_REPOSITORY)
            found |= {entry.path: entry for entry in self._asked(ask)}
        return found

    def _tree(self, folder: str, revision: str, *, recursive: bool = True) -> list[_Entry]:
        def walk() -> list[_Entry]:
            return list(
                self._api.list_repo_tree(
                    self.repo_id, folder or None, recursive=recursive, revision=revision, repo_type=_REPOSITORY
                )
            )

        try:
            return self._asked(walk, folder)
        except VaultNotFound:
            return []

    # -- Patience -----------------------------------------------------------------------------------------------------

    def _asked(self, ask: Callable[[], T], path: str = "") -> T:
        """Ask what may be asked twice; again a little later when the Hub is busy."""
        for attempt in range(1, _ATTEMPTS):
            try:
                with self._understood(self._asking, path):
                    return ask()
            except HubBusy as exc:
                log.info("%s: %s; asking again", self.repo_id, exc)
                if exc.retry_after is None:
                    self._sleep(_backoff(attempt))
        with self._understood(self._asking, path):
            return ask()

    @contextmanager
    def _understood(self, pause: _Pause, path: str = "") -> Iterator[None]:
        """Ask only when the Hub wants to be asked, and translate what it says to a ``VaultError``."""
        _ = self._api  # that it is not installed is no fault of the Hub
        self._rest(pause)
        try:
            yield
        except VaultError:
            raise
        except Exception as exc:
            error = understood(exc, path)
            if isinstance(error, HubBusy) and error.retry_after is not None:
                pause.begin(error.retry_after)
            raise error from exc

    def _rest(self, cause: _Pause | _Pace) -> bool:
        """Wait as long as it takes, and say whether that was any time at all.

        Raises:
            VaultUnavailable: that would be longer than our patience.
        """
        seconds = cause.wait(self._patience)
        if seconds > self._patience:
            reason = f"{cause.reason}; {seconds:.0f} s are left"
            raise VaultUnavailable(reason, provider=self.provider, path=self.repo_id)
        if seconds > 0:
            self._sleep(seconds)
        return seconds > 0


class _Pause:
    """Until when a server that said ``Retry-After`` is left alone."""

    reason = "the Hub asked to be left alone"

    def __init__(self) -> None:
        self._until = 0.0

    def begin(self, seconds: float) -> None:
        self._until = max(self._until, time.monotonic() + seconds)

    def wait(self, patience: float) -> float:
        """Tell how many seconds are left."""
        return max(self._until - time.monotonic(), 0.0)


class _Pace:
    """A token bucket: never more than ``per_hour`` commits in an hour, a fifth of them without a wait."""

    reason = "this hour's commits are spent"

    def __init__(self, per_hour: int) -> None:
        burst = max(per_hour // 5, 1)
        self._interval = 3600.0 / max(per_hour - burst, 1)
        self._slack = (burst - 1) * self._interval
        self._full = 0.0  # when the bucket will be full again

    def wait(self, patience: float) -> float:
        """Tell how many seconds to wait for a token, and take it unless they are more than ``patience``."""
        now = time.monotonic()
        seconds = max(self._full - self._slack - now, 0.0)
        if seconds <= patience:
            self._full = max(self._full, now) + self._interval
        return seconds


# -- Paths and entries ------------------------------------------------------------------------------------------------


def _unreserved(paths: list[str]) -> list[str]:
    """Return ``paths`` unless one is the Hub's own, or git's."""
    for path in paths:
        if _is_reserved(path):
            raise VaultDenied("a reserved name", provider=PROVIDER, path=path)
    return paths


def _is_reserved(path: str) -> bool:
    return path == CARD or not _RESERVED.isdisjoint(path.split("/"))


def _is_file(entry: _Entry | None) -> bool:
    return hasattr(entry, "blob_id")


def _holds(entry: _Entry, data: bytes) -> bool:
    """Is ``data`` what lies there? Large files are known by their SHA-256, others as git knows them."""
    lfs = getattr(entry, "lfs", None)
    if lfs is not None:
        return bool(lfs.sha256 == hashlib.sha256(data).hexdigest())
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return getattr(entry, "blob_id", None) == blob


def _folders(paths: Iterable[str]) -> list[str]:
    return sorted({folder for path in paths for folder in parents(path)})


def _refuse_clashes(added: Iterable[str], there: Mapping[str, _Entry]) -> None:
    for path in added:
        in_the_way = next((folder for folder in parents(path) if _is_file(there.get(folder))), None)
        if path in there and not _is_file(there[path]):
            in_the_way = path
        if in_the_way is not None:
            raise VaultDenied("an object cannot be a folder too", provider=PROVIDER, path=in_the_way)


def _gains(adding: Iterable[str], there: Mapping[str, _Entry]) -> dict[str, set[str]]:
    """Tell which entries each folder gains; "" is the root."""
    gains: dict[str, set[str]] = {}
    for path in adding:
        entry = path
        for folder in [*reversed(parents(path)), ""]:
            if entry in there:
                break
            gains.setdefault(folder, set()).add(entry)
            entry = folder
    return gains


def _subject(adding: Mapping[str, bytes], removing: Sequence[str]) -> str:
    return f"write {len(adding)} objects" if adding else f"delete {len(removing)} objects"


def _chunks(items: Sequence[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])


def _backoff(attempt: int) -> float:
    longest: float = min(_FIRST_WAIT_S * 2 ** (attempt - 1), _LONGEST_WAIT_S)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - that writers come apart needs no secrecy
