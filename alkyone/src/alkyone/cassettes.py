"""Cassettes: what agents and other services say to each other over HTTP, recorded once, replayed without a network.

vcrpy_ records aiohttp (YouTube, Discord, webhooks, pictures), httpx2 (the Hub), requests (Google Cloud Storage,
transcripts) and botocore (S3). In a cassette every service has its real address, whoever answered: the same file is
made from a stand-in and from the service itself. Secrets are scrubbed before anything is kept.

.. _vcrpy: https://vcrpy.readthedocs.io/
"""

from __future__ import annotations

import copy
import gzip
import json
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import yaml
from vcr.cassette import Cassette
from vcr.persisters.filesystem import FilesystemPersister
from vcr.record_mode import RecordMode
from vcr.request import Request

from alkyone import scrub

FOLDER = Path(__file__).parents[2] / "tests" / "cassettes"
"""Where this checkout keeps its cassettes."""

Rewriting = Sequence[tuple[str, str]]
"""What is written in the place of what was said: addresses of stand-ins, secrets. The longest goes first."""

# An API's answers, which may be laid out anew; whatever is an object in a store stays as it is, to the byte.
_READABLE_HOSTS = ("youtube.googleapis.com", "oauth2.googleapis.com", "www.youtube.com", "discord.com")
_WIDTH = 120


class CassetteError(AssertionError):
    """A run and its cassette do not agree."""


class Signature(NamedTuple):
    """What must be the same for an answer to be played: all that a server would decide by."""

    method: str
    address: str
    query: tuple[tuple[str, str], ...]
    conditions: tuple[tuple[str, str], ...]
    body: bytes


class Tape(Cassette):  # type: ignore[misc] # the library has no types
    """A cassette that scrubs what it records, and remembers what it was asked in vain."""

    def __init__(self, *, rewriting: Rewriting = (), **options: Any) -> None:
        self.unrecorded: list[str] = []
        self._places: dict[Signature, list[int]] = {}
        self._rewriting = sorted(rewriting, key=lambda pair: len(pair[0]), reverse=True)
        super().__init__(before_record_request=self._asked, **options)

    @property
    def unplayed(self) -> list[str]:
        """The requests whose recorded answer nobody asked for."""
        return [
            f"{request.method} {request.uri}"
            for number, request in enumerate(self.requests)
            if not self.play_counts[number]
        ]

    def can_play_response_for(self, request: Request) -> bool:
        """Say whether there is an answer left."""
        if not self.write_protected:
            return False
        asked = self._asked(request)
        playable = self._next(asked) is not None
        if not playable:
            self.unrecorded.append(f"{request.method} {asked.uri}")
        return playable

    def play_response(self, request: Request) -> dict[str, Any]:
        """Give the next answer that was recorded for a request."""
        number = self._next(self._asked(request))
        if number is None:
            raise CassetteError(f"not recorded: {request.method} {scrub.address(request.uri)}")
        self.play_counts[number] += 1
        answer: dict[str, Any] = copy.deepcopy(self.responses[number])
        return answer

    def append(self, request: Request, response: dict[str, Any]) -> None:
        """Keep an exchange, scrubbed."""
        asked = self._asked(request)
        self._places.setdefault(signature(asked), []).append(len(self.data))
        self.data.append((asked, self._answered(asked, copy.deepcopy(response))))
        self.dirty = True

    def _next(self, asked: Request) -> int | None:
        """Find the first exchange like this one that was not played yet."""
        same = self._places.get(signature(asked), ())
        return next((number for number in same if not self.play_counts[number]), None)

    def _asked(self, request: Request) -> Request:
        uri, body = self._rewritten(request.uri), _bytes(request.body)
        kept = scrub.headers(scrub.REQUEST_HEADERS, request.headers)
        kind = _header(kept, "content-type")
        if "form-urlencoded" in kind:
            body = scrub.form(body)
        elif b"\r\n" in body and (boundary := _boundary(kind)):  # drawn anew for each upload
            body = body.replace(boundary, b"boundary")
            kept = {name: value for name, value in kept.items() if name.lower() != "content-type"}
            kept["Content-Type"] = kind.replace(boundary.decode(), "boundary")
        return Request(request.method, scrub.address(uri), _without_secrets(self._plain(body)) or None, kept)

    def _answered(self, asked: Request, response: dict[str, Any]) -> dict[str, Any]:
        body = response["body"].get("string") or b""
        if body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        body = _without_secrets(self._plain(body))
        if urlsplit(asked.uri).hostname in _READABLE_HOSTS:
            body = _readable(body)
        kept = {
            name: [scrub.address(self._rewritten(value)) if "://" in value else value for value in values]
            for name, values in scrub.headers(scrub.RESPONSE_HEADERS, response["headers"]).items()
        }
        if body:  # without one it is the answer to a HEAD, and says how long the object is
            kept = {name: [str(len(body))] if name.lower() == "content-length" else kept[name] for name in kept}
        return {"status": response["status"], "headers": kept, "body": {"string": body}}

    def _plain(self, body: bytes) -> bytes:
        """Rewrite what is text; a body that is something else has no addresses, and must not be touched."""
        try:
            return self._rewritten(body.decode()).encode()
        except UnicodeDecodeError:
            return body

    def _rewritten(self, text: str) -> str:
        for said, written in self._rewriting:
            text = text.replace(said, written)
        return scrub.text(text)


def signature(request: Request) -> Signature:
    """Tell what a request is, whatever the order of its parameters and the layout of its body."""
    parts = urlsplit(request.uri)
    query = sorted(
        (name, ",".join(sorted(value.split(","))) if name == "id" else value)  # ids come as the database gave them
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    conditions = sorted(
        (name.lower(), str(value)) for name, value in request.headers.items() if name.lower() != "content-type"
    )
    where = f"{parts.scheme}://{parts.netloc}{parts.path}"
    return Signature(request.method, where, tuple(query), tuple(conditions), _canonical(_bytes(request.body)))


@contextmanager
def recording(path: Path, rewriting: Rewriting = ()) -> Iterator[Tape]:
    """Record every exchange of the block into a new file, written when the block has succeeded."""
    draft = path.with_name(f"{path.name}.partial")
    draft.unlink(missing_ok=True)
    try:
        with _tape(draft, RecordMode.ALL, rewriting) as tape:
            yield tape
        if not draft.exists():  # nothing was said
            raise CassetteError(f"{path.name}: there was nothing to record")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def replaying(path: Path) -> Iterator[Tape]:
    """Answer every request of the block from a file; no other goes anywhere.

    Raises:
        CassetteError: there is no such file, a request was not recorded, an answer was left over, or something tried
            to reach the network; also where the block swallowed that.
    """
    if not path.exists():
        raise CassetteError(f"{path} is not there: alkyone record {path.stem}")
    with no_network() as tried, _tape(path, RecordMode.NONE, ()) as tape:
        yield tape
    problems = [
        *(f"not recorded: {request}" for request in tape.unrecorded),
        *(f"tried to reach {where}" for where in tried),
        *(f"not played: {request}" for request in tape.unplayed),
    ]
    if problems:
        raise CassetteError("\n".join([f"{path.name}: alkyone record {path.stem} makes it anew", *problems]))


@contextmanager
def no_network() -> Iterator[list[str]]:
    """Refuse every connection and name look-up of the block, and list them.

    PostgreSQL is not concerned: its own library makes its connections, beside Python's sockets.
    """
    tried: list[str] = []

    def refuse(*args: Any, **_: Any) -> Any:
        where = str(args[1] if args and isinstance(args[0], socket.socket) else args[0] if args else "")
        tried.append(where)
        raise OSError(f"the network is forbidden here: {where}")

    with ExitStack() as stack:
        for name in ("connect", "connect_ex", "sendto"):
            stack.enter_context(mock.patch.object(socket.socket, name, refuse))
        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            stack.enter_context(mock.patch.object(socket, name, refuse))
        yield tried


@contextmanager
def _tape(path: Path, mode: RecordMode, rewriting: Rewriting) -> Iterator[Tape]:
    with Tape.use(
        path=str(path),
        serializer=_Yaml,
        persister=FilesystemPersister,
        record_mode=mode,
        match_on=(_agree,),
        rewriting=rewriting,
        record_on_exception=False,
    ) as tape:
        yield tape


def _agree(one: Request, other: Request) -> None:
    for name, mine, theirs in zip(Signature._fields, signature(one), signature(other), strict=True):
        if mine != theirs:
            raise AssertionError(f"{name}: {mine!r}, recorded was {theirs!r}")


def _bytes(body: Any) -> bytes:
    """The body of a request, however its client hands it over."""
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    if hasattr(body, "read"):
        data: bytes = body.read()
        return data
    if isinstance(body, dict):
        return json.dumps(body).encode()
    return b"".join(part if isinstance(part, bytes) else bytes([part]) for part in body)


def _header(headers: dict[str, Any], name: str) -> str:
    found = next((value for key, value in headers.items() if key.lower() == name), "")
    text = found[0] if isinstance(found, list) else found
    return text.decode() if isinstance(text, bytes) else str(text)


def _boundary(content_type: str) -> bytes | None:
    found = re.search(r"multipart/.*boundary=\"?([^\";]+)", content_type)
    return found[1].encode() if found else None


def _canonical(body: bytes) -> bytes:
    try:
        return json.dumps(json.loads(body), sort_keys=True).encode()
    except ValueError:
        return body


def _without_secrets(body: bytes) -> bytes:
    """Scrub a JSON document; one without secrets, and any other body, stays as it is."""
    try:
        said = json.loads(body)
    except ValueError:
        return body
    scrubbed = scrub.document(said)
    return body if scrubbed == said else json.dumps(scrubbed).encode()


def _readable(body: bytes) -> bytes:
    """Lay a JSON answer out in lines."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    return json.dumps(answer, indent=1, ensure_ascii=False).encode()


class _Dumper(yaml.CSafeDumper):
    """Writes texts of several lines as such, and bytes in base64."""


def _text(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


class _Yaml:
    """How a cassette is written: exchanges in an order of their own, so that two recordings of one run are alike."""

    @staticmethod
    def serialize(cassette: dict[str, Any]) -> str:
        cassette["interactions"].sort(key=_place)
        return yaml.dump(
            {name: cassette[name] for name in ("version", "metadata", "interactions") if name in cassette},
            Dumper=_Dumper,
            allow_unicode=True,
            sort_keys=False,
            width=_WIDTH,
        )

    @staticmethod
    def deserialize(text: str) -> dict[str, Any]:
        cassette: dict[str, Any] = yaml.load(text, Loader=yaml.CSafeLoader)
        return cassette


def _place(exchange: dict[str, Any]) -> Signature:
    return signature(Request._from_dict(copy.deepcopy(exchange["request"])))
