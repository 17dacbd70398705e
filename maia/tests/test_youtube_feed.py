"""Channel feeds: the recorded ones, and what no feed should be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import escape
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import ApiUnavailable
from maia.youtube.feed import parse_feed

FEED = b"""<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns:yt="http://www.youtube.com/xml/schemas/2015" xmlns:media="http://search.yahoo.com/mrss/"
      xmlns="http://www.w3.org/2005/Atom">
 <title>A channel</title>
 <entry>
  <yt:videoId>dQw4w9WgXcQ</yt:videoId><yt:channelId>UCuAXFkgsw1L7xaCfnd5JJOw</yt:channelId>
  <title>Ho &amp; Pringle</title><author><name>A channel</name></author>
  <published>2026-08-08T12:00:00+00:00</published><updated>2026-08-09T12:00:00+00:00</updated>
  <media:group><media:community><media:statistics views="3507573655"/></media:community></media:group>
 </entry>
 <entry><id>no video</id><title>Something else</title></entry>
 <entry><yt:videoId>premiere___</yt:videoId></entry>
</feed>"""


def test_recorded_feeds_give_their_fifteen_videos(recorded_data: Path) -> None:
    feeds = [path for path in (recorded_data / "youtube" / "feeds").iterdir() if b"yt:videoId" in path.read_bytes()]
    assert feeds
    for path in feeds:
        body = path.read_bytes()
        entries = parse_feed(body)
        assert len(entries) == body.count(b"<entry>"), path.name
        assert len({entry.channel_id for entry in entries}) == 1
        assert all(entry.title and entry.channel_title and entry.views is not None for entry in entries)
        assert all(entry.published_at and entry.updated_at for entry in entries)


def test_an_entry_says_what_it_knows() -> None:
    first, bare = parse_feed(FEED)
    assert first.title == "Ho & Pringle"
    assert (first.views, first.published_at) == (3507573655, datetime(2026, 8, 8, 12, tzinfo=UTC))
    assert (bare.video_id, bare.title, bare.views, bare.published_at) == ("premiere___", None, None, None)


@pytest.mark.parametrize("before", [b"\n\n  ", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"])
def test_a_feed_may_start_late(before: bytes) -> None:
    assert len(parse_feed(before + FEED)) == 2


def test_a_feed_may_be_empty() -> None:
    assert parse_feed(b'<feed xmlns="http://www.w3.org/2005/Atom"/>') == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(FEED[:300], id="half a feed"),
        pytest.param(b"<html><body>Error 404</body></html>", id="a page"),
        pytest.param(b'<?xml version="1.0" encoding="nonsense"?><feed/>', id="an unknown encoding"),
        pytest.param(b"\x00" * 50, id="noughts"),
        pytest.param(
            b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><feed xmlns="http://www.w3.org/2005/Atom">&b;</feed>',
            id="entities",
        ),
        pytest.param(
            '<!DOCTYPE l [<!ENTITY a "ha">]><feed xmlns="http://www.w3.org/2005/Atom">&a;</feed>'.encode("utf-16"),
            id="entities in another encoding",
        ),
    ],
)
def test_what_is_no_feed_is_unavailable_and_not_empty(body: bytes) -> None:
    with pytest.raises(ApiUnavailable):
        parse_feed(body)


@given(st.binary(max_size=80))
def test_any_bytes_are_a_feed_or_unavailable(body: bytes) -> None:
    try:
        parse_feed(body)
    except ApiUnavailable:
        return


texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "Z"]), max_size=9).map(escape)
names = st.sampled_from([
    "entry", "yt:videoId", "yt:channelId", "title", "author", "name", "published", "updated", "media:group",
    "media:community", "media:statistics",
])  # fmt: skip
marks = st.sampled_from(["", ' views="7"', ' views="-1"', f' views="{"9" * 5_000}"', ' views="\u0663"', ' x=""'])
parts = st.recursive(
    texts | st.sampled_from(["2026-08-08T12:00:00+00:00", "9999-12-31T23:59:59-23:59", "&#10;", "<!-- -->"]),
    lambda inner: st.builds("<{0}{1}>{2}</{0}>".format, names, marks, st.lists(inner, max_size=4).map("".join)),
    max_leaves=20,
)


@given(parts)
def test_any_elements_are_a_feed_of_whole_entries(inside: str) -> None:
    head = FEED[: FEED.index(b"<title>")]
    for entry in parse_feed(head + inside.encode() + b"</feed>"):
        assert entry.video_id
        assert entry.views is None or 0 <= entry.views < 2**63
        assert entry.published_at is None or entry.published_at.utcoffset() == timedelta(0)
