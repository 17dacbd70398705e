"""Captions in every form they come in are read into one normal form, or refused with one error."""

from __future__ import annotations

from contextlib import suppress
from html import escape
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maia.scribe.transcripts import (
    FORMATS,
    Format,
    MalformedTranscript,
    NoTranscript,
    Segment,
    SourceFailed,
    Track,
    Transcript,
    choose,
    parse,
    read_player,
)
from maia.scribe.transcripts import formats as forms

FIRST = Segment(0.21, 3.83, "Hi, I'm Vanessa from SpeakEnglishWithVanessa.com.")
LAST = Segment(620.65, 0.01, "Goodbye.")


@pytest.mark.parametrize(
    ("file", "form", "count", "first", "last"),
    [
        pytest.param("y2bcaptions_0.json3", "json3", 151, FIRST, LAST, id="json3"),
        pytest.param("y2bcaptions_1.srt", "srt", 151, FIRST, LAST, id="SubRip"),
        pytest.param(
            "anaselm_autocaption.en.vtt",
            "vtt",
            402,
            Segment(0.0, 2.119, "there's no denying the MacBook Air 2020"),
            Segment(1012.95, 3.56, "right now get it it's cool"),
            id="WebVTT as a machine made it",
        ),
        pytest.param(
            "yta_transcript.xml",
            "xml",
            3,
            Segment(0.0, 1.54, "Hey, this is just a test"),
            Segment(5.7, 3.239, "just something shorter, I made up for testing"),
            id="timed text",
        ),
    ],
)
def test_recorded_captions_are_read(
    recorded_data: Path, file: str, form: Format, count: int, first: Segment, last: Segment
) -> None:
    segments = parse((recorded_data / "youtube" / "captions" / file).read_bytes(), form)
    assert (len(segments), segments[0], segments[-1]) == (count, first, last)


def test_the_same_captions_in_two_forms_are_the_same(recorded_data: Path) -> None:
    captions = recorded_data / "youtube" / "captions"
    json3 = parse((captions / "y2bcaptions_0.json3").read_bytes(), "json3")
    assert json3 == parse((captions / "y2bcaptions_1.srt").read_bytes(), "srt")
    assert json3[1].text == "Today, I have some good news and some bad news."  # two lines in both


def test_every_word_of_rolling_captions_is_told_once(recorded_data: Path) -> None:
    data = (recorded_data / "youtube" / "captions" / "anaselm_autocaption.en.vtt").read_bytes()
    spoken = [line for line in data.decode().splitlines() if "<c>" in line]  # a line is timed when it is first said
    told = [segment.text for segment in parse(data, "vtt")]
    assert [text for text in told if " " in text] == [
        plain for line in spoken if " " in (plain := forms.plain_text(line))
    ]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(
            "yta_youtube_transcripts_disabled.innertube.json",
            NoTranscript("captions are disabled", "here"),
            id="disabled",
        ),
        pytest.param(
            "yta_youtube_video_unavailable.innertube.json",
            NoTranscript("unavailable: This video is unavailable", "here"),
            id="unavailable",
        ),
    ],
)
def test_a_recorded_player_says_why_there_are_none(recorded_data: Path, file: str, expected: NoTranscript) -> None:
    assert read_player((recorded_data / "youtube" / "captions" / file).read_bytes(), "here") == expected


def test_a_recorded_player_lists_the_tracks(recorded_data: Path) -> None:
    tracks = read_player((recorded_data / "youtube" / "captions" / "yta_youtube.innertube.json").read_bytes(), "here")
    assert isinstance(tracks, list)
    assert [track.language for track in tracks] == ["zh", "cs", "en", "en", "de", "hi", "ja", "ko", "es"]
    assert [track.name for track in tracks if track.generated] == ["English (auto-generated)"]
    assert all(track.address.startswith("https://www.youtube.com/api/timedtext?v=GJLlxj_dtq8&") for track in tracks)


def test_every_recorded_file_is_read_to_segments_or_a_reason(recorded_data: Path) -> None:
    read = {}
    for file in (recorded_data / "youtube" / "captions").iterdir():
        data = file.read_bytes()
        form = next((form for form in FORMATS if file.suffix == f".{form}"), None)
        read[file.name] = read_player(data, "here") if form is None else parse(data, form)
    assert len(read) >= 7
    assert all(read.values())


def json3(*events: object) -> bytes:
    return orjson.dumps({"wireMagic": "pb3", "events": events})


@pytest.mark.parametrize(
    ("form", "data", "expected"),
    [
        pytest.param(
            "json3",
            json3(
                {"tStartMs": 0, "dDurationMs": 9000, "id": 1, "wpWinPosId": 1},
                {"tStartMs": 80, "dDurationMs": 4240, "segs": [{"utf8": "so"}, {"utf8": " today", "tOffsetMs": 240}]},
                {"tStartMs": 2310, "dDurationMs": 2010, "aAppend": 1, "segs": [{"utf8": "\n"}]},
                {"tStartMs": 2320, "dDurationMs": 3000, "segs": [{"utf8": "we"}, {"utf8": " go", "tOffsetMs": 100}]},
            ),
            [Segment(0.08, 4.24, "so today"), Segment(2.32, 3.0, "we go")],
            id="json3: words with times, windows and newlines that are appended",
        ),
        pytest.param(
            "json3",
            json3({"tStartMs": 5, "segs": [{"utf8": "a\n"}, {}, {"utf8": "b &amp; c"}, 7]}, {"segs": "x"}, None),
            [Segment(0.005, 0.0, "a b & c")],
            id="json3: no duration, odd pieces",
        ),
        pytest.param(
            "json3",
            b"\xef\xbb\xbf" + json3({"tStartMs": "36000000", "dDurationMs": "1", "segs": [{"utf8": "ten hours in"}]}),
            [Segment(36_000.0, 0.001, "ten hours in")],
            id="json3: a byte order mark, numbers as text, hours in",
        ),
        pytest.param(
            "json3",
            json3(*({"tStartMs": at, "segs": [{"utf8": "when?"}]} for at in (None, -1, 1e300, True, "NaN", []))),
            [],
            id="json3: times that are none",
        ),
        pytest.param(
            "vtt",
            b"\xef\xbb\xbfWEBVTT - a title\r\nKind: captions\r\n\r\nNOTE of no use\r\n\r\nSTYLE\r\n::cue { color: red }"
            b"\r\n\r\nid\r\n00:01.000 --> 00:02.500 align:start\r\n<v Bob>Hi &lt;all&gt;\r\nthere</v>\r\n"
            b"\r\n100:00:00.000 --> 100:00:01.000\r\nmuch later\r\n",
            [Segment(1.0, 1.5, "Hi <all> there"), Segment(360_000.0, 1.0, "much later")],
            id="WebVTT: a byte order mark, CRLF, notes, styles, settings, voices, entities, hours",
        ),
        pytest.param(
            "vtt",
            b"WEBVTT\n\n00:03.000 --> 00:05.000\nb\n\n00:01.000 --> 00:04.000\na\n\n00:06.000 --> 00:07.000\n\n"
            b"00:08.000 --> 00:09.000\n&nbsp;\xe2\x80\x8b\n\n00:10.000 --> 00:09.000\nback\n",
            [Segment(1.0, 3.0, "a"), Segment(3.0, 2.0, "b"), Segment(10.0, 0.0, "back")],
            id="WebVTT: out of order, overlapping, empty and blank cues, an end before its start",
        ),
        pytest.param(
            "vtt",
            b"WEBVTT\n\n00:01.000 --> 00:02.000\nla la\n\n00:02.000 --> 00:03.000\nla la\n",
            [Segment(1.0, 1.0, "la la"), Segment(2.0, 1.0, "la la")],
            id="WebVTT: a line that is sung twice",
        ),
        pytest.param(
            "vtt",
            b"WEBVTT\n\n00:00.000 --> 00:02.000\n \nla<00:00:01.000><c> la</c>\n\n00:02.000 --> 00:02.010\nla la\n \n\n"
            b"00:02.010 --> 00:04.000\nla la\nla<00:00:03.000><c> la</c>\n",
            [Segment(0.0, 2.0, "la la"), Segment(2.01, 1.99, "la la")],
            id="WebVTT: a line that rolls up, and is sung again",
        ),
        pytest.param(
            "srt",
            "1\r\n00:00:01,000 --> 00:00:02,000\r\n<font color='#fff'>{\\an8}déjà</font>\r\n\r\nvu\r\n\r\n"
            "2\r\n00:00:02,500 --> 00:00:03,000\r\n&#39;tis\r\n".encode("cp1252"),
            [Segment(1.0, 1.0, "déjà vu"), Segment(2.5, 0.5, "'tis")],
            id="SubRip: CRLF, tags, a blank line within, not UTF-8",
        ),
        pytest.param(
            "srt",
            b"1\n00:00:00,000 --> 00:00:02,000\none\n\n2\n00:00:02,000 --> 00:00:02,010\none\n\n"
            b"3\n00:00:02,010 --> 00:00:04,000\none\ntwo\n\n4\n00:00:04,000 --> 00:00:04,010\ntwo\n",
            [Segment(0.0, 2.0, "one"), Segment(2.01, 1.99, "two")],
            id="SubRip: made of rolling captions",
        ),
        pytest.param(
            "srt",
            "1\n00:00:01.500 --> 00:00:02.500\nутро\n".encode("utf-16"),
            [Segment(1.5, 1.0, "утро")],
            id="SubRip: UTF-16",
        ),
        pytest.param(
            "xml",
            b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8" ?><transcript><text start="1.5" dur="2">it&amp;#39;s\n'
            b'me</text><text start="0">first</text><text start="4" dur="1"></text><text dur="1">never</text>'
            b"</transcript>",
            [Segment(0.0, 0.0, "first"), Segment(1.5, 2.0, "it's me")],
            id="timed text in seconds: entities in entities, out of order, empty, without a start",
        ),
        pytest.param(
            "xml",
            b'<timedtext format="3"><head><pen id="1"/></head><body><w t="0" id="1"/><p t="80" d="4240" w="1">'
            b'<s>so</s><s t="240"> today</s></p><p t="2310" d="2010" w="1" a="1">\n</p></body></timedtext>',
            [Segment(0.08, 4.24, "so today")],
            id="timed text, third format: words with times, appended newlines",
        ),
        pytest.param(
            "srt",
            b"1\n00:00:01,500 --> 00:00:02,500\na&#" + b"1" * 5_000 + b";b\n",
            [Segment(1.5, 1.0, "a\ufffdb")],
            id="SubRip: a character's number without an end",
        ),
        pytest.param(
            "xml",
            b'<timedtext><text t="80" d="4240">so &lt;i&gt;today&lt;/i&gt;</text></timedtext>',
            [Segment(0.08, 4.24, "so today")],
            id="timed text, second format",
        ),
    ],
)
def test_what_captions_are_peculiar_in_is_mended(form: Format, data: bytes, expected: list[Segment]) -> None:
    assert parse(data, form) == expected


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><transcript><text start="0">&b;</text>'


@pytest.mark.parametrize(
    ("form", "data", "problem"),
    [
        pytest.param("json3", b"", "not JSON", id="nothing"),
        pytest.param("json3", b'{"events": [', "not JSON", id="json3 that breaks off"),
        pytest.param("json3", b"[]", "without events", id="other JSON"),
        pytest.param("vtt", b"00:01.000 --> 00:02.000\nhi", "not WebVTT", id="WebVTT without its name"),
        pytest.param("srt", b"<html>Sorry</html>", "not SubRip", id="a page for SubRip"),
        pytest.param("xml", b"<transcript><text>", "not well-formed", id="XML that breaks off"),
        pytest.param("xml", b"<html/>", "no timed text", id="other XML"),
        pytest.param("xml", BOMB + b"</transcript>", "not well-formed", id="entities that unfold"),
        pytest.param(
            "xml", b"<transcript>" + b"<p/>" * 500_001 + b"</transcript>", "not well-formed", id="many elements"
        ),
        pytest.param("vtt", b"WEBVTT\n" + b"-->" * (forms.MAX_CUES + 1), "cues", id="too many cues"),
        pytest.param("json3", b" " * (forms.MAX_BYTES + 1), "bytes", id="too long"),
    ],
)
def test_what_is_no_captions_is_refused_with_the_one_error(form: Format, data: bytes, problem: str) -> None:
    with pytest.raises(MalformedTranscript, match=problem):
        parse(data, form)


SCRAPS = st.sampled_from([
    b"WEBVTT\n\n", b"00:01.000 --> 00:02.000\n", b"1\n", b"00:00:01,000 --> 00:00:02,000\n", b"\n\n", b"-->",
    b"<transcript>", b'<text start="1">', b"</text>", b"</transcript>", b"<p t='5' d='6'>", b"</p>", b"<timedtext>",
    b'{"events":[', b'{"tStartMs":1,"segs":[{"utf8":"a"}]}', b"]}", b"&amp;#39;", b"<c>", b"\xff", b"\0", b"\r",
    b"\xef\xbb\xbf", b"NOTE", b"<body>",
])  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@given(data=st.binary() | st.lists(SCRAPS | st.binary(max_size=8)).map(b"".join))
def test_any_bytes_are_segments_or_the_one_error(form: Format, data: bytes) -> None:
    with suppress(MalformedTranscript):
        in_order(parse(data, form))


def in_order(segments: list[Segment]) -> None:
    """Hold segments to what they promise."""
    assert segments == sorted(segments, key=lambda segment: segment.start)
    for segment in segments:
        assert segment.start >= 0
        assert segment.duration >= 0
        assert segment.text == " ".join(segment.text.split()) != ""
    Transcript("en", tuple(segments), None, "here").text.encode()


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
pieces = json | st.lists(json | st.fixed_dictionaries({"utf8": json}), max_size=4)
events = st.lists(
    json | st.fixed_dictionaries({}, optional={"tStartMs": json, "dDurationMs": json, "segs": pieces}), max_size=5
)


@given(data=json | st.fixed_dictionaries({"events": json | events}))
def test_any_json_is_segments_or_the_one_error(data: object) -> None:
    with suppress(MalformedTranscript):
        in_order(parse(orjson.dumps(data), "json3"))


said = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9).map(escape) | st.sampled_from(
    ["&amp;#" + "1" * 5_000 + ";", "&amp;#xD800;", "&amp;amp;lt;", "&#10;", "<b>x</b>", "<!-- x -->", "<![CDATA[<]]>"]
)
times = st.sampled_from(["", "0", "1.5", "-1", "nan", "inf", "1e400", "9" * 400, "x", "\u0663"])
marks = st.dictionaries(st.sampled_from(["start", "dur", "t", "d", "x"]), times).map(
    lambda given_: "".join(f' {name}="{value}"' for name, value in given_.items())
)
lines = st.builds("<{0}{1}>{2}</{0}>".format, st.sampled_from(["text", "p", "body", "s"]), marks, said)


@given(root=st.sampled_from(["transcript", "timedtext"]), inside=st.lists(lines), body=st.booleans())
def test_any_timed_text_is_segments(root: str, inside: list[str], body: bool) -> None:
    told = "".join(inside)
    document = f"<{root}>{f'<body>{told}</body>' if body else told}</{root}>"
    with suppress(MalformedTranscript):  # of control characters XML allows few
        in_order(parse(document.encode(), "xml"))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("form", "begin", "repeated", "end"),
    [
        pytest.param("vtt", "WEBVTT\n\n00:00.000 --> 00:01.000\n", part, "", id=f"vtt {part!r}")
        for part in ("<", "<a", "<0:", "<1:11:", "{\\", "&", "&#", "&#1", "x ", "\n", " ", "a\n\n", "NOTE\n", "STYLE\n")
    ]
    + [
        pytest.param("vtt", "WEBVTT\n\n", "00:00.000 --> 00:00.010\nx\n\n", "", id="vtt flashes"),
        pytest.param("srt", "1\n00:00:00,000 --> 00:00:01,000\n", "x\n", "", id="srt lines"),
        pytest.param("srt", "", "1\n\n", "", id="srt numbers"),
        pytest.param("xml", "<transcript>", "<p t='1'>", "", id="xml open elements"),
        pytest.param("xml", "<transcript><text start='1'>", "x&amp;amp;", "</text></transcript>", id="xml entities"),
        pytest.param("xml", "<transcript a='", "x", "", id="xml without an end"),
        pytest.param("json3", "", "[", "", id="json3 brackets"),
        pytest.param("json3", '{"events":[', '{"segs":[{"utf8":"a"}]},', "{}]}", id="json3 events"),
    ],
)  # fmt: skip
def test_hostile_captions_take_time_in_proportion_to_their_length(
    form: Format, begin: str, repeated: str, end: str
) -> None:
    """A quadratic reader would be at it for an hour."""
    data = (begin + repeated * (400_000 // len(repeated)) + end).encode()
    with suppress(MalformedTranscript):
        in_order(parse(data, form))


ANSWER = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["OK", "ERROR", "asr", "en"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([
                "playabilityStatus", "status", "reason", "captions", "playerCaptionsTracklistRenderer", "captionTracks",
                "languageCode", "baseUrl", "kind", "name", "runs", "text", "simpleText",
            ]),
            inner,
            max_size=4,
        )
    ),
)  # fmt: skip


@given(data=st.binary() | ANSWER.map(orjson.dumps))
def test_any_bytes_are_a_players_answer_or_the_one_error(data: bytes) -> None:
    try:
        answer = read_player(data, "here")
    except MalformedTranscript:
        return
    assert isinstance(answer, NoTranscript) or answer


def player(status: str, reason: str) -> bytes:
    return orjson.dumps({"playabilityStatus": {"status": status, "reason": reason}})


def test_a_player_that_turns_us_away_says_nothing_of_the_video() -> None:
    with pytest.raises(SourceFailed):
        read_player(player("LOGIN_REQUIRED", "Sign in to confirm you’re not a bot"), "here")
    aged = read_player(player("LOGIN_REQUIRED", "This video may be inappropriate for some users."), "here")
    assert aged == NoTranscript("unavailable: This video may be inappropriate for some users.", "here")


HUMAN = [Track("de", False, "", "1"), Track("en-GB", False, "", "2"), Track("en", False, "", "3")]
HEARD = Track("en", True, "", "4")


@pytest.mark.parametrize(
    ("tracks", "language", "expected"),
    [
        pytest.param([*HUMAN, HEARD], "en", "3", id="its own language, by a person"),
        pytest.param([*HUMAN, HEARD], "en-US", "2", id="a kin of it, by a person"),
        pytest.param([HUMAN[0], HEARD], "en", "4", id="its own language, by a machine"),
        pytest.param([*HUMAN, HEARD], None, "3", id="what a machine heard tells the language"),
        pytest.param([HUMAN[0], HEARD], "fr", "4", id="another than it is said to be in"),
        pytest.param(HUMAN, "fr", "1", id="nobody heard it: the first"),
        pytest.param([], "en", None, id="none"),
    ],
)
def test_the_track_that_says_best_what_is_said_is_chosen(
    tracks: list[Track], language: str | None, expected: str | None
) -> None:
    chosen = choose(tracks, language)
    assert (chosen.address if chosen else None) == expected
