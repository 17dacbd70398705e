"""The error bodies of the YouTube Data API, in the layouts it really uses."""

from __future__ import annotations

from typing import Any

SERVICE = "youtube.googleapis.com"
_ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"
_HELP = "type.googleapis.com/google.rpc.Help"
_QUOTA_PAGE = '<a href="/youtube/v3/getting-started#quota">quota</a>'
# The name of the limit in Service Usage, by bucket: metric and display name.
_METRICS = {
    "search": ("youtube.googleapis.com/search_list_requests", "Search Queries"),
    "stats": ("youtube.googleapis.com/batch_get_stats_requests", "Video Stats Queries"),
    "general": ("youtube.googleapis.com/default", "Queries"),
}


class Problem(Exception):
    """An answer that is an error: its HTTP status and body."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"{status} {body['error']['message']}")
        self.status = status
        self.body = body


def problem(
    code: int,
    reason: str,
    message: str,
    *,
    domain: str = "global",
    status: str | None = None,
    details: list[dict[str, Any]] | None = None,
    location: str | None = None,
    location_type: str = "parameter",
) -> Problem:
    """Compose an error body: ``errors[]`` always, the newer ``status`` and ``details[]`` where given."""
    entry = {"message": message, "domain": domain, "reason": reason}
    if location is not None:
        entry |= {"location": location, "locationType": location_type}
    error: dict[str, Any] = {"code": code, "message": message, "errors": [entry]}
    if status is not None:
        error["status"] = status
    if details is not None:
        error["details"] = details
    return Problem(code, {"error": error})


def general_spent() -> Problem:
    """The general bucket is empty: 403 ``quotaExceeded``."""
    message = f"The request cannot be completed because you have exceeded your {_QUOTA_PAGE}."
    return problem(403, "quotaExceeded", message, domain="youtube.quota")


def bucket_spent(bucket: str, project: str, limit: int) -> Problem:
    """The search or stats bucket is empty: 429 ``rateLimitExceeded`` with a unit per day."""
    return _rate_limited(bucket, project, limit, "day")


def throttled(bucket: str, project: str, limit: int) -> Problem:
    """Too many calls in a minute: 429 ``rateLimitExceeded`` with a unit per minute."""
    return _rate_limited(bucket, project, limit, "minute")


def _rate_limited(bucket: str, project: str, limit: int, period: str) -> Problem:
    metric, name = _METRICS[bucket]
    unit = {"day": "1/d/{project}", "minute": "1/min/{project}"}[period]
    message = (
        f"Quota exceeded for quota metric '{name}' and limit '{name} per {period}' of service '{SERVICE}' "
        f"for consumer 'project_number:{project}'."
    )
    info = {
        "@type": _ERROR_INFO,
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
        "metadata": {
            "consumer": f"projects/{project}",
            "service": SERVICE,
            "quota_metric": metric,
            "quota_limit": f"{name.replace(' ', '')}Per{period.capitalize()}PerProject",
            "quota_limit_value": str(limit),
            "quota_location": "global",
            "quota_unit": unit,
        },
    }
    more = {
        "@type": _HELP,
        "links": [
            {
                "description": "Request a higher quota limit.",
                "url": "https://cloud.google.com/docs/quotas/help/request_increase",
            }
        ],
    }
    return problem(429, "rateLimitExceeded", message, status="RESOURCE_EXHAUSTED", details=[info, more])


def key_invalid() -> Problem:
    """Nobody issued that key."""
    info = {
        "@type": _ERROR_INFO,
        "reason": "API_KEY_INVALID",
        "domain": "googleapis.com",
        "metadata": {"service": SERVICE},
    }
    message = "API key not valid. Please pass a valid API key."
    return problem(400, "badRequest", message, status="INVALID_ARGUMENT", details=[info])


def key_missing() -> Problem:
    """No key came with the request."""
    message = (
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API."
    )
    return problem(403, "forbidden", message, status="PERMISSION_DENIED")


def login_required(method: str) -> Problem:
    """A method that acts for somebody was called with a key."""
    info = {
        "@type": _ERROR_INFO,
        "reason": "CREDENTIALS_MISSING",
        "domain": "googleapis.com",
        "metadata": {"method": f"youtube.api.v3.{method}", "service": SERVICE},
    }
    message = (
        "API keys are not supported by this API. Expected OAuth2 access token or other authentication credentials "
        "that assert a principal. See https://cloud.google.com/docs/authentication"
    )
    return _unauthenticated("required", "Login Required.", message, [info])


def token_invalid() -> Problem:
    """Nobody issued that access token, or it has ended."""
    message = (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    return _unauthenticated("authError", "Invalid Credentials", message, None)


def _unauthenticated(reason: str, short: str, message: str, details: list[dict[str, Any]] | None) -> Problem:
    answer = problem(
        401,
        reason,
        message,
        status="UNAUTHENTICATED",
        details=details,
        location="Authorization",
        location_type="header",
    )
    answer.body["error"]["errors"][0]["message"] = short
    return answer


def caption_forbidden() -> Problem:
    """The captions are somebody else's."""
    message = (
        "The permissions associated with the request are not sufficient to download the caption track. The request "
        "might not be properly authorized, or the video order might not have enabled third-party contributions for "
        "this caption."
    )
    return problem(403, "forbidden", message, domain="youtube.caption", location="id")


def caption_not_found() -> Problem:
    """There is no such track."""
    message = (
        "The caption track could not be found. Check the value of the request's <code>id</code> parameter to ensure "
        "that it is correct."
    )
    return problem(404, "captionNotFound", message, domain="youtube.caption", location="id")


def could_not_convert() -> Problem:
    """The captions cannot be had in that format."""
    message = (
        "The caption track data could not be converted to the requested language and/or format. Ensure that the "
        "requested <code>tfmt</code> and <code>tlang</code> values are valid."
    )
    return problem(400, "couldNotConvert", message, domain="youtube.caption", location="tfmt")


def video_not_found() -> Problem:
    """There is no such video."""
    message = "The video identified by the <code>videoId</code> parameter could not be found."
    return problem(404, "videoNotFound", message, domain="youtube.caption", location="videoId")


def api_disabled(project: str) -> Problem:
    """The project has not switched the API on."""
    page = f"https://console.developers.google.com/apis/api/{SERVICE}/overview?project={project}"
    message = (
        f"YouTube Data API v3 has not been used in project {project} before or it is disabled. Enable it by visiting "
        f"{page} then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our "
        "systems and retry."
    )
    info = {
        "@type": _ERROR_INFO,
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {"service": SERVICE, "consumer": f"projects/{project}", "activationUrl": page},
    }
    answer = problem(
        403, "accessNotConfigured", message, domain="usageLimits", status="PERMISSION_DENIED", details=[info]
    )
    answer.body["error"]["errors"][0]["extendedHelp"] = "https://console.developers.google.com"
    return answer


def key_blocked(project: str, method: str) -> Problem:
    """The key is restricted to other APIs."""
    info = {
        "@type": _ERROR_INFO,
        "reason": "API_KEY_SERVICE_BLOCKED",
        "domain": "googleapis.com",
        "metadata": {
            "service": SERVICE,
            "consumer": f"projects/{project}",
            "methodName": f"youtube.api.v3.{method}",
            "apiName": SERVICE,
        },
    }
    message = f"Requests to this API youtube method youtube.api.v3.{method} are blocked."
    return problem(403, "forbidden", message, status="PERMISSION_DENIED", details=[info])


def backend_error(code: int) -> Problem:
    """YouTube is unwell."""
    if code == 503:
        return problem(503, "backendError", "The service is currently unavailable.", status="UNAVAILABLE")
    return problem(code, "backendError", "Internal error encountered.", status="INTERNAL")


def required(parameter: str) -> Problem:
    """A parameter every call needs is missing."""
    return problem(400, "required", f"Required parameter: {parameter}", location=parameter)


def no_filter(expected: str) -> Problem:
    """No parameter says what is wanted."""
    return problem(
        400,
        "missingRequiredParameter",
        f"No filter selected. Expected one of: {expected}",
        domain="youtube.parameter",
        location="parameters.",
        location_type="other",
    )


def invalid_filters() -> Problem:
    """The filters do not go together, or there is too much of one."""
    message = "The request specifies an invalid filter parameter."
    return problem(
        400, "invalidFilters", message, domain="youtube.parameter", location="parameters.", location_type="other"
    )


def unknown_part(part: str) -> Problem:
    """There is no such part."""
    return problem(400, "unknownPart", part, domain="youtube.part", location="part")


def invalid_parameter(name: str, message: str) -> Problem:
    """A parameter's value cannot be read or is out of range."""
    return problem(400, "invalidParameter", message, location=name)


def invalid_page_token() -> Problem:
    """The page token is not ours, or no longer good."""
    message = "The request specifies an invalid page token."
    return problem(400, "invalidPageToken", message, domain="youtube.parameter", location="pageToken")


def playlist_not_found() -> Problem:
    """There is no such playlist."""
    message = "The playlist identified with the request's <code>playlistId</code> parameter cannot be found."
    return problem(404, "playlistNotFound", message, domain="youtube.playlistItem", location="playlistId")


def no_such_method() -> Problem:
    """The address names nothing."""
    return problem(404, "notFound", "Requested entity was not found.", status="NOT_FOUND")
