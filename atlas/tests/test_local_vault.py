"""What only a vault on disk must survive: kill -9 at any step, full and read-only disks, links, other processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from atlas.errors import ConfigurationError, VaultDenied, VaultError, VaultFull, VaultNotFound
from atlas.vault import LocalVault

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
SEED = {"keep": "untouched", "a/old": "old", "a/other": "other", "deep/er/one": "1", "deep/er/two": "2"}
WRITTEN = {"a/old": "new", "b/c/d": "fresh", "empty": "", "deep/er/three": "3"}
DELETED = ["a/old", "deep/er/one", "deep/er/two", "not/there"]


def contents(root: Path) -> dict[str, str]:
    """Read a vault as somebody would who comes after the accident."""
    vault = LocalVault(root)
    return {path: vault.read(path).decode() for path in vault.list_strict()}


def leftovers(root: Path) -> list[str]:
    """Name what lies about in the vault's private folder."""
    private = root / ".pleiades"
    return sorted(str(path.relative_to(private)) for path in private.rglob("*") if path.name not in {"lock", "staging"})


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    LocalVault(tmp_path / "seed").write({path: data.encode() for path, data in SEED.items()})
    return tmp_path / "seed"


def killed(seed: Path, target: Path, action: str, arguments: object = None) -> list[list[str]]:
    """Kill ``action`` before each of its steps, each time on a copy of ``seed``; tell the steps."""
    script = Path(__file__).with_name("killed_vault.py")
    done = subprocess.run(
        [sys.executable, str(script), str(seed), str(target), action, json.dumps(arguments)],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    steps: list[list[str]] = json.loads(done.stdout)
    return steps


AFTER_WRITE = SEED | WRITTEN
AFTER_DELETE = {path: data for path, data in SEED.items() if path not in DELETED}


@pytest.mark.parametrize(
    ("action", "arguments", "after"),
    [
        pytest.param("write", WRITTEN, AFTER_WRITE, id="write"),
        pytest.param("delete", DELETED, AFTER_DELETE, id="delete"),
    ],
)
class TestKilled:
    def test_before_any_step_leaves_all_of_it_or_nothing(
        self, seed: Path, tmp_path: Path, action: str, arguments: Any, after: dict[str, str]
    ) -> None:
        steps = killed(seed, tmp_path / "killed", action, arguments)

        found = [contents(tmp_path / "killed" / str(number)) for number in range(len(steps) + 1)]

        assert {step[0] for step in steps} >= {"open", "write", "fsync", "replace", "close"}
        assert all(state in (SEED, after) for state in found)
        assert found[0] == SEED
        assert found[-1] == after
        # What was committed stays so: the one step that makes the difference is the journal's rename.
        turns = [number for number, (one, other) in enumerate(pairwise(found)) if one != other]
        assert [(steps[turn][0], Path(steps[turn][2]).name) for turn in turns] == [("replace", "journal")]

    def test_and_done_again_ends_as_if_nothing_had_happened(
        self, seed: Path, tmp_path: Path, action: str, arguments: Any, after: dict[str, str]
    ) -> None:
        steps = killed(seed, tmp_path / "killed", action, arguments)

        for number in range(len(steps) + 1):
            root = tmp_path / "killed" / str(number)
            if action == "write":
                LocalVault(root).write({path: data.encode() for path, data in arguments.items()})
            else:
                LocalVault(root).delete(arguments)
            assert contents(root) == after
            assert leftovers(root) == []

    def test_while_it_is_recovered_loses_nothing_either(
        self, seed: Path, tmp_path: Path, action: str, arguments: Any, after: dict[str, str]
    ) -> None:
        steps = killed(seed, tmp_path / "first", action, arguments)
        committed = next(n for n, step in enumerate(steps) if step[0] == "replace" and step[2].endswith("/journal"))
        moves = [n for n, step in enumerate(steps) if n > committed and step[0] in ("replace", "unlink")]

        for accident in (committed + 1, moves[len(moves) // 2], moves[-1]):
            again = tmp_path / f"again-{accident}"
            recovery = killed(tmp_path / "first" / str(accident), again, "read")
            for number in range(len(recovery) + 1):
                assert contents(again / str(number)) == after

    def test_power_cuts_find_everything_on_disk_before_it_is_committed(
        self, seed: Path, tmp_path: Path, action: str, arguments: Any, after: dict[str, str]
    ) -> None:
        steps = killed(seed, tmp_path / "killed", action, arguments)
        commit = next(n for n, step in enumerate(steps) if step[0] == "replace" and step[2].endswith("/journal"))
        forget = next(n for n, step in enumerate(steps) if step[0] == "unlink" and step[1].endswith("/journal"))

        def durable(path: str, until: int) -> int:
            return max((n for n in range(until) if steps[n][:2] == ["fsync", path]), default=-1)

        for number, (name, path, *_) in enumerate(steps[:commit]):
            if name == "write":
                assert durable(path, commit) > number
                assert "staging" not in path or durable(str(Path(path).parent), commit) > number
        for number, (name, *paths) in enumerate(steps[commit + 1 : forget], commit + 1):
            if name in ("replace", "unlink"):
                assert durable(str(Path(paths[-1] if name == "replace" else paths[0]).parent), forget) > number
        assert durable(str(Path(steps[commit][2]).parent), forget) > commit


def test_a_dead_writer_s_staging_is_cleared_away_and_a_living_one_s_is_not(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path / "vault")
    vault.write({"a": b"1"})
    (tmp_path / "vault/.pleiades/staging/of-the-dead").mkdir()

    with vault._staged([b"2"], ["b"]) as living:
        vault.write({"c": b"3"})
        assert leftovers(tmp_path / "vault") == [f"staging/{living}", f"staging/{living}/0"]
    assert leftovers(tmp_path / "vault") == []


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys
        from datetime import UTC, datetime, timedelta
        from atlas.vault import LocalVault
        vault, writer = LocalVault(sys.argv[1]), int(sys.argv[2])
        for number in range(10):
            at = datetime(2026, 11, 10, tzinfo=UTC) + timedelta(hours=number)
            rows = [{"video_id": name, "timestamp": at, "views": number} for name in ("shared", f"own{writer}")]
            for shard in vault.append_metrics(rows):
                vault.verify(shard)
            vault.write({"last/a": sys.argv[2].encode(), "last/b": sys.argv[2].encode()})
            vault.delete([f"never/{number}"])
    """)
    root = tmp_path / "vault"
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(root), str(number)], stderr=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    complaints = [writer.communicate(timeout=120)[1] for writer in writers]

    assert complaints == ["", "", ""]
    vault = LocalVault(root)
    found = vault.read_metrics()
    assert found.num_rows == 4 * 10
    assert found["video_id"].to_pylist() == [name for name in ("own0", "own1", "own2", "shared") for _ in range(10)]
    assert vault.read("last/a") == vault.read("last/b")
    assert leftovers(root) == []


# ---------------------------------------------------------------------------------------------------------------------
# Disks
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system of memory at ``folder``; skip the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if shutil.which("mount") is None:
        pytest.skip("no program to mount a small file system with")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_told_and_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=512k"):
        vault = LocalVault(tmp_path / "disk/vault")
        vault.write({"a": b"1" * 1000})

        with pytest.raises(VaultFull) as caught:
            vault.write({"a": b"2" * 1000, "b/small": b"x", "b/big": b"3" * 1_000_000})

        assert caught.value.path == "b/big"
        assert contents(tmp_path / "disk/vault") == {"a": "1" * 1000}
        assert leftovers(tmp_path / "disk/vault") == []
        vault.write({"b/small": b"x"})  # the room was given back
        assert vault.exists("b/small")


def test_a_disk_without_room_for_names_is_told_too(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "nr_inodes=24"):
        vault = LocalVault(tmp_path / "disk/vault")
        vault.write({"a": b"1"})

        with pytest.raises(VaultFull):
            vault.write({f"many/{number}/x": b"x" for number in range(30)})

        assert contents(tmp_path / "disk/vault") == {"a": "1"}


def test_a_read_only_disk_can_be_read_and_says_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / "disk/vault"
    with mounted(tmp_path / "disk", "size=1m"):
        vault = LocalVault(root)
        vault.provision()
        vault.write({"a": b"1"})
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path / "disk")], check=True)

        assert vault.read("a") == b"1"
        assert vault.list_strict() == ["a", "pleiades.json"]
        with pytest.raises(VaultDenied):
            vault.write({"b": b"2"})
        with pytest.raises(VaultDenied):
            vault.delete(["a"])
        with pytest.raises(ConfigurationError) as caught:
            vault.provision()
        with pytest.raises(ConfigurationError):
            LocalVault(tmp_path / "disk/new").provision()

    message = str(caught.value)
    assert str(root) in message
    assert "Read-only file system" in message
    assert "LOCAL_VAULT_PATH" in message
    assert "\n" not in message


def test_a_folder_that_nobody_may_change_is_no_vault(tmp_path: Path) -> None:
    root = tmp_path / "vault"
    LocalVault(root).provision()
    done = subprocess.run(["chattr", "+i", str(root)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a folder cannot be made immutable here: {done.stderr.strip()}")
    try:
        with pytest.raises(ConfigurationError, match="LOCAL_VAULT_PATH"):
            LocalVault(root).provision()
    finally:
        subprocess.run(["chattr", "-i", str(root)], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind root")
def test_a_folder_without_permission_is_no_vault(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)

    with pytest.raises(ConfigurationError, match="LOCAL_VAULT_PATH"):
        LocalVault(tmp_path / "closed/vault").provision()


def test_a_file_in_the_vault_s_place_is_no_vault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(ConfigurationError, match="LOCAL_VAULT_PATH"):
        LocalVault(tmp_path / "file").provision()
    with pytest.raises(ConfigurationError, match="LOCAL_VAULT_PATH"):
        LocalVault(tmp_path / "file/below").provision()
    assert LocalVault(tmp_path / "file").list_strict() == []


def test_a_vault_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path / "vault")
    vault.store_json("pleiades.json", {"format": 2, "id": "x"})

    with pytest.raises(ConfigurationError, match="newer"):
        vault.provision()


# ---------------------------------------------------------------------------------------------------------------------
# Links
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def linked(tmp_path: Path) -> LocalVault:
    """Make a vault with links that lead out of it."""
    vault = LocalVault(tmp_path / "vault")
    vault.write({"inside/a": b"1"})
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (tmp_path / "vault/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "vault/inside/file").symlink_to(tmp_path / "outside/secret")
    return vault


@pytest.mark.parametrize("path", ["folder/secret", "inside/file", "folder/deeper/secret"])
def test_a_link_leads_nowhere(linked: LocalVault, tmp_path: Path, path: str) -> None:
    for attempt in (
        lambda: linked.read(path),
        lambda: linked.exists(path),
        lambda: linked.write({"b": b"2", path: b"changed"}),
        lambda: linked.delete(["inside/a", path]),
    ):
        with pytest.raises(VaultDenied):
            attempt()

    assert (tmp_path / "outside/secret").read_text() == "secret"
    assert linked.list_strict() == ["inside/a"]
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "vault").symlink_to(tmp_path / "disk")

    LocalVault(tmp_path / "vault").write({"a/b": b"1"})

    assert (tmp_path / "disk/a/b").read_bytes() == b"1"


# ---------------------------------------------------------------------------------------------------------------------
# Failing stores
# ---------------------------------------------------------------------------------------------------------------------


def test_a_folder_or_pipe_in_the_place_of_an_object_is_not_overwritten(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path / "vault")
    vault.write({"folder/object": b"1"})
    os.mkfifo(tmp_path / "vault/pipe")

    for path in ("folder", "pipe"):
        with pytest.raises(VaultDenied):
            vault.write({"other": b"2", path: b"3"})
        with pytest.raises(VaultNotFound):
            vault.read(path)
    with pytest.raises(VaultDenied):
        vault.write({"folder/object/below": b"4"})
    assert vault.list_strict() == ["folder/object"]


def test_listing_for_a_person_survives_a_failing_vault(linked: LocalVault, caplog: pytest.LogCaptureFixture) -> None:
    assert linked.list_files("folder/") == []
    with pytest.raises(VaultError):
        linked.list_strict("folder/")
    assert "cannot list 'folder/' in the local vault" in caplog.text


def test_a_document_that_cannot_be_looked_up_is_not_taken_for_missing(
    linked: LocalVault, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(VaultDenied):
        linked.fetch_json("folder/secret")
    assert "cannot fetch 'folder/secret' from the local vault" in caplog.text


def test_a_year_of_days_is_read_through_the_right_shards_only(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path / "vault")
    days = 60
    vault.append_metrics(
        {"video_id": f"video{number % 5}", "timestamp": NOON + timedelta(days=number), "views": number}
        for number in range(days)
    )
    for shard in vault.shards("metrics", NOON + timedelta(days=2)):
        (vault.root / shard.path).write_bytes(b"not to be opened")

    assert vault.read_metrics(None, None, NOON + timedelta(days=1, hours=12))["views"].to_pylist() == [0, 1]
