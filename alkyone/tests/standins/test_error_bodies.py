"""The stand-in's error bodies: one envelope, the one that recorded errors have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from alkyone.standins.youtube import problems
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

TEXT = {"type": "string", "minLength": 1}
# The discovery document does not describe errors; this is Google's JSON error format, closed against inventions.
ENVELOPE = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "errors"],
            "additionalProperties": False,
            "properties": {
                "code": {"type": "integer", "minimum": 400, "maximum": 599},
                "message": TEXT,
                "status": {"type": "string", "pattern": "^[A-Z_]+$"},
                "errors": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["message", "domain", "reason"],
                        "additionalProperties": False,
                        "properties": {
                            "message": TEXT,
                            "domain": TEXT,
                            "reason": TEXT,
                            "location": {"type": "string"},
                            "locationType": TEXT,
                            "extendedHelp": TEXT,
                        },
                    },
                },
                "details": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["@type"],
                        "properties": {"@type": {"type": "string", "pattern": "^type.googleapis.com/"}},
                    },
                },
            },
        }
    },
}
CASES = [
    pytest.param(problems.general_spent(), QuotaRefused, id="general bucket spent"),
    pytest.param(problems.bucket_spent("search", "p", 100), QuotaRefused, id="search bucket spent"),
    pytest.param(problems.bucket_spent("stats", "p", 10_000), QuotaRefused, id="stats bucket spent"),
    pytest.param(problems.throttled("search", "p", 60), Throttled, id="search throttled"),
    pytest.param(problems.throttled("general", "p", 60), Throttled, id="general throttled"),
    pytest.param(problems.key_invalid(), KeyRejected, id="invalid key"),
    pytest.param(problems.key_missing(), ApiError, id="no key"),
    pytest.param(problems.api_disabled("p"), KeyRejected, id="API off"),
    pytest.param(problems.key_blocked("p", "videos.list"), KeyRejected, id="restricted key"),
    pytest.param(problems.backend_error(500), ApiUnavailable, id="500"),
    pytest.param(problems.backend_error(503), ApiUnavailable, id="503"),
    pytest.param(problems.required("part"), RequestRefused, id="no part"),
    pytest.param(problems.no_filter("id"), RequestRefused, id="no filter"),
    pytest.param(problems.invalid_filters(), RequestRefused, id="wrong filters"),
    pytest.param(problems.unknown_part("soul"), RequestRefused, id="unknown part"),
    pytest.param(problems.invalid_parameter("order", "no"), RequestRefused, id="wrong parameter"),
    pytest.param(problems.invalid_page_token(), InvalidPageToken, id="wrong page token"),
    pytest.param(problems.playlist_not_found(), ResourceRefused, id="no such playlist"),
    pytest.param(problems.login_required("V3DataCaptionService.List"), ApiError, id="a key for a token"),
    pytest.param(problems.token_invalid(), KeyRejected, id="invalid token"),
    pytest.param(problems.caption_forbidden(), ResourceRefused, id="somebody else's captions"),
    pytest.param(problems.caption_not_found(), ResourceRefused, id="no such captions"),
    pytest.param(problems.could_not_convert(), RequestRefused, id="captions in no known form"),
    pytest.param(problems.video_not_found(), ResourceRefused, id="no such video"),
]


@pytest.mark.parametrize(("problem", "error"), CASES)
def test_an_error_has_the_envelope_and_is_what_our_client_takes_it_for(
    problem: problems.Problem, error: type[ApiError]
) -> None:
    jsonschema.validate(problem.body, ENVELOPE)
    assert problem.body["error"]["code"] == problem.status
    assert isinstance(classify(problem.status, orjson.dumps(problem.body), {}), error)


def test_recorded_errors_have_the_same_envelope(recorded_data: Path) -> None:
    files = [
        *(recorded_data / "youtube/api").glob("*/error_*.json"),
        *(path for path in (recorded_data / "youtube/errors_verbatim").glob("*.json") if path.name != "index.json"),
    ]

    bodies: list[Any] = [orjson.loads(path.read_bytes()) for path in files]

    assert bodies
    for body in bodies:
        jsonschema.validate(body, ENVELOPE)
