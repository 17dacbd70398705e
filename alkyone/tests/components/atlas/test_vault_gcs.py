"""The vault in a bucket of Google Cloud Storage, over real HTTP against the stand-in."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from alkyone.standins.gcs import GCSStandin
from alkyone.standins.mishaps import Kind
from atlas.errors import ConfigurationError, VaultDenied, VaultUnavailable
from atlas.testing import VaultContract
from atlas.vault.gcs import GCSVault

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
BIG = bytes(range(256)) * 40_000  # 10 MB: more than is sent in one request
CORRUPT = {"X-Goog-Hash": "crc32c=AAAAAA==", "Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def server() -> Iterator[GCSStandin]:
    with GCSStandin() as standin:
        yield standin


@pytest.fixture
def vault(server: GCSStandin) -> GCSVault:
    bucket = f"vault-{uuid4().hex}"
    server.make(bucket)
    return GCSVault(bucket, endpoint=server.endpoint, timeout=timedelta(seconds=20), patience=timedelta(seconds=5))


class TestGCSVault(VaultContract):
    atomic = False


def test_every_upload_says_which_generation_it_replaces(vault: GCSVault, server: GCSStandin) -> None:
    server.mishaps.seen.clear()
    vault.provision()
    vault.append_metrics([{"video_id": "a", "timestamp": NOON, "views": 1}])
    vault.write({"a": b"1"}, "new")
    vault.write({"a": BIG}, "replaced")

    uploads = [path for method, path in server.mishaps.seen if method == "POST" and path.startswith("/upload")]
    generations = [re.search(r"ifGenerationMatch=(\d+)", path) for path in uploads]
    assert all(generations)
    assert sum(found is not None and found[1] != "0" for found in generations) == 1
    assert vault.read("a") == BIG


@pytest.mark.parametrize("kind", ["status", "half", "reset", "lost"])
def test_a_large_upload_goes_on_where_it_was_interrupted(vault: GCSVault, server: GCSStandin, kind: Kind) -> None:
    for method in ("POST", "PUT"):
        server.mishaps.add(kind, method)

    vault.write({"a": BIG}, "large")
    server.mishaps.clear()

    assert vault.read("a") == BIG


def test_what_was_damaged_on_the_way_is_never_taken_for_the_object(vault: GCSVault, server: GCSStandin) -> None:
    vault.write({"a": b"true"}, "some")
    server.mishaps.add("status", "GET", status=200, headers=CORRUPT, body=b"false", times=100)

    with pytest.raises(VaultUnavailable, match="damaged on the way"):
        vault.read("a")
    server.mishaps.clear()


def test_an_error_does_not_give_away_an_upload_under_way(vault: GCSVault, server: GCSStandin) -> None:
    server.mishaps.add("status", "PUT", status=403, times=100)

    with pytest.raises(VaultDenied) as caught:
        vault.write({"a": BIG}, "large")
    server.mishaps.clear()

    assert "upload_id" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(None, "cannot be read", id="no file"),
        pytest.param("{", "no credentials", id="no JSON"),
        pytest.param('{"type": "service_account"}', "no credentials", id="half of it"),
        pytest.param("[]", "no credentials", id="something else"),
    ],
)
def test_credentials_that_are_none_are_told(
    vault: GCSVault, server: GCSStandin, tmp_path: Path, text: str | None, says: str
) -> None:
    file = tmp_path / "credentials.json"
    if text is not None:
        file.write_text(text)

    with pytest.raises(ConfigurationError, match=f"GOOGLE_APPLICATION_CREDENTIALS: .*{says}"):
        GCSVault(vault.bucket, endpoint=server.endpoint, credentials=file).provision()


def test_prod_runs_with_it(server: GCSStandin, database_url: str, tmp_path: Path) -> None:
    bucket = f"vault-{uuid4().hex}"
    server.make(bucket)
    settings = {"ENV": "prod", "DATABASE_URL": database_url, "VAULT_PROVIDER": "gcs", "GCS_BUCKET_NAME": bucket}

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "atlas", "health", "--json"],
        env={"PATH": os.environ["PATH"], "STORAGE_EMULATOR_HOST": server.endpoint, **settings},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert json.loads(ended.stdout)["vault"]["healthy"], ended.stderr
    assert server.names(bucket) == ["pleiades.json"]


def test_without_its_extra_it_names_it() -> None:
    program = "import sys; sys.modules['google.cloud.storage'] = None; from atlas.vault import GCSVault"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "ConfigurationError: VAULT_PROVIDER=gcs needs google-cloud-storage: install pleiades-atlas" in ended.stderr
    assert "extra gcs" in ended.stderr
