"""Answers as they really come: every recorded body, the oddities named one by one, and arbitrary JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import ApiError, ApiUnavailable
from maia.youtube import parse
from maia.youtube.errors import classify
from maia.youtube.models import Stats, Upload, Video

READERS: dict[str, Callable[[Any], Any]] = {
    "search": parse.search_page,
    "videos": parse.videos,
    "video_page": parse.video_page,
    "batch_stats": lambda answer: parse.batch_stats(answer, ["dQw4w9WgXcQ"]),
    "channels": parse.channels,
    "uploads": parse.uploads_page,
}


def video(**parts: Any) -> Video:
    (one,) = parse.videos({"items": [{"id": "dQw4w9WgXcQ", **parts}]})
    return one


# ---------------------------------------------------------------------------------------------------- the recordings


def answers(folder: Path, *kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the recorded answers of these kinds, whatever their letter case; "" is a partial response."""
    wanted = {kind.lower() for kind in kinds}
    for path in sorted((folder / "youtube" / "api").rglob("*.json")):
        answer = json.loads(path.read_bytes())
        if isinstance(answer, dict) and "error" not in answer and str(answer.get("kind", "")).lower() in wanted:
            yield path.name, answer


def number(statistics: dict[str, Any], name: str) -> int | None:
    return int(statistics[name]) if name in statistics else None


def test_every_recorded_body_is_read_or_classified(recorded_data: Path) -> None:
    bodies = [path for path in (recorded_data / "youtube" / "api").rglob("*.*") if path.name != "index.jsonl"]
    assert len(bodies) >= 200
    for path in bodies:
        body = path.read_bytes()
        try:
            answer = parse.decode(body)
        except orjson.JSONDecodeError:
            assert isinstance(classify(204, body, {}), ApiUnavailable), path.name
            continue
        if "error" in answer:
            error = classify(answer["error"]["code"], body, {})
            assert type(error) is not ApiError, path.name
            assert error.reason == answer["error"]["errors"][0]["reason"] or "details" in answer["error"], path.name
        else:
            for read in READERS.values():
                read(answer)


def test_recorded_videos_keep_every_fact(recorded_data: Path) -> None:
    seen = 0
    for name, answer in answers(recorded_data, "youtube#videoListResponse"):
        read = parse.videos(answer)
        assert [one.id for one in read] == [item["id"] for item in answer["items"]], name
        for one, item in zip(read, answer["items"], strict=True):
            snippet, statistics = item.get("snippet", {}), item.get("statistics", {})
            assert one.title == (snippet.get("title") or None)
            assert one.channel_id == snippet.get("channelId")
            assert one.tags == tuple(snippet.get("tags", ()))
            assert one.category_id == snippet.get("categoryId")
            assert (one.published_at is None) == ("publishedAt" not in snippet)
            assert one.views == number(statistics, "viewCount")
            assert one.likes == number(statistics, "likeCount")
            assert one.comment_count == number(statistics, "commentCount")
            assert (one.duration is None) == ("duration" not in item.get("contentDetails", {}))
            assert one.privacy == item.get("status", {}).get("privacyStatus")
            seen += 1
    assert seen > 100


def test_recorded_searches_give_their_videos_and_nothing_else(recorded_data: Path) -> None:
    videos = others = escaped = 0
    for name, answer in answers(recorded_data, "youtube#searchListResponse"):
        page = parse.search_page(answer)
        found = [item for item in answer["items"] if "videoId" in item["id"]]
        assert [hit.video_id for hit in page.hits] == [item["id"]["videoId"] for item in found], name
        for hit, item in zip(page.hits, found, strict=True):
            title = item.get("snippet", {}).get("title")
            assert hit.title == (unescape(title) if title else None)
            assert hit.channel_title == item.get("snippet", {}).get("channelTitle")  # this one is not escaped
            escaped += title is not None and hit.title != title
        assert page.next_page_token == answer.get("nextPageToken")
        assert page.total_results == answer["pageInfo"]["totalResults"]
        videos, others = videos + len(found), others + len(answer["items"]) - len(found)
    assert videos > 300
    assert others > 10
    assert escaped > 10


def test_recorded_channels_keep_counts_beyond_32_bits(recorded_data: Path) -> None:
    views: set[int | None] = set()
    for name, answer in answers(recorded_data, "youtube#channelListResponse"):
        for one, item in zip(parse.channels(answer), answer["items"], strict=True):
            statistics = item.get("statistics", {})
            assert one.views == number(statistics, "viewCount"), name
            assert one.subscribers == number(statistics, "subscriberCount")
            assert one.title == item.get("snippet", {}).get("title")
            uploads = item.get("contentDetails", {}).get("relatedPlaylists", {}).get("uploads")
            assert one.uploads_playlist == uploads
            views.add(one.views)
    assert max(count for count in views if count is not None) > 2**31


def test_recorded_playlists_tell_which_videos_are_private(recorded_data: Path) -> None:
    uploads: list[Upload] = []
    for name, answer in answers(recorded_data, "youtube#playlistItemListResponse", ""):
        entries = [item for item in answer.get("items", []) if "resourceId" in item.get("snippet", {})]
        page = parse.uploads_page(answer)
        if entries:
            ids = [item["snippet"]["resourceId"]["videoId"] for item in entries]
            assert [upload.video_id for upload in page.uploads] == ids, name
            assert page.next_page_token == answer.get("nextPageToken")
        uploads += page.uploads
    assert len(uploads) > 100
    hidden = [upload for upload in uploads if not upload.available]
    assert hidden
    assert {upload.title for upload in hidden} == {"Private video"}


def test_recorded_partial_responses_are_read_though_they_carry_no_kind(recorded_data: Path) -> None:
    videos = [one for _, answer in answers(recorded_data, "") for one in parse.videos(answer) if one.duration]
    assert len(videos) > 100
    assert all(one.title and one.channel_id and one.views is None for one in videos)


# ------------------------------------------------------------------------------------------------------- the oddities


def test_a_hidden_count_is_absent_and_not_zero() -> None:
    one = video(statistics={"viewCount": "2576877", "favoriteCount": "0", "commentCount": "0"})
    assert (one.views, one.likes, one.comment_count) == (2576877, None, 0)


@pytest.mark.parametrize(
    ("wire", "meant"),
    [
        pytest.param("0", 0, id="zero"),
        pytest.param("3507573655", 3507573655, id="beyond 32 bits"),
        pytest.param(str(2**63 - 1), 2**63 - 1, id="the largest bigint"),
        pytest.param(str(2**63), None, id="beyond bigint"),
        pytest.param("18446744073709551615", None, id="minus one as uint64"),
        pytest.param("-1", None, id="negative"),
        pytest.param(17, 17, id="a number, as proxies write it"),
        pytest.param(-17, None, id="a negative number"),
        pytest.param(True, None, id="a truth value"),
        pytest.param(1.0, None, id="a float"),
        pytest.param("1_000", None, id="Python's underscore"),
        pytest.param(" 12 ", None, id="blanks"),
        pytest.param("１２", None, id="full-width digits"),
        pytest.param("²", None, id="a digit that is no decimal"),
        pytest.param("", None, id="empty"),
        pytest.param("9" * 100_000, None, id="longer than any count"),
        pytest.param("0" * 19 + "7", 7, id="leading noughts"),
        pytest.param(None, None, id="null"),
    ],
)
def test_a_count_is_a_whole_number_or_nothing(wire: Any, meant: int | None) -> None:
    assert parse.count(wire) == meant
    assert type(parse.count(wire)) is type(meant)


@pytest.mark.parametrize(
    ("wire", "meant"),
    [
        pytest.param("PT3M14S", timedelta(minutes=3, seconds=14), id="minutes and seconds"),
        pytest.param("PT59S", timedelta(seconds=59), id="a short"),
        pytest.param("PT2H", timedelta(hours=2), id="hours alone"),
        pytest.param("P1DT2H", timedelta(days=1, hours=2), id="more than a day"),
        pytest.param("P1DT9S", timedelta(days=1, seconds=9), id="a day and seconds"),
        pytest.param("P2W", timedelta(weeks=2), id="weeks"),
        pytest.param("P0D", None, id="live or upcoming"),
        pytest.param("PT0S", None, id="nought"),
        pytest.param("PT1.5S", timedelta(seconds=1.5), id="a fraction"),
        pytest.param("194s", timedelta(seconds=194), id="protobuf, as batchGetStats has it"),
        pytest.param("194.500s", timedelta(seconds=194.5), id="protobuf with a fraction"),
        pytest.param("-3s", None, id="negative protobuf"),
        pytest.param("P", None, id="no length at all"),
        pytest.param("PT99999999999999999S", None, id="beyond what Python counts"),
        pytest.param("3:14", None, id="another notation"),
        pytest.param(194, None, id="a number"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_a_duration_is_a_length_or_unknown(wire: Any, meant: timedelta | None) -> None:
    assert parse.duration(wire) == meant


@pytest.mark.parametrize(
    ("wire", "meant"),
    [
        pytest.param("2026-08-08T12:00:00Z", datetime(2026, 8, 8, 12, tzinfo=UTC), id="no fraction"),
        pytest.param("2026-08-08T12:00:00.5Z", datetime(2026, 8, 8, 12, 0, 0, 500_000, UTC), id="one digit"),
        pytest.param("2026-08-08T12:00:00.000Z", datetime(2026, 8, 8, 12, tzinfo=UTC), id="three digits"),
        pytest.param("2026-08-08T12:00:00.12345Z", datetime(2026, 8, 8, 12, 0, 0, 123_450, UTC), id="five digits"),
        pytest.param("2026-08-08T12:00:00.123456Z", datetime(2026, 8, 8, 12, 0, 0, 123_456, UTC), id="six digits"),
        pytest.param("2026-08-08T12:00:00.123456789Z", datetime(2026, 8, 8, 12, 0, 0, 123_456, UTC), id="nine digits"),
        pytest.param("2026-08-08T14:00:00+02:00", datetime(2026, 8, 8, 12, tzinfo=UTC), id="another zone"),
        pytest.param("2026-08-08T12:00:00", datetime(2026, 8, 8, 12, tzinfo=UTC), id="no zone"),
        pytest.param("0001-01-01T00:00:00+14:00", None, id="before time began"),
        pytest.param("2026-13-08T12:00:00Z", None, id="a thirteenth month"),
        pytest.param("", None, id="empty"),
        pytest.param(1786190400, None, id="a number"),
        pytest.param(None, None, id="absent"),
    ],
)
def test_a_time_is_in_utc_or_unknown(wire: Any, meant: datetime | None) -> None:
    read = parse.instant(wire)
    assert read == meant
    assert read is None or read.tzinfo is UTC


def test_a_time_without_zone_does_not_depend_on_where_we_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert parse.instant("2026-08-08T12:00:00") == datetime(2026, 8, 8, 12, tzinfo=UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("wire", "meant"),
    [
        pytest.param("Pope &amp; Root Hit Tons!", "Pope & Root Hit Tons!", id="ampersand"),
        pytest.param("World&#39;s &quot;best&quot;", 'World\'s "best"', id="quotes"),
        pytest.param("a &lt;b&gt; c", "a <b> c", id="angle brackets"),
        pytest.param("&amp;amp;", "&amp;", id="escaped once, not twice"),
        pytest.param("Neil Young & Crazy Horse", "Neil Young & Crazy Horse", id="came unescaped"),
        pytest.param("AT&copy right", "AT&copy right", id="looks like an entity"),
    ],
)
def test_search_titles_are_plain_text(wire: str, meant: str) -> None:
    page = parse.search_page({"items": [{"id": {"videoId": "dQw4w9WgXcQ"}, "snippet": {"title": wire}}]})
    assert page.hits[0].title == meant


def test_video_titles_are_left_as_they_are() -> None:
    assert video(snippet={"title": "HTML: what &amp; means"}).title == "HTML: what &amp; means"


def test_search_hits_that_are_no_videos_are_left_out() -> None:
    answer = {
        "items": [
            {"id": {"kind": "youtube#channel", "channelId": "UCxRULEz6kS0PMxCzOY25GhQ"}},
            {"id": {"kind": "youtube#playlist", "playlistId": "PLOU2XLYxmsIJ7imRl4jU7623pHNjZqw3t"}},
            {"id": {"kind": "Youtube#Video", "videoId": "dQw4w9WgXcQ"}},
        ],
    }
    assert [hit.video_id for hit in parse.search_page(answer).hits] == ["dQw4w9WgXcQ"]


@pytest.mark.parametrize("answer", [{}, {"items": None}, {"items": []}, {"kind": "youtube#videoListResponse"}])
@pytest.mark.parametrize("read", [parse.videos, parse.channels])
def test_an_answer_without_items_holds_nothing(answer: Any, read: Callable[[Any], list[Any]]) -> None:
    assert read(answer) == []


@pytest.mark.parametrize("answer", [[], "", 7, None, {"items": {}}, {"items": "none"}])
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_answer_is_no_empty_answer(answer: Any, name: str) -> None:
    with pytest.raises(ApiUnavailable):
        READERS[name](answer)


@pytest.mark.parametrize("id_", [None, 7, ["dQw4w9WgXcQ"]])
@pytest.mark.parametrize("read", [parse.videos, parse.channels])
def test_an_id_that_is_no_text_lets_nobody_be_taken_for_gone(id_: Any, read: Callable[[Any], list[Any]]) -> None:
    with pytest.raises(ApiUnavailable):
        read({"items": [{"id": "dQw4w9WgXcQ"}, {"id": id_}]})


def test_hidden_subscribers_are_unknown_whatever_stands_beside() -> None:
    statistics = {"viewCount": "8589934592", "subscriberCount": "0", "hiddenSubscriberCount": True}
    (one,) = parse.channels({"items": [{"id": "UCxRULEz6kS0PMxCzOY25GhQ", "statistics": statistics}]})
    assert (one.views, one.subscribers, one.video_count) == (8589934592, None, None)


def test_a_deleted_upload_is_not_available_and_a_video_of_that_name_is() -> None:
    deleted = {"snippet": {"title": "Deleted video", "resourceId": {"videoId": "aaaaaaaaaaa"}}}
    named = {
        "snippet": {"title": "Private video"},
        "contentDetails": {"videoId": "bbbbbbbbbbb", "videoPublishedAt": "2026-08-08T12:00:00Z"},
    }
    page = parse.uploads_page({"items": [deleted, named]})
    assert [(upload.video_id, upload.available) for upload in page.uploads] == [
        ("aaaaaaaaaaa", False),
        ("bbbbbbbbbbb", True),
    ]


def test_a_batch_accounts_for_every_id_once() -> None:
    asked = ["returned123", "noStats____", "badCount___", "saidWhy____", "missing____"]
    answer = {
        "items": [
            {"id": "returned123", "statistics": {"viewCount": "7", "likeCount": "0"}},
            {"id": "noStats____"},
            {"id": "badCount___", "statistics": {"viewCount": "many"}},
            {"id": "saidWhy____", "error": {"reason": "processingFailure"}},
            {"id": "neverAsked_", "statistics": {"viewCount": "1"}},
            {"statistics": {"viewCount": "1"}},
        ]
    }
    batch = parse.batch_stats(answer, asked)
    assert batch.returned == {"returned123": Stats(7, 0, None, None, None)}
    assert batch.failed == {
        "noStats____": "no statistics",
        "badCount___": "viewCount is no count",
        "saidWhy____": "processingFailure",
    }
    assert batch.unaccounted == {"missing____"}


def test_a_batch_reads_duration_and_publish_time_in_the_discovery_documents_format() -> None:
    item = {
        "kind": "youtube#videoStats",
        "id": "dQw4w9WgXcQ",
        "snippet": {"publishTime": "2009-10-25T06:57:33Z"},
        "contentDetails": {"duration": "213s"},
        "statistics": {"viewCount": "1700000000", "likeCount": "18000000", "commentCount": "2400000"},
    }
    reading = parse.batch_stats({"items": [item]}, ["dQw4w9WgXcQ"]).returned["dQw4w9WgXcQ"]
    assert reading.published_at == datetime(2009, 10, 25, 6, 57, 33, tzinfo=UTC)
    assert reading.duration == timedelta(seconds=213)
    assert (reading.views, reading.likes, reading.comment_count) == (1_700_000_000, 18_000_000, 2_400_000)


def test_no_text_carries_a_nul_into_the_database() -> None:
    body = rb'{"items":[{"id":"dQw4w9WgXcQ","snippet":{"title":"a\u0000b \\u0000 \\\u0000c","tags":["\u0000"]}}]}'
    (one,) = parse.videos(parse.decode(body))
    assert one.title == "ab \\u0000 \\c"
    assert one.tags == ()


# ----------------------------------------------------------------------------------------------------- arbitrary JSON

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=12)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
NAMES = (
    "id videoId kind snippet statistics contentDetails status topicDetails title tags publishedAt publishTime duration "
    "viewCount likeCount commentCount hiddenSubscriberCount relatedPlaylists uploads resourceId videoPublishedAt error"
)
item = st.dictionaries(
    st.sampled_from(NAMES.split()), anything | st.dictionaries(st.sampled_from(NAMES.split()), anything)
)
answer_like = st.fixed_dictionaries(
    {"items": st.lists(item | anything, max_size=5)}, optional={"nextPageToken": anything, "pageInfo": anything}
)


@given(answer_like | anything)
def test_whatever_comes_is_read_or_refused_as_unavailable(answer: Any) -> None:
    for read in READERS.values():
        try:
            read(answer)
        except ApiUnavailable:
            assert not isinstance(answer, dict) or "items" in answer


@given(st.lists(item, max_size=6), st.lists(st.text(min_size=1, max_size=11), unique=True, max_size=6))
def test_a_batch_is_a_partition_of_what_was_asked(items: list[dict[str, Any]], ids: list[str]) -> None:
    named = [{**one, "id": id_} for one, id_ in zip(items, ids, strict=False)]
    batch = parse.batch_stats({"items": [*named, *items]}, ids)
    assert sorted([*batch.returned, *batch.failed, *batch.unaccounted]) == sorted(ids)


@given(item)
def test_whatever_is_in_a_video_the_model_holds_only_what_its_types_say(parts: dict[str, Any]) -> None:
    one = video(**{name: value for name, value in parts.items() if name != "id"})
    for count in (one.views, one.likes, one.comment_count):
        assert count is None or (type(count) is int and 0 <= count < 2**63)
    for text in (one.title, one.channel_id, one.category_id, one.privacy, *one.tags, *one.wiki_topics):
        assert text is None or (type(text) is str and text)
    assert one.published_at is None or one.published_at.tzinfo is UTC
    assert one.duration is None or one.duration > timedelta(0)


@given(
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))])).filter(lambda t: 1 < t.year < 9999)
)
def test_a_time_survives_its_wire_form(moment: datetime) -> None:
    assert parse.instant(moment.isoformat()) == moment


@given(st.integers(1, 10**7))
def test_a_duration_survives_its_wire_forms(seconds: int) -> None:
    minutes, rest = divmod(seconds, 60)
    assert parse.duration(f"PT{minutes}M{rest}S") == parse.duration(f"{seconds}s") == timedelta(seconds=seconds)


@given(st.binary(max_size=60))
def test_a_body_is_decoded_or_refused_as_no_json(body: bytes) -> None:
    try:
        parse.decode(body)
    except orjson.JSONDecodeError:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(body)
