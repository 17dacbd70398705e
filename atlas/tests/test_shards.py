"""Shards: what names them, what is in them, and that others can read them."""

from __future__ import annotations

import io
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alkyone.properties import examples
from atlas.errors import VaultCorrupt
from atlas.testing import MemoryVault
from atlas.vault import LocalVault, bounds
from atlas.vault import shards as shard_module
from atlas.vault.shards import (
    EVENTS,
    KINDS,
    METADATA,
    METRICS,
    ROW_GROUP,
    TRANSCRIPTS,
    VISUALS,
    Kind,
    canonical,
    conform,
    decode,
    digest,
    encode,
    pack,
    pack_day,
    select,
)

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)

Row = dict[str, Any]

counts = st.none() | st.integers(0, 2**63 - 1) | st.integers(0, 3)
instants = st.integers(0, 40).map(lambda step: NOON + step * timedelta(minutes=97, microseconds=1))
ids = st.text(st.sampled_from("aZ_-0"), min_size=1, max_size=3)
samples = st.lists(
    st.fixed_dictionaries(
        {"video_id": ids, "timestamp": instants, "views": counts, "likes": counts, "comment_count": counts}
    ),
    max_size=40,
)
words = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
documents = st.lists(
    st.fixed_dictionaries(
        {"video_id": ids, "observed_at": instants, "title": words, "duration": st.none() | st.integers(0, 9)},
        optional={"tags": st.none() | st.lists(words, max_size=3), "wiki_topics": st.lists(words, max_size=2)},
    ),
    max_size=20,
)


LATER_KINDS: list[tuple[Kind, Row]] = [
    (
        TRANSCRIPTS,
        {
            "video_id": "a", "observed_at": NOON, "language": "de", "source": "file", "generated": True, "text": "ü",
            "segments": [{"start": 0.5, "duration": None, "text": "ü"}, {"start": -0.0, "duration": 1, "text": ""}],
            "reason": "",
        },
    ),
    (
        VISUALS,
        {
            "video_id": "a", "observed_at": NOON, "frame_index": 2, "data": b"\0\xff", "media_type": "image/jpeg",
            "source": "cover",
        },
    ),
    (EVENTS, {"id": 7, "created_at": NOON, "event_type": "x.y", "entity_id": "a", "payload": {"b": [1], "a": None}}),
]  # fmt: skip


def rows_of(kind: Kind, rows: list[Row]) -> pa.Table:
    return canonical(kind, conform(kind, rows))


def greatest(rows: list[Row]) -> list[Row]:
    """The model: of the samples of a video at an instant the one that is greatest, in the order of the key."""

    def counted(row: Row) -> list[int]:
        return [-1 if row[name] is None else row[name] for name in METRICS.delta]

    kept: dict[tuple[str, datetime], Row] = {}
    for row in rows:
        key = row["video_id"], row["timestamp"]
        if key not in kept or counted(row) > counted(kept[key]):
            kept[key] = row
    return [kept[key] for key in sorted(kept)]


@given(samples)
def test_canonical_rows_are_sorted_and_have_each_key_once(rows: list[Row]) -> None:
    assert rows_of(METRICS, rows).to_pylist() == greatest(rows)


@given(samples, st.randoms(use_true_random=False))
@examples(40)
def test_the_order_of_the_rows_makes_no_difference(rows: list[Row], chance: random.Random) -> None:
    shuffled = chance.sample(rows, len(rows)) + (chance.choices(rows, k=3) if rows else [])

    assert [shard[:] for shard in pack(METRICS, shuffled)] == [shard[:] for shard in pack(METRICS, rows)]


@given(documents, st.randoms(use_true_random=False))
@examples(40)
def test_the_order_of_documents_makes_no_difference(rows: list[Row], chance: random.Random) -> None:
    shuffled = chance.sample(rows, len(rows))

    assert [shard[:] for shard in pack(METADATA, shuffled)] == [shard[:] for shard in pack(METADATA, rows)]


@given(st.one_of(samples.map(lambda rows: (METRICS, rows)), documents.map(lambda rows: (METADATA, rows))), st.data())
def test_chunks_make_no_difference(given_: tuple[Kind, list[Row]], data: st.DataObject) -> None:
    kind, rows = given_
    table = rows_of(kind, rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, table.num_rows), max_size=5)))
    pieces = [table.slice(start, stop - start) for start, stop in zip([0, *cuts], [*cuts, table.num_rows], strict=True)]

    assert digest(kind, pa.concat_tables(pieces)) == digest(kind, table)


@given(
    st.one_of(samples.map(lambda rows: (METRICS, rows)), documents.map(lambda rows: (METADATA, rows))),
    st.sampled_from(["snappy", "none", "gzip", "zstd"]), st.booleans(), st.integers(1, 50),
)  # fmt: skip
@examples(40)
def test_the_encoding_makes_no_difference(
    given_: tuple[Kind, list[Row]], compression: str, dictionary: bool, group: int
) -> None:
    kind, rows = given_
    table = rows_of(kind, rows)
    file = io.BytesIO()
    pq.write_table(table, file, compression=compression, use_dictionary=dictionary, row_group_size=group)

    ours = decode(kind, pa.BufferReader(encode(kind, table, "x")), "here")
    theirs = decode(kind, pa.BufferReader(file.getvalue()), "there")

    assert ours.equals(table)
    assert digest(kind, ours) == digest(kind, theirs) == digest(kind, table)


@given(samples, samples)
def test_different_rows_have_different_digests(one: list[Row], other: list[Row]) -> None:
    same = greatest(one) == greatest(other)

    assert (digest(METRICS, rows_of(METRICS, one)) == digest(METRICS, rows_of(METRICS, other))) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"views": 0}, {"views": None}, id="zero and hidden"),
        pytest.param({"views": 1}, {"likes": 1}, id="views and likes"),
        pytest.param({"video_id": "ab"}, {"video_id": "ba"}, id="letters"),
    ],
)
def test_a_small_difference_is_a_difference(one: Row, other: Row) -> None:
    base: Row = {"video_id": "a", "timestamp": NOON, "views": None}

    assert digest(METRICS, rows_of(METRICS, [base | one])) != digest(METRICS, rows_of(METRICS, [base | other]))


def test_a_hidden_count_beside_a_known_one_is_not_nought() -> None:
    known: Row = {"video_id": "b", "timestamp": NOON, "views": 1}
    hidden, nought = ({"video_id": "a", "timestamp": NOON, "views": views} for views in (None, 0))

    assert digest(METRICS, rows_of(METRICS, [hidden, known])) != digest(METRICS, rows_of(METRICS, [nought, known]))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["a"], ["a", ""]),
        ([], None),
        ([None], [""]),
        ([], [None]),
        (["a", "b"], ["b", "a"]),
    ],
)
def test_lists_are_told_apart(one: list[str | None] | None, other: list[str | None] | None) -> None:
    found = [rows_of(METADATA, [{"video_id": "a", "observed_at": NOON, "tags": tags}]) for tags in (one, other)]

    assert digest(METADATA, found[0]) != digest(METADATA, found[1])


CELLS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.string(): words.map(lambda text: text or ""),
    pa.int64(): st.integers(0, 3) | st.integers(0, 2**63 - 1),
    pa.float64(): st.floats(0, 10),
    pa.bool_(): st.booleans(),
    pa.binary(): st.binary(max_size=4),
    pa.timestamp("us", tz="UTC"): st.integers(0, 5).map(lambda step: NOON + step * timedelta(hours=1)),
}


def cell(kind: pa.DataType, *, nullable: bool) -> st.SearchStrategy[Any]:
    if pa.types.is_list(kind):
        found = st.lists(cell(kind.value_type, nullable=kind.value_field.nullable), max_size=2)
    elif pa.types.is_struct(kind):
        found = st.fixed_dictionaries({field.name: cell(field.type, nullable=field.nullable) for field in kind})
    else:
        found = CELLS[kind]
    return st.none() | found if nullable else found


def whole_rows(kind: Kind) -> st.SearchStrategy[list[Row]]:
    row = {field.name: cell(field.type, nullable=field.nullable) for field in kind.schema}
    return st.lists(st.fixed_dictionaries(row), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
@given(data=st.data())
@examples(30)
def test_another_value_in_any_cell_is_another_name(kind: Kind, data: st.DataObject) -> None:
    rows = data.draw(whole_rows(kind))
    field = data.draw(st.sampled_from(list(kind.schema)))
    place = data.draw(st.integers(0, len(rows) - 1))
    changed = [dict(row) for row in rows]
    changed[place][field.name] = data.draw(cell(field.type, nullable=field.nullable))

    tables = [canonical(kind, pa.Table.from_pylist(found, schema=kind.schema)) for found in (rows, changed)]

    same = tables[0].to_pylist() == tables[1].to_pylist()
    assert (
        pack_day(kind, NOON.date(), tables[0]).info.path == pack_day(kind, NOON.date(), tables[1]).info.path
    ) is same


def test_what_lies_under_an_absent_value_is_no_content() -> None:
    rows = [{"video_id": "a", "timestamp": NOON}, {"video_id": "b", "timestamp": NOON, "views": 1}]
    table = rows_of(METRICS, rows)
    valid = table["views"].chunk(0).buffers()[0]
    noisy = pa.Array.from_buffers(pa.int64(), 2, [valid, pa.py_buffer(bytes(range(8)) + (1).to_bytes(8, "little"))])

    assert noisy.to_pylist() == [None, 1]
    assert digest(METRICS, table.set_column(2, METRICS.schema.field("views"), noisy)) == digest(METRICS, table)


def test_the_digest_of_known_rows_never_changes() -> None:
    """A release that names the same rows otherwise would archive everything twice."""
    rows = [
        {"video_id": "dQw4w9WgXcQ", "timestamp": NOON, "views": 1_700_000_000, "likes": None, "comment_count": 0},
        {"video_id": "-_a", "timestamp": NOON + timedelta(microseconds=1), "views": 1, "likes": 2, "comment_count": 3},
    ]
    document = {
        "video_id": "a",
        "observed_at": NOON,
        "title": "ü",
        "tags": ["x", None],
        "duration": 9,
        "more": {"b": 1},
    }

    assert digest(METRICS, rows_of(METRICS, rows))[:16] == "71730c8dd4f38b23"
    assert digest(METADATA, rows_of(METADATA, [document]))[:16] == "e84d6a19e76b59f2"
    found = {kind.name: digest(kind, rows_of(kind, [row]))[:16] for kind, row in LATER_KINDS}
    assert found == {
        "transcripts": "2d1eedf99b6488e6",
        "visuals": "d9a73e66abf5addd",
        "events": "b5e1ebb0a88db67e",
    }


@pytest.mark.parametrize(("kind", "row"), LATER_KINDS, ids=lambda value: getattr(value, "name", ""))
def test_a_later_kind_survives_its_file_whatever_the_chunks_and_differs_in_every_column(kind: Kind, row: Row) -> None:
    others = [{**row, kind.time: row[kind.time] + number * timedelta(hours=1)} for number in range(1, 9)]
    table = rows_of(kind, [row, *others, row])
    pieces = [table.slice(start, 2) for start in range(0, table.num_rows, 2)]

    found = decode(kind, pa.BufferReader(encode(kind, table, "x")), "here")

    assert found.equals(table)
    assert table.num_rows == 9
    assert digest(kind, pa.concat_tables(pieces)) == digest(kind, table)
    optional = [name for name in row if name not in kind.key and kind.schema.field(name).nullable]
    lacking = [{key: value for key, value in row.items() if key != name} for name in optional]
    assert len({digest(kind, rows_of(kind, [other])) for other in [row, *lacking]}) == len(lacking) + 1


def test_pictures_are_cut_by_content_and_found_without_reading_the_rest() -> None:
    chance = random.Random(3)
    rows = [
        {"video_id": f"v{number:03}", "observed_at": NOON, "frame_index": frame, "data": chance.randbytes(2_000)}
        for number in range(200) for frame in range(4)
    ]  # fmt: skip
    (shard,) = pack(VISUALS, rows)
    file = pq.ParquetFile(pa.BufferReader(shard.data))

    assert file.metadata.num_row_groups == 4
    assert "RLE_DICTIONARY" not in file.metadata.row_group(0).column(VISUALS.schema.get_field_index("data")).encodings
    found = select(VISUALS, pa.BufferReader(shard.data), "here", video_ids=["v150"])
    assert found["frame_index"].to_pylist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(
            lambda table: table.cast(_with(table, "timestamp", pa.timestamp("ms", tz="UTC"))), id="milliseconds"
        ),
        pytest.param(
            lambda table: table.cast(_with(table, "timestamp", pa.timestamp("us", tz="Asia/Tokyo"))), id="zone"
        ),
        pytest.param(lambda table: table.cast(_with(table, "video_id", pa.large_string())), id="large strings"),
        pytest.param(
            lambda table: table.set_column(0, "video_id", table["video_id"].dictionary_encode()), id="dictionary"
        ),
        pytest.param(lambda table: table.cast(_with(table, "views", pa.int32())), id="smaller numbers"),
        pytest.param(lambda table: table.select(table.column_names[::-1]), id="other order of columns"),
        pytest.param(lambda table: table.to_batches()[0], id="a record batch"),
    ],
)
def test_tables_of_other_shapes_give_the_same_shard(table: Any) -> None:
    rows = [{"video_id": f"v{n}", "timestamp": NOON + timedelta(seconds=n), "views": n, "likes": 1} for n in range(9)]
    plain = conform(METRICS, rows)

    assert list(pack(METRICS, table(plain))) == list(pack(METRICS, plain))


def _with(table: pa.Table, name: str, kind: pa.DataType) -> pa.Schema:
    place = table.schema.get_field_index(name)
    return table.schema.set(place, pa.field(name, kind, nullable=name != "video_id"))


def test_a_table_without_time_zone_is_refused() -> None:
    naive = pa.table({"video_id": ["a"], "timestamp": pa.array([NOON.replace(tzinfo=None)], pa.timestamp("us"))})

    with pytest.raises(ValueError, match="time zone"):
        list(pack(METRICS, naive))


def test_precision_is_not_lost_silently() -> None:
    exact = pa.table(
        {"video_id": ["a"], "timestamp": pa.array([1_794_312_000_000_000_001], pa.timestamp("ns", tz="UTC"))}
    )

    with pytest.raises(ValueError, match="lose data"):
        list(pack(METRICS, exact))


# ---------------------------------------------------------------------------------------------------------------------
# The files
# ---------------------------------------------------------------------------------------------------------------------


def many(videos: int, each: int) -> pa.Table:
    ids_ = [f"video{number:06}" for number in range(videos) for _ in range(each)]
    step = timedelta(hours=24) / each
    midnight = NOON.replace(hour=0)
    times = [midnight + number * step for _ in range(videos) for number in range(each)]
    chance = random.Random(1)
    views = [chance.getrandbits(40) for _ in times]
    return conform(METRICS, pa.table({"video_id": ids_, "timestamp": times, "views": views}))


def test_a_file_says_what_it_is() -> None:
    (shard,) = pack(METRICS, many(10, 24))
    file = pq.ParquetFile(pa.BufferReader(shard.data))
    column = file.metadata.row_group(0).column(0)

    marks = {key.decode(): value.decode() for key, value in file.metadata.metadata.items() if key != b"ARROW:schema"}
    assert marks == {"pleiades.kind": "metrics", "pleiades.schema_version": "1", "pleiades.digest": shard.info.digest}
    assert file.schema_arrow.remove_metadata() == METRICS.schema
    assert column.compression == "ZSTD"
    assert (column.statistics.min, column.statistics.max) == ("video000000", "video000009")
    assert column.has_column_index
    assert column.has_offset_index
    assert column.bloom_filter_length
    assert [order.column_index for order in file.metadata.row_group(0).sorting_columns] == [0, 1]
    for place, name in enumerate(METRICS.schema.names):
        expected = "DELTA_BINARY_PACKED" if name in METRICS.delta else "RLE_DICTIONARY"
        assert expected in file.metadata.row_group(0).column(place).encodings


def test_one_video_is_found_without_reading_the_rest() -> None:
    table = many(ROW_GROUP // 6, 24)
    data = encode(METRICS, canonical(METRICS, table), "x")

    class Counted(io.BytesIO):
        bytes_read = 0

        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            self.bytes_read += len(found)
            return found

    source = Counted(data)
    found = select(METRICS, pa.PythonFile(source, mode="r"), "here", video_ids=["video010000"])

    assert found["video_id"].unique().to_pylist() == ["video010000"]
    assert found.num_rows == 24
    assert source.bytes_read < len(data) / 3


def test_a_day_of_many_videos_takes_few_bytes_a_sample() -> None:
    chance = random.Random(7)
    ids_ = sorted(
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=11))
        for _ in range(5_000)
    )
    rows = []
    for name in ids_:
        views = chance.randrange(10 ** chance.randrange(1, 7))
        for hour in range(24):
            views += chance.randrange(views // 50 + 2)
            at = NOON.replace(hour=hour, second=chance.randrange(10))
            rows.append(
                {"video_id": name, "timestamp": at, "views": views, "likes": views // 30, "comment_count": views // 300}
            )

    (shard,) = pack(METRICS, rows)

    assert shard.info.rows == 120_000
    assert shard.info.bytes / shard.info.rows < 8


def test_the_layout_opens_as_it_stands_in_arrow_s_own_dataset(tmp_path: Path) -> None:
    vault = LocalVault(tmp_path)
    rows = [
        {"video_id": f"v{number % 4}", "timestamp": NOON + number * timedelta(hours=7), "views": number, "likes": None}
        for number in range(30)
    ]
    vault.append_metrics(rows)

    found = pyarrow.dataset.dataset(tmp_path / "metrics", format="parquet", partitioning="hive")
    day = found.to_table(filter=pyarrow.dataset.field("date") == "2026-11-11").sort_by("views").to_pylist()
    everything = found.to_table(columns=METRICS.schema.names)

    assert [row["views"] for row in day] == [2, 3, 4, 5]
    assert {row["date"] for row in day} == {"2026-11-11"}
    assert everything.sort_by([("video_id", "ascending"), ("timestamp", "ascending")]).equals(vault.read_metrics())
    assert pq.read_table(tmp_path / "metrics").num_rows == 30


def test_a_shard_that_another_release_encoded_is_kept_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = MemoryVault()
    with monkeypatch.context() as older:
        older.setattr(shard_module, "ZSTD_LEVEL", 1)
        older.setattr(shard_module, "ROW_GROUP", 50)
        shards = vault.append_metrics(many(40, 6))
    before = {path: vault.read(path) for path in vault.list_strict()}

    assert next(pack(METRICS, many(40, 6))).data != before[shards[0].path]
    assert vault.append_metrics(many(40, 6)) == shards
    assert {path: vault.read(path) for path in vault.list_strict()} == before


def test_a_shard_of_an_older_schema_is_read_with_its_new_columns_absent() -> None:
    older = canonical(METRICS, many(3, 2)).select(["video_id", "timestamp", "views"])
    file = io.BytesIO()
    pq.write_table(older, file)

    found = decode(METRICS, pa.BufferReader(file.getvalue()), "here")

    assert found.schema == METRICS.schema
    assert found["likes"].null_count == 6
    assert digest(METRICS, found) == digest(METRICS, canonical(METRICS, many(3, 2)))


@given(st.lists(samples, max_size=4), st.lists(ids, max_size=3), instants, instants)
@examples(40)
def test_reading_equals_a_model(batches: list[list[Row]], wanted: list[str], start: datetime, end: datetime) -> None:
    vault = MemoryVault()
    for batch in batches:
        vault.append_metrics(batch)

    kept = greatest([row for batch in batches for row in batch])

    assert vault.read_metrics().to_pylist() == kept
    assert vault.read_metrics(wanted, start, end).to_pylist() == [
        row for row in kept if row["video_id"] in wanted and start <= row["timestamp"] < end
    ]
    for shard in vault.shards("metrics"):
        vault.verify(shard)


def test_pictures_that_nobody_asked_for_are_not_in_memory_together(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = MemoryVault()
    at = datetime(2026, 11, 9, 12, tzinfo=UTC)
    frames = {f"v{number:03}": [(index, f"{number} {index}".encode()) for index in range(4)] for number in range(300)}
    vault.append_visuals(
        {"video_id": name, "observed_at": at, "frame_index": index, "data": data}
        for name, pictures in frames.items()
        for index, data in pictures
    )
    together: list[int] = []
    read = pq.ParquetFile.read_row_groups

    def watched(file: Any, groups: Any, **options: Any) -> pa.Table:
        together.append(len(groups))
        return read(file, groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watched)

    assert vault.read_visual_evidence(["v299", "v007", "none"]) == {name: frames[name] for name in ("v007", "v299")}
    assert max(together) == 1


def test_texts_that_repeat_are_measured_to_the_byte_before_they_are_spelt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "ROW_GROUP", 100)
    tags = [None, [], ["größer", None, "b"]]
    rows: list[Row] = [
        {
            "video_id": f"v{n % 7}",
            "observed_at": NOON + timedelta(seconds=n),
            "title": "ü" * (n % 3),
            "tags": tags[n % 3],
        }
        for n in range(300)
    ]
    (shard,) = pack(METADATA, rows)
    spelt_out = 300 * 2 + 100 * (2 + 4) + 100 * len("größerb".encode())

    monkeypatch.setattr(bounds, "MOST_TEXT", spelt_out)
    assert decode(METADATA, pa.BufferReader(shard.data), "p").equals(rows_of(METADATA, rows))
    monkeypatch.setattr(bounds, "MOST_TEXT", spelt_out - 1)
    with pytest.raises(VaultCorrupt, match="texts come to more than"):
        decode(METADATA, pa.BufferReader(shard.data), "p")
