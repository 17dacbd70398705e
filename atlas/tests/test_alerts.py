"""What is said fits into what Discord takes, and many alerts become one message that counts them all."""

from __future__ import annotations

import re

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.notifications.alerts import Alert, AlertChannel, AlertLevel, Message, compose, pack
from atlas.notifications.destinations import body_of, text_of

text = st.text(max_size=5000)


def size(message: Message) -> int:
    embeds = orjson.loads(body_of(message))["embeds"]
    texts = [part for embed in embeds for part in (embed["title"], embed["description"], footer(embed))]
    texts += [part for embed in embeds for field in embed["fields"] for part in (field["name"], field["value"])]
    return sum(map(len, texts))


def footer(embed: dict[str, dict[str, str]]) -> str:
    return embed["footer"]["text"] if "footer" in embed else ""


def alert(title: str, level: AlertLevel = AlertLevel.INFO, description: str = "what happened") -> Alert:
    return compose(title, description, "ops", level, {})


def test_levels_are_colours_and_channels_have_their_fixed_names() -> None:
    assert {level.name: level.value for level in AlertLevel} == {
        "INFO": 0x3498DB, "SUCCESS": 0x2ECC71, "WARNING": 0xF1C40F, "CRITICAL": 0xE74C3C,
    }  # fmt: skip
    assert {channel.name: channel.value for channel in AlertChannel} == {
        "ALERTS": "alerts", "HUNT": "hunt", "SURVEILLANCE": "watch", "OPS": "ops",
    }  # fmt: skip


@given(text, text, st.lists(st.tuples(text, text), max_size=40), st.sampled_from(AlertLevel), st.integers(0, 10**9))
def test_whatever_is_said_fits_into_an_embed(
    title: str, description: str, fields: list[tuple[str, str]], level: AlertLevel, repeated: int
) -> None:
    said = compose(title, description, AlertChannel.OPS, level, fields)._replace(repeated=repeated)

    assert 1 <= len(said.title) <= 256
    assert len(said.description) <= 4096
    assert len(said.fields) <= 25
    assert all(1 <= len(name) <= 256 and 1 <= len(value) <= 1024 for name, value in said.fields)
    assert all(name.strip() and value.strip() for name, value in said.fields)
    assert size((said,)) == said.length <= 6000


def test_what_is_too_long_ends_in_an_ellipsis() -> None:
    said = compose("t" * 300, "d" * 5000, "ops", "info", {"n" * 300: "v" * 2000})

    assert (said.title, said.description[-2:]) == ("t" * 255 + "…", "d…")
    assert said.fields == (("n" * 255 + "…", "v" * 1023 + "…"),)


@pytest.mark.parametrize("many", [1, 10])
def test_few_alerts_are_said_one_by_one_in_their_order(many: int) -> None:
    alerts = [alert(f"number {n}", level) for n, level in zip(range(many), list(AlertLevel) * 3, strict=False)]

    assert pack(alerts) == tuple(alerts)


@pytest.mark.parametrize(
    "alerts",
    [
        pytest.param([alert(f"number {n}") for n in range(11)], id="more than ten"),
        pytest.param([alert(f"number {n}", description="d" * 4000) for n in range(2)], id="too long together"),
    ],
)
def test_what_does_not_fit_into_a_message_is_counted(alerts: list[Alert]) -> None:
    digest, *in_full = pack(alerts)

    assert digest.title == f"{len(alerts)} alerts"
    assert in_full == alerts[: len(in_full)]


def test_the_gravest_come_first_and_in_full() -> None:
    alerts = [alert(f"rising {n}") for n in range(500)]
    alerts += [alert("key rejected", AlertLevel.CRITICAL), *(alert("slow", AlertLevel.WARNING) for _ in range(40))]

    digest, first, *_ = pack(alerts)

    assert digest.level is AlertLevel.CRITICAL
    assert first.title == "key rejected"
    assert [name for name, _ in digest.fields[:3]] == ["1 × key rejected", "40 × slow", "1 × rising 0"]


levels = st.sampled_from(AlertLevel)
some = st.lists(st.builds(alert, st.text(max_size=300), levels, st.text(max_size=3000)), min_size=1, max_size=60)
kinds = st.dictionaries(st.tuples(levels, st.text(min_size=1, max_size=256)), st.integers(1, 5000), max_size=40)


@given(some, kinds)
def test_a_digest_counts_every_alert_and_fits(alerts: list[Alert], more: dict[tuple[AlertLevel, str], int]) -> None:
    message = pack(alerts, more)

    assert len(message) <= 10
    assert size(message) <= 6000
    if message != tuple(alerts):
        counted = [int(re.match(r"([\d,]+) ×", name)[1].replace(",", "")) for name, _ in message[0].fields]  # type: ignore[index]
        assert sum(counted) == len(alerts) + sum(more.values())


def test_a_chat_is_told_the_same_in_words() -> None:
    alerts = [alert("one"), compose("two", "", "ops", "critical", {"left": 3})._replace(repeated=4)]

    assert text_of(pack(alerts)) == (
        "**one**\nwhat happened\n\n**two**\n- left: 3\nrepeated 4 times since it was last said"
    )
    assert text_of(pack(alerts[:1])) == "what happened"
