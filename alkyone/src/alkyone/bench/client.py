"""The YouTube client: what a full answer costs in processor time, read into models, beside others who stop at JSON."""

from __future__ import annotations

import gzip
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, closing
from importlib import import_module
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from alkyone.bench.canned import canned_youtube
from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_least, in_turns, untold
from alkyone.standins.youtube.api import Parameters, videos_list
from alkyone.worlds import open_world
from maia.youtube.client import YouTube
from maia.youtube.models import VideoPart

PARTS: Sequence[VideoPart] = ("snippet", "contentDetails", "statistics")
ITEMS = 50


async def measure(lab: Lab) -> Result:
    """Ask for the same full answer in three ways, one call at a time, in turns."""
    calls = lab.size(300, 10)
    ids, answer = full_answer()
    with ExitStack() as tidy:
        folder = tidy.enter_context(lab.folder())
        (prepared := folder / "videos").write_bytes(gzip.compress(answer, 6))
        async with (
            canned_youtube(prepared) as endpoint,
            YouTube.with_key("any", endpoint=endpoint) as youtube,
            aiohttp.ClientSession() as bare,
        ):
            google = tidy.enter_context(closing(_google_client(endpoint)))
            query = urlencode({"part": ",".join(PARTS), "id": ",".join(ids), "key": "any"}, safe=",")
            address = f"{endpoint}/youtube/v3/videos?{query}"

            async def ours() -> int:
                return len(await youtube.videos(ids, parts=PARTS))

            async def bare_json() -> int:
                async with bare.get(address) as response:
                    return len(orjson.loads(await response.read())["items"])

            async def googles() -> int:
                return len(google.videos().list(part=",".join(PARTS), id=",".join(ids)).execute()["items"])

            ways = {"ours": ours, "bare": bare_json, "google": googles}
            rate = await in_turns(lab.repeats, {name: _calls_per_cpu_second(way, calls) for name, way in ways.items()})
    return Result(
        [
            Figure("ours, into models", rate["ours"], "calls/CPU s", rate["ours"] / rate["google"]),
            Figure("bare aiohttp + orjson", rate["bare"], "calls/CPU s", rate["bare"] / rate["google"]),
            Figure("google-api-python-client", rate["google"], "calls/CPU s", 1.0),
        ],
        [
            at_least(3, "≥ 3 × google-api-python-client", rate["ours"] / rate["google"]),
            at_least(0.6, "≥ 0.6 × bare aiohttp + orjson", rate["ours"] / rate["bare"]),
            untold("≥ 1.5 × aiogoogle (not a dependency)"),
        ],
        [f"one answer: {ITEMS} items, {len(answer) // 1000} KB, gzipped; in real life ours asks for less of it"],
    )


def full_answer() -> tuple[Sequence[str], bytes]:
    """Make a ``videos.list`` answer of fifty items, about 100 KB as YouTube's are, the way the stand-in words it."""
    world = open_world("generated:seed=7,channels=40")
    found = world.search("", None, None, "date", world.end)
    ids = list(world.readings(found, world.end))[:ITEMS]
    body = videos_list(world, Parameters({"id": [",".join(ids)], "part": [",".join(PARTS)]}), world.end).body
    return ids, orjson.dumps(body, option=orjson.OPT_INDENT_2)


def _calls_per_cpu_second(call: Callable[[], Awaitable[int]], calls: int) -> Callable[[int], Awaitable[float]]:
    async def measured(_turn: int) -> float:
        await call()  # connections, compiled patterns
        begun = time.process_time()
        for _ in range(calls):
            if await call() != ITEMS:
                raise RuntimeError("an answer was not read whole")
        return calls / (time.process_time() - begun)

    return measured


def _google_client(endpoint: str) -> Any:
    build = import_module("googleapiclient.discovery").build  # its stubs do not know client_options
    return build("youtube", "v3", developerKey="any", static_discovery=True, client_options={"api_endpoint": endpoint})
