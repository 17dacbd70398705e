"""The stand-in answers as the Hub did: recorded exchanges of its client, replayed."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from alkyone.standins.hub import HubStandin
from alkyone.standins.hub.repository import git_oid

HUB = "https://huggingface.co"
SPOKEN = re.compile(
    r"/api/repos/(create|delete)|/api/spaces/user/tmp_test_space/(preupload|commit|revision)/.*|/api/models/[\w./-]+"
)
CHANCE = {"commitOid", "commitUrl", "id", "_id"}  # values that are new in every exchange


@pytest.fixture
def hub() -> Iterator[HubStandin]:
    with HubStandin() as hub:
        yield hub


@pytest.fixture
async def http(hub: HubStandin) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {hub.token}"}
    async with aiohttp.ClientSession(hub.endpoint, headers=headers) as session:
        yield session


@pytest.fixture
def cassettes(recorded_data: Path) -> list[Path]:
    found = sorted((recorded_data / "other" / "hf_hub_cassettes").glob("*.json"))
    if not found:
        pytest.skip("no recorded exchanges of the Hub")
    return found


def shape(value: Any) -> Any:
    """Tell a document's structure: names and types."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(value).__name__


async def test_every_recorded_exchange_is_answered_as_it_was(
    hub: HubStandin, http: aiohttp.ClientSession, cassettes: list[Path]
) -> None:
    replayed = 0
    for cassette in cassettes:
        hub.repositories.clear()
        hub.renamed.clear()
        for exchange in orjson.loads(cassette.read_bytes()):
            path = exchange["uri"].removeprefix(HUB)
            if not SPOKEN.fullmatch(path.partition("?")[0]):
                continue
            prepare(hub, exchange, path)
            body = None if exchange["req_body"] == "None" else exchange["req_body"].encode()
            kind = "application/x-ndjson" if "/commit/" in path else "application/json"
            headers = {} if body is None else {"Content-Type": kind}
            async with http.request(
                exchange["method"], path, data=body, headers=headers, allow_redirects=False
            ) as answer:
                text = await answer.text()
            told = f"{cassette.name}: {exchange['method']} {path}"
            assert answer.status == exchange["status"], told
            assert answer.headers["Content-Type"] == exchange["headers"]["Content-Type"][0], told
            compare(exchange, path, text, told)
            assert answer.headers.get("Location") == (exchange["headers"].get("Location") or [None])[0], told
            replayed += 1
    assert replayed >= 25


def prepare(hub: HubStandin, exchange: dict[str, Any], path: str) -> None:
    """Make the world in which the exchange was recorded."""
    if exchange["status"] == 409:
        hub.create("user/tmp_test_space", "space")
    name = path.partition("?")[0].removeprefix("/api/models/")
    if exchange["status"] == 307:
        new = exchange["headers"]["Location"][0].removeprefix("/api/models/")
        hub.renamed[name] = new
    elif path.startswith("/api/models/"):
        hub.create(name, "model", private=False)


def compare(exchange: dict[str, Any], path: str, text: str, told: str) -> None:
    if not exchange["headers"]["Content-Type"][0].startswith("application/json"):
        assert text == exchange["body"], told
        return
    ours, theirs = orjson.loads(text), orjson.loads(exchange["body"])
    if path.startswith("/api/models/"):  # theirs has much that belongs to models
        common = ours.keys() & theirs.keys()
        assert len(common) >= 10, told
        assert {name: type(ours[name]) for name in common} == {name: type(theirs[name]) for name in common}, told
        return
    assert shape(ours) == shape(theirs), told
    steady = {name for name, value in theirs.items() if name not in CHANCE and HUB not in str(value)}
    assert {name: ours[name] for name in steady} == {name: theirs[name] for name in steady}, told


def test_files_have_the_names_that_git_gave_them_on_the_hub(cassettes: list[Path]) -> None:
    exchanges = [
        exchange for cassette in cassettes for exchange in orjson.loads(cassette.read_bytes()) if exchange["req_body"]
    ]
    written = next(exchange for exchange in exchanges if "/commit/" in exchange["uri"])
    content = orjson.loads(written["req_body"].splitlines()[1])["value"]["content"]
    known = {
        file["oid"]
        for exchange in exchanges
        if "/preupload/" in exchange["uri"]
        for file in orjson.loads(exchange["body"])["files"]
        if "oid" in file
    }

    assert known == {git_oid(base64.b64decode(content))}
