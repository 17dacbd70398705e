"""The stand-in for Google Cloud Storage answers as the real one did when gcsfs's tests were recorded."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import aiohttp
import orjson
import pytest
from yarl import URL

from alkyone.standins.gcs import GCSStandin

BUCKET = "gcsfs-testing"
OURS = re.compile(r"(/storage/v1/b|/download/storage/v1/b|/upload/storage/v1/b)/")
WITHHELD = {"mediaLink", "selfLink", "etag", "id", "generation", "timeCreated", "updated", "timeStorageClassUpdated"}


@pytest.fixture
def recordings(recorded_data: Path) -> dict[str, list[dict[str, Any]]]:
    folder = recorded_data / "other" / "gcs_gcsfs_recordings"
    if not folder.is_dir():
        pytest.skip("no recordings of Google Cloud Storage")
    return {file.stem: orjson.loads(file.read_bytes()) for file in sorted(folder.glob("*.json"))}


@pytest.fixture
def standin() -> Iterator[GCSStandin]:
    with GCSStandin(BUCKET) as standin:
        yield standin


@pytest.fixture
async def http(standin: GCSStandin) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def exchanges(recordings: dict[str, list[dict[str, Any]]], wanted: str) -> list[dict[str, Any]]:
    return [
        exchange for recording in recordings.values() for exchange in recording if re.search(wanted, _line(exchange))
    ]


def _line(exchange: dict[str, Any]) -> str:
    return f"{exchange['method']} {urlsplit(exchange['uri']).path} {exchange['status']}"


def _here(standin: GCSStandin, exchange: dict[str, Any]) -> URL:
    address = urlsplit(exchange["uri"])
    return URL(f"{standin.endpoint}{address.path}" + (f"?{address.query}" if address.query else ""), encoded=True)


def _object_of(exchange: dict[str, Any]) -> str:
    return unquote(urlsplit(exchange["uri"]).path.partition("/o/")[2])


async def put(
    http: aiohttp.ClientSession, standin: GCSStandin, name: str, data: bytes, content_type: str
) -> dict[str, Any]:
    address = f"{standin.endpoint}/upload/storage/v1/b/{BUCKET}/o"
    query = {"uploadType": "media", "name": name}
    async with http.post(address, params=query, data=data, headers={"Content-Type": content_type}) as answer:
        assert answer.status == 200
        found: dict[str, Any] = await answer.json()
        return found


async def test_every_error_is_told_as_it_was(
    recordings: dict[str, list[dict[str, Any]]], standin: GCSStandin, http: aiohttp.ClientSession
) -> None:
    errors = [
        exchange
        for exchange in exchanges(recordings, r" 4\d\d$")
        if exchange["method"] != "DELETE" and "rewriteTo" not in exchange["uri"]
    ]
    assert {exchange["status"] for exchange in errors} == {404, 409}
    for exchange in errors:
        if there := re.search(r"No such object: ([^/]+)/", exchange["body"]):
            standin.make(there[1])
        body = orjson.dumps({"name": BUCKET}) if exchange["method"] == "POST" else None
        async with http.request(exchange["method"], _here(standin, exchange), data=body) as answer:
            said, recorded = await answer.json(), orjson.loads(exchange["body"])
            assert answer.status == exchange["status"]
        for error in (said["error"], recorded["error"]):
            assert error["message"] == error["errors"][0]["message"]
            if error["message"] in ("Not Found", "The specified bucket does not exist."):  # then, and now
                error["message"] = error["errors"][0]["message"] = "no bucket"
        assert said == recorded


async def test_every_object_is_described_as_it_was(
    recordings: dict[str, list[dict[str, Any]]], standin: GCSStandin, http: aiohttp.ClientSession
) -> None:
    contents = {
        (_object_of(exchange)): exchange["body"].encode()
        for exchange in exchanges(recordings, r"^GET /download/storage/v1/b/gcsfs-testing/o/.* 200$")
    }
    compared = 0
    for exchange in exchanges(recordings, r"^GET /storage/v1/b/gcsfs-testing/o/.+ 200$"):
        recorded = orjson.loads(exchange["body"])
        if recorded.get("kind") != "storage#object":
            continue
        empty = recorded["size"] == "0"
        data = b"" if empty else contents.get(recorded["name"])
        if data is None or len(data) != int(recorded["size"]):
            continue
        stored = await put(http, standin, recorded["name"], data, recorded["contentType"])
        async with http.get(_here(standin, exchange)) as answer:
            said = await answer.json()
            assert answer.headers["Content-Type"] == exchange["headers"]["content-type"][0]
        assert said == stored
        assert set(said) == set(recorded) - {"metadata"}
        assert {name: said[name] for name in set(said) - WITHHELD} == {
            name: recorded[name] for name in set(said) - WITHHELD
        }
        compared += 1
    assert compared > 5


async def test_every_content_comes_with_the_hashes_it_had(
    recordings: dict[str, list[dict[str, Any]]], standin: GCSStandin, http: aiohttp.ClientSession
) -> None:
    compared = 0
    for exchange in exchanges(recordings, r"^GET /download/storage/v1/b/gcsfs-testing/o/.* 200$"):
        data, headers = exchange["body"].encode(), exchange["headers"]
        if len(data) != int(headers["content-length"][0]):
            continue  # not text, so not recorded as it was
        await put(http, standin, _object_of(exchange), data, headers["content-type"][0])
        async with http.get(_here(standin, exchange)) as answer:
            assert await answer.read() == data
            for name in ("x-goog-hash", "content-type", "content-length"):
                assert answer.headers[name] == headers[name][0]
            assert "ETag" in answer.headers
        compared += 1
    assert compared > 5


async def test_every_listing_has_the_form_it_had(
    recordings: dict[str, list[dict[str, Any]]], standin: GCSStandin, http: aiohttp.ClientSession
) -> None:
    listings = [
        (exchange, orjson.loads(exchange["body"]))
        for exchange in exchanges(recordings, r"^GET /storage/v1/b/gcsfs-testing/o/ 200$")
    ]
    for exchange, recorded in listings:
        names = [item["name"] for item in recorded.get("items", [])]
        below = [f"{prefix}x" for prefix in recorded.get("prefixes", [])]
        for name in names + below:
            await put(http, standin, name, b"", "text/plain")
        async with http.get(_here(standin, exchange)) as answer:
            said = await answer.json()
        if not names and not below:  # recorded before the first object was there
            continue
        assert set(said) == set(recorded)
        assert set(names) <= {item["name"] for item in said.get("items", [])}
        assert set(recorded.get("prefixes", [])) <= set(said.get("prefixes", []))
        query = parse_qs(urlsplit(exchange["uri"]).query)
        assert all(item["name"].startswith(query.get("prefix", [""])[0]) for item in said.get("items", []))
    async with http.get(f"{standin.endpoint}/storage/v1/b/{BUCKET}/o", params={"prefix": "nobody/"}) as answer:
        assert await answer.json() == {"kind": "storage#objects"}  # as an empty listing was recorded


async def test_a_resumable_upload_is_acknowledged_part_by_part_as_it_was(
    recordings: dict[str, list[dict[str, Any]]], standin: GCSStandin, http: aiohttp.ClientSession
) -> None:
    large = [exchange for exchange in recordings["test_large_upload"] if "upload_id" in exchange["uri"]]
    parts = [exchange for exchange in large if exchange["status"] == 308]
    ends = list(dict.fromkeys(int(exchange["headers"]["range"][0].rpartition("-")[2]) for exchange in parts))
    assert ends == sorted(ends)
    assert ends[0] == 262_143

    begin = f"{standin.endpoint}/upload/storage/v1/b/{BUCKET}/o"
    async with http.post(begin, params={"uploadType": "resumable"}, data=orjson.dumps({"name": "large"})) as answer:
        assert answer.status == 200
        session = answer.headers["Location"]
    assert "upload_id=" in session
    sent = 0
    for end in ends:
        span = {"Content-Range": f"bytes {sent}-{end}/*"}
        async with http.post(URL(session, encoded=True), data=b"x" * (end + 1 - sent), headers=span) as answer:
            assert (answer.status, answer.reason) == (308, "Resume Incomplete")
            assert answer.headers["Range"] == f"bytes=0-{end}"
        sent = end + 1
    span = {"Content-Range": f"bytes {sent}-{sent}/{sent + 1}"}
    async with http.post(URL(session, encoded=True), data=b"x", headers=span) as answer:
        assert answer.status == 200
        said = await answer.json()
    recorded = next(orjson.loads(exchange["body"]) for exchange in large if exchange["status"] == 200)
    assert set(said) == set(recorded)
    assert said["size"] == str(sent + 1)
