"""What each refusal means: the real bodies in both layouts, those that were seen in the wild, and arbitrary ones."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from maia.youtube.errors import classify

KEY = "AIzaSyA0123456789abcdefghijklmnopqrstuv"


def old(code: int, reason: str, message: str = "", domain: str = "global") -> bytes:
    """An error in the layout of the YouTube Data API."""
    errors = [{"message": message, "domain": domain, "reason": reason}]
    return json.dumps({"error": {"code": code, "message": message, "errors": errors}}).encode()


def new(code: int, status: str, reason: str | None, message: str = "", **metadata: str) -> bytes:
    """An error in the layout of Google's newer front ends, without ``errors``."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "domain": "googleapis.com", "metadata": metadata}
    details = [] if reason is None else [{**info, "reason": reason}]
    return json.dumps({"error": {"code": code, "message": message, "status": status, "details": details}}).encode()


def both(code: int, status: str, old_reason: str, new_reason: str, message: str = "", **metadata: str) -> bytes:
    """An error that says the same in both layouts."""
    error = json.loads(new(code, status, new_reason, message, **metadata))
    error["error"]["errors"] = json.loads(old(code, old_reason, message))["error"]["errors"]
    return json.dumps(error).encode()


def spent(unit: str, limit: str = "") -> bytes:
    return both(
        429,
        "RESOURCE_EXHAUSTED",
        "rateLimitExceeded",
        "RATE_LIMIT_EXCEEDED",
        "Quota exceeded for quota metric 'Search Queries' of service 'youtube.googleapis.com'.",
        quota_unit=unit,
        quota_limit=limit,
        quota_limit_value="100",
    )


VERBATIM = {
    "quotaExceeded_403_2020.json": (QuotaRefused, "quotaExceeded"),
    "dailyLimitExceeded_403_2019.json": (QuotaRefused, "dailyLimitExceeded"),
    "rateLimitExceeded_429_2026.json": (QuotaRefused, "rateLimitExceeded"),
    "accessNotConfigured_403_2020.json": (KeyRejected, "accessNotConfigured"),
    "keyInvalid_400_2018.json": (KeyRejected, "keyInvalid"),
    "backendError_503_2016.json": (ApiUnavailable, "backendError"),
    "missingRequiredParameter_400_2022.json": (RequestRefused, "missingRequiredParameter"),
}


@pytest.mark.parametrize("name", VERBATIM)
def test_verbatim_bodies_of_public_issues_are_told_apart(recorded_data: Path, name: str) -> None:
    folder = recorded_data / "youtube" / "errors_verbatim"
    if not (folder / name).is_file():
        pytest.skip(f"{name} is not among these recordings")
    told = {entry["file"]: entry["status"] for entry in json.loads((folder / "index.json").read_bytes())}
    error = classify(told[name], (folder / name).read_bytes(), {})
    kind, reason = VERBATIM[name]
    assert type(error) is kind
    assert (error.reason, error.status) == (reason, told[name])
    assert "<a href" not in str(error)


RECORDED = {
    "missingRequiredParameter": RequestRefused,
    "authError": KeyRejected,
    "subscriptionForbidden": ResourceRefused,
    "publisherNotFound": ResourceRefused,
    "badRequest": KeyRejected,  # its details say API_KEY_INVALID
}


def test_recorded_errors_are_told_apart(recorded_data: Path) -> None:
    seen: set[str] = set()
    for path in (recorded_data / "youtube" / "api").rglob("error_*.json"):
        body = path.read_bytes()
        error = json.loads(body)["error"]
        reason = error["errors"][0]["reason"]
        seen.add(reason)
        assert type(classify(error["code"], body, {})) is RECORDED.get(reason, type(classify(error["code"], body))), (
            path
        )
    assert seen


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(spent("1/d/{project}", "SearchQueriesPerDay"), QuotaRefused, id="search bucket spent"),
        pytest.param(spent("1/d/{project}/{user}"), QuotaRefused, id="a day's limit per user"),
        pytest.param(spent("", "SearchQueriesPerDayPerProject"), QuotaRefused, id="only the limit's name says day"),
        pytest.param(spent("1/min/{project}", "QueriesPerMinute"), Throttled, id="burst"),
        pytest.param(spent("1/min/{project}/{user}"), Throttled, id="burst of a user"),
        pytest.param(spent("1/100s/{project}"), Throttled, id="burst in a hundred seconds"),
        pytest.param(spent(""), Throttled, id="429 that names no limit"),
        pytest.param(
            new(
                429,
                "RESOURCE_EXHAUSTED",
                "RATE_LIMIT_EXCEEDED",
                "limit 'Queries per day'",
                quota_unit="1/min/{project}",
            ),
            Throttled,
            id="the unit counts, not the message",
        ),
        pytest.param(
            old(429, "rateLimitExceeded", "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute'"),
            Throttled,
            id="only the message says minute",
        ),
        pytest.param(
            old(429, "quotaExceeded", "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute'"),
            Throttled,
            id="quotaExceeded of a minute",
        ),
        pytest.param(old(403, "rateLimitExceeded", "Rate Limit Exceeded", "usageLimits"), Throttled, id="old burst"),
        pytest.param(old(403, "userRateLimitExceeded", "", "usageLimits"), Throttled, id="old burst of a user"),
        pytest.param(old(429, "quotaExceeded", "", "youtube.quota"), QuotaRefused, id="quotaExceeded with 429"),
        pytest.param(b'[{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED"}}]', Throttled, id="wrapped in a list"),
        pytest.param(
            old(403, "dailyLimitExceededUnreg", "Daily Limit for Unauthenticated Use Exceeded.", "usageLimits"),
            KeyRejected,
            id="no known key",
        ),
    ],
)
def test_a_spent_bucket_is_no_burst_and_a_burst_no_spent_bucket(body: bytes, kind: type[ApiError]) -> None:
    assert type(classify(429 if b"429" in body else 403, body, {})) is kind


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            both(400, "INVALID_ARGUMENT", "badRequest", "API_KEY_INVALID", "API key not valid."), id="bad key"
        ),
        pytest.param(new(400, "INVALID_ARGUMENT", "API_KEY_INVALID", "API key expired."), id="expired key"),
        pytest.param(old(400, "badRequest", "API key not valid. Please pass a valid API key."), id="only the message"),
        pytest.param(old(400, "keyExpired", "Bad Request", "usageLimits"), id="keyExpired"),
        pytest.param(both(403, "PERMISSION_DENIED", "accessNotConfigured", "SERVICE_DISABLED"), id="API off"),
        pytest.param(new(403, "PERMISSION_DENIED", "SERVICE_DISABLED"), id="API off, new layout"),
        pytest.param(
            new(
                403,
                "PERMISSION_DENIED",
                None,
                "YouTube Data API v3 has not been used in project 7 before or it is disabled.",
            ),
            id="API off, only the message",
        ),
        pytest.param(
            both(
                403,
                "PERMISSION_DENIED",
                "forbidden",
                "API_KEY_SERVICE_BLOCKED",
                "Requests to this API youtube method youtube.api.v3.V3DataSearchService.List are blocked.",
            ),
            id="restricted to other APIs",
        ),
        pytest.param(both(403, "PERMISSION_DENIED", "forbidden", "API_KEY_IP_ADDRESS_BLOCKED"), id="another address"),
        pytest.param(old(403, "forbidden", "Requests from referer <empty> are blocked."), id="referrer, no details"),
        pytest.param(old(403, "ipRefererBlocked", "The request did not specify any referer."), id="referrer, old"),
        pytest.param(new(403, "PERMISSION_DENIED", "CONSUMER_SUSPENDED"), id="project suspended"),
        pytest.param(
            old(403, "forbidden", "Method doesn't allow unregistered callers (callers without established identity)."),
            id="no key at all",
        ),
    ],
)
def test_a_key_that_cannot_be_used_is_rejected(body: bytes) -> None:
    assert type(classify(json.loads(body)["error"]["code"], body, {})) is KeyRejected


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(old(403, "commentsDisabled", domain="youtube.commentThread"), ResourceRefused, id="comments off"),
        pytest.param(old(404, "playlistNotFound", domain="youtube.playlistItem"), ResourceRefused, id="no playlist"),
        pytest.param(old(404, "channelNotFound", domain="youtube.channel"), ResourceRefused, id="no channel"),
        pytest.param(old(404, "videoNotFound", domain="youtube.video"), ResourceRefused, id="no video"),
        pytest.param(old(400, "videoNotFound", domain="youtube.parameter"), ResourceRefused, id="no video, as 400"),
        pytest.param(old(403, "playlistItemsNotAccessible"), ResourceRefused, id="a private playlist"),
        pytest.param(old(403, "channelForbidden"), ResourceRefused, id="channelForbidden"),
        pytest.param(old(403, "forbidden", "Forbidden"), ResourceRefused, id="plain forbidden leaves the key alone"),
        pytest.param(new(403, "PERMISSION_DENIED", None, "Forbidden"), ResourceRefused, id="plain permission denied"),
        pytest.param(new(404, "NOT_FOUND", None, "Requested entity was not found."), ResourceRefused, id="new 404"),
        pytest.param(new(404, "NOT_FOUND", None, "Method not found."), RequestRefused, id="no such method"),
        pytest.param(old(400, "invalidPageToken", domain="youtube.parameter"), InvalidPageToken, id="page token"),
        pytest.param(old(400, "invalidFilters"), RequestRefused, id="filters"),
        pytest.param(old(400, "badRequest", "Bad Request"), RequestRefused, id="bad request"),
        pytest.param(
            new(400, "INVALID_ARGUMENT", None, "Request contains an invalid argument."), RequestRefused, id="arg"
        ),
        pytest.param(old(401, "required", "Login Required"), RequestRefused, id="a call that needs a login"),
        pytest.param(new(401, "UNAUTHENTICATED", "CREDENTIALS_MISSING"), RequestRefused, id="that in the new layout"),
        pytest.param(old(500, "internalError"), ApiUnavailable, id="internal error"),
        pytest.param(new(503, "UNAVAILABLE", None), ApiUnavailable, id="unavailable"),
        pytest.param(old(403, "backendError"), ApiUnavailable, id="a server's trouble, whatever the status"),
        pytest.param(b'{"error":{"code":500,"message":null}}', ApiUnavailable, id="a message that is null"),
        pytest.param(b'{"error":{}}', RequestRefused, id="an error that says nothing"),
        pytest.param(b'{"error":"invalid_grant","error_description":"Bad"}', RequestRefused, id="OAuth's layout"),
    ],
)
def test_the_body_says_who_has_to_act(body: bytes, kind: type[ApiError]) -> None:
    error = json.loads(body)["error"]
    code = error.get("code", 400) if isinstance(error, dict) else 400
    assert type(classify(code, body, {})) is kind


@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(200, b"", id="empty"),
        pytest.param(204, b"", id="204"),
        pytest.param(200, b'{"items": [{"id": "dQw4', id="truncated"),
        pytest.param(200, b"[]", id="a list"),
        pytest.param(404, b"<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", id="a front end's 404"),
        pytest.param(403, b"<html>We're sorry... automated queries", id="a front end's 403"),
        pytest.param(502, b"<html><h1>502 Bad Gateway</h1>", id="a proxy's 502"),
        pytest.param(302, b"", id="a redirect"),
        pytest.param(400, b"{}", id="400 without an error"),
        pytest.param(403, b"\xff\xfe\x00", id="bytes that are no text"),
    ],
)
def test_what_the_api_did_not_write_is_no_verdict(status: int, body: bytes) -> None:
    error = classify(status, body, {})
    assert type(error) is ApiUnavailable
    assert error.status == status


def test_the_bodys_code_counts_more_than_the_status() -> None:
    assert type(classify(200, old(403, "quotaExceeded"), {})) is QuotaRefused
    error = classify(200, b'{"error":{"code":500,"message":null}}', {})
    assert (type(error), error.status) == (ApiUnavailable, 500)


@pytest.mark.parametrize(
    ("headers", "wish"),
    [
        pytest.param({"Retry-After": "7"}, timedelta(seconds=7), id="seconds"),
        pytest.param({"retry-after": "7"}, timedelta(seconds=7), id="lower case"),
        pytest.param(
            {"Retry-After": "Tue, 10 Nov 2026 12:00:30 GMT", "Date": "Tue, 10 Nov 2026 12:00:00 GMT"},
            timedelta(seconds=30),
            id="a date, by the server's clock",
        ),
        pytest.param(
            {"Retry-After": "Tue, 10 Nov 2026 11:00:00 GMT", "Date": "Tue, 10 Nov 2026 12:00:00 GMT"},
            timedelta(0),
            id="a date that has passed",
        ),
        pytest.param({"Retry-After": "Tue, 10 Nov 2026 12:00:30 GMT"}, None, id="a date without the server's"),
        pytest.param({"Retry-After": "soon"}, None, id="no number"),
        pytest.param({"Retry-After": "-3"}, None, id="negative"),
        pytest.param({"Retry-After": "9" * 400}, None, id="beyond time"),
        pytest.param(
            {"Retry-After": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Date": "Tue, 10 Nov 2026 12:00:00 GMT"},
            None,
            id="a date beyond time",
        ),
        pytest.param({}, None, id="none"),
    ],
)
def test_a_throttle_tells_how_long_to_wait(headers: dict[str, str], wish: timedelta | None) -> None:
    error = classify(429, spent("1/min/{project}"), headers)
    assert isinstance(error, Throttled)
    assert error.retry_after == wish


def test_retry_info_in_the_body_counts_more_than_the_header() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s"}]
    body = json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}).encode()
    error = classify(429, body, {"Retry-After": "60"})
    assert isinstance(error, Throttled)
    assert error.retry_after == timedelta(seconds=3.5)


@pytest.mark.parametrize(
    "message",
    [f"API key {KEY} is bad", f"GET /youtube/v3/videos?part=id&key={KEY}&id=x", "https://x/?key=a-test-key"],
)
def test_a_key_in_a_message_is_not_repeated(message: str) -> None:
    text = str(classify(400, old(400, "badRequest", message), {}))
    assert KEY not in text
    assert "a-test-key" not in text


def test_a_page_that_is_no_json_is_not_quoted() -> None:
    assert KEY not in str(classify(502, f"<html>{KEY}</html>".encode(), {}))


def test_a_long_message_is_cut_and_its_markup_dropped() -> None:
    error = classify(400, old(400, "badRequest", '<a href="/x">See</a> &lt;this&gt;\n' + "long " * 1000), {})
    assert "See <this> long" in str(error)
    assert len(str(error)) < 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "errors",
                    "details",
                    "reason",
                    "code",
                    "message",
                    "status",
                    "metadata",
                    "quota_unit",
                    "retryDelay",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@given(st.integers(100, 599), json_values | st.fixed_dictionaries({"error": json_values}))
def test_any_json_makes_a_typed_error(status: int, document: Any) -> None:
    error = classify(status, orjson.dumps(document), {})
    assert type(error) is not ApiError
    assert error.status in range(100, 600)


numbers = st.integers(-9, 10**25).map(str)
dates = st.builds("Mon, {} Jan {} {}:00:{} {}".format, numbers, numbers, numbers, numbers, numbers | st.just("GMT"))
whens = st.text(max_size=30) | numbers | dates


@given(
    st.integers(100, 599), st.binary(max_size=200),
    st.dictionaries(st.sampled_from(["Retry-After", "retry-after", "Date"]), whens),
)  # fmt: skip
def test_any_bytes_make_a_typed_error(status: int, body: bytes, headers: dict[str, str]) -> None:
    assert type(classify(status, body, headers)) is not ApiError
