"""What Google's token endpoint may answer: a token and how long it lasts, or one error."""

from __future__ import annotations

from datetime import timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import ApiUnavailable
from maia.youtube.oauth import LONGEST_LIVED_SECONDS, SHORT_LIVED, _granted

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
answers = values | st.fixed_dictionaries(
    {}, optional={"access_token": st.text(max_size=5) | values, "expires_in": values}
)


@pytest.mark.parametrize(
    ("seconds", "lasts"),
    [
        pytest.param(3599, timedelta(seconds=3599), id="as Google says it"),
        pytest.param(None, SHORT_LIVED, id="nothing"),
        pytest.param("3599", SHORT_LIVED, id="a text"),
        pytest.param(True, SHORT_LIVED, id="a truth"),
        pytest.param(-1, SHORT_LIVED, id="less than nothing"),
        pytest.param(2**62, timedelta(days=1), id="longer than the calendar"),
    ],
)
def test_a_token_lasts_as_long_as_it_says_within_reason(seconds: object, lasts: timedelta) -> None:
    assert _granted(orjson.dumps({"access_token": "ya29", "expires_in": seconds})) == ("ya29", lasts)


@given(answers.map(orjson.dumps) | st.binary(max_size=40))
def test_any_answer_is_a_token_or_the_one_error(body: bytes) -> None:
    try:
        token, lasts = _granted(body)
    except ApiUnavailable:
        return
    assert token
    assert timedelta(0) < lasts <= timedelta(seconds=LONGEST_LIVED_SECONDS)
