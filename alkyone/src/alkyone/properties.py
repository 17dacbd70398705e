"""How far properties are searched: quickly and always alike in the suite, far and anew in a hunt."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

SUITE = "ci"
"""The default: the same examples each time, so that a failure is the change's and never chance's."""

SEARCH = "search"
"""``--hypothesis-profile=search``: twenty times as many examples, other ones each time, kept in ``.hypothesis``."""

_FACTOR = 20
_USUAL = 100

# How long an example takes says more of the machine than of the code.
_PATIENT = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink),  # to explain costs most of all
    print_blob=True,
)


def register() -> None:
    """Make the two profiles known to Hypothesis."""
    settings.register_profile(SUITE, _PATIENT, max_examples=_USUAL, derandomize=True, database=None)
    settings.register_profile(SEARCH, _PATIENT, max_examples=_USUAL * _FACTOR)


def examples(number: int, *, steps: int | None = None) -> settings:
    """Try ``number`` examples, each of up to ``steps`` where it has any; twenty times as many in a search."""
    tried = number * settings().max_examples // _USUAL
    return settings(max_examples=tried) if steps is None else settings(max_examples=tried, stateful_step_count=steps)
