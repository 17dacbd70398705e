"""Pairs that look alike, put together: groups of videos that show the same picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from atlas.adapters.records import Duplicate


class Shown(TypedDict):
    """A video of a group."""

    video_id: str
    title: str


class Group(TypedDict):
    """Videos of which each shares a picture with another one; ``similarity`` is that of the least alike pair."""

    similarity: float
    videos: list[Shown]


def groups(pairs: Iterable[Duplicate]) -> list[Group]:
    """Put pairs together that have a video in common; the largest group first, videos in the order of their ids."""
    head: dict[str, str] = {}
    titles: dict[str, str] = {}

    def find(video: str) -> str:
        while head[video] != video:
            head[video] = video = head[head[video]]
        return video

    known = list(pairs)
    for pair in known:
        titles |= {pair.video_id: pair.title, pair.other_id: pair.other_title}
        for video in pair[:2]:
            head.setdefault(video, video)
        one, other = sorted(map(find, pair[:2]))
        head[other] = one

    members: dict[str, list[Shown]] = {}
    for video in sorted(titles):
        members.setdefault(find(video), []).append({"video_id": video, "title": titles[video]})
    least = dict.fromkeys(members, 1.0)
    for pair in known:
        least[find(pair.video_id)] = min(least[find(pair.video_id)], pair.similarity)
    found: list[Group] = [{"similarity": least[name], "videos": videos} for name, videos in members.items()]
    return sorted(found, key=lambda group: (-len(group["videos"]), -group["similarity"]))
