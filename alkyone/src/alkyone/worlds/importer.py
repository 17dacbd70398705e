"""Making a world of recordings: series of real counters, whatever their columns are called, and details where known."""

from __future__ import annotations

import base64
import csv
import hashlib
import re
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from alkyone.worlds.cells import CATEGORIES, read_category, read_count, read_instant, read_seconds, read_tags, read_text
from alkyone.worlds.terms import candidate_terms, rewarding_terms
from atlas import clock
from atlas.ids import validate_channel_id, validate_youtube_id

FORMAT = 1
# The first video was uploaded on 2005-04-23; nothing was ever sampled before.
BEGINNING = datetime(2005, 4, 23, tzinfo=UTC)
DEFAULT_SECONDS = 240
UNKNOWN_CHANNEL = "Unknown channel"
"""How the made-up channels are called that hold the videos whose channel nobody recorded."""
_UPLOADS_OF_UNKNOWN = 25
_STALE_ZERO = timedelta(days=2)
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# The names that recordings give a column, folded and without underscores.
_ALIASES = {
    "video_id": ("videoid", "id", "video", "ytid"),
    "ts": (
        "ts",
        "timestamp",
        "time",
        "datetime",
        "date",
        "sampledat",
        "observedat",
        "recordedat",
        "fetchedat",
        "trendingdate",
    ),
    "views": ("views", "viewcount"),
    "likes": ("likes", "likecount"),
    "comments": ("comments", "commentcount", "commenttotal"),
    "published_at": ("publishedat", "publishtime", "published", "publishedtime", "uploaddate"),
    "title": ("title", "videotitle"),
    "channel": ("channeltitle", "channel", "channelname"),
    "channel_id": ("channelid",),
    "duration": ("duration", "dur", "durationseconds", "length", "lengthseconds"),
    "category": ("category", "cat", "categoryid", "categoryname"),
    "tags": ("tags", "keywords"),
    "description": ("desc", "description"),
    "regions": ("regions", "region", "regioncode", "country"),
    "language": ("defaultlanguage", "language", "defaultaudiolanguage"),
}
_DETAILS = tuple(name for name in _ALIASES if name not in {"video_id", "ts", "views", "likes", "comments"})

SAMPLES = pa.schema(
    [
        ("video", pa.int32()),
        ("time", pa.int64()),
        ("views", pa.int64()),
        ("likes", pa.int64()),
        ("comments", pa.int64()),
    ]
)
VIDEOS = pa.schema(
    [
        ("id", pa.string()),
        ("channel_id", pa.string()),
        ("title", pa.string()),
        ("description", pa.string()),
        ("published", pa.int64()),
        ("seconds", pa.int64()),
        ("tags", pa.list_(pa.string())),
        ("category_id", pa.string()),
        ("language", pa.string()),
        ("keywords", pa.list_(pa.string())),
    ]
)
CHANNELS = pa.schema([("id", pa.string()), ("title", pa.string()), ("created", pa.int64())])


class Sample(NamedTuple):
    """A recorded reading; ``time`` is microseconds since 1970."""

    time: int
    views: int
    likes: int | None
    comments: int | None


@dataclass
class ImportReport:
    """What came in, what was left out and why, and what had to be filled in."""

    files: dict[str, str] = field(default_factory=dict)
    videos: int = 0
    channels: int = 0
    samples: int = 0
    start: str = ""
    end: str = ""
    dropped: Counter[str] = field(default_factory=Counter)
    filled: Counter[str] = field(default_factory=Counter)
    noticed: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}


def import_world(source: Path, out: Path, *, now: datetime | None = None) -> ImportReport:
    """Read every series and every table of details in ``source`` and write a world to the folder ``out``.

    A sample must lie between its video's publication and ``now``; what does not is dropped, counted and named.

    Raises:
        ValueError: ``source`` holds no series, or ``out`` is something else than a world.
    """
    began = time.perf_counter()
    if out.exists() and not (out / "world.json").exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is no world; name a new folder")
    report = ImportReport()
    details: dict[str, dict[str, Any]] = defaultdict(dict)
    series: dict[str, dict[int, Sample]] = defaultdict(dict)
    for path in [*sorted(source.glob("*.parquet")), *sorted(source.glob("*.csv"))]:
        _read_file(path, series, details, report)
    if not series:
        raise ValueError(f"{source} holds no series: no .parquet or .csv file with a video id, a time and views")
    curves = _clean(series, details, (now or clock.now()), report)
    if not curves:
        raise ValueError(f"nothing in {source} could be used: {dict(report.dropped)}")
    videos, channels = _describe(curves, details, report)
    report.videos, report.channels = len(videos), len(channels)
    report.samples = sum(len(curve) for curve in curves.values())
    first, last = (pick(sample.time for curve in curves.values() for sample in curve) for pick in (min, max))
    report.start = (_EPOCH + first * _MICROSECOND).replace(hour=0, minute=0, second=0, microsecond=0).isoformat()
    report.end = (_EPOCH + last * _MICROSECOND).isoformat()
    report.seconds = round(time.perf_counter() - began, 3)
    _write(out, videos, channels, curves, report)
    return report


def _read_file(
    path: Path, series: dict[str, dict[int, Sample]], details: dict[str, dict[str, Any]], report: ImportReport
) -> None:
    """Sort a file's rows into series and details; a file that is neither, or broken, is named in the report."""
    skipped: list[object] = []
    try:
        table = _read_table(path, skipped)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as exc:
        report.files[path.name] = f"not read ({type(exc).__name__})"
        return
    if skipped:
        report.dropped["broken CSV line"] += len(skipped)
    names = _columns(table.column_names)
    known = [name for name in _DETAILS if name in names]
    if {"video_id", "ts", "views"} <= names.keys():
        _add_series(table, names, series, report)
        report.files[path.name] = f"series, {table.num_rows} rows"
    elif "video_id" in names and known:
        report.files[path.name] = f"details, {table.num_rows} rows"
    else:
        report.files[path.name] = "ignored: neither a series nor details"
        return
    if known:
        ids, *columns = (table.column(names[name]).to_pylist() for name in ("video_id", *known))
        for video_id, *values in zip(ids, *columns, strict=True):
            found = details[str(video_id)]
            for name, value in zip(known, values, strict=True):
                if value not in (None, "", "[none]") and name not in found:
                    found[name] = value


def _read_table(path: Path, skipped: list[object]) -> Any:
    if path.suffix == ".parquet":
        return pq.read_table(path)
    with path.open(encoding="utf-8-sig") as lines:
        header = lines.readline()
    names = next(csv.reader([header]))
    # Everything as text: a column of ids that look like numbers must not become numbers.
    convert = pa_csv.ConvertOptions(column_types={name: pa.string() for name in names}, strings_can_be_null=True)

    def skip(row: object) -> str:
        skipped.append(row)
        return "skip"

    return pa_csv.read_csv(
        path,
        parse_options=pa_csv.ParseOptions(newlines_in_values=True, invalid_row_handler=skip),
        convert_options=convert,
    )


def _columns(present: Iterable[str]) -> dict[str, str]:
    """Which of our names stands for which column of a file."""
    folded = {name.casefold().replace("_", "").replace(" ", ""): name for name in present}
    matches = (
        (ours, next((folded[alias] for alias in aliases if alias in folded), None))
        for ours, aliases in _ALIASES.items()
    )
    return {ours: name for ours, name in matches if name is not None}


def _add_series(
    table: Any, names: Mapping[str, str], series: dict[str, dict[int, Sample]], report: ImportReport
) -> None:
    nothing = [None] * table.num_rows
    columns = [
        table.column(names[name]).to_pylist() if name in names else nothing
        for name in ("video_id", "ts", "views", "likes", "comments")
    ]
    instants: dict[Any, datetime | None] = {}
    for video_id, when, views, likes, comments in zip(*columns, strict=True):
        if not validate_youtube_id(video_id):
            report.dropped["not a video id"] += 1
            continue
        if when not in instants:
            instants[when] = read_instant(when)
        instant, count = instants[when], read_count(views)
        if instant is None:
            report.dropped["no readable time"] += 1
        elif count is None:
            report.dropped["no view count"] += 1
        else:
            at = (instant - _EPOCH) // _MICROSECOND
            present = series[video_id].get(at)
            sample = Sample(at, count, read_count(likes), read_count(comments))
            if present is not None:
                report.dropped["a second row of the same video and instant"] += 1
                sample = max(present, sample, key=lambda row: row.views)
            series[video_id][at] = sample


def _clean(
    series: Mapping[str, Mapping[int, Sample]],
    details: Mapping[str, dict[str, Any]],
    now: datetime,
    report: ImportReport,
) -> dict[str, list[Sample]]:
    """Sort each curve and drop what cannot be; settle ``published_at`` of each video on the way."""
    every = sorted(at for curve in series.values() for at in curve)
    bulk = every[int((len(every) - 1) * 0.9)]
    # A machine whose clock lags must not lose the bulk of a recording.
    horizon = max((now - _EPOCH) // _MICROSECOND, bulk) + timedelta(days=1) // _MICROSECOND
    beginning = (BEGINNING - _EPOCH) // _MICROSECOND
    curves: dict[str, list[Sample]] = {}
    for video_id, by_time in series.items():
        published = read_instant(details[video_id].get("published_at"))
        born = None if published is None else (published - _EPOCH) // _MICROSECOND
        curve: list[Sample] = []
        for sample in sorted(by_time.values()):
            if sample.time > horizon:
                report.dropped["dated in the future"] += 1
            elif sample.time < beginning:
                report.dropped["dated before YouTube"] += 1
            elif born is not None and sample.time < born:
                report.dropped["dated before publication"] += 1
            else:
                curve.append(sample)
        born, curve = _without_synthetic_zero(born, curve, report)
        if not curve:
            report.dropped["a video without a usable sample"] += 1
            continue
        if published is None:
            report.filled["publication, from the first sample"] += 1
        details[video_id]["published"] = curve[0].time if born is None else born
        curves[video_id] = curve
        if any(later.views < earlier.views for earlier, later in pairwise(curve)):
            report.noticed["videos whose views go down, kept"] += 1
    return curves


def _without_synthetic_zero(
    born: int | None, curve: list[Sample], report: ImportReport
) -> tuple[int | None, list[Sample]]:
    """Drop a first row of zero views that somebody put there to begin the curve, and take its instant as publication.

    A zero soon after a known publication is real: YouTube starts there, and counts some premieres late.
    """
    if len(curve) < 2 or curve[0].views or not curve[1].views:
        return born, curve
    if born is None or curve[0].time - born > _STALE_ZERO // _MICROSECOND:
        report.dropped["a synthetic first zero"] += 1
        return curve[0].time if born is None else born, curve[1:]
    return born, curve


def _describe(
    curves: Mapping[str, list[Sample]], details: Mapping[str, dict[str, Any]], report: ImportReport
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of videos, by publication, and of their channels; what nobody recorded gets a plain stand-in."""
    strangers = sum(1 for video_id in curves if not _known_channel(details[video_id]))
    groups = max(strangers // _UPLOADS_OF_UNKNOWN, 1)
    channels: dict[str, dict[str, Any]] = {}
    videos: list[dict[str, Any]] = []
    for video_id in sorted(curves, key=lambda name: (details[name]["published"], name)):
        found = details[video_id]
        channel_id, channel = _channel(video_id, found, groups, report)
        row = channels.setdefault(channel_id, {"id": channel_id, "title": channel, "created": found["published"]})
        row["title"] = row["title"] or channel
        title = read_text(found.get("title"))
        if title is None:
            report.filled["title"] += 1
        seconds = read_seconds(found.get("duration"))
        if seconds is None:
            report.filled["duration"] += 1
        category = read_category(found.get("category"))
        if category is None:
            report.filled["category"] += 1
        videos.append(
            {
                "id": video_id,
                "channel_id": channel_id,
                "title": title or f"Untitled video {video_id}",
                "description": read_text(found.get("description")) or "",
                "published": found["published"],
                "seconds": DEFAULT_SECONDS if seconds is None else seconds,
                "tags": read_tags(found.get("tags")),
                "category_id": category or "24",
                "language": read_text(found.get("language")),
                "keywords": _keywords(category, found),
            }
        )
    for row in channels.values():
        if not row["title"]:
            row["title"] = f"Channel {row['id'][2:8]}"
            report.filled["channel title"] += 1
    return videos, list(channels.values())


def _keywords(category: str | None, found: Mapping[str, Any]) -> list[str]:
    """What a video can be found by besides its own texts: its category, and where it was trending."""
    regions = re.split(r"[|,;]", read_text(found.get("regions")) or "")
    names = [CATEGORIES[category]] if category is not None else []
    return [*names, *(f"trending {region}" for region in regions if region)]


def _known_channel(found: Mapping[str, Any]) -> bool:
    return validate_channel_id(found.get("channel_id")) or read_text(found.get("channel")) is not None


def _channel(video_id: str, found: Mapping[str, Any], groups: int, report: ImportReport) -> tuple[str, str | None]:
    """The channel of a video: the recorded one, one made of its recorded title, or one of the unknown."""
    title = read_text(found.get("channel"))
    if validate_channel_id(found.get("channel_id")):
        return found["channel_id"], title
    if title is not None:
        report.filled["channel id, from the channel's title"] += 1
        return _made_up_channel(title), title
    report.filled["channel"] += 1
    number = int.from_bytes(hashlib.blake2b(video_id.encode(), digest_size=8).digest(), "big") % groups
    title = f"{UNKNOWN_CHANNEL} {number + 1}"
    return _made_up_channel(title), title


def _made_up_channel(title: str) -> str:
    digest = hashlib.blake2b(title.encode(), digest_size=16).digest()
    return "UC" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _write(
    out: Path,
    videos: list[dict[str, Any]],
    channels: list[dict[str, Any]],
    curves: Mapping[str, list[Sample]],
    report: ImportReport,
) -> None:
    """Write the world beside its place and move it there when it is whole."""
    titles = {channel["id"]: channel["title"] for channel in channels}
    terms = rewarding_terms(candidate_terms(video, titles[video["channel_id"]]) for video in videos)
    draft = out.with_name(out.name + ".partial")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    rows = [(number, *sample) for number, video in enumerate(videos) for sample in curves[video["id"]]]
    columns = [pa.array(column, kind.type) for column, kind in zip(zip(*rows, strict=True), SAMPLES, strict=True)]
    pq.write_table(pa.table(columns, schema=SAMPLES), draft / "samples.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(videos, schema=VIDEOS), draft / "videos.parquet", compression="zstd")
    pq.write_table(pa.Table.from_pylist(channels, schema=CHANNELS), draft / "channels.parquet", compression="zstd")
    head = {"format": FORMAT, "start": report.start, "end": report.end, "terms": terms, "report": report.as_json()}
    (draft / "world.json").write_bytes(orjson.dumps(head, option=orjson.OPT_INDENT_2))
    if out.exists():
        shutil.rmtree(out)
    draft.replace(out)
