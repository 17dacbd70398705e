"""``atlas vault``: see what is in the vault, prove it, and keep it in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

if TYPE_CHECKING:
    from rich.table import Table

    from atlas.upkeep import Upkeep
    from atlas.vault.audit import Check
    from atlas.vault.manifests import ShardInfo

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only report what would be done.")]
Kind = Annotated[str | None, typer.Option(help="Only this kind, for example metrics.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only days before this one (default: today).")]

app = typer.Typer(help="List, verify, compact, re-index and prune what is in the vault.", no_args_is_help=True)


@app.command("ls")
def list_(
    kind: Kind = None,
    shards: Annotated[bool, typer.Option("--shards", help="Name every shard.")] = False,
    as_json: Json = False,
) -> None:
    """Show what the vault lists: rows, shards and bytes by kind, and from when to when."""
    from atlas import vault
    from atlas.vault.kinds import KINDS

    kinds = _known(kind) if kind else list(KINDS)
    found = {name: vault.shards(name) for name in kinds}
    if as_json:
        _print_json({"kinds": {n: _summary(s) for n, s in found.items()}, **({"shards": found} if shards else {})})
        return
    if shards:
        table = _table("shard", "rows", "kB", "from", "to")
        for shard in (shard for name in kinds for shard in found[name]):
            times = (f"{at:%Y-%m-%d %H:%M}" for at in (shard.min_time, shard.max_time))
            table.add_row(shard.path, f"{shard.rows:,}", f"{shard.bytes / 1e3:,.1f}", *times)
    else:
        table = _table("kind", "rows", "shards", "days", "MB", "from", "to")
        for name in kinds:
            sums = _summary(found[name])
            counts = (f"{sums[field]:,}" for field in ("rows", "shards", "days"))
            times = (f"{at:%Y-%m-%d}" if at else "" for at in (sums["min_time"], sums["max_time"]))
            table.add_row(name, *counts, f"{sums['bytes'] / 1e6:,.1f}", *times)
    _print(table)


@app.command()
def verify(
    vault_only: Annotated[bool, typer.Option("--vault-only", help="Do not ask SQL what should be there.")] = False,
    as_json: Json = False,
) -> None:
    """Read every shard again and name what is missing, altered or unlisted; exit code 1 when there is such."""

    async def with_sql(upkeep: Upkeep) -> list[Check]:
        with _progress(as_json) as each:
            return await upkeep.check(each)

    if vault_only:
        from atlas import vault
        from atlas.vault.audit import audit

        with _progress(as_json) as each:
            found = []
            for check in audit(vault):
                each(check)
                found.append(check)
    else:
        found = _with_upkeep(with_sql, whatever_vault=True)
    problems = [check for check in found if check.problem]
    whole = [check.shard for check in found if check.shard and not check.problem]
    if as_json:
        _print_json({**_sums(whole), "problems": [_told(check) for check in problems]})
    else:
        _print_problems(problems)
        typer.echo(f"{len(whole):,} shards with {_sums(whole)['rows']:,} rows are what was written.")
    if problems:
        raise typer.Exit(1)


@app.command()
def compact(before: Day = None, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Make few shards of the many small ones of closed days; reading goes on, and the old ones stay for an hour."""
    from atlas import clock

    now = clock.now()
    day = now.date() if before is None else min(before.date(), now.date())

    async def work(upkeep: Upkeep) -> dict[str, Any]:
        merges = await upkeep.merges(before=day)
        done = [merge for merge in merges if dry_run or await upkeep.compact(merge, now=now)]
        if not dry_run:
            await upkeep.follow(now=now)
            await upkeep.prune(await upkeep.useless(now=now), now=now)
        return {
            "dry_run": dry_run,
            "days": [{"kind": m.kind, "day": m.day, "shards": len(m.shards)} for m in done],
            "left": [str(merge) for merge in merges if merge not in done],
        }

    done = _with_upkeep(work)
    if as_json:
        _print_json(done)
        return
    table = _table("kind", "day", "shards")
    for merged in done["days"]:
        table.add_row(merged["kind"], f"{merged['day']}", f"{merged['shards']:,}")
    if done["days"]:
        _print(table)
    shards = sum(merged["shards"] for merged in done["days"])
    typer.echo(f"{shards:,} shards {'would become' if dry_run else 'became'} {len(done['days']):,}.")


@app.command()
def reindex(
    drop_missing: Annotated[
        bool,
        typer.Option("--drop-missing", help="Strike out what the vault has lost; reading it is no error any more."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make SQL's index anew from the vault alone, every shard read again; exit code 1 when some are damaged."""
    from atlas import clock

    async def work(upkeep: Upkeep) -> Any:
        with _progress(as_json) as each:
            return await upkeep.reindex(drop_missing=drop_missing, now=clock.now(), each=each)

    done = _with_upkeep(work)
    if as_json:
        _print_json({**done._asdict(), "problems": [_told(check) for check in done.problems]})
    else:
        _print_problems(done.problems)
        typer.echo(f"{done.proven:,} shards are indexed: {done.added:,} new, {done.dropped:,} struck out.")
    if done.problems:
        raise typer.Exit(1)


@app.command()
def prune(
    unlisted: Annotated[
        bool, typer.Option("--unlisted", help="Also shards that neither a manifest nor SQL tells of.")
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Remove shards that others replaced, an hour after that is known; the first run only notes them."""
    from atlas import clock

    now = clock.now()

    async def work(upkeep: Upkeep) -> Any:
        found = await upkeep.useless(now=now, unlisted=unlisted)
        if not dry_run:
            await upkeep.prune(found, now=now)
        return found

    found = _with_upkeep(work)
    if as_json:
        kept = [_told(check) for check in found.kept]
        _print_json({"dry_run": dry_run, "removed": found.due, "waiting": found.waiting, "problems": kept})
    else:
        _print_problems(found.kept)
        verb = "would be removed" if dry_run else "removed"
        typer.echo(f"{len(found.due):,} shards {verb}; {len(found.waiting):,} wait for their time.")
    if found.kept:
        raise typer.Exit(1)


@app.command()
def adopt(as_json: Json = False) -> None:
    """Take the vault of the settings for this database's own, when all its objects were moved there."""
    from atlas import db, vault
    from atlas.adapters.vault_index import VaultIndex
    from atlas.setup import ready

    async def work() -> str:
        async with db:
            await ready(db)
            identity = await asyncio.to_thread(vault.provision)
            await VaultIndex(db).adopt(identity, vault.provider)
        return identity

    identity = asyncio.run(work())
    if as_json:
        _print_json({"id": identity, "provider": vault.provider})
    else:
        typer.echo(f"The {vault.provider} vault {identity[:8]} is this database's now; `atlas vault verify` proves it.")


def _with_upkeep(work: Callable[[Upkeep], Awaitable[Any]], *, whatever_vault: bool = False) -> Any:
    """Do ``work`` with database and vault open; only what changes nothing may look at whatever vault there is."""
    from atlas import db, vault
    from atlas.adapters.maia import MaiaDAO
    from atlas.setup import ready
    from atlas.upkeep import Upkeep, recognised

    async def run() -> Any:
        async with db:
            await ready(db)
            if not whatever_vault:
                await recognised(vault, db)
            return await work(Upkeep(vault, MaiaDAO(db)))

    return asyncio.run(run())


def _known(kind: str) -> list[str]:
    from atlas.vault.kinds import KINDS

    if kind not in KINDS:
        raise typer.BadParameter(f"one of {', '.join(KINDS)}", param_hint="--kind")
    return [kind]


def _summary(shards: Iterable[ShardInfo]) -> dict[str, Any]:
    known = list(shards)
    return {
        **_sums(known),
        "days": len({shard.day for shard in known}),
        "min_time": min((shard.min_time for shard in known), default=None),
        "max_time": max((shard.max_time for shard in known), default=None),
    }


def _sums(shards: Iterable[ShardInfo]) -> dict[str, int]:
    known = list(shards)
    return {"shards": len(known), "rows": sum(s.rows for s in known), "bytes": sum(s.bytes for s in known)}


def _told(check: Check) -> dict[str, Any]:
    return {"path": check.path, "problem": check.problem, "detail": check.detail}


def _print_problems(problems: Iterable[Check]) -> None:
    from rich.markup import escape

    table = _table("", "", "")
    for check in problems:
        table.add_row(f"[red]{check.problem}[/]", escape(check.path), f"[dim]{escape(check.detail)}[/]")
    if table.row_count:
        _print(table)


def _progress(quiet: bool) -> AbstractContextManager[Callable[[Check], None]]:
    """Count, for who watches, what was looked at."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        return nullcontext(lambda _: None)
    return _Counting(console)


class _Counting:
    """A line that says how far it is."""

    def __init__(self, console: Any) -> None:
        self._status = console.status("Reading…")
        self._seen = 0

    def __enter__(self) -> Callable[[Check], None]:
        self._status.start()
        return self._count

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def _count(self, check: Check) -> None:
        self._seen += 1
        self._status.update(f"{self._seen:,} shards read, {check.path}")


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=any(columns), header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        right = column in {"rows", "shards", "days", "MB", "kB"}
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _print(table: Table) -> None:
    from rich.console import Console

    Console().print(table)


def _print_json(value: Any) -> None:
    typer.echo(orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS).decode())
