"""Real and generated view curves as arrays, the halves to tune and to report on, and the bootstrap over videos."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from alkyone.worlds.chance import Floats, Ints, salt

if TYPE_CHECKING:
    from alkyone.worlds.generated import Trajectories

Half = Literal["tune", "report"]

SERIES = ("threehourly", "daily", "fine")
"""The recorded series, by the names of their files."""

ROUNDS = 400
"""Draws of a bootstrap: enough for the ends of a 95 % interval to stand still within a few per cent of its width."""

_SUFFIXES = (".parquet", ".csv")


@dataclass(frozen=True)
class Curves:
    """Counters of V videos at S instants in all, video after video, by time within each.

    Video ``i`` has the samples ``bounds[i]:bounds[i + 1]``. Times are seconds since 1970, counters are floats, exact
    below 2**53. They are as recorded: they may fall, freeze and come back.
    """

    ids: NDArray[np.str_]
    """V video ids."""
    channels: Ints
    """V numbers of channels; equal where the channel is the same. Where nobody recorded it, the video has its own."""
    published: Floats
    """V publication times; where nobody recorded one, the first sample's."""
    seconds: Ints
    """V lengths in seconds; 240 where unknown, 0 for a live video."""
    bounds: Ints
    """V + 1 offsets into the samples."""
    times: Floats
    """S instants."""
    views: Floats
    """S view counts, never absent."""
    likes: Floats
    """S like counts, NaN where hidden or not recorded."""
    comments: Floats
    """S comment counts, NaN where hidden or not recorded."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def owner(self) -> Ints:
        """For each of the S samples the number of its video."""
        return np.repeat(np.arange(len(self)), np.diff(self.bounds))

    @property
    def first(self) -> Floats:
        """V times of the first sample."""
        return self.times[self.bounds[:-1]]

    @property
    def last(self) -> Floats:
        """V times of the last sample."""
        return self.times[self.bounds[1:] - 1]

    def of(self, video: int) -> slice:
        """The samples of a video."""
        return slice(int(self.bounds[video]), int(self.bounds[video + 1]))

    def where(self, wanted: NDArray[np.bool_]) -> Curves:
        """Keep the videos for which ``wanted`` (V) is true."""
        lengths = np.diff(self.bounds)
        kept = np.repeat(wanted, lengths)
        parts: dict[str, NDArray[np.generic]] = {
            field.name: getattr(self, field.name)[kept if field.name in _SAMPLED else wanted]
            for field in fields(self)
            if field.name != "bounds"
        }
        return Curves(bounds=np.concatenate([[0], np.cumsum(lengths[wanted])]), **parts)  # type: ignore[arg-type]

    def followed(self, *, samples: int = 24, span: timedelta = timedelta(days=1)) -> Curves:
        """Keep the videos with at least so many samples over at least so long."""
        return self.where((np.diff(self.bounds) >= samples) & (self.last - self.first >= span.total_seconds()))

    def half(self, which: Half) -> Curves:
        """Keep one half of the videos, by a stable hash of the id: what is tuned on one is reported on the other."""
        odd = np.array([salt(0, str(video_id)) & 1 for video_id in self.ids], np.bool_)
        return self.where(odd if which == "report" else ~odd)


_SAMPLED = frozenset({"times", "views", "likes", "comments"})


def recorded(path: Path | None = None, series: str = "threehourly") -> Curves:
    """Read recorded curves, cleaned as ``alkyone world import`` cleans them.

    ``path`` is a file of one series, whose details may lie beside it as ``NAME_meta``, or a folder, of which the files
    of ``series`` are read. Default: the folder of recorded data that PLEIADES_RECORDED_DATA names.

    Raises:
        ValueError: there is nothing of the kind.
    """
    from alkyone.worlds.importer import import_world

    path = path or default_folder()
    if path is None:
        raise ValueError("no recorded curves: give their path, or set PLEIADES_RECORDED_DATA")
    folder, name = (path, series) if path.is_dir() else (path.parent, path.stem)
    files = [folder / (stem + suffix) for stem in (name, f"{name}_meta") for suffix in _SUFFIXES]
    files = [file.absolute() for file in files if file.is_file()]
    if not files:
        raise ValueError(f"{folder} has no series {name!r}")
    with TemporaryDirectory() as draft:
        source, world = Path(draft, "source"), Path(draft, "world")
        source.mkdir()
        for file in files:
            (source / file.name).symlink_to(file)
        import_world(source, world)
        return _imported(world)


def default_folder() -> Path | None:
    """The series of the folder that PLEIADES_RECORDED_DATA names; None when it is unset."""
    folder = os.environ.get("PLEIADES_RECORDED_DATA")
    return Path(folder) / "youtube" / "timeseries" if folder else None


def generated(
    videos: int = 2_000, *, seed: int = 7, days: int = 14, step: timedelta = timedelta(hours=1), channels: int = 0
) -> Curves:
    """Draw curves of a generated world, each sampled every ``step`` from minutes after its publication.

    About ``videos`` are published in the first half of ``days``, and all are followed to the end, or until they are
    deleted. ``channels``: a thirtieth of the videos unless given. Nothing is sampled while a video is private.
    """
    from alkyone.worlds.generated import GeneratedWorld, Spec

    spec = Spec(seed=seed, channels=channels or max(videos // 30, 1), videos=2 * videos, days=days, past=0)
    world = GeneratedWorld(spec)
    return of_world(world.trajectories(world.start + timedelta(days=days) / 2, step))


def of_world(found: Trajectories) -> Curves:
    """Take what a generated world counted."""
    return Curves(**(columns := found._asdict()) | {"ids": np.array(columns["ids"])})


class Estimate(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(statistic: Callable[[Floats], float], videos: int, *, rounds: int = ROUNDS, seed: int = 1) -> Estimate:
    """Tell how sure a figure is, by drawing the videos anew with replacement (percentile bootstrap, Efron 1979).

    ``statistic`` gets a weight for each of ``videos`` (float, how often it was drawn; all 1 for the value itself) and
    returns a number; to compare two policies let it return their ratio, so that both see the same draw. Rounds whose
    statistic is not finite are left out. The same seed gives the same interval.
    """
    drawn = [statistic(weights) for weights in draws(videos, rounds=rounds, seed=seed)]
    return estimate(statistic(np.ones(videos)), np.array(drawn))


def draws(videos: int, *, rounds: int = ROUNDS, seed: int = 1) -> Floats:
    """Draw ``videos`` of as many with replacement, ``rounds`` times: how often each was drawn, rounds × videos."""
    dice = np.random.default_rng(seed)
    drawn = dice.integers(videos, size=(rounds, videos))
    return np.stack([np.bincount(row, minlength=videos) for row in drawn]).astype(np.float64)


def estimate(value: float, drawn: Floats) -> Estimate:
    """Give ``value`` the interval of what it was in each round; rounds that are not finite are left out."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        return Estimate(value, np.nan, np.nan)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def weighted_quantile(values: Floats, weights: Floats, which: float) -> float:
    """The value below which the share ``which`` of the weight lies; ``values`` in ascending order, of equal length."""
    heaped = np.cumsum(weights)
    if not len(heaped) or heaped[-1] <= 0:
        return float("nan")
    return float(values[min(int(np.searchsorted(heaped, which * heaped[-1])), len(values) - 1)])


def _imported(world: Path) -> Curves:
    from alkyone.worlds.importer import UNKNOWN_CHANNEL

    videos, samples = (pq.read_table(world / f"{name}.parquet") for name in ("videos", "samples"))
    titles = pq.read_table(world / "channels.parquet", columns=["id", "title"])
    unknown = {str(row["id"]) for row in titles.to_pylist() if str(row["title"]).startswith(UNKNOWN_CHANNEL)}
    names = [
        video_id if channel_id in unknown else channel_id
        for video_id, channel_id in zip(videos["id"].to_pylist(), videos["channel_id"].to_pylist(), strict=True)
    ]
    _, channels = np.unique(names, return_inverse=True)
    owner = samples["video"].to_numpy()
    likes, comments = (samples[name].cast("float64").to_numpy(zero_copy_only=False) for name in ("likes", "comments"))
    return Curves(
        ids=videos["id"].to_numpy(zero_copy_only=False).astype(str),
        channels=channels.astype(np.int64),
        published=videos["published"].to_numpy() / 1e6,
        seconds=videos["seconds"].to_numpy(),
        bounds=np.searchsorted(owner, np.arange(len(videos) + 1)),
        times=samples["time"].to_numpy() / 1e6,
        views=samples["views"].to_numpy().astype(np.float64),
        likes=likes,
        comments=comments,
    )
