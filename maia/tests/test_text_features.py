"""What titles tell."""

from __future__ import annotations

import pytest

from atlas.adapters.records import TextFeatures
from maia.scribe.detector import open_detector
from maia.scribe.features import language_of, text_features

TITLES = [
    ("en", "How to build a telescope in one weekend"),
    ("en", "Minecraft but I can't jump"),
    ("en", "I TRIED THE WORLD'S HARDEST WORKOUT"),
    ("es", "Cómo hacer pan en casa paso a paso"),
    ("de", "Die besten Rezepte für den Herbst"),
    ("fr", "La recette secrète de ma grand-mère"),
    ("pt", "Como ganhar dinheiro na internet em 2026"),
    ("it", "Le migliori spiagge della Sardegna"),
    ("id", "Cara membuat nasi goreng yang enak"),
    ("tr", "Evde ekmek nasıl yapılır"),
    ("pl", "Najlepsze przepisy na jesień"),
    ("vi", "Cách làm phở bò tại nhà"),
    ("ru", "Как приготовить борщ дома"),
    ("uk", "Як приготувати вареники"),
    ("ar", "أفضل الأماكن في القاهرة"),
    ("hi", "घर पर समोसा कैसे बनाएं"),
    ("ja", "【実況】マイクラで家を建てる"),
    ("ko", "오늘의 브이로그 - 서울 여행"),
    ("zh", "如何在家做饺子"),
    ("th", "วิธีทำผัดไทยที่บ้าน"),
]


@pytest.mark.parametrize(("language", "title"), TITLES)
def test_the_language_of_a_title_is_known(language: str, title: str) -> None:
    assert language_of(title) == language


@pytest.mark.parametrize(
    "title", ["", "???", "2026", "😂😂", "#shorts", "FIFA 26", "DJ Koze - Pick Up", "Lofi mix 2026"]
)
def test_no_language_is_better_than_a_guess(title: str) -> None:
    assert language_of(title) is None


def test_a_transcript_decides_where_a_title_is_a_name() -> None:
    spoken = "Today we are going to look at the moons of Jupiter, and at how you can find them yourself."

    found = text_features("Jupiter 4K", spoken)

    assert (text_features("Jupiter 4K").language, found.language) == (None, "en")
    assert (text_features("Jupiter 4K").spoken_words, found.spoken_words) == (None, 19)
    assert text_features("Jupiter 4K", "").spoken_words == 0


def test_how_a_title_is_written_is_counted() -> None:
    assert text_features("I WON $1,000,000 in 24 hours!! 😱 #shorts #win Really?") == TextFeatures(
        language=None, title_length=53, title_words=9, caps_share=5 / 26, emoji=1, question=True, exclamations=2,
        numerals=2, hashtags=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("title", "count"),
    [
        pytest.param("☕ and 👍🏽", 2, id="a tone of skin is no emoji of its own"),
        pytest.param("👨‍👩‍👧‍👦 🏳️‍🌈", 2, id="joined ones are one"),
        pytest.param("🇩🇪🇫🇷", 2, id="flags"),
        pytest.param("1️⃣ 2️⃣ 3", 2, id="keycaps"),
        pytest.param("❤️ ❤", 1, id="a heart in print is a letter"),
        pytest.param("© 2026 ™ ✓ № 5", 0, id="signs"),
    ],
)
def test_emoji_are_counted_as_they_are_seen(title: str, count: int) -> None:
    assert text_features(title).emoji == count


@pytest.mark.parametrize("title", ["なぜ？", "لماذا؟", "¿Por qué", "why?"])
def test_a_question_is_one_in_any_script(title: str) -> None:
    assert text_features(title).question


def test_titles_of_strangers_break_nothing() -> None:
    assert text_features("").caps_share == 0
    assert text_features("\ud800 lone \0 surrogates").title_words == 2
    assert text_features("A" * 100_000).title_length == 1000


def test_the_mapped_model_says_what_the_librarys_own_says() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    own = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    texts = [title for _, title in TITLES] + ["", "Jupiter 4K", "漢字かな交じり文", "\x00\ud800"]

    mapped = open_detector()
    assert [mapped.rank(text) for text in texts] == [own.rank(text) for text in texts]
