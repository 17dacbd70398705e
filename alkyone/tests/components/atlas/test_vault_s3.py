"""The vault in an S3 bucket, over real HTTP against moto's server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import pytest
from moto.server import ThreadedMotoServer

from alkyone.standins.mishaps import Mishaps, proxy
from alkyone.standins.threads import served
from atlas.errors import ConfigurationError
from atlas.testing import VaultContract
from atlas.vault.s3 import S3Vault

NOT_IMPLEMENTED = (
    b"<Error><Code>NotImplemented</Code>"
    b"<Message>A header you provided implies functionality that is not implemented</Message></Error>"
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Give the address of a store."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture(scope="module")
def session() -> boto3.session.Session:
    """Give the SDK's session: making one takes longer than most tests."""
    return boto3.session.Session("key", "secret", region_name="us-east-1")


@pytest.fixture(scope="module")
def console(server: str, session: boto3.session.Session) -> Any:
    """Give a way to look into the store that is not ours."""
    return session.client("s3", endpoint_url=server)


@pytest.fixture
def bucket(console: Any) -> str:
    name = f"vault-{uuid4().hex}"
    console.create_bucket(Bucket=name)
    return name


@pytest.fixture
def vault(server: str, bucket: str, session: boto3.session.Session) -> S3Vault:
    return S3Vault(bucket, endpoint_url=server, session=session)


class TestS3Vault(VaultContract):
    atomic = False


def test_what_is_stored_can_be_checked_and_opened_by_others(vault: S3Vault, console: Any) -> None:
    vault.write({"a/b.json": b"{}"}, "some")

    found = console.head_object(Bucket=vault.bucket, Key="a/b.json")

    assert found["ContentType"] == "application/json"
    assert found["Metadata"]["sha256"] == hashlib.sha256(b"{}").hexdigest()


def test_what_others_stored_is_replaced(vault: S3Vault, console: Any) -> None:
    console.put_object(Bucket=vault.bucket, Key="a", Body=b"theirs")

    vault.write({"a": b"ours"}, "replace")

    assert vault.read("a") == b"ours"


def test_every_write_says_what_it_replaces(server: str, bucket: str, session: boto3.session.Session) -> None:
    vault = S3Vault(bucket, endpoint_url=server, session=session)
    conditions: list[tuple[bool, bool]] = []

    def note(request: Any, **_: object) -> None:
        conditions.append(("If-None-Match" in request.headers, "If-Match" in request.headers))

    vault._client.meta.events.register("before-sign.s3.PutObject", note)
    vault.provision()
    vault.write({"a": b"1"}, "new")
    vault.write({"a": b"2"}, "replaced")

    assert conditions == [(True, False), (True, False), (True, False), (False, True)]


def test_a_store_without_conditional_writes_is_written_to_all_the_same(
    server: str, bucket: str, session: boto3.session.Session
) -> None:
    mishaps = Mishaps()
    with served(lambda: proxy(server, mishaps)) as address:
        vault = S3Vault(bucket, endpoint_url=address, session=session, attempts=1)
        mishaps.add("status", "PUT", status=501, body=NOT_IMPLEMENTED)

        vault.write({"a": b"1", "b": b"2"}, "new")
        vault.write({"a": b"3"}, "replaced")

        assert (vault.read("a"), vault.read("b")) == (b"3", b"2")
        assert vault.provision() == vault.provision()


def test_without_credentials_it_is_said_what_is_missing(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    with pytest.raises(ConfigurationError, match=r"no usable credentials.*S3_BUCKET"):
        S3Vault("bucket", endpoint_url=server).provision()


def test_prod_runs_with_it(server: str, bucket: str, console: Any, database_url: str, tmp_path: Path) -> None:
    settings = {"ENV": "prod", "DATABASE_URL": database_url, "VAULT_PROVIDER": "s3", "S3_BUCKET": bucket}
    credentials = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "S3_ENDPOINT_URL": server}

    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "atlas", "health", "--json"],
        env={"PATH": os.environ["PATH"], **settings, **credentials},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert json.loads(ended.stdout)["vault"]["healthy"], ended.stderr
    assert [entry["Key"] for entry in console.list_objects_v2(Bucket=bucket)["Contents"]] == ["pleiades.json"]


def test_without_its_extra_it_names_it() -> None:
    program = "import sys; sys.modules['boto3'] = None; from atlas.vault import S3Vault"

    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "ConfigurationError: VAULT_PROVIDER=s3 needs boto3: install pleiades-atlas with its extra s3" in ended.stderr
