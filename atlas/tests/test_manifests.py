"""A manifest is read as it was written, or refused: any other bytes are damage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import VaultCorrupt
from atlas.vault.manifests import Manifest
from atlas.vault.shards import METRICS, pack

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
SHARD = next(pack(METRICS, [{"video_id": "a", "timestamp": NOON + timedelta(hours=n), "views": n} for n in range(3)]))
PATH = SHARD.info.manifest_path
FIELDS = orjson.loads(SHARD.manifest)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
changes = st.dictionaries(st.sampled_from([*FIELDS, "replaces", "more"]), values, min_size=1, max_size=3)


def test_a_manifest_comes_back() -> None:
    assert Manifest.from_bytes(SHARD.manifest, PATH).to_bytes() == SHARD.manifest


@given(values.map(orjson.dumps) | st.binary(max_size=80))
def test_any_other_bytes_are_damage(data: bytes) -> None:
    with pytest.raises(VaultCorrupt):
        Manifest.from_bytes(data, PATH)


@given(changes.filter(lambda changed: FIELDS | changed != FIELDS), st.booleans())
def test_a_changed_field_is_damage(changed: dict[str, object], sorted_: bool) -> None:
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | (orjson.OPT_SORT_KEYS if sorted_ else 0)
    with pytest.raises(VaultCorrupt):
        Manifest.from_bytes(orjson.dumps(FIELDS | changed, option=option), PATH)


def test_a_path_that_is_none_is_damage() -> None:
    with pytest.raises(VaultCorrupt):
        Manifest.from_bytes(orjson.dumps(FIELDS | {"path": None}), PATH)


@given(st.integers(0, len(SHARD.manifest) - 1), st.integers(1, 255))
def test_a_changed_byte_is_damage(place: int, change: int) -> None:
    data = bytearray(SHARD.manifest)
    data[place] ^= change
    with pytest.raises(VaultCorrupt):
        Manifest.from_bytes(bytes(data), PATH)
