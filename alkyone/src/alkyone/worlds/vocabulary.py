"""The words a generated world is made of."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple


class Topic(NamedTuple):
    """What a channel is about; ``tags`` are the words of its videos, twelve for every topic."""

    name: str
    category_id: str
    wiki: str
    tags: tuple[str, ...]


def _read_topics() -> tuple[Topic, ...]:
    """Read ``topics.txt``: category ids as videoCategories.list gives them, pages as topicCategories names them."""
    lines = resources.files("alkyone.worlds").joinpath("topics.txt").read_text("utf-8").splitlines()
    rows = (line.split(" | ") for line in lines)
    return tuple(
        Topic(name, category_id, f"https://en.wikipedia.org/wiki/{page}", tuple(tags.split(", ")))
        for name, category_id, page, tags in rows
    )


TOPICS = _read_topics()

CREATORS = (
    "Northwind", "Lantern", "Copper", "Juniper", "Marble", "Orbit", "Paperboat", "Saltwater", "Velvet", "Wildflower",
    "Harbour", "Cinder", "Meridian", "Tangerine", "Foxglove", "Granite", "Hollow", "Ivory", "Kestrel", "Lagoon",
    "Mosaic", "Nimbus", "Opal", "Pepper", "Quartz", "Rosewood", "Saffron", "Thistle", "Umber", "Willow",
    "Aurora", "Bramble", "Cobalt", "Dandelion", "Ember", "Fjord", "Gable", "Hazel", "Indigo", "Jasper",
)  # fmt: skip
SUFFIXES = (
    "Studio", "Club", "TV", "Daily", "Lab", "& Sons", "Channel", "Official",
    "Sessions", "Collective", "World", "Diaries", "Bros", "Kitchen", "Media", "HQ",
)  # fmt: skip

# The marks & ' " < are meant: search escapes them, videos.list does not.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "en": (
        "{a} {b}, but it gets better",
        "I tried {a} for 30 days",
        "The truth about {a} & {b}",
        "{topic}: {a} #{n}",
        "Why nobody talks about {a}",
        'He said "{a}" and everyone laughed',
        "{a} vs {b} — who wins?",
        "{topic} {a} {b} compilation",
        "You won't believe this {a}",
        "How to {a} (beginner's guide)",
        "24 hours of {a}",
        "{a} <3 {b}",
        "Our first {a} ever",
        "{topic} in 2026: {a}",
    ),
    "es": ("{a} y {b}: lo que nadie te cuenta", "Probé {a} durante una semana", "¿Qué es {a}? {topic} #{n}"),
    "pt": ("{a} e {b} na prática", "Não acredito neste {a}!", "{topic}: {a} do zero #{n}"),
    "de": ("{a} & {b} – so geht's", "Ich habe {a} getestet", "{topic} kompakt: {a} #{n}"),
    "fr": ("{a} et {b} : l'histoire vraie", "J'ai testé {a}", "{topic} : {a} n° {n}"),
    "ja": ("【{topic}】{a}と{b}を比べてみた", "{a}に挑戦!第{n}回", "{a} まとめ"),
    "ko": ("{a} {b} 직접 해봤습니다", "[{topic}] {a} #{n}", "{a} 모음"),
    "hi": ("{a} और {b} का सच", "{topic}: {a} भाग {n}", "{a} कैसे करें"),
}
SHORT_TEMPLATES = ("{a} 😱 #shorts", "POV: {a}", "wait for the {a}… #{topic}", "{a} in 30 seconds", "this {a}!! 🔥")

# Language, country and their share of the channels.
PLACES = (
    ("en", "US", 0.34), ("en", "GB", 0.10), ("en", "CA", 0.05), ("es", "MX", 0.08), ("es", "ES", 0.05),
    ("pt", "BR", 0.09), ("de", "DE", 0.06), ("fr", "FR", 0.05), ("ja", "JP", 0.07), ("ko", "KR", 0.05),
    ("hi", "IN", 0.06),
)  # fmt: skip
