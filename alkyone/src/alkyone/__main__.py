"""The ``alkyone`` command: stand-ins and worlds, benches, the invariants, and what is to break them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from alkyone.backtest.command import app as backtest_app
from alkyone.soak.command import app as soak_app

if TYPE_CHECKING:
    from datetime import datetime

    from rich.console import Console

    from alkyone.standins.youtube import YouTubeStandin
    from alkyone.worlds import World

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they may show variables, and so keys
    help="The proving ground of Pleiades.",
)
world_app = typer.Typer(no_args_is_help=True, help="Worlds: what the stand-in YouTube serves.")
app.add_typer(world_app, name="world")
app.add_typer(backtest_app, name="backtest")
app.add_typer(soak_app, name="soak")

_WORLD_HELP = "generated, generated:seed=7,channels=400,videos=12000,days=31 or the folder of an imported world"
_RISERS = 10


@app.callback()
def alkyone() -> None:
    """The proving ground of Pleiades."""


@app.command()
def youtube(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: a free one.")] = 8787,
    port_file: Annotated[Path | None, typer.Option(help="Write the port here once the server listens.")] = None,
    world: Annotated[str, typer.Option(help=_WORLD_HELP)] = "generated",
    clock: Annotated[
        str | None,
        typer.Option(help="An ISO time to stand at, or system; default: where its liveliest fortnight begins."),
    ] = None,
    rate: Annotated[int | None, typer.Option(min=1, help="Calls a project may make in a minute.")] = None,
    quota_search: Annotated[int, typer.Option(min=0, help="search.list calls per project and day.")] = 100,
    quota_stats: Annotated[int, typer.Option(min=0, help="batchGetStats calls per project and day.")] = 10_000,
    quota_general: Annotated[int, typer.Option(min=0, help="Units for all else per project and day.")] = 10_000,
    key: Annotated[list[str] | None, typer.Option(help="An API key, KEY or KEY:PROJECT; may be repeated.")] = None,
    validate: Annotated[bool, typer.Option(help="Check every answer against the discovery document.")] = False,
) -> None:
    """Serve a world as YouTube Data API v3 until interrupted."""
    import asyncio

    from alkyone.standins.youtube import DEFAULT_PROJECT, YouTubeStandin

    opened = _open(world)
    named = (entry.partition(":") for entry in key or ())
    keys = {name: project or DEFAULT_PROJECT for name, _, project in named}
    standin = YouTubeStandin(
        opened,
        keys=keys,
        limits={"search": quota_search, "stats": quota_stats, "general": quota_general},
        per_minute=rate,
        host=host,
        port=port,
        validate=validate,
    )
    if clock is not None:
        standin.set_clock(_instant(clock))
    asyncio.run(_serve(standin, port_file))


@world_app.command("import")
def import_(
    source: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="A folder of .parquet and .csv series.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write the world to.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Make a world of recorded series, and say what was left out and why."""
    from alkyone.worlds.importer import import_world

    try:
        report = import_world(source, out)
    except ValueError as exc:
        raise _refusal(str(exc)) from None
    if as_json:
        _print_json(report.as_json())
        return
    console = _console()
    for name, what in report.files.items():
        console.print(f"  {name}: {what}", highlight=False)
    console.print(
        f"[bold]{report.videos:,} videos[/] of {report.channels:,} channels, {report.samples:,} samples, "
        f"{report.start[:10]} to {report.end[:10]}, in {report.seconds:.1f} s: {out}",
        highlight=False,
    )
    for heading, counts in (("Dropped", report.dropped), ("Filled in", report.filled), ("Noticed", report.noticed)):
        for reason, count in counts.most_common():
            console.print(f"  {heading}: {count:,} × {reason}", highlight=False)


@world_app.command()
def show(
    world: Annotated[str, typer.Argument(help=_WORLD_HELP)],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what a world holds: its span, its size, its terms, its most viewed videos."""
    opened = _open(world)
    top = opened.search("", None, None, "viewCount", opened.end)[:_RISERS]
    videos = [video for name in top if (video := opened.video(name, opened.end)) is not None]
    counts = opened.readings(top, opened.end)
    if as_json:
        _print_json(
            {
                "start": opened.start,
                "end": opened.end,
                "videos": opened.size(),
                "channels": len(opened.channels_at(opened.end)),
                "terms": opened.terms(),
                "most_viewed": [
                    {"id": video.id, "title": video.title, "views": counts[video.id].views} for video in videos
                ],
            }
        )
        return
    console = _console()
    console.print(
        f"[bold]{opened.size():,} videos[/] of {len(opened.channels_at(opened.end)):,} channels, "
        f"{opened.start:%Y-%m-%d} to {opened.end:%Y-%m-%d}",
        highlight=False,
    )
    console.print(f"Search for: {', '.join(opened.terms()[:20])} …", highlight=False, markup=False)
    for video in videos:
        line = f"{counts[video.id].views:>14,}  {video.id}  {video.title}  ({video.channel_title})"
        console.print(line, highlight=False, markup=False, no_wrap=True, overflow="ellipsis")


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Which ones; default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, the tables go to stderr.")] = False,
    quick: Annotated[bool, typer.Option(help="Only see that each works: figures too small to judge.")] = False,
    large: Annotated[bool, typer.Option(help="Also 5 M watchlist rows, and a day of 5 M samples.")] = False,
) -> None:
    """Measure, beside the naive way and the peers: ratios of one run, and the targets they meet."""
    from alkyone.bench.command import run

    run(names or (), quick=quick, large=large, json=as_json)


@app.command()
def check(
    truth: Annotated[
        str | None, typer.Option(metavar="URL", help="A stand-in YouTube to hold it against, and nobody else served.")
    ] = None,
    at_rest: Annotated[bool, typer.Option(help="Nobody works: no lease may be left.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say whether the installation of the settings keeps its promises; exit code 1 when it does not."""
    from alkyone.invariants.command import run

    run(truth=truth, at_rest=at_rest, json=as_json)


@app.command()
def faults(
    runs: Annotated[int, typer.Option(min=1, help="How many schedules.")] = 100,
    seed: Annotated[int, typer.Option(help="The first one's seed; each further one has the next.")] = 1,
    only: Annotated[str | None, typer.Option(metavar="KIND", help="Faults of this kind, or layer, alone.")] = None,
    processes: Annotated[bool, typer.Option(help="Agents are processes, and die by kill -9.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Live through random schedules of faults on the real stack; exit code 1 at the first broken promise."""
    from alkyone.faults.command import run

    run(runs=runs, seed=seed, only=only, processes=processes, json=as_json)


@app.command()
def record(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Which scenarios; default: all.")] = None,
    live: Annotated[bool, typer.Option("--live", help="Of YouTube itself, by the first key of the settings.")] = False,
    into: Annotated[
        Path | None, typer.Option(help="The folder of the cassettes; default: where the tests find them.")
    ] = None,
) -> None:
    """Make cassettes anew: play scenarios against stand-ins, scrub what was said, and see that it can be replayed."""
    from alkyone.cassettes import FOLDER
    from alkyone.record import run

    run(names or (), live=live, into=into or FOLDER)


@app.command()
def mutants(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Which ones; default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Plant defects into a copy of the tree, one at a time: exit code 1 when the tests do not notice one."""
    from alkyone.mutants.command import run

    run(names or (), json=as_json)


def main() -> None:
    """Run the command line."""
    app()


async def _serve(standin: YouTubeStandin, port_file: Path | None) -> None:
    import asyncio
    import signal

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await standin.__aenter__()
    except OSError as exc:
        raise _refusal(f"cannot listen on {standin.host}:{standin.port}: {exc.strerror}") from None
    try:
        if port_file is not None:
            draft = port_file.with_name(port_file.name + ".partial")
            draft.write_text(str(standin.port))
            draft.replace(port_file)
        span = f"{standin.world.start:%Y-%m-%d} to {standin.world.end:%Y-%m-%d}"
        _console().print(
            f"YouTube stand-in at [bold]{standin.endpoint}[/], API key [bold]{standin.key}[/]: "
            f"{standin.world.size():,} videos, {span}; its clock says {standin.now():%Y-%m-%d %H:%M} UTC",
            highlight=False,
            soft_wrap=True,
        )
        await stop.wait()
    finally:
        await standin.__aexit__(None, None, None)


def _open(spec: str) -> World:
    from alkyone.worlds import open_world

    try:
        return open_world(spec)
    except ValueError as exc:
        raise _refusal(str(exc)) from None


def _instant(text: str) -> datetime | None:
    from datetime import UTC, datetime

    if text == "system":
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise _refusal(f"--clock {text!r} is neither an ISO time nor system") from None
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _refusal(message: str) -> typer.Exit:
    """Say what is wrong on one line; exit code 2."""
    typer.echo(message, err=True)
    return typer.Exit(2)


def _console() -> Console:
    from rich.console import Console

    return Console()


def _print_json(document: object) -> None:
    import orjson

    typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


if __name__ == "__main__":
    main()
