"""The stand-in's wire: what the Hub answers to its client, over HTTP, in a thread of its own."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson
from aiohttp import web

from alkyone.standins.hub.faults import Faults
from alkyone.standins.hub.repository import Blob, Commit, Refused, Repository
from atlas import clock

WRITE_TOKEN = "hf_standinWrite"  # noqa: S105
READ_TOKEN = "hf_standinRead"  # noqa: S105
PAGE = 1000  # entries of a tree, on one page
COMMITS_PAGE = 50
START_SECONDS = 30.0
HOUR = 3600.0

_KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
_SIGNATURE = "X-Amz-Signature"
_PAGE_FOR_PEOPLE = "<!DOCTYPE html>\n<html><head><title>Hugging Face</title></head><body>503</body></html>\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Call(NamedTuple):
    """A request that came, and the status it got; 0 when it got no answer."""

    method: str
    path: str
    status: int


class HubStandin:
    """The Hub on a port of this machine, for the length of a ``with`` block.

    ``token`` may write, ``read_token`` may not. ``commits_per_hour`` is the Hub's limit for a repository; hours are
    real ones. Large files are sent to and fetched from another origin, which refuses the Hub's own tokens, as S3 does.
    """

    def __init__(self, *, commits_per_hour: int | None = None, page: int = PAGE) -> None:
        self.token = WRITE_TOKEN
        self.read_token = READ_TOKEN
        self.faults = Faults()
        self.calls: list[Call] = []
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.renamed: dict[str, str] = {}
        self.violations: list[str] = []
        self.port = 0
        self._page = page
        self._per_hour = commits_per_hour
        self._committed: dict[str, list[float]] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    @property
    def endpoint(self) -> str:
        """The root address."""
        return f"http://127.0.0.1:{self.port}"

    def repository(self, name: str, kind: str = "dataset") -> Repository:
        """Fetch a repository.

        Raises:
            KeyError: there is none.
        """
        return self.repositories[kind, name]

    def create(self, name: str, kind: str = "dataset", *, private: bool = True) -> Repository:
        """Make a repository, as its owner does on the web site."""
        repository = Repository(kind, name, private, clock.now())
        self.repositories[kind, name] = repository
        return repository

    def rename(self, old: str, new: str, kind: str = "dataset") -> None:
        """Give a repository another name; the old one redirects."""
        repository = self.repositories.pop((kind, old))
        repository.name = new
        self.repositories[kind, new] = repository
        self.renamed[old] = new

    def count(self, method: str) -> int:
        """Count the calls of ``method``."""
        return sum(call.method == method for call in list(self.calls))

    # -- Life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="hub-standin", daemon=True)
        self._thread.start()
        if not ready.wait(START_SECONDS):
            raise RuntimeError("the stand-in did not start")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        try:
            await self._stop.wait()
        finally:
            await runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30)
        repo = r"/api/{kinds:models|datasets|spaces}/{owner}/{repo}"
        large = r"/{kinds:datasets|spaces}/{owner}/{repo}.git/info/lfs/objects/batch"
        file = r"/{kinds:datasets|spaces}/{owner}/{repo}/resolve/{revision}/{path:.+}"
        for verb, path, name, handler in (
            ("POST", "/api/repos/create", "create_repo", self._create_repo),
            ("DELETE", "/api/repos/delete", "delete_repo", self._delete_repo),
            ("GET", "/api/whoami-v2", "whoami", self._whoami),
            ("POST", "/api/validate-yaml", "validate_yaml", self._validate_yaml),
            ("GET", r"/api/{kinds:models|datasets|spaces}/{repo}", "info", self._info),  # a name of old, without owner
            ("GET", repo, "info", self._info),
            ("GET", repo + "/revision/{revision}", "info", self._info),
            ("GET", repo + "/auth-check", "auth_check", self._auth_check),
            ("GET", repo + "/auth-check/write", "auth_check", self._auth_check),
            ("POST", repo + "/preupload/{revision}", "preupload", self._preupload),
            ("POST", repo + "/commit/{revision}", "commit", self._commit),
            ("GET", repo + "/commits/{revision}", "commits", self._commits),
            ("GET", repo + "/tree/{revision}", "tree", self._tree),
            ("GET", repo + "/tree/{revision}/{path:.+}", "tree", self._tree),
            ("POST", repo + "/paths-info/{revision}", "paths_info", self._paths_info),
            ("POST", large, "lfs_batch", self._lfs_batch),
            ("PUT", "/_large/{oid}", "lfs_put", self._lfs_put),
            ("POST", "/_large/{oid}/verify", "lfs_verify", self._lfs_verify),
            ("*", file, "resolve", self._resolve),
            ("*", "/{owner}/{repo}/resolve/{revision}/{path:.+}", "resolve", self._resolve),  # of a model
            ("GET", "/_cdn/{oid}", "cdn", self._cdn),
        ):
            app.router.add_route(verb, path, self._named(name, handler))
        return app

    # -- Every request ------------------------------------------------------------------------------------------------

    def _named(self, name: str, handler: Handler) -> Handler:
        async def named(request: web.Request) -> web.StreamResponse:
            status = 0
            try:
                response = await self._struck(request, name, handler)
                status = response.status
            except Refused as refused:
                status = refused.status
                headers = {"X-Error-Message": refused.message} | refused.headers
                if refused.code:
                    headers["X-Error-Code"] = refused.code
                return _json({"error": refused.message}, status=status, headers=headers)
            except web.HTTPException as exc:
                status = exc.status
                raise
            finally:
                self.calls.append(Call(name, request.path, status))
            return response

        return named

    async def _struck(self, request: web.Request, name: str, handler: Handler) -> web.StreamResponse:
        """Answer, unless a fault comes between."""
        fault = self.faults.strike(name)
        if fault is None:
            return await handler(request)
        match fault.kind:
            case "status":
                headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                raise Refused(fault.status, fault.message, headers=headers)
            case "hang" | "done_hang":
                if fault.kind == "done_hang":
                    await handler(request)
                fault.struck.set()
                await self._stop.wait()
            case "half":
                await request.content.read((request.content_length or 0) // 2)
                raise Refused(503, "Please reduce your request rate.")
            case "html":
                return web.Response(text=_PAGE_FOR_PEOPLE, content_type="text/html")
            case "lost":
                await handler(request)
            case "lost_500":
                await handler(request)
                raise Refused(500, "Internal Error - We're working hard to fix this as soon as possible!")
            case "truncated":
                answer = await handler(request)
                body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b""
                half = web.StreamResponse(headers={"Content-Length": str(len(body))})
                await half.prepare(request)
                await half.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError

    # -- Who asks for what --------------------------------------------------------------------------------------------

    def _may(self, request: web.Request, *, write: bool = False) -> bool:
        """Check the token; say whether there is one.

        Raises:
            Refused: it is not ours, or it may not write.
        """
        header = request.headers.get("Authorization")
        if header is None:
            if write:
                raise Refused(401, "Invalid username or password.")
            return False
        if header not in (f"Bearer {self.token}", f"Bearer {self.read_token}"):
            raise Refused(401, "Invalid credentials in Authorization header")
        if write and header != f"Bearer {self.token}":
            raise Refused(403, "Forbidden: you must use a write token to upload to a repository.")
        return True

    def _found(self, request: web.Request, *, write: bool = False) -> Repository:
        known = self._may(request, write=write)
        match = request.match_info
        name = f"{match['owner']}/{match['repo']}" if "owner" in match else match["repo"]
        if name in self.renamed:
            moved = request.rel_url.raw_path.replace(name, self.renamed[name], 1)
            location = f"{moved}?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else moved
            raise web.HTTPTemporaryRedirect(location, text=f"Temporary Redirect. Redirecting to {location}")
        repository = self.repositories.get((_KINDS[match.get("kinds", "models")], name))
        if repository is None or (repository.private and not known):
            raise Refused(404 if known else 401, "Repository not found", "RepoNotFound")
        return repository

    def _other_origin(self, path: str) -> str:
        return f"http://localhost:{self.port}{path}?{_SIGNATURE}=standin"

    def _signed(self, request: web.Request) -> None:
        if "Authorization" in request.headers:
            self.violations.append(f"a token was sent to another origin: {request.path}")
            raise Refused(400, "Only one auth mechanism allowed")
        if _SIGNATURE not in request.query:
            raise Refused(403, "AccessDenied")

    # -- Repositories -------------------------------------------------------------------------------------------------

    async def _create_repo(self, request: web.Request) -> web.Response:
        self._may(request, write=True)
        asked = await request.json()
        kind, name = asked.get("type") or "model", f"{asked.get('organization') or 'me'}/{asked['name']}"
        url = f"{self.endpoint}/{'' if kind == 'model' else f'{kind}s/'}{name}"
        if (kind, name) in self.repositories:
            return _json({"error": f"You already created this {kind} repo", "url": url}, status=409)
        self.create(name, kind, private=asked.get("private") is True or asked.get("visibility") == "private")
        return _json({"url": url, "name": name, "id": hashlib.sha256(name.encode()).hexdigest()[:24]})

    async def _delete_repo(self, request: web.Request) -> web.Response:
        self._may(request, write=True)
        asked = await request.json()
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if self.repositories.pop((asked.get("type") or "model", name), None) is None:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return web.Response(text="OK")

    async def _whoami(self, request: web.Request) -> web.Response:
        if not self._may(request):
            raise Refused(401, "Invalid username or password.")
        return _json({"type": "user", "id": "1", "name": "me", "fullname": "me", "orgs": []})

    async def _validate_yaml(self, request: web.Request) -> web.Response:
        content = (await request.json())["content"]
        if not content.startswith("---\n"):
            return _json({"errors": [], "warnings": [{"message": "empty or missing yaml metadata in repo card"}]})
        return _json({"errors": [], "warnings": []})

    async def _auth_check(self, request: web.Request) -> web.Response:
        self._found(request, write=request.path.endswith("/write"))
        return web.Response(text="OK")

    async def _info(self, request: web.Request) -> web.Response:
        repository = self._found(request)
        commit = repository.at(request.match_info.get("revision", "main"))
        document = {
            "_id": hashlib.sha256(repository.name.encode()).hexdigest()[:24],
            "id": repository.name,
            "author": repository.name.partition("/")[0],
            "sha": commit.oid,
            "lastModified": _iso(commit.at),
            "createdAt": _iso(repository.created),
            "private": repository.private,
            "disabled": False,
            "gated": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
            "siblings": [{"rfilename": path} for path in sorted(commit.files)],
            "xetEnabled": False,
        }
        if wanted := request.query.getall("expand", []):
            return _json({name: document[name] for name in ("_id", "id", *wanted)})
        return _json({name: value for name, value in document.items() if name != "xetEnabled"})

    # -- Writing ------------------------------------------------------------------------------------------------------

    async def _preupload(self, request: web.Request) -> web.Response:
        repository = self._found(request, write=True)
        commit = repository.at(request.match_info["revision"])
        asked = await request.json()
        files = []
        for file in asked["files"]:
            path, blob = file["path"], commit.files.get(file["path"])
            answer: dict[str, Any] = {
                "path": path,
                "uploadMode": repository.upload_mode(path, file["size"]),
                "shouldIgnore": repository.ignores(path, asked.get("gitIgnore")),
            }
            if blob is not None:
                answer["oid"] = blob.sha256 if blob.lfs else blob.oid
            files.append(answer)
        return _json({"files": files, "commitOid": commit.oid})

    async def _lfs_batch(self, request: web.Request) -> web.Response:
        repository = self._found(request, write=True)
        asked = await request.json()
        objects: list[dict[str, Any]] = []
        for wanted in asked["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"], "authenticated": True}
            if wanted["oid"] not in repository.large:
                upload = f"/_large/{wanted['oid']}"
                answer["actions"] = {
                    "upload": {"href": self._other_origin(upload) + f"&for={repository.name}", "header": {}},
                    "verify": {"href": f"{self.endpoint}{upload}/verify?for={repository.name}", "header": {}},
                }
            objects.append(answer)
        return _json({"transfer": "basic", "objects": objects}, content_type="application/vnd.git-lfs+json")

    async def _lfs_put(self, request: web.Request) -> web.Response:
        self._signed(request)
        blob = Blob(await request.read(), lfs=True)
        if blob.sha256 != request.match_info["oid"]:
            raise Refused(400, "BadDigest")
        if not blob.data:
            raise Refused(501, "A header you provided implies functionality that is not implemented.")
        self._holder(request).large[blob.sha256] = blob
        return web.Response()

    async def _lfs_verify(self, request: web.Request) -> web.Response:
        self._may(request, write=True)
        asked = await request.json()
        blob = self._holder(request).large.get(asked["oid"])
        if blob is None or len(blob.data) != asked["size"]:
            raise Refused(404, "the object was not uploaded")
        return web.Response()

    def _holder(self, request: web.Request) -> Repository:
        return next(repository for (_, name), repository in self.repositories.items() if name == request.query["for"])

    async def _commit(self, request: web.Request) -> web.Response:
        repository = self._found(request, write=True)
        if request.match_info["revision"] != "main":
            raise Refused(404, f"Invalid rev id: {request.match_info['revision']}", "RevisionNotFound")
        lines = [orjson.loads(line) for line in (await request.read()).splitlines() if line]
        self._within_limit(repository.name)
        commit = repository.commit(lines, clock.now())
        self._committed.setdefault(repository.name, []).append(time.monotonic())
        return _json(
            {
                "success": True,
                "commitOid": commit.oid,
                "commitUrl": f"{self.endpoint}/{request.match_info['kinds']}/{repository.name}/commit/{commit.oid}",
                "hookOutput": "",
            }
        )

    def _within_limit(self, name: str) -> None:
        now = time.monotonic()
        recent = [at for at in self._committed.get(name, []) if at > now - HOUR]
        if self._per_hour is not None and len(recent) >= self._per_hour:
            wait = int(recent[0] + HOUR - now) + 1
            message = f"You have exceeded the rate limit for repository commits ({self._per_hour} per hour)."
            raise Refused(429, message, headers={"Retry-After": str(wait)})

    # -- Reading ------------------------------------------------------------------------------------------------------

    async def _commits(self, request: web.Request) -> web.Response:
        repository = self._found(request)
        commit = repository.at(request.match_info["revision"])
        line = repository.commits[: repository.commits.index(commit) + 1]
        return self._paged(request, [_described(commit) for commit in reversed(line)], COMMITS_PAGE)

    async def _tree(self, request: web.Request) -> web.Response:
        commit = self._found(request).at(request.match_info["revision"])
        recursive = request.query.get("recursive", "").lower() in ("1", "true")
        return self._paged(request, commit.tree(request.match_info.get("path", ""), recursive=recursive), self._page)

    def _paged(self, request: web.Request, items: list[dict[str, Any]], size: int) -> web.Response:
        start = int(request.query.get("cursor", 0))
        headers = {}
        if start + size < len(items):
            following = request.url.update_query(cursor=str(start + size))
            headers["Link"] = f'<{following}>; rel="next"'
        return _json(items[start : start + size], headers=headers)

    async def _paths_info(self, request: web.Request) -> web.Response:
        commit = self._found(request).at(request.match_info["revision"])
        if request.content_type == "application/json":
            paths: Iterable[str] = (await request.json())["paths"]
        else:
            paths = [str(path) for path in (await request.post()).getall("paths", [])]
        return _json([entry for path in dict.fromkeys(paths) if (entry := commit.entry(path)) is not None])

    async def _resolve(self, request: web.Request) -> web.Response:
        commit = self._found(request).at(request.match_info["revision"])
        blob = commit.files.get(request.match_info["path"])
        if blob is None:
            raise Refused(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.oid})
        headers = {"X-Repo-Commit": commit.oid, "ETag": f'"{blob.oid}"', "Accept-Ranges": "bytes"}
        if blob.lfs:
            headers |= {"X-Linked-Etag": f'"{blob.sha256}"', "X-Linked-Size": str(len(blob.data))}
            headers["Location"] = self._other_origin(f"/_cdn/{blob.sha256}")
            return web.Response(status=302, headers=headers)
        return _ranged(request, blob.data, headers)

    async def _cdn(self, request: web.Request) -> web.Response:
        self._signed(request)
        for repository in self.repositories.values():
            if blob := repository.large.get(request.match_info["oid"]):
                return _ranged(request, blob.data, {"ETag": f'"{blob.sha256}"', "Accept-Ranges": "bytes"})
        raise Refused(404, "NoSuchKey")


def _ranged(request: web.Request, data: bytes, headers: dict[str, str]) -> web.Response:
    wanted = request.http_range
    if wanted.start is None and wanted.stop is None:
        return web.Response(body=data, headers=headers)
    start, stop, _ = wanted.indices(len(data))
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return web.Response(status=206, body=data[start:stop], headers=headers)


def _described(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.oid,
        "title": commit.title,
        "message": commit.description,
        "authors": [{"user": "me"}],
        "date": _iso(commit.at),
    }


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _json(
    document: Any, *, status: int = 200, headers: dict[str, str] | None = None, content_type: str = "application/json"
) -> web.Response:
    return web.Response(
        body=orjson.dumps(document), status=status, headers=headers, content_type=content_type, charset="utf-8"
    )
