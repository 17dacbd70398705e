"""What is to go wrong, and when: drawn from a seed, so that every run can be had again."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

from alkyone.agents import Agent

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

AGENTS: tuple[Agent, ...] = ("hunter", "tracker", "painter", "scribe", "janitor")

Kind = Literal[
    "kill.before commit",
    "kill.after commit",
    "kill.before call",
    "kill.after call",
    "kill.before vault write",
    "kill.inside vault write",
    "kill.after vault write",
    "kill.before vault delete",
    "kill.after vault delete",
    "youtube.status_500",
    "youtube.status_503",
    "youtube.burst_429",
    "youtube.quota_403",
    "youtube.quota_429",
    "youtube.hang",
    "youtube.reset",
    "youtube.drip",
    "youtube.truncated",
    "youtube.html",
    "youtube.oversized",
    "youtube.wrong_types",
    "youtube.unknown_fields",
    "youtube.missing_ids",
    "vault.timeout",
    "vault.lost answer",
    "vault.partial write",
    "vault.denied",
    "vault.full",
    "vault.unreadable",
    "database.terminated",
    "database.restarted",
    "database.read-only",
    "database.out of connections",
    "clock.jump",
    "clock.back",
    "clock.forward",
    "together.same",
    "together.others",
]
"""What can go wrong, by whom it befalls: the worker, YouTube, the vault, the database, the clock, two at once."""

KINDS: tuple[Kind, ...] = get_args(Kind)

STEPS: Mapping[str, str] = {
    **{kind: kind.removeprefix("kill.") for kind in KINDS if kind.startswith("kill.")},
    **{kind: "before call" for kind in KINDS if kind.startswith("youtube.")},
    "vault.timeout": "before vault write",
    "vault.lost answer": "after vault write",
    "vault.partial write": "disk write",
    "vault.denied": "disk write",
    "vault.full": "disk write",
    "vault.unreadable": "vault read",
    "database.terminated": "before commit",
    "database.restarted": "before commit",
    "clock.jump": "before call",
}
"""The step that a fault befalls, where it befalls one."""


def _occasions(commits: int, calls: int = 0, writes: int = 0, deletes: int = 0, reads: int = 0) -> Mapping[str, int]:
    return {
        "before commit": commits,
        "after commit": commits,
        "before call": calls,
        "after call": calls,
        "before vault write": writes,
        "inside vault write": 2 * writes,
        "after vault write": writes,
        "disk write": 5 * writes,
        "before vault delete": deletes,
        "after vault delete": deletes,
        "vault read": reads,
    }


OCCASIONS: Mapping[Agent, Mapping[str, int]] = {
    "hunter": _occasions(36, 5),
    "tracker": _occasions(9, 1),
    "painter": _occasions(12, 2, 1, 0, 7),
    "scribe": _occasions(5, 0, 1, 0, 5),
    "janitor": _occasions(18, 0, 2, 2, 16),
}
"""How often an agent comes to a step in a cycle that has something to do, about."""

LAYERS: Mapping[str, int] = {"kill": 5, "youtube": 5, "vault": 3, "database": 2, "clock": 2, "together": 2}
"""How often each is drawn, beside the others."""

BACK = (MINUTE, 10 * MINUTE, HOUR, 6 * HOUR)
FORWARD = (3 * DAY, 9 * DAY)
JUMP = (11 * MINUTE, 2 * HOUR)
"""Past every lease of a queue; past those of named work, too."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong in a turn.

    ``nth`` says at which occasion of its kind, from nought: the fourth commit, the second write. ``times`` is how
    often YouTube fails in a row, ``span`` how far a clock is moved.
    """

    kind: Kind
    nth: int = 0
    times: int = 1
    span: timedelta = timedelta(0)

    @property
    def layer(self) -> str:
        """Whom it befalls."""
        return self.kind.partition(".")[0]

    @property
    def what(self) -> str:
        """What happens."""
        return self.kind.partition(".")[2]


@dataclass(frozen=True)
class Turn:
    """A cycle of an agent, or of two at once, so long after the one before; and what goes wrong in it."""

    agents: tuple[Agent, ...]
    after: timedelta
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Schedule:
    """All turns of a run, in a world; then come calm ones until nothing is left to do."""

    seed: int
    world: str
    turns: tuple[Turn, ...]


def draw(seed: int, only: Sequence[Kind] = KINDS) -> Schedule:
    """Draw a schedule in which every agent has a turn, and some have two; of faults there are ``only`` such."""
    chance = random.Random(seed)
    others = list(AGENTS[1:])
    chance.shuffle(others)
    order: list[Agent] = ["hunter", *others, *chance.choices(AGENTS, k=chance.randint(0, 2))]
    turns = tuple(_turn(chance, agent, only) for agent in order)
    return Schedule(seed, WORLDS[seed % len(WORLDS)], turns)


WORLDS = tuple(f"generated:seed={seed},channels=2,videos=8,past=20" for seed in (11, 5, 6, 7))
"""Few, for their pictures are drawn once."""


def _turn(chance: random.Random, agent: Agent, only: Sequence[Kind]) -> Turn:
    drawn = [_fault(chance, agent, only) for _ in range(chance.choice((0, 1, 1, 1, 2)))]
    faults = [fault for fault in drawn if fault is not None]
    after = chance.choice((10 * MINUTE, HOUR, 6 * HOUR, DAY, 2 * DAY))
    agents: tuple[Agent, ...] = (agent,)
    for fault in faults:
        match fault.kind:
            case "clock.back":
                after = -fault.span
            case "clock.forward":
                after = fault.span
            case "together.same":
                agents = (agent, agent)
            case "together.others":
                agents = (agent, chance.choice([other for other in AGENTS if other != agent]))
            case _:
                pass
    return Turn(agents, after, tuple(faults))


def _fault(chance: random.Random, agent: Agent, only: Sequence[Kind]) -> Fault | None:
    suiting: list[Kind] = [kind for kind in only if kind not in STEPS or OCCASIONS[agent][STEPS[kind]]]
    layers = [layer for layer in LAYERS if any(kind.startswith(f"{layer}.") for kind in suiting)]
    if not layers:
        return None
    (layer,) = chance.choices(layers, [LAYERS[layer] for layer in layers])
    in_layer: list[Kind] = [kind for kind in suiting if kind.startswith(f"{layer}.")]
    kind = chance.choice(in_layer)
    spans = {"clock.back": BACK, "clock.forward": FORWARD, "clock.jump": JUMP}
    return Fault(
        kind,
        nth=chance.randrange(OCCASIONS[agent][STEPS[kind]]) if kind in STEPS else 0,
        times=chance.choice((1, 2, 3, 1_000)),
        span=chance.choice(spans.get(kind, (timedelta(0),))),
    )
