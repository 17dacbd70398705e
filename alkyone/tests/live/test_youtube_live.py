"""YouTube itself, by a real key, for reading alone: ``pytest -m live``. It prints what it spent, a handful of units."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest

from atlas import clock, settings
from atlas.errors import ApiUnavailable, Bucket
from atlas.hydra import SingleKey
from maia.painter.frames import NoFrames, open_frames
from maia.youtube.client import YouTube

pytestmark = pytest.mark.live

T = TypeVar("T")


class Counting(SingleKey):
    """Uses one key, and counts what each attempt costs."""

    def __init__(self) -> None:
        super().__init__(settings.api_keys[0].secret)
        self.spent: Counter[Bucket] = Counter()

    async def execute_async(
        self,
        make_request: Callable[[str], Awaitable[T]],
        *,
        bucket: Bucket = "general",
        cost: int = 1,
        purpose: str = "live",
    ) -> T:
        async def counted(key: str) -> T:
            self.spent[bucket] += cost
            return await make_request(key)

        return await super().execute_async(counted, bucket=bucket, cost=cost, purpose=purpose)


async def test_every_method_is_answered_as_we_read_it(capsys: pytest.CaptureFixture[str]) -> None:
    if settings.YOUTUBE_API_KEY_POOL_JSON is None:
        pytest.skip("YOUTUBE_API_KEY_POOL_JSON is not set: there is no key to ask YouTube with")
    executor = Counting()
    try:
        async with YouTube(executor) as youtube:
            chart = (await youtube.most_popular("US")).videos
            assert chart
            assert all(video.title and video.channel_id and video.published_at and video.views for video in chart)
            some = [video.id for video in chart[:5]]

            stats = await youtube.batch_stats([*some, "gone-for-ev"])
            assert set(stats.returned) <= set(some)
            assert set(stats.returned) | set(stats.failed) | stats.unaccounted == {*some, "gone-for-ev"}
            assert "gone-for-ev" not in stats.returned

            channel_id = chart[0].channel_id
            assert channel_id
            [channel] = await youtube.channels([channel_id])
            assert channel.uploads_playlist
            uploads = (await youtube.uploads(channel_id)).uploads
            assert any(upload.available for upload in uploads)

            found = await youtube.search("music", published_after=clock.now() - timedelta(days=30), max_results=5)
            assert all(len(hit.video_id) == 11 for hit in found.hits)
            try:
                assert all(entry.channel_id == channel_id for entry in await youtube.feed(channel_id))
            except ApiUnavailable as unreliable:
                if unreliable.status != 404:  # which feeds answer now and then for channels that live
                    raise
        async with open_frames() as frames:
            assert not isinstance(await frames.fetch(some[0]), NoFrames)
    finally:
        with capsys.disabled():
            spent = ", ".join(f"{units} of {bucket}" for bucket, units in sorted(executor.spent.items()))
            print(f"\nspent: {spent or 'nothing'}")  # noqa: T201 - asked for by whoever pays
    assert sum(executor.spent.values()) <= 10
