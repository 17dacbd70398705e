"""Tell from an answer's body what went wrong, and so what to do about it.

The status alone decides nothing: a spent bucket is 403 or 429, a bad key 400 or 403, an error may come with
200. The words that decide sit in ``error.errors[].reason`` (the old layout), ``error.details[].reason`` (the
new one) or, in bodies that carry neither, in the message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any

import orjson

from atlas.errors import (
    ApiError,
    ApiUnavailable,
    InvalidPageToken,
    KeyRejected,
    QuotaRefused,
    RequestRefused,
    ResourceRefused,
    Throttled,
)

# Reasons are compared in lower case without "_": API_KEY_INVALID and apiKeyInvalid are one word.
# Sources: YouTube Data API "Errors"; Google's usageLimits domain (old layout); google.api.ErrorReason (new).
KEY_REASONS = frozenset({
    "apikeyinvalid", "keyinvalid", "keyexpired", "autherror",
    "accessnotconfigured", "servicedisabled", "billingdisabled", "billingnotenabled",
    "apikeyserviceblocked", "apikeyhttpreferrerblocked", "apikeyipaddressblocked",
    "apikeyandroidappblocked", "apikeyiosappblocked", "iprefererblocked", "refererblocked",
    "consumersuspended", "consumerinvalid", "gcpsuspended", "servicenotvisible",
    "dailylimitexceededunreg",  # "unregistered": the call came without a key that YouTube knows
})  # fmt: skip
SPENT_REASONS = frozenset({"quotaexceeded", "dailylimitexceeded"})
RATE_REASONS = frozenset({
    "ratelimitexceeded", "userratelimitexceeded", "resourceexhausted", "concurrentlimitexceeded",
    "servinglimitexceeded", "toomanyrequests",
})  # fmt: skip
SERVER_REASONS = frozenset({
    "backenderror", "internalerror", "internal", "unavailable", "serviceunavailable", "deadlineexceeded",
    "backendnotconnected", "notready", "transienterror", "unexpectederror", "unknown", "aborted",
})  # fmt: skip
PAGE_TOKEN_REASONS = frozenset({"invalidpagetoken"})
# commentsDisabled, playlistNotFound, channelClosed, … : a family of words for each kind of resource.
RESOURCE_ENDINGS = (
    "notfound", "disabled", "notaccessible", "closed", "suspended", "private",
    "captionforbidden", "channelforbidden", "playlistforbidden", "subscriptionforbidden", "videoforbidden",
)  # fmt: skip

# The words of bodies without a telling reason, as pasted in public issue threads.
_KEY_WORDS = re.compile(
    r"api key (?:not valid|not found|expired)|"
    r"requests (?:from|to) .{0,200}? are blocked|"  # by referrer, address or app; by the key's list of APIs
    r"(?:method doesn.t allow|without) (?:unregistered callers|established identity)|"
    r"has not been used in project .{0,80}? before or it is disabled",
    re.IGNORECASE | re.DOTALL,
)
_DAY = re.compile(r"1/d/|per ?day|daily", re.IGNORECASE)
_SHORTER = re.compile(r"1/(?:min|s|h|\d+s)/|per ?(?:minute|second|hour|\d+ ?seconds)", re.IGNORECASE)

_SECRETS = re.compile(r"AIza[\w-]{10,}|(?<=[?&]key=)[^&\s\"'<>]+", re.ASCII)
_TAGS = re.compile(r"</?(?:a|b|br|code|em|i|p|strong)\b[^>]*>", re.IGNORECASE)
_MESSAGE_LENGTH = 300


def classify(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> ApiError:
    """Make the error that an answer means. For an answer that is no error, say that it is unusable.

    ``status`` is the HTTP status, ``headers`` are looked up as given and in lower case.
    """
    headers = headers or {}
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _not_json(status, body, headers)
    told = _Told.of(document)
    if told is None:
        return ApiUnavailable("unexpectedAnswer", status=status, message="JSON, but neither an answer nor an error")
    return _from_body(told, told.code or status, headers)


def unusable(reason: str, message: str, *, status: int = 200) -> ApiUnavailable:
    """Make the error of an answer that came, but cannot be read."""
    return ApiUnavailable(reason, status=status, message=message)


@dataclass(frozen=True, slots=True)
class _Told:
    """What an error body says, in whichever layout it says it."""

    code: int | None
    reasons: tuple[str, ...]  # most telling first, as written
    message: str
    units: str  # the units of the limit that was passed, such as "1/d/{project}"
    retry_delay: timedelta | None

    @classmethod
    def of(cls, document: Any) -> _Told | None:
        """Read a body; None when it is no error body."""
        if isinstance(document, list):  # some front ends wrap the error in a list
            document = next((entry for entry in document if isinstance(entry, dict) and "error" in entry), None)
        if not isinstance(document, dict) or "error" not in document:
            return None
        error = document["error"]
        if not isinstance(error, dict):  # OAuth's layout: {"error": "invalid_grant", "error_description": …}
            description = document.get("error_description")
            return cls(None, (_word(error),) if _word(error) else (), _clean(description or error), "", None)
        errors, details = list(_dicts(error.get("errors"))), list(_dicts(error.get("details")))
        message = _clean(error.get("message") or next((e["message"] for e in errors if e.get("message")), ""))
        metadata = [d["metadata"] for d in details if isinstance(d.get("metadata"), dict)]
        reasons = [_word(entry.get("reason")) for entry in (*details, *errors)]
        code = error.get("code")
        return cls(
            code=code if isinstance(code, int) and not isinstance(code, bool) and 300 <= code < 600 else None,
            reasons=tuple(word for word in (*reasons, _word(error.get("status"))) if word),
            message=message,
            units=" ".join(_text(m.get(name)) for m in metadata for name in ("quota_unit", "quota_limit")),
            retry_delay=next(filter(None, (_seconds(d.get("retryDelay")) for d in details)), None),
        )

    def first(self, among: frozenset[str]) -> str | None:
        """Give the first reason that is one of ``among``, as written."""
        return next((word for word in self.reasons if _folded(word) in among), None)


def _from_body(told: _Told, status: int, headers: Mapping[str, str]) -> ApiError:
    message = told.message
    general = told.reasons[0] if told.reasons else f"http{status}"
    if word := told.first(KEY_REASONS):
        return KeyRejected(word, status=status, message=message)
    spent, rate = told.first(SPENT_REASONS), told.first(RATE_REASONS)
    if spent or rate or status == 429:
        return _limit(told, spent, spent or rate or general, status, headers)
    if word := told.first(PAGE_TOKEN_REASONS):
        return InvalidPageToken(word, status=status, message=message)
    if _KEY_WORDS.search(message):
        return KeyRejected(general, status=status, message=message)
    if status >= 500 or status == 408 or told.first(SERVER_REASONS):
        return ApiUnavailable(general, status=status, message=message)
    if message.startswith("Method not found"):
        return RequestRefused(general, status=status, message=message)
    if word := next((word for word in told.reasons if _folded(word).endswith(RESOURCE_ENDINGS)), None):
        return ResourceRefused(word, status=status, message=message)
    if status in {403, 404, 410}:
        return ResourceRefused(general, status=status, message=message)
    if status >= 400:
        return RequestRefused(general, status=status, message=message)
    return ApiUnavailable(general, status=status, message=message)


def _limit(
    told: _Told, spent: str | None, word: str, status: int, headers: Mapping[str, str]
) -> QuotaRefused | Throttled:
    """Tell a bucket that is spent for the day from a burst that passed a shorter limit."""
    limit = told.units if _DAY.search(told.units) or _SHORTER.search(told.units) else told.message
    if _DAY.search(limit) or (spent and not _SHORTER.search(limit)):
        return QuotaRefused(word, status=status, message=told.message)
    wish = told.retry_delay or retry_after(headers)
    return Throttled(word, status=status, message=told.message, retry_after=wish)


def _not_json(status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
    """Judge a body that the API did not write: a proxy's page, a front end's, half an answer, or nothing."""
    if not body:
        reason, message = "emptyAnswer", "nothing came"
    elif body.lstrip()[:1] == b"<":
        reason, message = "html", f"a page of {len(body)} bytes came in the place of JSON"
    else:
        reason, message = "brokenJson", f"{len(body)} bytes came that are not JSON"
    if status == 429:
        return Throttled(reason, status=status, message=message, retry_after=retry_after(headers))
    return ApiUnavailable(reason, status=status, message=message)


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """Read ``Retry-After``; a date in it counts from the answer's own ``Date``, so that no clock is asked."""
    wish = headers.get("Retry-After") or headers.get("retry-after")
    if not wish:
        return None
    if wish.strip().isascii() and wish.strip().isdigit():
        return _seconds(f"{wish.strip()}s")
    until, sent = _http_date(wish), _http_date(headers.get("Date") or headers.get("date") or "")
    return max(until - sent, timedelta()) if until and sent else None


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else None


def _seconds(text: Any) -> timedelta | None:
    """Read a protobuf Duration such as "3.5s"."""
    if not isinstance(text, str) or not text.endswith("s"):
        return None
    try:
        seconds = float(text[:-1])
        return timedelta(seconds=seconds) if math.isfinite(seconds) and seconds >= 0 else None
    except (ValueError, OverflowError):
        return None


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (entry for entry in value if isinstance(entry, dict)) if isinstance(value, list) else iter(())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _word(value: Any) -> str:
    """Take a reason, unless it is none: Google's are one short identifier."""
    word = _text(value)
    return word if len(word) <= 80 and word.isidentifier() else ""


def _folded(word: str) -> str:
    return word.replace("_", "").lower()


def _clean(message: Any) -> str:
    """Make one short line of a message, without tags, and without anything that looks like a key."""
    plain = _SECRETS.sub("●●●", unescape(_TAGS.sub("", _text(message)[: 4 * _MESSAGE_LENGTH])))
    line = " ".join(plain.split())
    return line if len(line) <= _MESSAGE_LENGTH else line[: _MESSAGE_LENGTH - 1] + "…"
