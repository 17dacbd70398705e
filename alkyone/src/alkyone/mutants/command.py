"""``alkyone mutants``: say of each planted defect whether the suite noticed."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import typer

from alkyone.mutants.check import MovedError, check
from alkyone.mutants.planted import MUTANTS


def run(names: Sequence[str], *, json: bool) -> None:
    """Check the defects of ``names``, all when there are none; exit code 1 unless each is killed."""
    if unknown := sorted(set(names).difference(mutant.name for mutant in MUTANTS)):
        typer.echo(f"no defect {', '.join(unknown)}: there are {', '.join(m.name for m in MUTANTS)}", err=True)
        raise typer.Exit(2)
    outcomes = []
    try:
        for outcome in check(names):
            outcomes.append(outcome)
            typer.echo(f"{outcome.verdict:9} {outcome.name}  {outcome.by}".rstrip(), err=json)
            if outcome.verdict == "not run":
                typer.echo(outcome.log, err=True)
    except (MovedError, ValueError) as exc:
        typer.echo(str(exc), err=True)
        raise typer.Exit(1) from None
    killed = sum(outcome.verdict == "killed" for outcome in outcomes)
    if json:
        typer.echo(orjson.dumps({"killed": killed, "outcomes": [o.as_json() for o in outcomes]}).decode())
    else:
        typer.echo(f"{killed} of {len(outcomes)} killed")
    if killed < len(outcomes):
        raise typer.Exit(1)
