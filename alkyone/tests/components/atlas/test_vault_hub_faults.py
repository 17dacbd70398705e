"""The vault on a Hub that fails: nothing is lost, nothing is done twice, and what cannot heal is said at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from alkyone.standins.hub import Blob, HubStandin, Repository
from alkyone.standins.hub.faults import Kind, Method
from atlas.errors import ConfigurationError, VaultDenied, VaultError, VaultFull, VaultUnavailable
from atlas.testing.vault_contract import NOON, sample
from atlas.vault import huggingface
from atlas.vault.huggingface import HuggingFaceVault

NAME = "me/vault"
SHARD = {"metrics/part.parquet": b"PAR1 rows", "manifests/part.json": b"{}"}  # one large file by name, one in git
STEPS: list[Method] = ["info", "paths_info", "tree", "preupload", "lfs_batch", "lfs_put", "lfs_verify", "commit"]


@pytest.fixture
def hub() -> Iterator[HubStandin]:
    with HubStandin() as hub:
        yield hub
    assert hub.violations == []


@pytest.fixture
def repository(hub: HubStandin) -> Repository:
    return hub.create(NAME)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def vault(hub: HubStandin, repository: Repository, waits: list[float]) -> HuggingFaceVault:
    return opened(hub, waits.append)


def opened(
    hub: HubStandin,
    sleep: Callable[[float], object] = time.sleep,
    *,
    token: str | None = "",
    per_hour: int = 1_000_000,
    timeout: float = 60,
) -> HuggingFaceVault:
    return HuggingFaceVault(
        NAME,
        hub.token if token == "" else token,
        endpoint=hub.endpoint,
        commits_per_hour=per_hour,
        timeout=timedelta(seconds=timeout),
        sleep=lambda seconds: (sleep(seconds), None)[1],
    )


def written(repository: Repository) -> dict[str, bytes]:
    """What the repository has beside the Hub's own files."""
    return {
        path: blob.data for path, blob in repository.head.files.items() if path not in (".gitattributes", "README.md")
    }


# -- What heals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["status", "reset", "half", "html"])
def test_a_step_that_fails_once_is_done_again(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository, step: Method, kind: Kind
) -> None:
    if kind == "html" and step in ("lfs_put", "lfs_verify"):
        pytest.skip("only the status of that answer counts")
    fault = hub.faults.add(kind, step)

    vault.write(SHARD, "keep it")

    assert fault.hits == 1
    assert written(repository) == SHARD
    assert len(repository.commits) == 2


@pytest.mark.parametrize(("step", "path"), [("resolve", "manifests/part.json"), ("cdn", "metrics/part.parquet")])
@pytest.mark.parametrize("kind", ["status", "reset", "truncated"])
def test_a_read_that_fails_once_is_done_again(
    hub: HubStandin, vault: HuggingFaceVault, step: Method, path: str, kind: Kind
) -> None:
    vault.write(SHARD)
    fault = hub.faults.add(kind, step, status=500)

    assert vault.read(path) == SHARD[path]
    assert fault.hits == 1


@pytest.mark.parametrize("step", [step for step in STEPS if step != "lfs_verify"])  # the file is there by then
def test_a_hub_that_stays_away_is_said_to_be_unavailable(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository, waits: list[float], step: Method
) -> None:
    fault = hub.faults.add("status", step, times=1000)

    with pytest.raises(VaultUnavailable):
        vault.write(SHARD)

    assert 2 <= fault.hits <= 10
    assert sum(waits) < 120
    assert written(repository) == {}
    hub.faults.clear()
    vault.write(SHARD)
    assert written(repository) == SHARD


@pytest.mark.parametrize("kind", ["lost", "lost_500", "done_hang", "html"])
def test_a_commit_whose_answer_was_lost_is_not_made_twice(hub: HubStandin, repository: Repository, kind: Kind) -> None:
    vault = opened(hub, lambda seconds: None, timeout=1.5)
    fault = hub.faults.add(kind, "commit")

    vault.write(SHARD, "keep it")

    assert fault.hits == 1
    assert written(repository) == SHARD
    assert [commit.title for commit in repository.commits] == ["initial commit", "keep it"]


def test_a_commit_that_was_lost_does_not_undo_what_came_after_it(hub: HubStandin, repository: Repository) -> None:
    other = opened(hub)
    vault = opened(hub, lambda seconds: other.write({"state.json": b"newer"}, "second"))
    hub.faults.add("lost", "commit")

    vault.write({"state.json": b"older"}, "first")

    assert written(repository) == {"state.json": b"newer"}
    assert [commit.title for commit in repository.commits] == ["initial commit", "first", "second"]


def test_a_deletion_whose_answer_was_lost_is_not_made_twice(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository
) -> None:
    vault.write(SHARD)
    hub.faults.add("lost", "commit")

    vault.delete([*SHARD, "never/there"], "less")

    assert written(repository) == {}
    assert len(repository.commits) == 3


@pytest.mark.parametrize("step", ["info", "tree", "lfs_put", "commit", "resolve"])
def test_a_hub_that_does_not_answer_is_given_up_in_time(hub: HubStandin, repository: Repository, step: Method) -> None:
    vault = opened(hub, lambda seconds: None, timeout=1.0)
    fault = hub.faults.add("hang", step)

    vault.write(SHARD)

    assert {path: vault.read(path) for path in vault.list_strict()} == SHARD
    assert fault.hits == 1
    assert len(repository.commits) == 2


def test_what_is_there_already_is_no_commit(hub: HubStandin, vault: HuggingFaceVault, repository: Repository) -> None:
    vault.write(SHARD)
    vault.write(SHARD)
    vault.delete(["never/there"])

    assert len(repository.commits) == 2
    assert hub.count("commit") == 1


# -- Several at once --------------------------------------------------------------------------------------------------


def test_a_commit_on_an_old_parent_is_made_on_the_new_one(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository
) -> None:
    hub.faults.add("status", "commit", status=412, times=3)

    vault.write(SHARD)

    assert written(repository) == SHARD
    assert hub.count("commit") == 4


def test_writers_in_several_processes_lose_nothing(hub: HubStandin, repository: Repository) -> None:
    vaults = [opened(hub, lambda seconds: time.sleep(seconds / 100)) for _ in range(4)]  # each with a lock of its own

    def write(number: int) -> None:
        vaults[number % 4].write({f"set/{number}": b"%d" % number}, f"write {number}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(16)))

    assert written(repository) == {f"set/{number}": b"%d" % number for number in range(16)}
    assert len(repository.commits) == 17


def test_a_branch_that_never_rests_is_given_up(hub: HubStandin, vault: HuggingFaceVault) -> None:
    fault = hub.faults.add("status", "commit", status=412, times=1000)

    with pytest.raises(VaultUnavailable, match="412"):
        vault.write(SHARD)

    assert fault.hits == 10


def test_what_lies_at_a_path_is_checked_again_after_a_conflict(hub: HubStandin, repository: Repository) -> None:
    other = opened(hub)
    vault = opened(hub, lambda seconds: other.write({"a": b"an object"}))
    hub.faults.add("status", "commit", status=412)

    with pytest.raises(VaultDenied, match="folder"):
        vault.write({"a/b": b"below"})

    assert written(repository) == {"a": b"an object"}


# -- The Hub's wishes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["info", "preupload", "commit"])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_wish_to_wait_is_obeyed(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository, waits: list[float], step: Method, form: str
) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=45), usegmt=True)
    hub.faults.add("status", step, status=429, retry_after="45" if form == "seconds" else then)

    vault.write(SHARD)

    assert 30 < max(waits) < 48  # a date is nearer by the time it is read
    assert written(repository) == SHARD


def test_a_long_wish_is_passed_on_and_obeyed_by_the_next_write(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository, waits: list[float]
) -> None:
    vault.write(SHARD)
    hub.faults.add("status", "commit", status=429, retry_after="3600")
    for _ in range(3):
        with pytest.raises(VaultUnavailable, match="left alone"):
            vault.write({"late": b"x"})

    assert hub.count("commit") == 2
    assert waits == []
    assert vault.read("manifests/part.json") == b"{}"  # who may not commit may read


def test_the_hubs_own_limit_of_commits_is_understood(hub: HubStandin, waits: list[float]) -> None:
    with HubStandin(commits_per_hour=2) as strict:
        strict.create(NAME)
        vault = opened(strict, waits.append)
        vault.write({"a": b"1"})
        vault.write({"b": b"2"})

        with pytest.raises(VaultUnavailable):
            vault.write({"c": b"3"})


def test_there_are_never_more_commits_in_an_hour_than_allowed(
    hub: HubStandin, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(huggingface.time, "monotonic", lambda: now)
    vault = opened(hub, sleep, per_hour=20)
    times = []
    for number in range(50):
        vault.write({f"set/{number}": b"x"})
        times.append(now)

    assert times[:4] == [1000.0] * 4  # a burst goes without a wait
    assert max(sum(start <= at < start + 3600 for at in times) for start in times) <= 20
    assert times[-1] < 1000 + 3600 * 3.2


def test_a_long_wait_for_our_own_pace_is_no_wait(hub: HubStandin, repository: Repository, waits: list[float]) -> None:
    vault = opened(hub, waits.append, per_hour=5)
    vault.write({"a": b"1"})

    with pytest.raises(VaultUnavailable, match="spent"):
        vault.write({"b": b"2"})
    assert waits == []


# -- What does not heal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["paths_info", "preupload", "lfs_put", "commit"])
@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refusal_is_not_tried_again(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository, waits: list[float], step: Method, status: int
) -> None:
    fault = hub.faults.add("status", step, status=status, times=10)

    with pytest.raises(VaultDenied):
        vault.write(SHARD)

    assert fault.hits == 1
    assert waits == []
    assert written(repository) == {}


@pytest.mark.parametrize(
    ("status", "message"),
    [(403, "Private repository storage limit reached, please upgrade your plan"), (413, "Payload Too Large")],
)
def test_a_full_repository_is_said_to_be_full(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository, status: int, message: str
) -> None:
    hub.faults.add("status", "commit", status=status, message=message)

    with pytest.raises(VaultFull, match=str(status)):
        vault.write(SHARD)


@pytest.mark.parametrize("token", [None, "hf_wrong", "hf_standinRead"])
def test_a_token_that_may_not_write_is_denied(hub: HubStandin, repository: Repository, token: str | None) -> None:
    vault = opened(hub, token=token)

    with pytest.raises(VaultDenied):
        vault.write(SHARD)
    with pytest.raises(ConfigurationError, match="HF_TOKEN"):
        vault.provision()
    assert len(repository.commits) == 1


@pytest.mark.parametrize("ask", ["read", "exists", "list_strict", "fetch_json"])
@pytest.mark.parametrize("token", ["", "hf_wrong", None])
def test_a_repository_that_cannot_be_seen_is_no_empty_vault(hub: HubStandin, ask: str, token: str | None) -> None:
    with pytest.raises(VaultDenied):
        getattr(opened(hub, token=token), ask)("a")


def test_the_token_is_in_no_message(hub: HubStandin, repository: Repository, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    told = [repr(opened(hub))]
    for kind in ("status", "reset", "html", "lost_500"):
        vault = opened(hub, lambda seconds: None)
        hub.faults.clear()
        hub.faults.add(kind, times=1000)
        with pytest.raises(VaultError) as caught:
            vault.write(SHARD)
        told += ["".join(traceback.format_exception(caught.value))]

    assert hub.token not in "\n".join([*told, caplog.text])


# -- The shape of commits ---------------------------------------------------------------------------------------------


def test_a_large_write_is_several_commits_with_the_manifests_last(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository
) -> None:
    vault.append_metrics([sample("a", NOON + timedelta(days=day), day) for day in range(130)])

    sizes, kinds = [], []
    for before, after in zip(repository.commits, repository.commits[1:], strict=False):
        fresh = after.files.keys() - before.files.keys()
        sizes.append(len(fresh))
        kinds.append({path.partition("/")[0] for path in fresh})
        manifests = {path.removeprefix("manifests/") for path in after.files if path.startswith("manifests/")}
        assert all(name.replace(".json", ".parquet") in after.files for name in manifests)
    assert sizes == [100, 100, 60]
    assert kinds == [{"metrics"}, {"metrics", "manifests"}, {"manifests"}]
    vault.delete(vault.list_strict(), "all of it")
    assert written(repository) == {}


def test_a_listing_is_whole_however_many_pages_it_has(repository: Repository, hub: HubStandin) -> None:
    with HubStandin(page=7) as small:
        small.create(NAME)
        vault = opened(small)
        objects = {f"set/{number:02}/object": b"x" for number in range(40)}
        vault.write(objects)

        assert vault.list_strict("set/") == sorted(objects)
        pages = small.count("tree")
        assert vault.list_strict("set/1") == sorted(path for path in objects if path.startswith("set/1"))
        assert small.count("tree") == pages  # nothing has changed since


def test_a_folder_gets_no_more_entries_than_the_hub_wants(
    hub: HubStandin, repository: Repository, vault: HuggingFaceVault
) -> None:
    fill(repository, {f"full/{number:05}": b"x" for number in range(9_998)})
    vault.write({"full/a": b"x", "elsewhere/a": b"x"})
    vault.write({"full/a": b"replaced", "full/b/c": b"x"})

    with pytest.raises(VaultFull, match="10,000 entries") as caught:
        vault.write({"full/c": b"x"})
    assert caught.value.path == "full"
    vault.write({"full/b/d": b"x"})


def fill(repository: Repository, files: Mapping[str, bytes]) -> None:
    now = datetime.now(UTC)
    repository._add("fill", "", now, {**repository.head.files, **{path: Blob(data) for path, data in files.items()}})


@pytest.mark.parametrize("path", ["README.md", ".gitattributes", "a/.gitignore", ".git/config", ".cache/a"])
def test_the_hubs_own_files_are_no_objects(vault: HuggingFaceVault, path: str) -> None:
    vault.provision()

    for attempt in (lambda: vault.write({path: b"x"}), lambda: vault.delete([path]), lambda: vault.read(path)):
        with pytest.raises(VaultDenied):
            attempt()
    assert vault.list_strict() == ["pleiades.json"]


def test_a_file_that_the_repository_ignores_is_not_lost_without_a_word(
    vault: HuggingFaceVault, repository: Repository
) -> None:
    fill(repository, {".gitignore": b"*.json\n"})

    with pytest.raises(VaultDenied, match="gitignore"):
        vault.write(SHARD)
    assert "metrics/part.parquet" not in repository.head.files


def test_history_says_why(vault: HuggingFaceVault, repository: Repository) -> None:
    vault.write({"a": b"x"}, "archive 2026-11-10\nand more")
    vault.write({"b": b"x", "c": b"x"})
    vault.delete(["a"])

    titles = [commit.title for commit in repository.commits[1:]]
    assert titles == ["archive 2026-11-10 and more", "write 2 objects", "delete 1 objects"]


# -- Set-up -----------------------------------------------------------------------------------------------------------


def test_a_repository_that_is_not_there_is_made_private(hub: HubStandin) -> None:
    vault = opened(hub)

    name = vault.provision()

    assert hub.repository(NAME).private
    assert opened(hub).provision() == name
    assert vault.list_strict() == ["pleiades.json"]


def test_another_repository_in_its_place_is_noticed(hub: HubStandin, vault: HuggingFaceVault) -> None:
    name = vault.provision()
    hub.create(NAME)

    assert opened(hub).provision() != name


def test_the_card_names_every_kind_and_keeps_what_people_wrote(vault: HuggingFaceVault, repository: Repository) -> None:
    from huggingface_hub import DatasetCard

    vault.provision()
    made = repository.head.files["README.md"].data.decode()
    configs = {config["config_name"]: config["data_files"] for config in DatasetCard(made).data["configs"]}
    assert {"metrics": "metrics/**/*.parquet", "metadata": "metadata/**/*.parquet"}.items() <= configs.items()

    edited = made.replace("---\n\n", "license: cc-by-4.0\n---\n\n", 1).replace("# A Pleiades vault", "# Ours")
    edited = edited.replace("config_name: metrics", "config_name: mine")
    fill(repository, {"README.md": edited.encode()})
    vault.provision()

    kept = DatasetCard(repository.head.files["README.md"].data.decode())
    assert kept.data["license"] == "cc-by-4.0"
    assert "# Ours" in kept.text
    assert {config["config_name"] for config in kept.data["configs"]} == {*configs, "mine"}
    commits = len(repository.commits)
    vault.provision()
    assert len(repository.commits) == commits


def test_a_repository_that_was_renamed_is_still_found(
    hub: HubStandin, vault: HuggingFaceVault, repository: Repository
) -> None:
    hub.rename(NAME, "me/another")

    vault.write(SHARD)

    assert written(repository) == SHARD
    assert vault.read("metrics/part.parquet") == b"PAR1 rows"
    assert vault.exists("manifests/part.json")
    assert not vault.exists("manifests/other.json")


@pytest.mark.parametrize("repo_id", ["vault", "a/b/c", "", "me/va ult", "../vault"])
def test_a_name_that_is_none_is_refused(repo_id: str) -> None:
    with pytest.raises(ConfigurationError, match="HF_DATASET_ID"):
        HuggingFaceVault(repo_id, "hf_x")


def test_a_missing_client_is_named_with_its_extra(hub: HubStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)

    with pytest.raises(ConfigurationError, match=r"pleiades-atlas\[huggingface\]"):
        opened(hub).read("a")


# -- A writer that dies -----------------------------------------------------------------------------------------------

WRITER = """
import sys
from datetime import UTC, datetime, timedelta
from atlas.vault.huggingface import HuggingFaceVault
vault = HuggingFaceVault("me/vault", sys.argv[2], endpoint=sys.argv[1], commits_per_hour=1_000_000)
noon = datetime(2026, 11, 10, 12, tzinfo=UTC)
vault.append_metrics([{"video_id": "a", "timestamp": noon + timedelta(days=n), "views": n} for n in range(60)])
"""


@pytest.mark.parametrize(
    ("kind", "step", "skip"),
    [
        pytest.param("hang", "lfs_put", 30, id="in the middle of the uploads"),
        pytest.param("hang", "commit", 0, id="before the first commit"),
        pytest.param("done_hang", "commit", 0, id="between two commits"),
        pytest.param("done_hang", "commit", 1, id="after the last commit"),
    ],
)
def test_a_writer_killed_at_any_step_leaves_a_vault_that_the_next_completes(
    hub: HubStandin, repository: Repository, kind: Kind, step: Method, skip: int
) -> None:
    fault = hub.faults.add(kind, step, skip=skip)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, hub.endpoint, hub.token])
    try:
        assert fault.struck.wait(60)
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    vault = opened(hub)
    for shard in vault.shards("metrics"):
        vault.verify(shard)  # what is listed is whole

    vault.append_metrics([sample("a", NOON + timedelta(days=day), day) for day in range(60)])

    assert vault.read_metrics()["views"].to_pylist() == list(range(60))
    assert len(vault.list_strict("metrics/")) == len(vault.shards("metrics")) == 60
