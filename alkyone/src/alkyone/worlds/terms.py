"""Choosing search terms that lead to the videos of a recording."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from alkyone.worlds.base import words

TERMS = 150
# A text counts for so much less each time a chosen term led to it.
_FADING = 0.4
_DULL = frozenset({
    "about", "after", "and", "are", "but", "can", "channel", "des", "ein", "eine", "ever", "for", "from", "has", "have",
    "her", "his", "how", "into", "its", "las", "les", "los", "más", "new", "none", "not", "our", "out", "that", "the",
    "their", "this", "una", "und", "unknown", "untitled", "video", "was", "what", "when", "who", "why", "will", "with",
    "you", "your",
})  # fmt: skip


def rewarding_terms(texts: Iterable[Iterable[str]], count: int = TERMS) -> list[str]:
    """Choose terms that together lead to as many of the texts as possible; a text is given as its candidate terms.

    Greedy: the term that leads to most comes first, and what was led to counts for less from then on.
    """
    holders: dict[str, list[int]] = defaultdict(list)
    for number, terms in enumerate(texts):
        for term in dict.fromkeys(terms):
            holders[term].append(number)
    shared = {term: found for term, found in holders.items() if len(found) > 1} or holders
    weights: defaultdict[int, float] = defaultdict(lambda: 1.0)
    queue = [(-float(len(found)), term) for term, found in shared.items()]
    heapq.heapify(queue)
    chosen: list[str] = []
    while queue and len(chosen) < count:
        # Lazy greedy: gains only shrink, so a term that still leads after a fresh count is the best.
        _, best = queue[0]
        gain = sum(weights[number] for number in shared[best])
        heapq.heapreplace(queue, (-gain, best))
        if queue[0][1] == best:
            heapq.heappop(queue)
            chosen.append(best)
            for number in shared[best]:
                weights[number] *= _FADING
    return chosen


def candidate_terms(video: Mapping[str, Any], channel: str) -> list[str]:
    """Every term worth searching for that leads to a video: its tags, its keywords, single words of its texts."""
    phrases = [" ".join(words(phrase)) for phrase in (*video["tags"], *video["keywords"])]
    single = [word for word in words(f"{video['title']} {channel}") if len(word) > 2]
    terms = (*phrases, *single)
    return [term for term in terms if term and term not in _DULL and len(term) < 40 and not term.isdigit()]
