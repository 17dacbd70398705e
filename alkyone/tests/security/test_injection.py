"""What strangers write, titles, tags, ids, terms and prefixes, stays text in SQL, paths, Markdown and terminals."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console
from rich.text import Text

from alkyone.databases import NOON
from atlas import events, history
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Discovery, Rejected
from atlas.db import DatabaseManager
from atlas.errors import AtlasError
from atlas.events.event import Event
from atlas.events.webhooks import body_of as webhook_body_of
from atlas.ids import validate_channel_id, validate_youtube_id
from atlas.notifications.alerts import AlertLevel, compose
from atlas.notifications.destinations import body_of
from atlas.plain import cell, literal, printable
from atlas.vault import LocalVault
from maia.reporting import markdown

HOUR = timedelta(hours=1)
HOSTILE = (
    "'; DROP TABLE watchlist; --",
    '"; DELETE FROM videos; --',
    "' OR '1'='1",
    "\\'; SELECT pg_sleep(60); --",
    "$$; COPY watchlist TO PROGRAM 'touch /tmp/owned'; $$",
    "%s %(now)s %% {} {table} %(video_ids)b",
    "{0.__class__.__mro__} ${jndi:ldap://x} {{7*7}} <%= 7*7 %> `id` $(id)",
    "[click](https://evil.example) ![x](https://evil.example/x.png) <https://evil.example>",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "| a | b |\n|---|---|\n| **c** | d |\n\n# heading",
    "@everyone @here <@1> <@&2> <#3>",
    "[bold red]markup[/] [/nothing] [link=https://evil.example]x[/link]",
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred",
    "\u202etxt.exe\u2066",
    "../../../etc/passwd",
    "a" * 5_000,
)


def ids_of(rows: list[Any]) -> list[str]:
    return [row["video_id"] for row in rows]


async def counts(database: DatabaseManager) -> dict[str, int]:
    async with database.get_connection() as conn:
        return {
            table: await conn.fetchval(f"SELECT count(*) FROM {table}")  # type: ignore[arg-type]
            for table in ("videos", "watchlist", "video_stats_log", "search_queue", "channels")
        }


def found(number: int, text: str) -> Discovery:
    return Discovery(
        id=f"hostile{number:04}", channel_id=f"UC{number}", channel_title=text, title=text, published_at=NOON - HOUR,
        tracking_tier="HOURLY", next_track_at=NOON, tags=(text, text[::-1]), category_id="10", default_language="en",
        wiki_topics=(text,), source=f"search:{text}", observed_at=NOON, views=1,
    )  # fmt: skip


async def test_whatever_a_title_a_tag_or_a_channel_says_is_stored_as_it_is(
    dao: MaiaDAO, database: DatabaseManager, vault: LocalVault
) -> None:
    videos = [found(number, text) for number, text in enumerate(HOSTILE)]
    assert len(await dao.ingest_video_metadata(videos, now=NOON)) == len(HOSTILE)
    async with database.get_connection() as conn:
        stored = await conn.fetch(
            "SELECT v.*, c.title AS channel FROM videos v JOIN channels c ON c.id = v.channel_id ORDER BY v.id"
        )
        told = await conn.fetch("SELECT payload FROM system_events WHERE event_type = 'video.discovered' ORDER BY id")
    assert [row["title"] for row in stored] == list(HOSTILE) == [row["channel"] for row in stored]
    assert [row["tags"] for row in stored] == [[text, text[::-1]] for text in HOSTILE]
    assert {row["payload"]["title"] for row in told} == set(HOSTILE)
    for row in stored:
        vault.store_metadata(row["id"], {"title": row["title"], "tags": row["tags"], "observed_at": NOON})
    for number, text in enumerate(HOSTILE):
        kept = await asyncio.to_thread(vault.fetch_metadata, f"hostile{number:04}")
        assert kept is not None
        assert (kept["title"], kept["tags"]) == (text, [text, text[::-1]])


async def test_search_terms_are_only_looked_for(dao: MaiaDAO, database: DatabaseManager) -> None:
    await dao.add_to_search_queue(list(HOSTILE), now=NOON)
    leased = await dao.fetch_hunter_batch(batch_size=len(HOSTILE), now=NOON)
    assert {row["query_term"] for row in leased} == {" ".join(text.casefold().split()) for text in HOSTILE[:-1]}, (
        "one that is too long"
    )
    assert (await counts(database))["watchlist"] == 0


async def test_ids_that_are_none_change_nothing_but_their_own_rows(
    dao: MaiaDAO, database: DatabaseManager, vault: LocalVault
) -> None:
    await dao.ingest_video_metadata([found(1, "honest")], now=NOON)
    before = await counts(database)
    assert not any(map(validate_youtube_id, HOSTILE))
    assert not any(map(validate_channel_id, HOSTILE))
    await dao.reject_videos([Rejected(text, text, NOON + HOUR) for text in HOSTILE])
    for text in HOSTILE:
        assert await dao.find_similar(text, 5, source_type=text) == []
    rows = await history.timeline(list(HOSTILE), NOON - HOUR, NOON + HOUR, database=database, vault=vault)
    assert rows.num_rows == 0
    assert await counts(database) == before


async def test_an_event_of_hostile_parts_is_read_back_as_it_was(database: DatabaseManager) -> None:
    async with database.get_connection() as conn:
        for text in HOSTILE:
            await events.record(conn, "video.discovered", text, {text: {text: [text]}}, now=NOON)
        stored = await conn.fetch("SELECT entity_id, payload, payload #>> ARRAY[entity_id, entity_id, '0'] AS deep "
                                  "FROM system_events ORDER BY id")  # fmt: skip
    assert [(row["entity_id"], row["payload"], row["deep"]) for row in stored] == [
        (text, {text: {text: [text]}}, text) for text in HOSTILE
    ]
    body = orjson.loads(webhook_body_of(Event("video.discovered", HOSTILE[0], {"title": HOSTILE[1]}, 1, NOON)))
    assert body["data"]["payload"] == {"title": HOSTILE[1]}


@pytest.mark.parametrize(
    "path",
    ["../secret", "a/../../secret", "/etc/passwd", "a//b", "a/./b", "~/x", "C:\\x", "a\x00b", "", "a/" + "b" * 300,
     ".pleiades/vault.json", "..", "a/..", "\\\\server\\share", "%2e%2e/secret/.."],
)  # fmt: skip
def test_a_path_leads_nowhere_but_into_the_vault(path: str, vault: LocalVault, tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_text("kept")
    if path not in {"~/x", "C:\\x", "\\\\server\\share"}:  # odd names below the root are names
        for act in (
            lambda: vault.write({path: b"x"}, "m"),
            lambda: vault.read(path),
            lambda: vault.delete([path], "m"),
        ):
            with pytest.raises(AtlasError):
                act()
        with pytest.raises(AtlasError):
            vault.store_json(path, {"x": 1})
    assert outside.read_text() == "kept"
    assert {file.name for file in tmp_path.iterdir()} <= {"secret", "vault"}


def test_a_link_in_the_vault_leads_nobody_out(vault: LocalVault, tmp_path: Path) -> None:
    vault.store_json("a/known.json", {"x": 1})
    (tmp_path / "secret.json").write_text('{"secret": true}')
    (tmp_path / "vault/a/link.json").symlink_to(tmp_path / "secret.json")
    (tmp_path / "vault/b").symlink_to(tmp_path)
    for path in ("a/link.json", "b/secret.json"):
        with pytest.raises(AtlasError):
            vault.read(path)


def test_ids_do_not_become_paths(vault: LocalVault, tmp_path: Path) -> None:
    for text in HOSTILE:
        vault.store_transcript(text, {"language": "en", "text": text, "observed_at": NOON})
        kept = vault.fetch_transcript(text)
        assert kept is not None
        assert kept["text"] == text
    assert {file.name for file in tmp_path.iterdir()} == {"vault"}
    assert all(path.isascii() and path.isprintable() and len(path) < 200 for path in vault.list_files())


@pytest.mark.parametrize("text", HOSTILE[:-1])
def test_a_cycle_s_artifact_is_a_table_and_nothing_else(text: str) -> None:
    """Prefect's page renders it."""
    told = markdown("hunter", {"stopped_by": text, "terms": [text], text: 1})
    rows = [line for line in told.splitlines() if line.startswith("|")]
    assert len(rows) == 4, "two of its head, and one for each fact"
    for line in told.splitlines():
        unescaped = [mark for number, mark in enumerate(line) if mark in "|[]<>`" and line[number - 1] != "\\"]
        assert unescaped == (["|", "|", "|"] if line in rows else [])
        assert line.isprintable()


@pytest.mark.parametrize("text", HOSTILE[:-1])
def test_an_alert_wakes_nobody_and_links_nowhere(text: str) -> None:
    alert = compose(f"Viral: {text}", "https://youtu.be/dQw4w9WgXcQ", "watch", AlertLevel.SUCCESS, {"channel": text})
    sent: dict[str, Any] = orjson.loads(body_of((alert,)))
    assert sent["allowed_mentions"] == {"parse": []}
    assert "content" not in sent, "only what is no embed can mention anybody"
    (embed,) = sent["embeds"]
    for shown in (embed["title"], embed["fields"][0]["value"]):
        unescaped = [mark for number, mark in enumerate(shown) if mark in "[]<>`" and shown[number - 1] != "\\"]
        assert unescaped == []
        assert "\x1b" not in shown


@pytest.mark.parametrize("text", HOSTILE)
def test_a_terminal_is_shown_a_title_and_not_driven_by_it(text: str) -> None:
    console = Console(width=10_000, color_system="truecolor", force_terminal=True)
    with console.capture() as captured:
        console.print(Text(printable(text)))
    shown = captured.get()
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "[bold red]" in shown or "[bold red]" not in text


def test_text_that_means_no_harm_is_left_alone() -> None:
    for text in ("Beyoncé – Halo (Live) * 2026_final #1 🎈", "日本語のタイトル", "5 > 4"):
        assert printable(text) == text
    assert literal("Beyoncé – Halo (Live) * 2026_final #1 🎈") == "Beyoncé – Halo (Live) * 2026_final #1 🎈"
    assert cell("a\nb") == "a b"
