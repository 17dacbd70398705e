"""Read a channel's RSS feed, which is Atom with YouTube's own elements."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from maia.plain_xml import parse_xml
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
    try:
        root = parse_xml(body)
    except ValueError as exc:
        raise unusable("brokenFeed", str(exc)) from None
    if root.tag != f"{_ATOM}feed":
        raise unusable("brokenFeed", "XML, but no Atom feed")
    return [entry for element in root.iter(f"{_ATOM}entry") if (entry := _entry(element)) is not None]


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
