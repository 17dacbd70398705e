"""Read a channel's RSS feed, which is Atom with YouTube's own elements."""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from maia.youtube.errors import unusable
from maia.youtube.models import FeedEntry
from maia.youtube.parse import count, instant

_ATOM = "{http://www.w3.org/2005/Atom}"
_MEDIA = "{http://search.yahoo.com/mrss/}"
_YT = "{http://www.youtube.com/xml/schemas/2015}"


def parse_feed(body: bytes) -> list[FeedEntry]:
    """Read the videos of a feed, newest first as they come; entries that are no videos are left out.

    Raises:
        ApiUnavailable: it is no feed.
    """
    parser = XMLParser(target=_NoEntities())  # noqa: S314 - it refuses what makes XML dangerous
    try:
        parser.feed(body.removeprefix(b"\xef\xbb\xbf").lstrip())  # some have blanks before the declaration
        root = parser.close()
    except (ParseError, ValueError, LookupError) as exc:  # LookupError: an encoding that Python does not know
        raise unusable("brokenFeed", f"not well-formed XML: {type(exc).__name__}") from None
    if root.tag != f"{_ATOM}feed":
        raise unusable("brokenFeed", "XML, but no Atom feed")
    return [entry for element in root.iter(f"{_ATOM}entry") if (entry := _entry(element)) is not None]


class _NoEntities(TreeBuilder):
    """A tree without a document type, and so without entities that unfold into a billion."""

    def doctype(self, *_: object) -> None:
        """Refuse the document."""
        raise ValueError("a feed has no document type")


def _entry(element: Element) -> FeedEntry | None:
    video_id = element.findtext(f"{_YT}videoId")
    if not video_id:
        return None
    statistics = element.find(f"{_MEDIA}group/{_MEDIA}community/{_MEDIA}statistics")
    return FeedEntry(
        video_id,
        element.findtext(f"{_YT}channelId") or None,
        element.findtext(f"{_ATOM}author/{_ATOM}name") or None,
        element.findtext(f"{_ATOM}title") or None,
        instant(element.findtext(f"{_ATOM}published")),
        instant(element.findtext(f"{_ATOM}updated")),
        count(statistics.get("views")) if statistics is not None else None,
    )
