"""What was read of a remote vault is read from this machine the next time: bounded, shared, and never wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest

from alkyone.fixtures import SetEnvironment
from alkyone.standins.gcs import GCSStandin
from atlas import clock, settings
from atlas.errors import VaultCorrupt, VaultNotFound
from atlas.testing import VaultContract
from atlas.vault import LocalVault, ShardInfo, get_vault
from atlas.vault.cache import IDLE, ShardCache
from atlas.vault.gcs import GCSVault

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
MB = 1_000_000

Opened = Callable[[], GCSVault]


@pytest.fixture(scope="module")
def server() -> Iterator[GCSStandin]:
    with GCSStandin() as standin:
        yield standin


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def opened(server: GCSStandin, folder: Path) -> Opened:
    """Give a way to open one vault anew, as another process would."""
    bucket = f"vault-{uuid4().hex}"
    server.make(bucket)

    def opened() -> GCSVault:
        vault = GCSVault(bucket, endpoint=server.endpoint)
        vault.cache = ShardCache(folder, 10 * MB)
        return vault

    return opened


@pytest.fixture
def vault(opened: Opened) -> GCSVault:
    return opened()


def filled(vault: GCSVault) -> ShardInfo:
    (shard,) = vault.append_metrics(
        [{"video_id": f"v{number}", "timestamp": NOON, "views": number} for number in range(9)]
    )
    return shard


def fetched(server: GCSStandin) -> int:
    """Count the shards that were downloaded since it was last asked."""
    found = sum(path.startswith("/download") and ".parquet" in path for _, path in server.mishaps.seen)
    server.mishaps.seen.clear()
    return found


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.shard"))


class TestCachedVault(VaultContract):
    """The cache takes nothing away from what a vault promises."""

    atomic = False


def test_a_shard_is_fetched_once(opened: Opened, server: GCSStandin) -> None:
    filled(opened())
    fetched(server)

    for _ in range(3):
        assert opened().read_metrics(["v3"])["views"].to_pylist() == [3]

    assert fetched(server) == 1


def test_a_proof_is_never_taken_from_the_cache(opened: Opened, server: GCSStandin) -> None:
    shard = filled(opened())
    opened().read_metrics()
    vault = opened()
    fetched(server)

    vault.verify(shard)
    assert vault.load(shard).num_rows == 9
    assert fetched(server) == 2

    vault.write({shard.path: b"PAR1 no more"}, "damage")
    with pytest.raises(VaultCorrupt):
        vault.verify(shard)


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_damaged_entry_is_noticed_and_fetched_anew(
    opened: Opened, server: GCSStandin, folder: Path, place: int, caplog: pytest.LogCaptureFixture
) -> None:
    filled(opened())
    opened().read_metrics()
    (entry,) = entries(folder)
    damaged = bytearray(entry.read_bytes())
    damaged[place] ^= 1
    entry.write_bytes(damaged)
    fetched(server)

    assert opened().read_metrics(["v3"])["views"].to_pylist() == [3]
    assert opened().read_metrics(["v4"])["views"].to_pylist() == [4]

    assert fetched(server) == 1
    assert "is damaged: it is fetched anew" in caplog.text


@pytest.mark.parametrize("size", [0, 5, 32, 100])
def test_half_an_entry_is_noticed(opened: Opened, folder: Path, size: int) -> None:
    filled(opened())
    opened().read_metrics()
    (entry,) = entries(folder)
    entry.write_bytes(entry.read_bytes()[:size])

    assert opened().read_metrics(["v3"])["views"].to_pylist() == [3]


def test_a_shard_that_is_damaged_in_the_vault_is_not_kept(opened: Opened, folder: Path) -> None:
    vault = opened()
    shard = filled(vault)
    intact = vault.read(shard.path)
    vault.write({shard.path: b"PAR1 no more"}, "damage")

    with pytest.raises(VaultCorrupt):
        opened().read_metrics()
    assert entries(folder) == []

    vault.write({shard.path: intact}, "mend")
    assert opened().read_metrics().num_rows == 9


def test_what_was_deleted_from_the_vault_is_not_kept(vault: GCSVault, folder: Path) -> None:
    shard = filled(vault)
    vault.read_metrics()
    assert len(entries(folder)) == 1

    vault.delete([shard.path], "lose it")

    assert entries(folder) == []
    with pytest.raises(VaultNotFound):
        vault.read_metrics()


def test_two_vaults_do_not_mix(folder: Path) -> None:
    one, other = ShardCache(folder, MB), ShardCache(folder, MB)

    assert one.open("GCSVault('one')/a", lambda: (b"one", True)).read() == b"one"
    assert other.open("GCSVault('other')/a", lambda: (b"other", True)).read() == b"other"
    assert one.open("GCSVault('one')/a", lambda: (b"never asked", True)).read() == b"one"


def test_it_never_holds_more_than_it_may_and_the_longest_unread_go_first(folder: Path) -> None:
    cache = ShardCache(folder, 1000)
    for number in range(5):
        with clock.stopped(NOON + timedelta(minutes=number)):
            cache.open(f"shard {number}", partial(lambda data: (data, True), bytes([number]) * 200))
            assert sum(entry.stat().st_size for entry in entries(folder)) <= 1000
            cache.open("shard 0", lambda: (b"gone", False))

    def there(name: str) -> bool:
        return bool(cache.open(name, lambda: (b"gone", False)).read() != b"gone")

    assert [there(f"shard {number}") for number in range(5)] == [True, False, True, True, True]


def test_what_is_larger_than_the_whole_is_read_and_not_kept(folder: Path) -> None:
    cache = ShardCache(folder, 100)

    assert cache.open("large", lambda: (b"x" * 101, True)).read() == b"x" * 101
    assert entries(folder) == []


def test_what_nobody_reads_for_a_week_goes(folder: Path) -> None:
    cache = ShardCache(folder, MB)
    with clock.stopped(NOON):
        cache.open("old", lambda: (b"old", True))
    with clock.stopped(NOON + IDLE - DAY):
        cache.open("new", lambda: (b"new", True))
    assert len(entries(folder)) == 2

    with clock.stopped(NOON + IDLE + DAY):
        cache.open("newest", lambda: (b"newest", True))

    assert cache.open("old", lambda: (b"fetched anew", False)).read() == b"fetched anew"
    assert cache.open("new", lambda: (b"fetched anew", False)).read() == b"new"


def test_what_a_dead_process_left_is_removed(folder: Path) -> None:
    cache = ShardCache(folder, MB)
    cache.open("one", lambda: (b"one", True))
    (folder / f"{uuid4().hex}.draft").write_bytes(b"half of someth")

    cache.open("two", lambda: (b"two", True))

    assert not list(folder.glob("*.draft"))


def test_a_folder_that_cannot_be_used_takes_nothing_away(
    opened: Opened, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file")
    filled(opened())

    assert opened().read_metrics().num_rows == 9
    assert "cannot keep an entry of the vault's cache" in caplog.text


PROGRAM = """
import random, sys
from pathlib import Path
from atlas.vault.cache import ShardCache

folder, seed = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(seed)
for _ in range(300):
    number = chance.randrange(30)
    expected = bytes([number]) * (500 + 100 * number)
    cache = ShardCache(folder, 20_000)
    assert cache.open(f"shard {number}", lambda: (expected, True)).read() == expected
    with cache._alone():
        assert sum(entry.stat().st_size for entry in folder.glob("*.shard")) <= 20_000
"""


def test_several_processes_share_it(folder: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), str(seed)], stderr=subprocess.PIPE, text=True)
        for seed in range(4)
    ]
    ended = [process.communicate()[1] for process in running]

    assert ended == [""] * 4
    assert 0 < sum(entry.stat().st_size for entry in entries(folder)) <= 20_000


def test_a_remote_vault_has_the_cache_that_the_settings_ask_for(settings_env: SetEnvironment, tmp_path: Path) -> None:
    settings_env(VAULT_PROVIDER="gcs", GCS_BUCKET_NAME="b")
    vault = get_vault()
    assert isinstance(vault, GCSVault)
    assert vault.cache is not None
    assert (vault.cache.folder, vault.cache.limit) == (settings.home / "cache", 1024 * MB)

    settings_env(VAULT_CACHE_DIR=str(tmp_path / "elsewhere"), VAULT_CACHE_MB="5")
    vault = get_vault()
    assert isinstance(vault, GCSVault)
    assert vault.cache is not None
    assert (vault.cache.folder, vault.cache.limit) == (tmp_path / "elsewhere", 5 * MB)

    settings_env(VAULT_CACHE_MB="0")
    vault = get_vault()
    assert isinstance(vault, GCSVault)
    assert vault.cache is None

    settings_env(VAULT_PROVIDER="local")
    assert isinstance(get_vault(), LocalVault)
