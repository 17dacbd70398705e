"""Text of strangers where it is shown: it says what it says, and does nothing.

Titles, tags and reasons come from whoever wrote them. What is stored is untouched; these are for the way out.
"""

from __future__ import annotations

import re

# A link, an image, a tag or a mention begins with one of these; emphasis is left alone, for it only looks different.
_BEGINS = re.compile(r"(?<!\\)([\[\]<>|`])")
# Control characters drive a terminal, and those of direction and width make one text look like another.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BLANKS = re.compile(r"\s+")


def printable(text: str) -> str:
    """Show what drives a terminal instead of doing it: escape sequences, and what turns the direction of reading."""
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def literal(text: str) -> str:
    """Keep text from being Markdown that leads somewhere: links, images, tags, mentions, cells of a table."""
    return _BEGINS.sub(r"\\\1", _UNSEEN.sub("", text))


def cell(text: str) -> str:
    """``literal`` text on one line, for a table."""
    return literal(_BLANKS.sub(" ", text))
