"""The quality gate, rule by rule, and against whatever YouTube may say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.config import Settings
from maia.hunter.gate import Gate, views_per_hour, words
from maia.youtube.models import Channel, Video

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

PLAIN = Video(
    id="dQw4w9WgXcQ", channel_id="UC1", channel_title="C", title="Rain on a tin roof", published_at=NOON - 10 * HOUR,
    tags=("rain", "sleep sounds"), category_id="10", default_language="en", default_audio_language=None, live="none",
    description=None, duration=timedelta(seconds=60), views=1_000, likes=None, comment_count=None, privacy=None,
    upload_status=None, wiki_topics=(),
)  # fmt: skip
CHANNEL = Channel("UC1", "C", "AT", None, None, None, None, 1_000, None, ())


def gate(**rules: Any) -> Gate:
    named = {f"GATE_{name.upper()}": value for name, value in rules.items()}
    return Gate.from_settings(Settings(_env_file=None, **named))


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


@pytest.mark.parametrize(
    ("rules", "changes", "reason"),
    [
        pytest.param({}, {}, None, id="no rule, all pass"),
        pytest.param({}, dict.fromkeys(Video._fields[1:]) | {"tags": ()}, None, id="no rule, nothing known"),
        pytest.param({"min_duration_seconds": 60}, {}, None, id="as short as may be"),
        pytest.param({"min_duration_seconds": 61}, {}, "min_duration", id="too short"),
        pytest.param({"min_duration_seconds": 0}, {"duration": None}, "min_duration_unknown", id="of no known length"),
        pytest.param({"max_duration_seconds": 60}, {}, None, id="as long as may be"),
        pytest.param(
            {"max_duration_seconds": 60}, {"duration": seconds(60.5)}, "max_duration", id="half a second over"
        ),
        pytest.param({"max_duration_seconds": 60}, {"duration": None}, "max_duration_unknown", id="perhaps too long"),
        pytest.param({"max_duration_seconds": 60}, {"live": "live", "duration": None}, "live", id="live"),
        pytest.param({"min_duration_seconds": 60}, {"live": "upcoming", "duration": None}, "upcoming", id="to come"),
        pytest.param({"min_duration_seconds": 1}, {"live": "live"}, "live", id="live, whatever length it claims"),
        pytest.param(
            {"max_duration_seconds": 60, "accept_live": True},
            {"live": "live", "duration": None},
            None,
            id="live let in",
        ),
        pytest.param(
            {"max_duration_seconds": 60, "accept_live": True}, {"duration": None}, "max_duration_unknown", id="not live"
        ),
        pytest.param({"languages": ["de"]}, {"live": "live"}, "language", id="live is no excuse for other rules"),
        pytest.param({"accept_live": True}, {"live": "live", "duration": None}, None, id="no rule on duration"),
        pytest.param({"languages": ["de", "en"]}, {}, None, id="one of the languages"),
        pytest.param({"languages": ["de"]}, {}, "language", id="another language"),
        pytest.param({"languages": ["en"]}, {"default_language": "en-GB"}, None, id="a language's region"),
        pytest.param({"languages": ["EN-gb"]}, {"default_language": "en_GB"}, None, id="another spelling"),
        pytest.param({"languages": ["en-GB"]}, {}, "language", id="a region is asked for"),
        pytest.param({"languages": ["fi"]}, {"default_language": "fil"}, "language", id="a longer code is another one"),
        pytest.param(
            {"languages": ["en"]}, {"default_audio_language": "de"}, "language", id="what is spoken comes first"
        ),
        pytest.param({"languages": ["en"]}, {"default_audio_language": "und"}, None, id="undetermined is no answer"),
        pytest.param({"languages": ["en"]}, {"default_language": None}, "language_unknown", id="no language"),
        pytest.param({"languages": ["en"]}, {"default_language": ""}, "language_unknown", id="an empty language"),
        pytest.param({"categories": [10, 24]}, {}, None, id="one of the categories"),
        pytest.param({"categories": [1]}, {}, "category", id="another category"),
        pytest.param({"categories": [10]}, {"category_id": None}, "category_unknown", id="no category"),
        pytest.param({"denied_categories": [1]}, {}, None, id="not a denied category"),
        pytest.param({"denied_categories": [10]}, {}, "denied_category", id="a denied category"),
        pytest.param(
            {"denied_categories": [1]}, {"category_id": None}, "denied_category_unknown", id="perhaps a denied category"
        ),
        pytest.param({"denied_words": ["TIN"]}, {}, "denied_word", id="a word of the title"),
        pytest.param({"denied_words": ["roo"]}, {}, None, id="part of a word"),
        pytest.param({"denied_words": ["sleep  Sounds!"]}, {}, "denied_word", id="a phrase of a tag"),
        pytest.param({"denied_words": ["roof rain"]}, {}, None, id="a phrase across title and tag"),
        pytest.param({"denied_words": ["strasse"]}, {"title": "Die STRAẞE"}, "denied_word", id="case folds"),
        pytest.param({"denied_words": ["rain"]}, {"title": "Ｒain", "tags": ()}, "denied_word", id="width folds"),
        pytest.param(
            {"denied_words": ["tin"]}, {"title": "t\u00adin"}, "denied_word", id="a soft hyphen hides nothing"
        ),
        pytest.param({"denied_words": ["动画"]}, {"title": "儿童动画片"}, "denied_word", id="no spaces in Chinese"),
        pytest.param({"denied_words": ["गाना"]}, {"title": "हिन्दी गाना"}, "denied_word", id="Hindi's vowel signs"),
        pytest.param({"denied_words": ["हिन"]}, {"title": "हिन्दी गाना"}, None, id="part of a Hindi word"),
        pytest.param({"denied_words": ["🔞"]}, {"title": "Wow🔞️now"}, "denied_word", id="a symbol, wherever"),
        pytest.param({"denied_words": ["rain"]}, {"title": None}, "denied_word_unknown", id="no title"),
        pytest.param({"denied_words": ["hail"]}, {"title": "", "tags": ()}, None, id="an empty title is known"),
        pytest.param({"min_rate": 100}, {}, None, id="just enough views an hour"),
        pytest.param({"min_rate": 100.1}, {}, "min_rate", id="too few views an hour"),
        pytest.param(
            {"min_rate": 60}, {"published_at": NOON, "views": 50}, "min_rate", id="the first hour counts whole"
        ),
        pytest.param({"min_rate": 50}, {"published_at": NOON + HOUR, "views": 50}, None, id="published in the future"),
        pytest.param({"min_rate": 0}, {"views": 0}, None, id="no views, none asked for"),
        pytest.param({"min_rate": 0}, {"views": None}, "min_rate_unknown", id="hidden views"),
        pytest.param({"min_rate": 0}, {"published_at": None}, "min_rate_unknown", id="of no known age"),
    ],
)
def test_a_rule_on_the_video(rules: dict[str, Any], changes: dict[str, Any], reason: str | None) -> None:
    tested, video = gate(**rules), PLAIN._replace(**changes)

    assert tested.judge(video, NOON, None) == tested.judge_alone(video, NOON) == reason
    assert tested.active is bool(rules.keys() - {"accept_live"})
    assert not tested.needs_channel


@pytest.mark.parametrize(
    ("rules", "channel", "reason"),
    [
        pytest.param({"regions": ["de", "at"]}, CHANNEL, None, id="one of the countries"),
        pytest.param({"regions": ["DE"]}, CHANNEL, "region", id="another country"),
        pytest.param({"regions": ["AT"]}, CHANNEL._replace(country=None), "region_unknown", id="no country"),
        pytest.param({"min_subscribers": 1_000}, CHANNEL, None, id="large enough"),
        pytest.param({"min_subscribers": 1_001}, CHANNEL, "min_subscribers", id="too small"),
        pytest.param({"max_subscribers": 1_000}, CHANNEL, None, id="small enough"),
        pytest.param({"max_subscribers": 999}, CHANNEL, "max_subscribers", id="too large"),
        pytest.param({"max_subscribers": 0}, CHANNEL._replace(subscribers=0), None, id="nobody subscribed"),
        pytest.param(
            {"min_subscribers": 0}, CHANNEL._replace(subscribers=None), "min_subscribers_unknown", id="hidden, minimum"
        ),
        pytest.param(
            {"max_subscribers": 9}, CHANNEL._replace(subscribers=None), "max_subscribers_unknown", id="hidden, maximum"
        ),
        pytest.param({"regions": ["AT"]}, None, "region_unknown", id="no channel"),
        pytest.param({"regions": ["AT"]}, CHANNEL._replace(id="UC2"), "region_unknown", id="another video's channel"),
        pytest.param({"regions": ["AT"], "denied_words": ["rain"]}, None, "denied_word", id="the video's rules first"),
    ],
)
def test_a_rule_on_the_channel(rules: dict[str, Any], channel: Channel | None, reason: str | None) -> None:
    tested = gate(**rules)

    assert tested.judge(PLAIN, NOON, channel) == reason
    assert (tested.active, tested.needs_channel) == (True, True)


def test_every_setting_of_the_gate_is_off_by_default() -> None:
    assert Gate.from_settings(Settings(_env_file=None)) == Gate()
    assert not Gate().active


def test_every_rule_that_is_on_refuses_a_video_that_nothing_is_known_of() -> None:
    on = {
        "min_duration_seconds": 0, "max_duration_seconds": 10**9, "languages": ["en"], "regions": ["AT"],
        "categories": [10], "denied_categories": [20], "denied_words": ["x"], "min_rate": 0, "min_subscribers": 0,
        "max_subscribers": 10**12,
    }  # fmt: skip
    named = {name.removeprefix("GATE_").lower() for name in Settings.model_fields if name.startswith("GATE_")}
    unknown = PLAIN._replace(**dict.fromkeys(Video._fields[1:]) | {"tags": (), "wiki_topics": ()})

    reasons = {gate(**{name: value}).judge(unknown, NOON, None) for name, value in on.items()}

    assert named == {*on, "accept_live"}
    assert len(reasons) == len(on)
    assert all(reason is not None and reason.endswith("_unknown") for reason in reasons)


times = st.datetimes(timezones=st.just(UTC))
counts = st.integers(0, 2**63 - 1)
lengths = st.timedeltas(timedelta(microseconds=1))


def perhaps(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


videos = st.builds(
    Video,
    id=st.text(), channel_id=perhaps(st.sampled_from(["UC1", "UC2"])), channel_title=perhaps(st.text()),
    title=perhaps(st.text()), published_at=perhaps(times), tags=st.lists(st.text()).map(tuple),
    category_id=perhaps(st.text() | st.sampled_from(["10", "20"])), default_language=perhaps(st.text()),
    default_audio_language=perhaps(st.text() | st.just("en")),
    live=perhaps(st.sampled_from(["none", "live", "upcoming"]) | st.text()), description=perhaps(st.text()),
    duration=perhaps(lengths), views=perhaps(counts), likes=perhaps(counts), comment_count=perhaps(counts),
    privacy=perhaps(st.text()), upload_status=perhaps(st.text()), wiki_topics=st.lists(st.text()).map(tuple),
)  # fmt: skip
channels = st.builds(
    lambda id_, country, subscribers: CHANNEL._replace(id=id_, country=country, subscribers=subscribers),
    st.sampled_from(["UC1", "UC2"]), perhaps(st.text() | st.just("AT")), perhaps(counts),
)  # fmt: skip
speakable = st.text(st.characters(categories=["L", "N", "S"]), min_size=1)
gates = st.builds(
    gate,
    min_duration_seconds=perhaps(st.integers(0, 60)), max_duration_seconds=perhaps(st.integers(60, 10**9)),
    accept_live=st.booleans(), languages=st.lists(st.sampled_from(["en", "pt-BR"])),
    regions=st.lists(st.sampled_from(["AT", "de"])), categories=st.lists(st.sampled_from([10, 24])),
    denied_categories=st.lists(st.sampled_from([20, 22])), denied_words=st.lists(speakable),
    min_rate=perhaps(st.floats(0, allow_infinity=False)), min_subscribers=perhaps(st.integers(0, 9)),
    max_subscribers=perhaps(st.integers(9)),
)  # fmt: skip


@given(gates, videos, times, perhaps(channels))
def test_any_gate_judges_any_video(tested: Gate, video: Video, now: datetime, channel: Channel | None) -> None:
    reason = tested.judge(video, now, channel)

    assert reason is None or reason
    assert tested.active or reason is None
    assert tested.judge_alone(video, now) in (reason, None)
    if channel is None and tested.needs_channel:
        assert reason is not None


@given(speakable, st.lists(st.text()), st.lists(st.text()))
def test_a_denied_word_is_found_wherever_it_stands_by_itself(word: str, before: list[str], after: list[str]) -> None:
    assert len(words(word)) > 2
    assert words(word) in words(" ".join([*before, word, *after]))


@given(st.text())
def test_words_folded_twice_are_folded(text: str) -> None:
    assert words(words(text)) == words(text)


def test_the_rate_of_a_video_of_an_instant_is_that_of_its_first_hour() -> None:
    assert views_per_hour(PLAIN._replace(published_at=NOON), NOON) == 1_000
