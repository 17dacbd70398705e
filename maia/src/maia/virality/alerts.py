"""Tells SURVEILLANCE of each rise, once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from atlas import AlertChannel, AlertLevel, clock, notifier
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Riser, UntoldRise

CURVE_SPAN = timedelta(days=3)
CURVE_WIDTH = 32
EIGHTHS = "▁▂▃▄▅▆▇█"

AT_ONCE = 50
"""Rises that one run tells; the next one tells the rest."""


async def tell(dao: MaiaDAO) -> int:
    """Alert SURVEILLANCE of the rises that nobody was told of; returns how many.

    At least once: a rise counts as told after the alert went out, so a process that is killed in between has it said
    again when its lease has run out. Two that tell at once never share a rise.
    """
    now = clock.now()
    rises = await dao.claim_untold_rises(AT_ONCE, now=now)
    if not rises:
        return 0
    curves = await dao.fetch_recent_views([rise["video_id"] for rise in rises], since=now - CURVE_SPAN)
    for rise in rises:
        await notifier.send(
            title_of(rise),
            description_of(rise, curves.get(rise["video_id"], ())),
            AlertChannel.SURVEILLANCE,
            AlertLevel.SUCCESS,
            fields_of(rise),
        )
    await notifier.drain()  # what cannot be delivered is logged and counted there
    await dao.rises_told(rises[0]["lease_token"], now=now)
    return len(rises)


def title_of(rise: Riser) -> str:
    """Name the video."""
    return f"Viral: {rise['title'] or rise['video_id']}"


def description_of(rise: UntoldRise, curve: Sequence[tuple[datetime, int]]) -> str:
    """Say where to see it, and draw how its views came."""
    lines = [f"https://youtu.be/{rise['video_id']}"]
    if drawn := sparkline(curve, CURVE_WIDTH):
        span = (curve[-1][0] - curve[0][0]) / timedelta(hours=1)
        lines.append(f"`{drawn}` views an hour, the last {span:.0f} h")
    return "\n".join(lines)


def fields_of(rise: Riser) -> dict[str, str]:
    """Give the figures."""
    fields = {
        "age": span_of(rise["seen_at"] - rise["published_at"]),
        "views": f"{rise['views']:,}",
        "views an hour": f"{rise['rate']:,.0f}",
        "times expected": times_of(rise["times"]),
        "channel": rise["channel_title"] or rise["channel_id"] or "unknown",
    }
    return fields | ({"format": "Short"} if rise["short"] else {})


def times_of(times: float) -> str:
    """Write a multiple; beyond a thousand nobody counts."""
    return "over 1,000 ×" if times > 1_000 else f"{times:,.1f} ×"


def span_of(span: timedelta) -> str:
    """Write an age: hours, or days from two on."""
    hours = span / timedelta(hours=1)
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"


def sparkline(curve: Sequence[tuple[datetime, int]], width: int) -> str:
    """Draw the speed of a curve in a line of ``width`` characters; empty for fewer than two samples."""
    if len(curve) < 2:
        return ""
    begin, span = curve[0][0], (curve[-1][0] - curve[0][0]) / width
    if not span:
        return ""
    speeds, place = [], 0
    for column in range(width):
        middle = begin + span * (column + 0.5)
        while place < len(curve) - 2 and curve[place + 1][0] <= middle:
            place += 1
        (low_at, low), (high_at, high) = curve[place], curve[place + 1]
        speeds.append(max(high - low, 0) / max((high_at - low_at).total_seconds(), 1.0))
    most = max(speeds) or 1.0
    return "".join(EIGHTHS[min(int(speed / most * len(EIGHTHS)), len(EIGHTHS) - 1)] for speed in speeds)
