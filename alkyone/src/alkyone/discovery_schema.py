"""YouTube's own description of its answers, as JSON Schema: the discovery document of google-api-python-client."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import orjson
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.protocols import Validator

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DOCUMENT = "discovery_cache/documents/youtube.v3.json"
_WHOLE_NUMBER = r"^-?\d+$"


@cache
def document() -> dict[str, Any]:
    """The discovery document that came with google-api-python-client."""
    raw = resources.files("googleapiclient").joinpath(_DOCUMENT).read_bytes()
    loaded: dict[str, Any] = orjson.loads(raw)
    return loaded


@cache
def validator(schema: str) -> Validator:
    """A validator for one schema of the document, such as ``VideoListResponse``; unknown fields are errors."""
    whole = {"$schema": _DIALECT, "$ref": f"#/$defs/{schema}", "$defs": _definitions()}
    return Draft202012Validator(whole, format_checker=FormatChecker())


def violations(schema: str, body: Any) -> list[str]:
    """What in ``body`` is not as the document says; empty when all is."""
    return [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(body)]


@cache
def _definitions() -> dict[str, Any]:
    return {name: _translate(schema) for name, schema in document()["schemas"].items()}


def _translate(node: dict[str, Any]) -> dict[str, Any]:
    """Google's dialect to the standard's: references, closed objects, numbers as strings."""
    if "$ref" in node:
        return {"$ref": f"#/$defs/{node['$ref']}"}
    schema: dict[str, Any] = {}
    kind, form = node.get("type"), node.get("format")
    if kind is not None and kind != "any":
        schema["type"] = kind
    if "properties" in node:
        schema["properties"] = {name: _translate(inner) for name, inner in node["properties"].items()}
        schema["additionalProperties"] = False
    elif "additionalProperties" in node:
        schema["additionalProperties"] = _translate(node["additionalProperties"])
    if "items" in node:
        schema["items"] = _translate(node["items"])
    if "enum" in node:
        schema["enum"] = node["enum"]
    match kind, form:
        case "string", "uint64" | "int64":
            schema["pattern"] = _WHOLE_NUMBER
        case "string", "date-time" | "google-datetime":
            schema["format"] = "date-time"
        case "string", "google-duration":
            schema["pattern"] = r"^-?\d+(\.\d{1,9})?s$"
        case "integer", "uint32":
            schema["minimum"] = 0
    return schema
