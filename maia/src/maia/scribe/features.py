"""What the words of a video tell: how its title is written, and which language it speaks."""

from __future__ import annotations

from functools import cache

import regex

from atlas.adapters.records import TextFeatures
from maia.scribe.detector import open_detector

SURE = 0.5
"""How sure the detector must be: answers on titles come with 0.55 and more, guesses on names with 0.1 and less."""

LONGEST_TITLE = 1000
"""Characters that are looked at; YouTube allows 100."""

LONGEST_TEXT = 2000
"""Characters of a transcript that tell its language."""

FEWEST_LETTERS = 2

_EMOJI = regex.compile(
    r"""\p{RI}\p{RI}                                    # a flag
      | [0-9#*]\uFE0F?\u20E3                            # a keycap
      | (?: \p{EPres} | \p{ExtPict}\uFE0F ) \p{EMod}?   # one that is shown as a picture, maybe with a tone of skin,
        (?: \u200D \p{ExtPict} \uFE0F? \p{EMod}? )*     # or joined from several
    """,
    regex.VERBOSE,
)
_WORD = regex.compile(r"\w+(?:['’.,-]\w+)*")
_NUMERAL = regex.compile(r"\d+(?:[.,]\d+)*")
_HASHTAG = regex.compile(r"(?<!\w)#\w+")
_NOT_PROSE = regex.compile(r"https?://\S+|[@#]\w+|\d+")
_QUESTION = regex.compile(r"[?？؟¿]")  # in Greek it is a semicolon, which is none elsewhere
_EXCLAMATION = regex.compile(r"[!！]")


def text_features(title: str, transcript: str | None = None) -> TextFeatures:
    """Tell what a title and, when there is one, a transcript have to say of a video; about 0.1 ms."""
    title = title[:LONGEST_TITLE]
    upper = sum(letter.isupper() for letter in title)
    cased = upper + sum(letter.islower() for letter in title)
    return TextFeatures(
        language=language_of(f"{title} {transcript[:LONGEST_TEXT]}" if transcript else title),
        title_length=len(title),
        title_words=len(_WORD.findall(title)),
        caps_share=upper / cased if cased else 0.0,
        emoji=len(_EMOJI.findall(title)),
        question=_QUESTION.search(title) is not None,
        exclamations=len(_EXCLAMATION.findall(title)),
        numerals=len(_NUMERAL.findall(title)),
        hashtags=len(_HASHTAG.findall(title)),
        spoken_words=None if transcript is None else len(_WORD.findall(transcript)),
    )


def language_of(text: str) -> str | None:
    """Tell the language of a text (ISO 639-1, or 639-3 where there is no shorter one); None when unsure.

    The first call opens the detector, which takes about a second.
    """
    prose = _NOT_PROSE.sub(" ", text)
    if sum(letter.isalpha() for letter in prose) < FEWEST_LETTERS:
        return None
    language, sure = _detector().classify(prose.strip())
    return str(language) if sure >= SURE else None


_detector = cache(open_detector)
