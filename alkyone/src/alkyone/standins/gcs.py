"""A stand-in for Google Cloud Storage: the part of its JSON API that clients of objects use.

Generations and their preconditions hold, as the emulator package's do not; uploads are simple, multipart or resumable,
and their checksums are checked. Buckets and objects live in memory.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import count
from types import TracebackType
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import google_crc32c
import orjson
from aiohttp import BodyPartReader, MultipartReader, web

from alkyone.standins.mishaps import Mishaps
from alkyone.standins.threads import served
from atlas import clock

PAGE = 1000
"""Objects a listing names at most (Cloud Storage JSON API, "Objects: list", maxResults)."""

_FIRST_GENERATION = 1_620_658_572_000_000  # microseconds of a moment, as Google's are
_GRANULE = 256 * 1024  # parts of a resumable upload are multiples of it, but the last


class _Refused(Exception):
    """An error in Google's words."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message

    def answer(self) -> web.Response:
        if self.status == 304:
            return web.Response(status=304)
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        return _json({"error": {"code": self.status, "message": self.message, "errors": [detail]}}, self.status)


@dataclass(frozen=True)
class _Object:
    bucket: str
    name: str
    data: bytes
    generation: int
    content_type: str
    created: str
    metageneration: int = 1
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def crc32c(self) -> str:
        return base64.b64encode(google_crc32c.value(self.data).to_bytes(4, "big")).decode()

    @property
    def md5(self) -> str:
        return base64.b64encode(hashlib.md5(self.data, usedforsecurity=False).digest()).decode()

    @property
    def etag(self) -> str:
        return base64.b64encode(f"{self.generation}/{self.metageneration}".encode()).decode()

    def resource(self, host: str) -> dict[str, Any]:
        """Describe it as the API does."""
        quoted = quote(self.name, safe="")
        where = f"b/{self.bucket}/o/{quoted}"
        return {
            "kind": "storage#object",
            "id": f"{self.bucket}/{self.name}/{self.generation}",
            "selfLink": f"{host}/storage/v1/{where}",
            "mediaLink": f"{host}/download/storage/v1/{where}?generation={self.generation}&alt=media",
            "name": self.name,
            "bucket": self.bucket,
            "generation": str(self.generation),
            "metageneration": str(self.metageneration),
            "contentType": self.content_type,
            "storageClass": "STANDARD",
            "size": str(len(self.data)),
            "md5Hash": self.md5,
            "crc32c": self.crc32c,
            "etag": self.etag,
            "timeCreated": self.created,
            "updated": self.created,
            "timeStorageClassUpdated": self.created,
            **({"metadata": dict(self.metadata)} if self.metadata else {}),
        }


@dataclass
class _Upload:
    """A resumable upload under way; once ``done`` it answers the same again."""

    bucket: str
    wanted: dict[str, Any]
    query: Mapping[str, str]
    data: bytearray = field(default_factory=bytearray)
    done: _Object | None = None


class GCSStandin:
    """A server with ``buckets``, in a thread of its own, for the length of a ``with`` block.

    ``mishaps`` befall its requests and remember them.
    """

    def __init__(self, *buckets: str) -> None:
        self.mishaps = Mishaps()
        self.endpoint = ""
        self._buckets: dict[str, dict[str, _Object]] = {name: {} for name in buckets}
        self._uploads: dict[str, _Upload] = {}
        self._generations: Iterator[int] = count(_FIRST_GENERATION)
        self._stack = ExitStack()

    def __enter__(self) -> GCSStandin:
        self.endpoint = self._stack.enter_context(served(self.application))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def make(self, bucket: str) -> None:
        """Have one more bucket, empty."""
        self._buckets[bucket] = {}

    def copy(self, bucket: str, name: str) -> None:
        """Have one more bucket, with what lies in another."""
        self._buckets[name] = {path: replace(found, bucket=name) for path, found in self._buckets[bucket].items()}

    def names(self, bucket: str) -> list[str]:
        """List what lies in a bucket."""
        return sorted(self._buckets[bucket])

    def application(self) -> web.Application:
        """Make the server."""
        app = web.Application(client_max_size=1 << 30, middlewares=[self.mishaps.middleware, _in_googles_words])
        routes = app.router
        for slash in ("", "/"):  # clients of old write one at the end
            routes.add_post(f"/storage/v1/b{slash}", self._make_bucket)
            routes.add_get(f"/storage/v1/b/{{bucket}}/o{slash}", self._list)
        routes.add_get("/storage/v1/b/{bucket}", self._get_bucket)
        routes.add_delete("/storage/v1/b/{bucket}", self._delete_bucket)
        routes.add_post("/storage/v1/b/{bucket}/o/{name:.+}/rewriteTo/b/{bucket2}/o/{name2:.+}", self._rewrite)
        for method, handler in (("GET", self._get), ("DELETE", self._delete), ("PATCH", self._patch)):
            routes.add_route(method, "/storage/v1/b/{bucket}/o/{name:.+}", handler)
        routes.add_get("/download/storage/v1/b/{bucket}/o/{name:.+}", self._download)
        routes.add_post("/upload/storage/v1/b/{bucket}/o", self._upload)
        routes.add_put("/upload/storage/v1/b/{bucket}/o", self._resume)
        return app

    # -- Buckets ------------------------------------------------------------------------------------------------------

    async def _make_bucket(self, request: web.Request) -> web.Response:
        name = orjson.loads(await request.read())["name"]
        if name in self._buckets:
            raise _Refused(409, "conflict", "You already own this bucket. Please select another name.")
        self._buckets[name] = {}
        return _json(_bucket(name))

    async def _get_bucket(self, request: web.Request) -> web.Response:
        self._bucket(request)
        return _json(_bucket(request.match_info["bucket"]))

    async def _delete_bucket(self, request: web.Request) -> web.Response:
        if self._bucket(request):
            raise _Refused(409, "conflict", "The bucket you tried to delete is not empty.")
        del self._buckets[request.match_info["bucket"]]
        return web.Response(status=204)

    async def _list(self, request: web.Request) -> web.Response:
        bucket, query = self._bucket(request), request.query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        folders: set[str] = set()
        found: list[_Object] = []
        for name in sorted(bucket, key=str.encode):
            if not name.startswith(prefix):
                continue
            head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if cut:
                folders.add(prefix + head + cut)
            else:
                found.append(bucket[name])
        start = int(base64.b64decode(query["pageToken"])) if query.get("pageToken") else 0
        end = start + min(int(query.get("maxResults", PAGE)), PAGE)
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if end < len(found):
            answer["nextPageToken"] = base64.b64encode(str(end).encode()).decode()
        if folders:
            answer["prefixes"] = sorted(folders)
        if found[start:end]:
            answer["items"] = [entry.resource(_host(request)) for entry in found[start:end]]
        return _json(answer)

    # -- Objects ------------------------------------------------------------------------------------------------------

    async def _get(self, request: web.Request) -> web.Response:
        if request.query.get("alt") == "media":
            return await self._download(request)
        found = self._object(request)
        return _json(found.resource(_host(request)), headers={"ETag": found.etag})

    async def _download(self, request: web.Request) -> web.Response:
        try:
            found = self._object(request)
        except _Refused as exc:  # here errors are plain text
            return web.Response(status=exc.status, text=exc.message)
        data, status = found.data, 200
        headers = {
            "ETag": found.etag,
            "X-Goog-Generation": str(found.generation),
            "X-Goog-Metageneration": str(found.metageneration),
            "X-Goog-Hash": f"crc32c={found.crc32c},md5={found.md5}",
            "X-Goog-Storage-Class": "STANDARD",
            "Content-Type": found.content_type,
        }
        if part := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")):
            start, end = int(part[1]), min(int(part[2] or len(data)), len(data) - 1)
            if start >= len(data):
                return web.Response(status=416, headers={"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[start : end + 1], 206
        return web.Response(status=status, body=data, headers=headers)

    async def _delete(self, request: web.Request) -> web.Response:
        found = self._object(request)
        del self._buckets[found.bucket][found.name]
        return web.Response(status=204)

    async def _patch(self, request: web.Request) -> web.Response:
        found, changes = self._object(request), orjson.loads(await request.read())
        changed = replace(
            found,
            metageneration=found.metageneration + 1,
            content_type=changes.get("contentType", found.content_type),
            metadata={**found.metadata, **changes.get("metadata", {})},
        )
        self._buckets[found.bucket][found.name] = changed
        return _json(changed.resource(_host(request)))

    async def _rewrite(self, request: web.Request) -> web.Response:
        source = self._object(request)
        bucket, name = request.match_info["bucket2"], request.match_info["name2"]
        copy = self._store(bucket, name, source.data, {"contentType": source.content_type}, request.query)
        size = str(len(copy.data))
        return _json(
            {
                "kind": "storage#rewriteResponse",
                "totalBytesRewritten": size,
                "objectSize": size,
                "done": True,
                "resource": copy.resource(_host(request)),
            }
        )

    # -- Uploads ------------------------------------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.Response:
        if "upload_id" in request.query:
            return await self._resume(request)  # some send the parts by POST
        self._bucket(request)
        bucket, how = request.match_info["bucket"], request.query.get("uploadType")
        wanted: dict[str, Any]
        if how == "media":
            wanted = {"contentType": request.headers.get("Content-Type")}
            stored = self._store(bucket, request.query["name"], await request.read(), wanted, request.query)
        elif how == "multipart":
            wanted, data = await _parts(await request.multipart())
            stored = self._store(bucket, wanted.get("name") or request.query["name"], data, wanted, request.query)
        elif how == "resumable":
            return await self._begin(request)
        else:
            raise _Refused(400, "invalid", f"Invalid uploadType: {how}")
        return _json(stored.resource(_host(request)), headers={"ETag": stored.etag})

    async def _begin(self, request: web.Request) -> web.Response:
        body = await request.read()
        wanted: dict[str, Any] = orjson.loads(body) if body else {}
        wanted.setdefault("name", request.query.get("name"))
        wanted.setdefault("contentType", request.headers.get("X-Upload-Content-Type"))
        bucket = request.match_info["bucket"]
        _check(self._bucket(request).get(wanted["name"]), request.query)
        name = uuid4().hex
        self._uploads[name] = _Upload(bucket, wanted, dict(request.query))
        address = f"{_host(request)}/upload/storage/v1/b/{bucket}/o?uploadType=resumable&upload_id={name}"
        return web.Response(headers={"Location": address, "X-GUploader-UploadID": name})

    async def _resume(self, request: web.Request) -> web.Response:
        upload = self._uploads.get(request.query.get("upload_id", ""))
        if upload is None:
            raise _Refused(404, "notFound", "Upload session not found.")
        data = await request.read()
        if upload.done is None:
            self._add(upload, data, request.headers.get("Content-Range", ""))
        if upload.done is None:
            kept = {"Range": f"bytes=0-{len(upload.data) - 1}"} if upload.data else {}
            return web.Response(status=308, reason="Resume Incomplete", headers=kept)
        return _json(upload.done.resource(_host(request)), headers={"ETag": upload.done.etag})

    def _add(self, upload: _Upload, data: bytes, span: str) -> None:
        found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", span)
        total = len(data) if found is None else None if found[3] == "*" else int(found[3])
        start = int(found[1]) if found and found[1] else 0
        if start > len(upload.data):
            raise _Refused(400, "invalid", f"Invalid request. There is a gap before byte {start}.")
        fresh = data[len(upload.data) - start :]  # what was sent before is not taken twice
        if total is None or start + len(data) < total:
            fresh = fresh[: len(fresh) // _GRANULE * _GRANULE]
        upload.data += fresh
        if total is not None and len(upload.data) == total:
            upload.done = self._store(
                upload.bucket, upload.wanted["name"], bytes(upload.data), upload.wanted, upload.query
            )

    def _store(
        self, bucket: str, name: str, data: bytes, wanted: Mapping[str, Any], query: Mapping[str, str]
    ) -> _Object:
        if bucket not in self._buckets:
            raise _no_bucket()
        _check(self._buckets[bucket].get(name), query)
        if not name or len(name.encode()) > 1024 or "\r" in name or "\n" in name or name in (".", ".."):
            raise _Refused(400, "invalid", f"The specified object name is not valid: {name!r}")
        stored = _Object(
            bucket,
            name,
            data,
            next(self._generations),
            wanted.get("contentType") or "application/octet-stream",
            clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            metadata=wanted.get("metadata") or {},
        )
        for label, is_so in (("md5Hash", stored.md5), ("crc32c", stored.crc32c)):
            if wanted.get(label) not in (None, is_so):
                raise _Refused(
                    400, "invalid", f"Provided {label} doesn't match calculated {label}: {wanted[label]}, {is_so}"
                )
        self._buckets[bucket][name] = stored
        return stored

    def _bucket(self, request: web.Request) -> dict[str, _Object]:
        try:
            return self._buckets[request.match_info["bucket"]]
        except KeyError:
            raise _no_bucket() from None

    def _object(self, request: web.Request) -> _Object:
        bucket, name = self._bucket(request), request.match_info["name"]
        found = bucket.get(name)
        if found is None or request.query.get("generation", str(found.generation)) != str(found.generation):
            raise _Refused(404, "notFound", f"No such object: {request.match_info['bucket']}/{name}")
        _check(found, request.query)
        return found


@web.middleware
async def _in_googles_words(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except _Refused as exc:
        return exc.answer()
    except web.HTTPException as exc:
        return _Refused(exc.status, "notFound" if exc.status == 404 else "invalid", exc.reason).answer()
    return answer


def _check(found: _Object | None, query: Mapping[str, str]) -> None:
    """Hold a request to what it expects to find."""
    generation = found.generation if found else 0
    metageneration = found.metageneration if found else 0
    failed = _Refused(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
    if int(query.get("ifGenerationMatch", generation)) != generation:
        raise failed
    if int(query.get("ifMetagenerationMatch", metageneration)) != metageneration:
        raise failed
    if "ifGenerationNotMatch" in query and int(query["ifGenerationNotMatch"]) == generation:
        raise _Refused(304, "notModified", "")


async def _parts(reader: MultipartReader) -> tuple[dict[str, Any], bytes]:
    """Take a multipart upload apart: what is wanted, and the content."""
    parts = [  # each is to be read before the next
        (part.headers.get("Content-Type"), bytes(await part.read()))
        async for part in reader
        if isinstance(part, BodyPartReader)
    ]
    if len(parts) != 2:
        raise _Refused(400, "badRequest", "Malformed multipart body.")
    (_, document), (content_type, data) = parts
    return {"contentType": content_type, **orjson.loads(document)}, data


def _no_bucket() -> _Refused:
    return _Refused(404, "notFound", "The specified bucket does not exist.")


def _bucket(name: str) -> dict[str, Any]:
    return {"kind": "storage#bucket", "id": name, "name": name, "location": "US", "storageClass": "STANDARD"}


def _host(request: web.Request) -> str:
    return f"{request.scheme}://{request.host}"


def _json(document: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
        content_type="application/json",
        charset="UTF-8",
        headers=headers,
    )
