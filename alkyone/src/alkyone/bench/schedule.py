"""When to look next: a million decisions at once, what they take of processor and memory, and a price for them."""

from __future__ import annotations

import time
import tracemalloc
from statistics import median

import numpy as np

from alkyone.bench.ids import video_ids
from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_most
from alkyone.worlds.chance import Dice
from maia.tracker.market import SAMPLE
from maia.tracker.schedule import Adaptive, Seen, appraise, spread

BUDGET = 0.5 / 24
"""Readings an hour and video: a full day's quota for a million."""


async def measure(lab: Lab) -> Result:
    """Decide the next look of a million videos, and appraise the price on a sample of them."""
    count = lab.size(1_000_000, 2_000)
    ids = video_ids(count)
    dice = Dice(1, "schedule", count)
    age = np.exp(dice.between("age", -1, 8))
    rate = np.exp(3 + 2.5 * dice.normal("rate"))
    known = np.where(dice.chance("known", 0.9), rate, np.nan)
    decided, priced, hashed = [], [], []
    peak = 0
    for turn in range(lab.repeats + 1):
        begun = time.process_time()
        shares = spread(ids)
        hashed.append(time.process_time() - begun)
        seen = Seen(age, rate * age, known, age / 2, shares)
        begun = time.process_time()
        market = appraise(Seen(*(column[:SAMPLE] for column in seen)), BUDGET)
        priced.append(time.process_time() - begun)
        if turn == 0:
            tracemalloc.start()  # it slows what it watches: this turn is not timed
            Adaptive(market).waits(seen)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            continue
        begun = time.process_time()
        Adaptive(market).waits(seen)
        decided.append(time.process_time() - begun)
    took = median(decided) + median(hashed)
    return Result(
        [
            Figure("next looks of all", median(decided), "CPU s"),
            Figure("hashes that spread them", median(hashed), "CPU s"),
            Figure(f"a price, on {SAMPLE:,}", median(priced), "CPU s"),
            Figure("memory beside the arrays given", peak / 1e6, "MB"),
        ],
        [
            at_most(1.0, f"{count:,} next looks in ≤ 1 s of processor", took),
            at_most(512.0, "in ≤ 512 MB", peak / 1e6),
        ],
        ["one thread; the arrays given take 40 MB a million"],
    )
