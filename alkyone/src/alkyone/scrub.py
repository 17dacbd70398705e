"""What never reaches a cassette: secrets are taken out while recording, and looked for in what was recorded."""

from __future__ import annotations

import base64
import binascii
import gzip
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import yaml

SCRUBBED = "SCRUBBED"
"""What stands in the place of a secret."""

REQUEST_HEADERS = frozenset({"content-type", "content-range", "if-match", "if-none-match", "range"})
RESPONSE_HEADERS = frozenset(
    {
        "accept-ranges",
        "content-length",
        "content-range",
        "content-type",
        "etag",
        "link",
        "location",
        "retry-after",
        "x-amz-meta-sha256",
        "x-error-code",
        "x-error-message",
        "x-goog-generation",
        "x-goog-hash",
        "x-linked-etag",
        "x-linked-size",
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset-after",
        "x-repo-commit",
    }
)
"""All that is kept of headers: what decides how an exchange goes on. Tokens, cookies, signatures and dates are not."""

_PARAMETERS = frozenset(
    {"key", "access_token", "token", "client_id", "client_secret", "refresh_token", "id_token", "upload_id"}
)
_SIGNATURES = r"x-(?:amz|goog)-(?:signature|credential|security-token|date|expires)|upload_id"
_SIGNED = re.compile(_SIGNATURES)
_IN_TEXT = (
    (re.compile(r"(/api(?:/v\d+)?/webhooks/[^/?#\s\"']+/)[^/?#\s\"'\\]+"), rf"\1{SCRUBBED}"),
    (re.compile(rf"((?i:{_SIGNATURES})=)[^&\s\"'\\]+"), rf"\1{SCRUBBED}"),
    (re.compile(r"(?<=[?&]key=)[^&\s\"'\\<>]+|AIza[\w-]{20,}|ya29\.[\w-]{8,}|hf_[A-Za-z]{8,}"), SCRUBBED),
)

_KINDS: Mapping[str, re.Pattern[bytes]] = {
    "an API key of Google": re.compile(rb"AIza[\w-]{20,}"),
    "an access token of Google": re.compile(rb"ya29\.[\w-]{8,}"),
    "a refresh token of Google": re.compile(rb"1//0[\w-]{20,}"),
    "an OAuth client's secret": re.compile(rb"GOCSPX-[\w-]{8,}"),
    "a token of Hugging Face": re.compile(rb"hf_[A-Za-z]{8,}"),
    "a key of AWS": re.compile(rb"(?:AKIA|ASIA)[0-9A-Z]{16}"),
    "a path of a webhook": re.compile(rb"/api(?:/v\d+)?/webhooks/[^/\s\"']+/(?!SCRUBBED)[^/\s\"'?]"),
    "a secret of a webhook": re.compile(rb"whsec_[\w+/=]{8,}"),
    "a parameter that is a secret": re.compile(
        rb"(?m)(?:^|[?&\s])(?:key|access_token|client_secret|refresh_token)=(?!SCRUBBED)[^&\s]"
    ),
    "a member that is a secret": re.compile(
        rb"\"(?:access_token|client_secret|refresh_token|id_token)\"\s*:\s*\"(?!SCRUBBED)[^\"]"
    ),
    "a signature": re.compile(rb"(?i)(?:x-(?:amz|goog)-(?:signature|credential|security-token)|upload_id)=(?!SCRUB)\w"),
    "credentials": re.compile(rb"(?i)\b(?:bearer|basic|aws4-hmac-sha256)\s+[\w.+/=-]{8,}"),
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "a dead man's switch": re.compile(rb"hc-ping\.com/(?!SCRUBBED)[\w-]"),
    "a header that is a secret": re.compile(
        rb"(?im)^\s*[\"']?(?:authorization|cookie|set-cookie|x-amz-security-token|x-goog-api-key|webhook-signature)[\"']?:"
    ),
}
"""How secrets look, whoever wrote them."""


def address(uri: str) -> str:
    """Take what is secret out of an address: parameters that authorise or sign, and the path of a webhook."""
    parts = urlsplit(text(uri))
    query = [(name, _value(name, value)) for name, value in parse_qsl(parts.query, keep_blank_values=True)]
    return urlunsplit(parts._replace(query=urlencode(query, safe=",:/()")))


def text(said: str) -> str:
    """Take out what looks like a secret, wherever it is said."""
    for pattern, instead in _IN_TEXT:
        said = pattern.sub(instead, said)
    return said


def form(body: bytes) -> bytes:
    """Take what is secret out of a form."""
    fields = parse_qsl(body.decode(), keep_blank_values=True)
    return urlencode([(name, _value(name, value)) for name, value in fields]).encode()


def document(value: Any) -> Any:
    """Take what is secret out of a JSON document, whatever its shape."""
    if isinstance(value, dict):
        return {name: SCRUBBED if _is_secret(name, inner) else document(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [document(inner) for inner in value]
    return value


def headers(kept: frozenset[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Keep those headers that decide how an exchange goes on."""
    return {name: value for name, value in given.items() if name.lower() in kept}


def leaks(cassette: str) -> list[str]:
    """Say which kinds of secrets a cassette's text holds, its bodies unpacked."""
    found = [kind for kind, pattern in _KINDS.items() if any(pattern.search(text) for text in _texts(cassette))]
    return sorted(found)


def _texts(cassette: str) -> Iterator[bytes]:
    """The file as it lies there, and each body, also where it is written in base64 or packed."""
    yield cassette.encode()
    for exchange in yaml.load(cassette, Loader=yaml.CSafeLoader)["interactions"]:
        for body in (exchange["request"].get("body"), (exchange["response"].get("body") or {}).get("string")):
            data = body.encode() if isinstance(body, str) else body or b""
            yield data
            if data[:2] == b"\x1f\x8b":
                yield gzip.decompress(data)
            for inner in re.findall(rb"[A-Za-z0-9+/]{24,}={0,2}", data):  # commits to the Hub hold files in base64
                try:
                    yield base64.b64decode(inner, validate=True)
                except binascii.Error:
                    continue


def _value(name: str, value: str) -> str:
    return SCRUBBED if name.lower() in _PARAMETERS or _SIGNED.fullmatch(name.lower()) else value


def _is_secret(name: str, value: Any) -> bool:
    return isinstance(value, str) and name.lower() in _PARAMETERS - {"key", "token"}
