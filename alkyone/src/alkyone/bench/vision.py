"""The built-in descriptor: which pictures it knows again after what, and whom it takes for somebody else."""

from __future__ import annotations

import asyncio
import time
from typing import Any, NamedTuple

import numpy as np

from alkyone.bench.lab import Lab
from alkyone.bench.results import Figure, Result, at_least, at_most
from alkyone.pictures import TRANSFORMATIONS, frame
from maia.batches import batched
from maia.scribe.embedders.perceptual import SAME_PICTURE, PerceptualEmbedder

AT_ONCE = 100


class Handled(NamedTuple):
    """What one kind of handling does to pictures."""

    first: float  # share whose nearest is the original
    known: float  # share that is called the same picture
    mistaken: float  # share of which some stranger is called the same picture
    percentile: float  # the likeness that all but 1 % keep


async def measure(lab: Lab) -> Result:
    """Handle covers of many videos in every way, and look for each among all."""
    return await asyncio.to_thread(_measure, lab.size(3_000, 40))


def _measure(videos: int) -> Result:
    embedder = PerceptualEmbedder()
    originals: list[Any] = []
    others: list[Any] = []
    handled: dict[str, list[Any]] = {name: [] for name in TRANSFORMATIONS}
    seconds = 0.0
    for seeds in batched(range(videos), AT_ONCE):
        covers = [frame(seed, 0) for seed in seeds]
        begun = time.perf_counter()
        originals.append(embedder.embed(covers))
        seconds += time.perf_counter() - begun
        others.append(embedder.embed([frame(seed, 2) for seed in seeds]))
        for name, handle in TRANSFORMATIONS.items():
            handled[name].append(embedder.embed([handle(data, seed) for seed, data in zip(seeds, covers, strict=True)]))
    known = np.concatenate(originals)
    likeness = known @ known.T
    strangers = likeness[np.triu_indices(videos, 1)]
    moments = (known * np.concatenate(others)).sum(1)
    found = {name: _found(np.concatenate(rows) @ known.T) for name, rows in handled.items()}
    figures = [Figure("pictures described a second, one core", videos / seconds, "pictures/s")]
    for name, one in found.items():
        figures += [
            Figure(f"{name}: the original comes first", one.first, "share"),
            Figure(f"{name}: called the same picture", one.known, "share"),
            Figure(f"{name}: likeness that 99 % keep", one.percentile, "cosine"),
        ]
    figures += [
        Figure("strangers: likeness that 1 in 10,000 pairs exceeds", float(np.quantile(strangers, 0.9999)), "cosine"),
        Figure(f"strangers: the greatest of {len(strangers):,} pairs", float(strangers.max()), "cosine"),
        Figure("another moment of the same video, the median", float(np.median(moments)), "cosine"),
    ]
    worst = Handled(*(min(values) for values in zip(*found.values(), strict=True)))
    taken = float((strangers >= SAME_PICTURE).mean())
    mistaken = max(one.mistaken for one in found.values())
    return Result(
        figures,
        [
            at_least(0.99, "the original comes first, ≥ 0.99 whatever was done", worst.first),
            at_least(0.97, "called the same picture, ≥ 0.97 whatever was done", worst.known),
            at_most(1e-6, "pairs of strangers called the same, ≤ 1 in a million", taken),
            at_most(1e-3, f"handled pictures taken for one of {videos:,} strangers, ≤ 1 in 1,000", mistaken),
        ],
        [
            f"a cosine of {SAME_PICTURE} and more is called the same picture",
            "pictures are generated (alkyone.pictures): no collection of real thumbnails can be had here",
        ],
    )


def _found(likeness: Any) -> Handled:
    own = likeness.diagonal().copy()
    first = float((likeness.argmax(1) == np.arange(len(own))).mean())
    np.fill_diagonal(likeness, -1)
    mistaken = float((likeness.max(1) >= SAME_PICTURE).mean())
    return Handled(first, float((own >= SAME_PICTURE).mean()), mistaken, float(np.quantile(own, 0.01)))
