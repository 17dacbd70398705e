"""XML from strangers: read without a document type, and so without entities that unfold into a billion."""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

MAX_ELEMENTS = 500_000
"""So many take 100 MB; twelve hours of captions with the time of every word are 150,000."""


def parse_xml(body: bytes) -> Element:
    """Read a document; a byte order mark and blanks may come before its declaration.

    Raises:
        ValueError: it is not well-formed, or has a document type or too many elements; the message quotes nothing.
    """
    parser = XMLParser(target=_Bounded())  # noqa: S314 - it refuses what makes XML dangerous
    try:
        parser.feed(body.removeprefix(b"\xef\xbb\xbf").lstrip())
        root: Element = parser.close()
    except (ParseError, ValueError, LookupError) as exc:  # LookupError: an encoding that Python does not know
        raise ValueError(f"not well-formed XML: {type(exc).__name__}") from None
    return root


class _Bounded(TreeBuilder):
    def __init__(self) -> None:
        super().__init__()
        self._left = MAX_ELEMENTS

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        """Begin an element, unless there are too many."""
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many elements")
        return super().start(tag, attrs)

    def doctype(self, *_: object) -> None:
        """Refuse the document."""
        raise ValueError("a document type")
