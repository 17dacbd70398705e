"""How results reach people and machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from maia.reporting import flatten

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]

console = Console()


def show(title: str, facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print counts: a table, or one JSON object."""
    if as_json:
        typer.echo(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS).decode())
        return
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(justify="right")
    for name, value in flatten(facts):
        table.add_row(name, value)
    console.print(table)
