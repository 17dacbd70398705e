"""What a vault promises, as tests: a backend's own test class says how to make one, and inherits the rest."""

# ruff: noqa: D102, S101 - these are tests
from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, ClassVar
from unittest.mock import patch

import orjson
import pytest

from atlas import clock
from atlas.errors import VaultCorrupt, VaultDenied, VaultNotFound
from atlas.vault import ShardInfo, VaultStrategy, audit, compaction

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTES = timedelta(minutes=9)
KINDS_STORED = ("metadata", "transcripts", "visuals", "metrics")

ESCAPES = [
    pytest.param("../outside", id="up"),
    pytest.param("a/../../outside", id="up from within"),
    pytest.param("a/../b", id="up and down again"),
    pytest.param("..", id="the parent"),
    pytest.param(".", id="the root itself"),
    pytest.param("./a", id="a dot"),
    pytest.param("/etc/passwd", id="absolute"),
    pytest.param("a//b", id="an empty part"),
    pytest.param("a/", id="a folder"),
    pytest.param("", id="nothing"),
    pytest.param("a\0b", id="a NUL"),
    pytest.param("a\\..\\b", id="a backslash"),
    pytest.param("\ud800", id="half a character"),
    pytest.param(".pleiades/journal", id="the backend's own"),
    pytest.param("a" * 256, id="too long a name"),
    pytest.param("/".join(["a" * 100] * 11), id="too long a path"),
]


def sample(video_id: str, timestamp: datetime, views: int | None, likes: int | None = None) -> dict[str, Any]:
    """Make a sample; its comments are hidden."""
    return {"video_id": video_id, "timestamp": timestamp, "views": views, "likes": likes, "comment_count": None}


def _without_time(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "observed_at"}


class VaultContract:
    """The promises. A subclass has a fixture ``vault``: a new, empty vault for every test."""

    atomic: ClassVar[bool] = True
    """False where the provider has no transactions, and a write becomes visible piece by piece in the order given."""

    # -- Objects ------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "data",
        [pytest.param(b"", id="nothing"), pytest.param(bytes(range(256)), id="all bytes"),
         pytest.param(b"\r\n" * 3, id="line ends"), pytest.param(b"x" * 3_000_000, id="megabytes")],
    )  # fmt: skip
    def test_what_was_written_is_read(self, vault: VaultStrategy, data: bytes) -> None:
        vault.write({"a/b.bin": data}, "keep it")

        assert vault.read("a/b.bin") == data
        assert vault.exists("a/b.bin")

    def test_an_object_is_replaced(self, vault: VaultStrategy) -> None:
        vault.write({"a": b"long and old"}, "first")
        vault.write({"a": b"new"}, "second")

        assert vault.read("a") == b"new"
        assert vault.list_strict() == ["a"]

    def test_many_objects_are_one_write(self, vault: VaultStrategy) -> None:
        objects = {f"many/{number:03}/object": str(number).encode() for number in range(60)}

        vault.write(objects, "many")

        assert {path: vault.read(path) for path in vault.list_strict("many/")} == objects

    def test_to_write_nothing_is_no_error(self, vault: VaultStrategy) -> None:
        vault.write({}, "nothing")

        assert vault.list_strict() == []

    def test_a_new_vault_is_empty(self, vault: VaultStrategy) -> None:
        assert vault.list_strict() == []
        assert not vault.exists("a")
        assert vault.shards("metrics") == []
        assert vault.read_metrics().num_rows == 0
        vault.delete(["a"], "nothing")

    @pytest.mark.parametrize("path", ["missing", "folder", "folder/missing", "folder/object/below"])
    def test_what_is_not_there_is_said_to_be_not_there(self, vault: VaultStrategy, path: str) -> None:
        vault.write({"folder/object": b"x"}, "something else")

        assert not vault.exists(path)
        with pytest.raises(VaultNotFound) as caught:
            vault.read(path)
        assert caught.value.path == path
        assert caught.value.provider == vault.provider

    @pytest.mark.parametrize(
        "path", ["ünï/cödé", "日本語.json", "with space/and 'quotes\"", "emoji/🪐", "%2e%2e/%00", "a:b?c*"]
    )
    def test_any_text_is_a_name(self, vault: VaultStrategy, path: str) -> None:
        vault.write({path: path.encode()}, path)

        assert vault.read(path) == path.encode()
        assert vault.list_strict() == [path]
        vault.delete([path], path)
        assert vault.list_strict() == []

    def test_paths_are_listed_in_order_whatever_their_folders(self, vault: VaultStrategy) -> None:
        paths = ["a-b", "a.b", "a/b", "a/c/d", "a0", "b", "Z", "é", "a/b-c"]
        vault.write(dict.fromkeys(paths, b"x"), "some")

        assert vault.list_strict() == sorted(paths)
        assert vault.list_files() == sorted(paths)

    @pytest.mark.parametrize(
        ("prefix", "found"),
        [
            pytest.param("", ["m/date=1/x", "m/date=2/y", "mm/z"], id="everything"),
            pytest.param("m", ["m/date=1/x", "m/date=2/y", "mm/z"], id="part of a name"),
            pytest.param("m/", ["m/date=1/x", "m/date=2/y"], id="a folder"),
            pytest.param("m/date=", ["m/date=1/x", "m/date=2/y"], id="part of a folder's name"),
            pytest.param("m/date=2/y", ["m/date=2/y"], id="an object"),
            pytest.param("m/date=2/y/", [], id="below an object"),
            pytest.param("n/o", [], id="nowhere"),
        ],
    )
    def test_a_prefix_is_the_beginning_of_a_path(self, vault: VaultStrategy, prefix: str, found: list[str]) -> None:
        vault.write({"m/date=1/x": b"", "m/date=2/y": b"", "mm/z": b""}, "some")

        assert vault.list_strict(prefix) == found

    def test_what_is_deleted_is_gone_and_the_rest_stays(self, vault: VaultStrategy) -> None:
        vault.write({"a/b": b"1", "a/c": b"2", "d": b"3"}, "some")

        vault.delete(["a/b", "d", "never/there"], "less")
        vault.delete(["a/b"], "again")

        assert vault.list_strict() == ["a/c"]
        with pytest.raises(VaultNotFound):
            vault.read("a/b")

    def test_a_name_can_become_a_folder_once_it_is_free(self, vault: VaultStrategy) -> None:
        vault.write({"a": b"object"}, "as an object")
        vault.delete(["a"], "free it")
        vault.write({"a/b": b"below"}, "as a folder")
        vault.delete(["a/b"], "free it")
        vault.write({"a": b"object"}, "as an object")

        assert vault.list_strict() == ["a"]

    # -- No way out ---------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("path", ESCAPES)
    def test_no_path_leads_out_of_the_vault(self, vault: VaultStrategy, path: str) -> None:
        attempts: list[Callable[[], object]] = [
            lambda: vault.write({"innocent": b"x", path: b"x"}, "out"),
            lambda: vault.read(path),
            lambda: vault.exists(path),
            lambda: vault.delete(["innocent", path], "out"),
            lambda: vault.store_json(path, {}),
            lambda: vault.fetch_json(path),
        ]
        if path:
            attempts.append(lambda: vault.list_strict(path if path != "a/" else "a//"))
        for attempt in attempts:
            with pytest.raises(VaultDenied):
                attempt()
        assert vault.list_strict() == []

    def test_an_object_cannot_be_a_folder_too(self, vault: VaultStrategy) -> None:
        with pytest.raises(VaultDenied):
            vault.write({"a": b"x", "a/b": b"y"}, "both")

        assert vault.list_strict() == []

    # -- Documents ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("document", [{"ü": [1, None, 2.5, "x"]}, [], "text", 0, False, None])
    def test_a_document_comes_back(self, vault: VaultStrategy, document: object) -> None:
        vault.store_json("docs/one.json", document)

        assert vault.fetch_json("docs/one.json") == document
        assert vault.exists("docs/one.json")

    def test_a_document_that_is_not_there_is_none(self, vault: VaultStrategy) -> None:
        assert vault.fetch_json("docs/none.json") is None

    def test_what_is_no_document_is_an_error(self, vault: VaultStrategy) -> None:
        vault.write({"docs/one.json": b'{"half":'}, "damaged")

        with pytest.raises(VaultCorrupt):
            vault.fetch_json("docs/one.json")

    # -- The vault itself ---------------------------------------------------------------------------------------------

    def test_a_vault_keeps_its_name(self, vault: VaultStrategy) -> None:
        name = vault.provision()

        assert vault.provision() == name
        assert len(name) == 32

    def test_many_that_provision_at_once_agree_on_the_name(self, vault: VaultStrategy) -> None:
        with ThreadPoolExecutor(8) as threads:
            names = set(threads.map(lambda _: vault.provision(), range(8)))

        assert names == {vault.provision()}

    # -- Samples ------------------------------------------------------------------------------------------------------

    def test_samples_come_back_sorted_with_hidden_counts_absent(self, vault: VaultStrategy) -> None:
        rows = [sample("b", NOON, 2, 0), sample("a", NOON + HOUR, 2**53 + 1), sample("a", NOON, None)]

        vault.append_metrics(rows)

        assert vault.read_metrics().to_pylist() == [rows[2], rows[1], rows[0]]

    def test_each_utc_day_has_a_shard(self, vault: VaultStrategy) -> None:
        tokyo = timezone(timedelta(hours=9))
        late = datetime(2026, 11, 11, 8, 59, 59, 999_999, tzinfo=tokyo)  # a microsecond before midnight UTC

        before, after = vault.append_metrics([sample("a", late + timedelta(microseconds=1), 2), sample("a", late, 1)])

        assert (before.day, after.day) == (date(2026, 11, 10), date(2026, 11, 11))
        assert before.path == f"metrics/date=2026-11-10/part-{before.digest}.parquet"
        assert (before.kind, before.rows, before.min_time, before.max_time) == ("metrics", 1, late, late)
        assert before.bytes == len(vault.read(before.path))
        assert vault.shards("metrics") == [before, after]

    def test_to_append_again_changes_nothing(self, vault: VaultStrategy) -> None:
        rows = [sample(f"video{number % 7}", NOON + number * HOUR, number) for number in range(50)]
        shards = vault.append_metrics(rows)
        before = {path: vault.read(path) for path in vault.list_strict()}

        assert vault.append_metrics(reversed(rows)) == shards
        assert {path: vault.read(path) for path in vault.list_strict()} == before

    def test_an_interrupted_append_is_completed_by_the_next(self, vault: VaultStrategy) -> None:
        rows = [sample("a", NOON, 1), sample("a", NOON + DAY, 2)]
        first, _ = vault.append_metrics(rows)
        complete = vault.list_strict()
        vault.delete([first.manifest_path], "as if it had never been reached")

        vault.append_metrics(rows)

        assert vault.list_strict() == complete

    def test_no_rows_make_no_shard(self, vault: VaultStrategy) -> None:
        assert vault.append_metrics([]) == []
        assert vault.list_strict() == []

    def test_the_same_sample_in_several_shards_is_read_once(self, vault: VaultStrategy) -> None:
        vault.append_metrics([sample("a", NOON, 1), sample("a", NOON + HOUR, 2)])
        vault.append_metrics([sample("a", NOON + HOUR, 2), sample("a", NOON + 2 * HOUR, 3)])

        assert vault.read_metrics(["a"])["views"].to_pylist() == [1, 2, 3]

    @pytest.mark.parametrize(
        ("start", "end", "found"),
        [
            pytest.param(None, None, [0, 1, 2, 3], id="everything"),
            pytest.param(NOON, NOON + 3 * DAY, [0, 1, 2], id="the start belongs to it, the end does not"),
            pytest.param(NOON + timedelta(microseconds=1), None, [1, 2, 3], id="from an instant later"),
            pytest.param(None, NOON, [], id="before the first"),
            pytest.param(NOON + DAY, NOON + DAY, [], id="no time at all"),
            pytest.param(NOON + 9 * DAY, None, [], id="after the last"),
        ],
    )
    def test_a_span_of_time_can_be_read(
        self, vault: VaultStrategy, start: datetime | None, end: datetime | None, found: list[int]
    ) -> None:
        vault.append_metrics([sample("a", NOON + number * DAY, number) for number in range(4)])

        assert vault.read_metrics(["a"], start, end)["views"].to_pylist() == found
        days = {shard.day for shard in vault.shards("metrics", start, end)}
        assert days >= {(NOON + number * DAY).date() for number in found}

    def test_some_videos_can_be_read(self, vault: VaultStrategy) -> None:
        vault.append_metrics([sample(name, NOON, 1) for name in ("-a", "_b", "Zz", "aa", "zz")])

        assert vault.read_metrics(["zz", "-a", "nobody", "zz"])["video_id"].to_pylist() == ["-a", "zz"]
        assert vault.read_metrics([]).num_rows == 0

    @pytest.mark.parametrize(
        "row",
        [
            pytest.param({"timestamp": NOON, "views": 1}, id="no video"),
            pytest.param({"video_id": "a", "views": 1}, id="no time"),
            pytest.param({"video_id": "a", "timestamp": NOON.replace(tzinfo=None)}, id="no time zone"),
            pytest.param({"video_id": "a", "timestamp": NOON, "views": "many"}, id="a word for a count"),
            pytest.param({"video_id": "a", "timestamp": NOON, "views": 1.5}, id="half a view"),
            pytest.param({"video_id": "a", "timestamp": NOON, "views": 2**63}, id="too many views"),
            pytest.param({"video_id": "a", "timestamp": NOON, "viewz": 1}, id="an unknown column"),
        ],
    )
    def test_a_row_that_does_not_fit_is_refused_with_all_others(
        self, vault: VaultStrategy, row: dict[str, object]
    ) -> None:
        with pytest.raises(ValueError, match=r"metrics|timestamp"):
            vault.append_metrics([sample("a", NOON, 1), row])

        assert vault.list_strict() == []

    # -- Metadata -----------------------------------------------------------------------------------------------------

    def test_the_newest_metadata_of_a_video_is_fetched(self, vault: VaultStrategy) -> None:
        vault.append_metadata([{"video_id": "a", "observed_at": NOON + DAY, "title": "new"}])
        vault.append_metadata(
            [{"video_id": "a", "observed_at": NOON + number * HOUR, "title": f"old {number}"} for number in range(3)]
        )
        vault.append_metadata([{"video_id": "b", "observed_at": NOON + 2 * DAY, "title": "another video"}])

        assert vault.fetch_metadata("a") == {"video_id": "a", "observed_at": NOON + DAY, "title": "new"}

    def test_all_that_was_known_comes_back(self, vault: VaultStrategy) -> None:
        document = {
            "channel_id": "UC", "title": "Tïtle 🪐", "published_at": NOON, "duration": 61, "tags": ["b", "a", "b", ""],
            "wiki_topics": [], "description": None, "statistics": {"favorites": "0", "deep": [1, None]},
        }  # fmt: skip

        with clock.stopped(NOON + HOUR):
            vault.store_metadata("a", document)

        (shard,) = vault.shards("metadata")
        known = {name: value for name, value in document.items() if value is not None}
        assert vault.fetch_metadata("a") == known | {"video_id": "a", "observed_at": NOON + HOUR}
        assert shard.path == f"metadata/date=2026-11-10/part-{shard.digest}.parquet"
        vault.verify(shard)

    def test_metadata_that_is_not_there_is_none(self, vault: VaultStrategy) -> None:
        vault.store_metadata("a", {"title": "x"})

        assert vault.fetch_metadata("b") is None

    def test_kinds_do_not_mix(self, vault: VaultStrategy) -> None:
        metrics = vault.append_metrics([sample("a", NOON, 1)])
        metadata = vault.append_metadata([{"video_id": "a", "observed_at": NOON}])

        assert vault.shards("metrics") == metrics
        assert vault.shards("metadata") == metadata
        assert _without_time(vault.fetch_metadata("a") or {}) == {"video_id": "a"}

    # -- Transcripts, pictures, events --------------------------------------------------------------------------------

    def test_the_newest_transcript_comes_back_as_it_was(self, vault: VaultStrategy) -> None:
        german = {
            "observed_at": NOON, "language": "de", "source": "file", "generated": False, "text": "Grüß Gott 🪐\nEnde",
            "segments": [{"start": 0.25, "duration": 1.5, "text": "Grüß Gott 🪐"}, {"start": 2.0, "text": "Ende"}],
            "licence": "cc-by",
        }  # fmt: skip
        vault.store_transcript("a", german)
        vault.store_transcript("a", {"observed_at": NOON, "language": "en", "text": "Hello"})
        vault.store_transcript("a", {"observed_at": NOON - DAY, "text": "older"})
        vault.store_transcript("b", {"observed_at": NOON, "reason": "no captions"})

        assert vault.fetch_transcript("a") == german | {"video_id": "a"}
        assert (vault.fetch_transcript("a", "en") or {})["text"] == "Hello"
        assert (vault.fetch_transcript("a", "und") or {})["text"] == "older"
        assert vault.fetch_transcript("b") == {
            "video_id": "b", "observed_at": NOON, "language": "und", "reason": "no captions"
        }  # fmt: skip
        assert vault.fetch_transcript("a", "fr") is None
        assert vault.fetch_transcript("c") is None

    def test_the_pictures_seen_last_come_back_by_number(self, vault: VaultStrategy) -> None:
        frames = [(number, bytes([number]) * 1000 + b"\0\xff") for number in range(3)]
        vault.store_visual_evidence("a", [(0, b"old"), (9, b"old")], observed_at=NOON - DAY)
        vault.store_visual_evidence("a", reversed(frames), observed_at=NOON)
        with clock.stopped(NOON):
            vault.store_visual_evidence("a", [{"frame_index": 3, "data": b"", "source": "cover", "width": 480}])

        assert vault.fetch_visual_evidence("a") == [*frames, (3, b"")]
        assert vault.fetch_visual_evidence("b") == []

    def test_the_pictures_of_several_videos_come_back_together(self, vault: VaultStrategy) -> None:
        vault.store_visual_evidence("a", [(0, b"a old"), (1, b"a old")], observed_at=NOON - 2 * DAY)
        vault.append_visuals(
            {"video_id": name, "observed_at": NOON - DAY, "frame_index": number, "data": f"{name} {number}".encode()}
            for name in "bc"
            for number in (1, 0)
        )
        vault.store_visual_evidence("a", [(0, b"a new")], observed_at=NOON)
        vault.store_visual_evidence("b", [(0, b"b old")], observed_at=NOON - 3 * DAY)

        both = {"a": [(0, b"a new")], "b": [(0, b"b 0"), (1, b"b 1")]}
        assert vault.read_visual_evidence(["b", "a", "unknown"]) == both
        assert vault.read_visual_evidence(["b", "a"], NOON - DAY) == both
        assert vault.read_visual_evidence(["b", "a"], NOON) == {"a": [(0, b"a new")]}
        assert vault.read_visual_evidence([]) == {}
        with vault.batch() as batch:
            batch.store_visual_evidence("b", [(5, b"b new")], observed_at=NOON)
            assert batch.read_visual_evidence("ab") == {"a": both["a"], "b": [(5, b"b new")]}

    def test_events_come_back_in_the_order_they_happened(self, vault: VaultStrategy) -> None:
        events = [
            {
                "id": number, "created_at": NOON + (number // 2) * HOUR, "event_type": "video.discovered",
                "entity_id": ["a", "b", None][number % 3], "payload": {"n": number, "deep": {"b": 1, "a": []}},
            }
            for number in range(6)
        ]  # fmt: skip

        (shard,) = vault.append_events(reversed(events))

        found = vault.read_events().to_pylist()
        assert [{**row, "payload": orjson.loads(row["payload"])} for row in found] == events
        assert vault.read_events(NOON + HOUR, entity_ids=["a"])["id"].to_pylist() == [3]
        assert shard.path.startswith("events/date=2026-11-10/part-")
        vault.verify(shard)

    @pytest.mark.parametrize(
        "segment", [{"start": 0, "text": "x", "speaker": "me"}, {"start": "soon", "text": "x"}, {"start": 0, "text": 1}]
    )
    def test_a_transcript_that_does_not_fit_is_refused(self, vault: VaultStrategy, segment: dict[str, object]) -> None:
        with pytest.raises(ValueError, match="transcripts"):
            vault.store_transcript("a", {"segments": [segment]})

        assert vault.list_strict() == []

    # -- Batches ------------------------------------------------------------------------------------------------------

    def test_a_batch_is_one_write_with_the_manifests_last(self, vault: VaultStrategy) -> None:
        writes: list[tuple[list[str], str]] = []

        def note(objects: Mapping[str, bytes], message: str = "") -> None:
            writes.append((list(objects), message))
            type(vault).write(vault, objects, message)

        with patch.object(vault, "write", note), vault.batch("a cycle") as batch:
            batch.store_json("docs/one.json", {"a": 1})
            for name in ("a", "b", "c"):
                batch.store_metadata(name, {"observed_at": NOON, "title": name})
                batch.store_transcript(name, {"observed_at": NOON, "text": name})
                batch.store_visual_evidence(name, [(0, name.encode())], observed_at=NOON)
                assert batch.append_metrics([sample(name, NOON, 1), sample(name, NOON + DAY, 2)]) == []
            assert writes == []
            assert vault.list_strict() == []

        ((paths, message),) = writes
        assert message == "a cycle"
        assert len(paths) == 1 + 2 * 5
        assert [path.startswith("manifests/") for path in paths] == [False] * 6 + [True] * 5
        assert batch.stored == [shard for kind in KINDS_STORED for shard in vault.shards(kind)]
        for shard in batch.stored:
            vault.verify(shard)
        assert vault.fetch_json("docs/one.json") == {"a": 1}
        assert vault.fetch_visual_evidence("b") == [(0, b"b")]
        assert vault.read_metrics(["c"])["views"].to_pylist() == [1, 2]

    def test_a_batch_reads_back_what_was_put_into_it(self, vault: VaultStrategy) -> None:
        vault.append_metrics([sample("a", NOON, 1)])
        vault.store_metadata("a", {"observed_at": NOON, "title": "old"})
        vault.write({"docs/gone": b"x", "docs/kept": b"y"}, "before")

        with vault.batch("a cycle") as batch:
            batch.append_metrics([sample("a", NOON + HOUR, 2), sample("b", NOON, 3)])
            batch.store_metadata("a", {"observed_at": NOON + HOUR, "title": "new"})
            batch.store_transcript("a", {"text": "hello"})
            batch.store_json("docs/new", [1])
            batch.delete(["docs/gone"])

            assert batch.read_metrics(["a"])["views"].to_pylist() == [1, 2]
            assert (batch.fetch_metadata("a") or {})["title"] == "new"
            assert (batch.fetch_transcript("a") or {})["text"] == "hello"
            assert batch.fetch_json("docs/new") == [1]
            assert batch.list_strict("docs/") == batch.list_files("docs/") == ["docs/kept", "docs/new"]
            with pytest.raises(VaultNotFound):
                batch.read("docs/gone")
            assert (vault.fetch_metadata("a") or {})["title"] == "old"

        assert vault.list_strict("docs/") == ["docs/kept", "docs/new"]
        assert (vault.fetch_metadata("a") or {})["title"] == "new"

    def test_a_batch_that_fails_leaves_nothing(self, vault: VaultStrategy) -> None:
        def fail() -> None:
            with vault.batch("a cycle") as batch:
                batch.store_metadata("a", {"title": "x"})
                batch.store_json("docs/one.json", {})
                batch.append_metrics([{"video_id": "a"}])

        with pytest.raises(ValueError, match="timestamp"):
            fail()

        assert vault.list_strict() == []

    def test_a_batch_done_again_changes_nothing(self, vault: VaultStrategy) -> None:
        for _ in range(2):
            with vault.batch() as batch:
                batch.append_metrics([sample("a", NOON, 1)])
                batch.append_metrics([sample("b", NOON, 1)])

        assert len(vault.list_strict()) == 2

    # -- Verification -------------------------------------------------------------------------------------------------

    def test_a_shard_as_it_was_written_is_verified(self, vault: VaultStrategy) -> None:
        for shard in vault.append_metrics([sample("a", NOON + number * HOUR, number) for number in range(30)]):
            vault.verify(shard)

    def test_a_missing_shard_or_manifest_is_found(self, vault: VaultStrategy) -> None:
        for path in ("path", "manifest_path"):
            (shard,) = vault.append_metrics([sample("a", NOON, 1)])
            vault.delete([getattr(shard, path)], "lose it")
            with pytest.raises(VaultNotFound):
                vault.verify(shard)

    def test_a_changed_byte_anywhere_is_found(self, vault: VaultStrategy) -> None:
        (shard,) = vault.append_metrics([sample("a", NOON + number * MINUTES, number) for number in range(80)])
        for path in (shard.path, shard.manifest_path):
            intact = vault.read(path)
            for place in {0, 4, len(intact) // 2, len(intact) - 1, *_places(path, len(intact), 40)}:
                damaged = bytearray(intact)
                damaged[place] ^= 1 << place % 7
                vault.write({path: bytes(damaged)}, "damage")
                with pytest.raises(VaultCorrupt):
                    vault.verify(shard)
            for other in (b"", intact[:-1], intact + b"\0"):
                vault.write({path: other}, "damage")
                with pytest.raises(VaultCorrupt):
                    vault.verify(shard)
            vault.write({path: intact}, "mend")
        vault.verify(shard)

    def test_another_shard_in_its_place_is_found(self, vault: VaultStrategy) -> None:
        one, other = vault.append_metrics([sample("a", NOON, 1), sample("a", NOON + DAY, 2)])
        vault.write({one.path: vault.read(other.path)}, "swap")

        with pytest.raises(VaultCorrupt):
            vault.verify(one)

    @pytest.mark.parametrize(
        "changes",
        [{"rows": 2}, {"digest": "0" * 64}, {"min_time": NOON - HOUR}, {"max_time": NOON + HOUR}],
    )
    def test_a_claim_that_differs_from_what_is_there_is_found(
        self, vault: VaultStrategy, changes: dict[str, Any]
    ) -> None:
        (shard,) = vault.append_metrics([sample("a", NOON, 1)])

        with pytest.raises(VaultCorrupt):
            vault.verify(replace(shard, **changes))

    def test_a_damaged_shard_is_mended_by_appending_again(self, vault: VaultStrategy) -> None:
        rows = [sample("a", NOON, 1)]
        (shard,) = vault.append_metrics(rows)
        vault.write({shard.path: b"PAR1 no more"}, "damage")

        with pytest.raises(VaultCorrupt):
            vault.read_metrics(["a"])
        assert vault.append_metrics(rows) == [shard]
        vault.verify(shard)

    def test_a_listed_shard_that_is_gone_is_never_taken_for_no_rows(self, vault: VaultStrategy) -> None:
        (shard,) = vault.append_metrics([sample("a", NOON, 1)])
        vault.delete([shard.path], "lose it")

        with pytest.raises(VaultNotFound):
            vault.read_metrics(["a"])

    # -- Upkeep -------------------------------------------------------------------------------------------------------

    def test_merged_shards_read_as_before_and_what_they_replaced_can_be_removed(self, vault: VaultStrategy) -> None:
        for number in range(3):
            vault.append_metrics([sample("a", NOON + number * HOUR, number), sample(f"b{number}", NOON, 7)])
            vault.store_visual_evidence("a", [(number, bytes(3000))], observed_at=NOON)
        whole = vault.read_metrics()

        merges = compaction.plan(vault, before=(NOON + DAY).date())
        merged = [compaction.carry_out(vault, merge) for merge in merges]

        assert [shard.rows for shard in merged] == [6, 3]
        assert vault.shards("metrics") == merged[:1]
        assert sum(check.superseded for check in audit.audit(vault)) == 6
        for now in (NOON, NOON + audit.GRACE):
            found = audit.find_useless(vault, now=now)
            audit.remove(vault, found.due, "prune")
            audit.note_useless(vault, found, now=now)
        assert sorted(vault.list_strict()) == sorted(path for m in merged for path in (m.path, m.manifest_path))
        assert vault.read_metrics() == whole
        assert [number for number, _ in vault.fetch_visual_evidence("a")] == [0, 1, 2]
        assert not any(check.problem for check in audit.audit(vault))

    # -- Several at once ----------------------------------------------------------------------------------------------

    def test_writers_at_once_lose_nothing(self, vault: VaultStrategy) -> None:
        def append(writer: int) -> list[ShardInfo]:
            return vault.append_metrics([sample(f"video{writer % 3}", NOON + writer * HOUR, writer)])

        with ThreadPoolExecutor(6) as threads:
            shards = [shard for found in threads.map(append, range(12)) for shard in found]

        assert vault.shards("metrics") == sorted(shards, key=lambda shard: (shard.day, shard.path))
        assert sorted(vault.read_metrics()["views"].to_pylist()) == list(range(12))

    def test_a_reader_sees_all_of_a_write_or_nothing(self, vault: VaultStrategy) -> None:
        paths = [f"set/{number}" for number in range(8)]
        vault.write(dict.fromkeys(paths, b"0"), "begin")

        def read() -> list[str]:
            return vault.list_strict("set/")

        with ThreadPoolExecutor(4) as threads:
            seen = [threads.submit(read) for _ in range(20)]
            for _ in range(5):
                vault.delete(paths, "less")
                vault.write(dict.fromkeys(paths, b"1"), "more")
            seen += [threads.submit(read) for _ in range(5)]

        complete = {(), tuple(paths)}
        if not self.atomic:  # the beginning of what is being written, the end of what is being deleted
            complete |= {tuple(part) for number in range(8) for part in (paths[:number], paths[number:])}
        assert {tuple(future.result()) for future in seen} <= complete


def _places(name: str, size: int, count: int) -> set[int]:
    """Draw places in a file, the same every time."""
    return {int.from_bytes(hashlib.sha256(f"{name} {number}".encode()).digest()[:8]) % size for number in range(count)}
