"""Partial responses: the ``fields`` parameter, ``items(id,snippet/title),nextPageToken``."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

Selection = dict[str, "Selection | None"]
"""What to keep of an object; None keeps all of a field, ``*`` speaks for every name."""

_TOKEN = re.compile(r"\s*([A-Za-z0-9_@\-]+|\*|[(),/])")


@lru_cache(maxsize=256)
def parse_fields(text: str) -> Selection:
    """Read a selection.

    Raises:
        ValueError: it is not one.
    """
    tokens: list[str] = []
    place = 0
    while place < len(text.rstrip()):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(text)
        tokens.append(match[1])
        place = match.end()
    selection, rest = _list(tokens)
    if rest:
        raise ValueError(text)
    return selection


def select(document: Any, selection: Selection) -> Any:
    """Keep of a document what the selection names; lists are walked through."""
    if isinstance(document, list):
        return [select(entry, selection) for entry in document]
    if not isinstance(document, dict):
        return document
    kept = {}
    for name, value in document.items():
        if name in selection or "*" in selection:
            inner = selection.get(name, selection.get("*"))
            if inner is None:
                kept[name] = value
            elif isinstance(value, dict | list):
                kept[name] = select(value, inner)
    return kept


def _list(tokens: list[str]) -> tuple[Selection, list[str]]:
    selection: Selection = {}
    while True:
        path, tokens = _path(tokens)
        _merge(selection, path)
        if tokens[:1] != [","]:
            return selection, tokens
        tokens = tokens[1:]


def _path(tokens: list[str]) -> tuple[Selection, list[str]]:
    if not tokens or tokens[0] in "(),/":
        raise ValueError("a field is missing")
    name, tokens = tokens[0], tokens[1:]
    if tokens[:1] == ["/"]:
        inner, tokens = _path(tokens[1:])
        return {name: inner}, tokens
    if tokens[:1] == ["("]:
        inner, tokens = _list(tokens[1:])
        if tokens[:1] != [")"]:
            raise ValueError("a parenthesis is missing")
        return {name: inner}, tokens[1:]
    return {name: None}, tokens


def _merge(into: Selection, more: Selection) -> None:
    for name, inner in more.items():
        present = into.get(name, {})
        if present is None or inner is None:
            into[name] = None
        else:
            into[name] = present
            _merge(present, inner)
