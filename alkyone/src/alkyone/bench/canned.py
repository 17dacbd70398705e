"""A YouTube that costs almost nothing: prepared bytes from a process of its own, for what a client and an agent cost.

``python -m alkyone.bench.canned FILE`` serves the gzipped answer in FILE for ``videos``, says its port, and ends with
its standard input.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

_HEAD = b'{"kind":"youtube#videoBatchGetStatsResponse","items":['
_ITEM = b'{"id":"%b","statistics":{"viewCount":"1234567","likeCount":"45678","commentCount":"2345"}}'


@asynccontextmanager
async def canned_youtube(videos: Path) -> AsyncIterator[str]:
    """Run the process for the length of the block, and give its endpoint."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, str(videos), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        await process.wait()


async def _serve(videos: bytes) -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path.endswith("batchGetStats"):
            items = b",".join([_ITEM % id_.encode() for id_ in request.query["id"].split(",")])
            return web.Response(body=_HEAD + items + b"]}", content_type="application/json")
        return web.Response(body=videos, headers={"Content-Encoding": "gzip"}, content_type="application/json")

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]).read_bytes()))
