"""The ``maia`` command line: one module a group of commands; what a command needs is imported when it runs."""

from __future__ import annotations

import typer

from maia.cli import agents, demo, heartbeat, seeds, server, similar, status, timeline, top, up

app = typer.Typer(
    name="maia",
    help="Find videos, sample their counts, archive them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _module in (demo, up, server, agents, seeds, similar, status, top, timeline, heartbeat):
    _module.register(app)
