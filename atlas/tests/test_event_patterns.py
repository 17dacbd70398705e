from __future__ import annotations

import pytest

from atlas.events.patterns import likes, matches


@pytest.mark.parametrize(
    ("pattern", "event_type", "expected"),
    [
        ("video.viral", "video.viral", True),
        ("video.viral", "video.virality", False),
        ("video.*", "video.viral", True),
        ("video.*", "videos.retired", False),
        ("*", "anything.at.all", True),
        ("*.renamed", "channel.renamed", True),
        ("*.renamed", "renamed", False),
        ("v*.r*d", "video.revived", True),
        ("a*a", "a", False),
        ("a_b", "a_b", True),
    ],
)
def test_a_star_stands_for_any_text(pattern: str, event_type: str, expected: bool) -> None:
    assert matches(pattern, event_type) is expected


def test_sql_is_asked_for_the_same() -> None:
    assert likes(["video.*", "a_b", "100%"]) == ["video.%", r"a\_b", r"100\%"]
