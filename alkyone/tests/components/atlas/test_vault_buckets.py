"""What the object stores do when the network and the store itself misbehave, over real HTTP."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from alkyone.standins.gcs import GCSStandin
from alkyone.standins.mishaps import Kind, Mishaps, proxy
from alkyone.standins.threads import served
from atlas.errors import ConfigurationError, VaultDenied, VaultError, VaultFull, VaultNotFound, VaultUnavailable
from atlas.vault.buckets import BucketVault
from atlas.vault.gcs import GCSVault
from atlas.vault.s3 import S3Vault

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
BRIEF = timedelta(seconds=1)
ROW = {"video_id": "a", "timestamp": NOON, "views": 1, "likes": None, "comment_count": None}


@dataclass
class Store:
    """A store that misbehaves on demand."""

    mishaps: Mishaps
    writing: str
    """The HTTP method of a write."""
    opened: Callable[[str, timedelta], BucketVault]
    """Open a bucket, which need not be there; and give up after about so long."""
    made: Callable[[str], object]
    """Make one."""
    mark_folder: Callable[[str], object]
    """Leave an object for a folder, as consoles do."""

    def vault(self, patience: timedelta = 3 * BRIEF) -> BucketVault:
        bucket = f"vault-{uuid4().hex}"
        self.made(bucket)
        self.mishaps.seen.clear()
        return self.opened(bucket, patience)


@pytest.fixture(scope="module")
def gcs() -> Iterator[Store]:
    with GCSStandin() as standin:

        def opened(bucket: str, patience: timedelta = BRIEF) -> BucketVault:
            return GCSVault(bucket, endpoint=standin.endpoint, timeout=BRIEF, patience=patience)

        yield Store(
            standin.mishaps, "POST", opened, standin.make, lambda bucket: opened(bucket)._put("folder/", b"", None)
        )


@pytest.fixture(scope="module")
def s3() -> Iterator[Store]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    mishaps = Mishaps()
    session = boto3.session.Session("key", "secret", region_name="us-east-1")
    console: Any = session.client("s3", endpoint_url=f"http://{host}:{port}")
    with served(lambda: proxy(f"http://{host}:{port}", mishaps)) as address:
        yield Store(
            mishaps,
            "PUT",
            lambda bucket, patience: S3Vault(
                bucket, endpoint_url=address, session=session, timeout=BRIEF, attempts=3 if patience > BRIEF else 2
            ),
            lambda bucket: console.create_bucket(Bucket=bucket),
            lambda bucket: console.put_object(Bucket=bucket, Key="folder/", Body=b""),
        )
    moto.stop()


@pytest.fixture(params=["gcs", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    found: Store = request.getfixturevalue(request.param)
    yield found
    found.mishaps.clear()
    with warnings.catch_warnings():  # Google's SDK leaves the connections of failed downloads to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        pytest.param("status", 503, id="503"),
        pytest.param("status", 500, id="500"),
        pytest.param("status", 429, id="429"),
        pytest.param("half", 503, id="503 mid-upload"),
        pytest.param("reset", 0, id="reset"),
        pytest.param("hang", 0, id="time-out"),
    ],
)
def test_a_write_gets_over_what_passes(store: Store, kind: Kind, status: int) -> None:
    vault = store.vault()
    mishap = store.mishaps.add(kind, store.writing, status=status)

    vault.write({"a/b": b"x" * 300_000}, "trouble")

    assert mishap.hits == 1
    assert vault.read("a/b") == b"x" * 300_000


def test_a_write_whose_answer_got_lost_is_not_done_twice(store: Store) -> None:
    vault = store.vault()
    vault.write({"a": b"old"}, "before")
    store.mishaps.add("lost", store.writing)
    vault.write({"b": b"new"}, "new")
    version = vault._version("b")
    store.mishaps.add("lost", store.writing, times=2)

    vault.write({"a": b"changed"}, "replace")
    vault.write({"b": b"new"}, "the same again")

    assert (vault.read("a"), vault.read("b")) == (b"changed", b"new")
    assert vault._version("b") == version  # it was found, not written anew


def test_an_append_whose_answers_get_lost_stores_each_shard_once(store: Store) -> None:
    vault = store.vault()
    store.mishaps.add("lost", store.writing)

    (shard,) = vault.append_metrics([ROW])

    assert vault.list_strict() == [shard.manifest_path, shard.path]
    vault.verify(shard)


@pytest.mark.parametrize("kind", ["status", "reset", "hang", "truncated"])
def test_a_read_gets_over_what_passes(store: Store, kind: Kind) -> None:
    vault = store.vault()
    vault.write({"a": bytes(range(256)) * 1000}, "some")
    mishap = store.mishaps.add(kind, "GET")

    assert vault.read("a") == bytes(range(256)) * 1000
    assert mishap.hits == 1


@pytest.mark.parametrize("kind", ["status", "reset", "truncated"])
def test_what_does_not_pass_is_unavailable_and_never_a_part_of_the_truth(store: Store, kind: Kind) -> None:
    vault = store.vault(patience=BRIEF / 2)
    vault.write({"a": b"x" * 1000}, "some")
    store.mishaps.add(kind, times=1000)
    attempts: list[Callable[[], object]] = [lambda: vault.read("a"), lambda: vault.list_strict()]
    if kind != "truncated":
        attempts += [lambda: vault.exists("a"), lambda: vault.delete(["a"], ""), lambda: vault.write({"b": b"x"}, "")]

    for attempt in attempts:
        with pytest.raises(VaultUnavailable) as caught:
            attempt()
        assert caught.value.provider == vault.provider
    assert vault.list_files() == []
    with pytest.raises(VaultUnavailable):
        vault.fetch_json("a")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        pytest.param(401, VaultDenied, id="unknown"),
        pytest.param(403, VaultDenied, id="forbidden"),
        pytest.param(400, VaultDenied, id="our mistake"),
        pytest.param(413, VaultFull, id="too large"),
        pytest.param(507, VaultFull, id="no space"),
    ],
)
def test_what_will_not_heal_is_not_tried_again(store: Store, status: int, error: type[VaultError]) -> None:
    vault = store.vault()
    mishap = store.mishaps.add("status", store.writing, times=100, status=status)

    with pytest.raises(error) as caught:
        vault.write({"a": b"x"}, "some")

    assert caught.value.path == "a"
    assert mishap.hits == 1 or status == 507  # an SDK may think that any 5xx heals
    if error is VaultDenied:
        with pytest.raises(ConfigurationError, match=f"{vault.bucket}.*{vault.setting}"):
            vault.provision()


def test_a_bucket_that_is_not_there_is_not_an_object_that_is_not_there(store: Store) -> None:
    vault = store.opened(f"nobodys-{uuid4().hex}", BRIEF)
    attempts: list[Callable[[], object]] = [
        lambda: vault.read("a"),
        lambda: vault.exists("a"),
        lambda: vault.list_strict(),
        lambda: vault.write({"a": b"x"}, "some"),
        lambda: vault.delete(["a"], "some"),
        lambda: vault.fetch_json("a"),
        lambda: vault.shards("metrics"),
    ]
    for attempt in attempts:
        with pytest.raises(VaultDenied):
            attempt()
    with pytest.raises(ConfigurationError, match="no such bucket"):
        vault.provision()


def test_a_write_that_fails_half_way_shows_the_beginning_and_no_manifest(store: Store) -> None:
    vault = store.vault()
    store.mishaps.add("status", store.writing, skip=1, times=100, status=403)

    with pytest.raises(VaultDenied):
        vault.append_metrics([ROW])
    assert vault.shards("metrics") == []
    assert vault.read_metrics().num_rows == 0

    store.mishaps.clear()
    (shard,) = vault.append_metrics([ROW])
    assert vault.shards("metrics") == [shard]


def test_a_write_that_ends_after_any_request_loses_and_doubles_nothing(store: Store) -> None:
    rows = [{**ROW, "timestamp": NOON + number * timedelta(days=1), "views": number} for number in range(3)]
    for requests in range(6):  # three shards and three manifests
        vault = store.vault()
        ended = store.mishaps.add("status", store.writing, skip=requests, times=100, status=403)

        with pytest.raises(VaultDenied):
            vault.append_metrics(rows)

        assert ended.hits
        views = vault.read_metrics()["views"].to_pylist()
        assert views == list(range(max(0, requests - 3)))  # what is listed can be read, in the order given
        store.mishaps.clear()
        vault.append_metrics(rows)
        assert vault.read_metrics()["views"].to_pylist() == [0, 1, 2]
        assert len(vault.list_strict()) == 6


def test_of_writers_to_one_path_each_is_the_last_for_a_moment(store: Store) -> None:
    vault = store.vault()
    contents = [str(number).encode() * (number + 1) for number in range(8)]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: vault.write({"a": content}, "mine"), contents))

    assert vault.read("a") in contents


def test_what_a_console_leaves_for_a_folder_is_no_object_of_the_vault(store: Store) -> None:
    vault = store.vault()
    store.mark_folder(vault.bucket)
    vault.write({"folder/a": b"x"}, "some")

    assert vault.list_strict() == ["folder/a"]


def test_a_listing_of_many_pages_is_complete(store: Store) -> None:
    vault = store.vault()
    paths = [f"metrics/date=2026-11-10/part-{number:064x}.parquet" for number in range(1003)]
    vault.write(dict.fromkeys(paths, b""), "many")

    assert vault.list_strict() == paths


def test_nobody_listening_is_unavailable(store: Store) -> None:
    vault = store.vault(patience=BRIEF / 2)
    vault.endpoint = "http://127.0.0.1:9"

    with pytest.raises(VaultUnavailable):
        vault.read("a")


def test_an_object_deleted_twice_at_once_is_gone(store: Store) -> None:
    vault = store.vault()
    vault.write({"a": b"x"}, "some")
    store.mishaps.add("lost", "DELETE")

    vault.delete(["a"], "its answer gets lost")

    with pytest.raises(VaultNotFound):
        vault.read("a")
