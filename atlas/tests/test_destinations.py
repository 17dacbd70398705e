"""Whatever a webhook of Discord answers, it was taken or one of three things is wrong."""

from __future__ import annotations

from datetime import timedelta

import orjson
from hypothesis import given
from hypothesis import strategies as st

from atlas.notifications.destinations import Blocked, DeliveryError, _judge

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
bodies = values | st.fixed_dictionaries({}, optional={"retry_after": values, "global": values})
wishes = st.integers(-9, 10**25).map(str) | st.floats().map(str) | st.text(max_size=9)
NAMES = ["Retry-After", "X-RateLimit-Remaining", "X-RateLimit-Reset-After", "X-RateLimit-Global"]


@given(
    st.sampled_from([200, 204, 301, 400, 401, 404, 429, 500, 599]),
    st.dictionaries(st.sampled_from(NAMES), wishes | st.just("0")),
    bodies.map(orjson.dumps) | st.binary(max_size=40),
)
def test_any_answer_is_a_wait_or_a_documented_error(status: int, headers: dict[str, str], body: bytes) -> None:
    try:
        wait = _judge(status, headers, body)
    except Blocked as blocked:
        wait = blocked.wait
    except DeliveryError:
        return
    assert wait >= timedelta(0)
