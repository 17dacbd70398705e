"""Small answers that unpack to gigabytes: refused within bounds, in a process that would die of more memory."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOM_MB = 192
"""What a bomb may take above what the process had before; each of these would take more."""

BEGIN = """
import asyncio, gzip, io, resource, struct, sys, zlib
from pathlib import Path

def within(act, *, warm=None):
    '''Run ``act`` with a limit on this process's memory; tell what it raised.'''
    if warm: warm()
    size = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
    try:
        act()
    except MemoryError:
        print("MemoryError")
    except BaseException as exc:
        print(type(exc).__name__, str(exc)[:200])
    else:
        print("nothing")
"""

ANSWER = """
from aiohttp import web
from maia.youtube.client import YouTube

async def ask(body, headers, content_type="application/json"):
    async def answer(request):
        return web.Response(body=body, headers=headers, content_type=content_type)
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with YouTube.with_key("k", endpoint=f"http://127.0.0.1:{runner.addresses[0][1]}") as youtube:
            await CALL
    finally:
        await runner.cleanup()

async def no_wait(_): pass
import atlas.hydra, atlas.retry
"""


def outcome(tmp_path: Path, program: str, room_mb: int = ROOM_MB) -> str:
    code = f"ROOM = {room_mb} * 2**20\n{BEGIN}\n{textwrap.dedent(program)}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


def test_the_limit_is_one(tmp_path: Path) -> None:
    """Else nothing here could fail."""
    assert outcome(tmp_path, "within(lambda: bytearray(512 * 2**20))") == "MemoryError"


def test_an_answer_that_unpacks_to_a_gigabyte(tmp_path: Path) -> None:
    program = ANSWER.replace("CALL", 'youtube._get(youtube._api + "videos")') + textwrap.dedent(
        """
        packer = zlib.compressobj(1, wbits=31)
        million = b" " * 2**20
        begun = packer.compress(b'{"items": [')
        body = b"".join([begun, *(packer.compress(million) for _ in range(1024)), packer.flush()])
        assert len(body) < 8 * 2**20
        within(lambda: asyncio.run(ask(body, {"Content-Encoding": "gzip"})), warm=lambda: asyncio.run(ask(b"{}", {})))
        """
    )
    assert outcome(tmp_path, program).startswith(("ApiUnavailable", "ApiError", "Unusable", "BadAnswer"))


@pytest.mark.parametrize(
    "body",
    [
        "b'[' * 4_000_000",
        "b'{\"a\":' * 2_000_000",
        "b'{\"items\":' + b'[' * 900 + b']' * 900 + b'}'",
        "b'9' * 8_000_000",
    ],
    ids=["lists", "objects", "nested, but whole", "a number"],
)
def test_json_of_any_depth(body: str, tmp_path: Path) -> None:
    program = f"""
        from maia.youtube import parse
        import orjson
        from atlas.errors import ApiError
        body = {body}
        def act():
            answer = parse.decode(body)
            parse.videos(answer)
        within(act)
        """
    assert outcome(tmp_path, program).split()[0] in {"JSONDecodeError", "ApiUnavailable", "nothing", "AttributeError"}


@pytest.mark.parametrize("kind", ["png", "png text", "jpeg", "webp"])
def test_a_picture_of_a_billion_pixels(kind: str, tmp_path: Path) -> None:
    program = f"""
        from PIL import Image
        from maia.painter.frames import picture

        def chunk(name, data):
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        def png(width, height, *extra):
            rows = zlib.compress(bytes(1_000_000), 9)
            header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            return b"\\x89PNG\\r\\n\\x1a\\n" + header + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")

        def jpeg(width, height):
            out = io.BytesIO()
            Image.new("RGB", (64, 64)).save(out, "JPEG")
            data = bytearray(out.getvalue())
            place = data.index(b"\\xff\\xc0") + 5
            data[place : place + 4] = struct.pack(">HH", height, width)
            return bytes(data)

        def webp(width, height):
            frame = b"\\x30\\x01\\x00\\x9d\\x01\\x2a" + struct.pack("<HH", width, height) + bytes(64)
            body = b"WEBPVP8 " + struct.pack("<I", len(frame)) + frame
            return b"RIFF" + struct.pack("<I", len(body)) + body

        bomb = {{
            "png": lambda: png(60_000, 60_000),
            "png text": lambda: png(64, 64, chunk(b"zTXt", b"Comment\\0\\0" + zlib.compress(bytes(2**30 // 2), 1))),
            "jpeg": lambda: jpeg(65_500, 65_500),
            "webp": lambda: webp(16_383, 16_383),
        }}["{kind}"]()
        small = io.BytesIO()
        Image.new("RGB", (64, 64)).save(small, "JPEG")
        within(lambda: picture(0, bomb), warm=lambda: picture(0, small.getvalue()))
        """
    assert outcome(tmp_path, program).split()[0] == "BrokenFrame"


def test_a_shard_of_kilobytes_with_millions_of_rows(tmp_path: Path) -> None:
    program = """
        import pyarrow as pa, pyarrow.parquet as pq
        from datetime import UTC, datetime
        from atlas.vault.kinds import METRICS
        from atlas.vault.shards import Stored, decode
        n = 1_000_000
        at = pa.array([datetime(2026, 11, 10, tzinfo=UTC)], pa.timestamp("us", "UTC")).take(pa.array([0] * n))
        batch = pa.table({"video_id": pa.repeat("dQw4w9WgXcQ", n), "timestamp": at, "views": pa.repeat(1, n),
                          "likes": pa.repeat(1, n), "comment_count": pa.repeat(1, n)}).cast(METRICS.schema)
        sink = io.BytesIO()
        with pq.ParquetWriter(sink, METRICS.schema, compression="zstd") as writer:
            for _ in range(21):
                writer.write_table(batch, row_group_size=n)
        bomb = pa.py_buffer(sink.getvalue())
        assert bomb.size < 1_000_000
        del batch, at
        def act():
            for read in (decode, Stored):
                try:
                    read(METRICS, pa.BufferReader(bomb), "p")
                except Exception as exc:
                    assert type(exc).__name__ == "VaultCorrupt", exc
                else:
                    raise RuntimeError("it was read")
            raise SystemExit("refused")
        within(act)
        """
    assert outcome(tmp_path, program) == "SystemExit refused"


@pytest.mark.parametrize("where", ["description", "tags", "tags, in part", "segments", "video_id"])
def test_a_shard_of_kilobytes_with_gigabytes_of_text(where: str, tmp_path: Path) -> None:
    program = f"""
        import pyarrow as pa, pyarrow.parquet as pq
        from datetime import UTC, datetime
        from atlas.vault.kinds import METADATA, TRANSCRIPTS
        from atlas.vault.shards import Stored, decode, select
        where, n = "{where}", 20_000
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["a" * 1_000_000]))
        each = pa.array(range(n + 1), pa.int32())
        kind = TRANSCRIPTS if where == "segments" else METADATA
        rows = {{name: pa.nulls(n, type) for name, type in zip(kind.schema.names, kind.schema.types)}}
        rows["video_id"] = pa.repeat("dQw4w9WgXcQ", n)
        rows["observed_at"] = pa.repeat(pa.scalar(datetime(2026, 11, 10, tzinfo=UTC), pa.timestamp("us", "UTC")), n)
        if kind is TRANSCRIPTS:
            rows["language"] = pa.repeat("und", n)
        if where == "segments":
            line = [pa.repeat(0.0, n), pa.repeat(1.0, n), texts]
            texts = pa.StructArray.from_arrays(line, ["start", "duration", "text"])
        column = where.partition(",")[0]
        rows[column] = texts if column in ("description", "video_id") else pa.ListArray.from_arrays(each, texts)
        if where == "tags, in part":  # another dictionary does not go into the first, and stands by itself
            other = pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int32()), pa.array(["b"]))
            rows = {{name: pa.chunked_array([column, column]) for name, column in rows.items()}}
            rows["tags"] = pa.chunked_array([*rows["tags"].chunks[:1], pa.ListArray.from_arrays(each, other)])
        sink = io.BytesIO()
        table = pa.table(rows)
        pq.write_table(table, sink, compression="zstd", dictionary_pagesize_limit=2**21, store_schema=False)
        bomb = pa.py_buffer(sink.getvalue())
        assert bomb.size < 1_000_000
        del table, rows, texts
        def refused(read):
            try:
                read(kind, pa.BufferReader(bomb), "p")
            except Exception as exc:
                assert type(exc).__name__ == "VaultCorrupt" and "texts come to more than" in str(exc), exc
            else:
                raise RuntimeError("it was read")
        def act():
            refused(decode)
            refused(lambda *of: Stored(*of)[column])
            if where != "video_id":  # which is not spelt out for those that nobody asked for
                refused(lambda *of: select(*of, video_ids=["dQw4w9WgXcQ"]))
            raise SystemExit("refused")
        within(act)
        """
    assert outcome(tmp_path, program) == "SystemExit refused"


@pytest.mark.parametrize(
    "body",
    [
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;">]><feed>&c;</feed>',
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><feed>&a;</feed>',
    ],
    ids=["a billion laughs", "an entity of another file"],
)
def test_a_feed_with_entities(body: str, tmp_path: Path) -> None:
    program = f"""
        from maia.youtube.feed import parse_feed
        within(lambda: print(parse_feed({body.encode()!r})))
        """
    said = outcome(tmp_path, program)
    assert said.startswith("ApiUnavailable"), said
