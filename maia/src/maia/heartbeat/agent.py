"""One heartbeat: look, judge, tell OPS what changed, and let the outside know that we are alive."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TypedDict

from atlas import AlertChannel, AlertLevel, clock, db, notifier, settings, vault, vitals
from atlas._besteffort import best_effort
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import Beat
from atlas.config import Settings
from atlas.errors import ConfigurationError, DatabaseUnavailable, VaultError
from atlas.plain import literal
from atlas.upkeep import recognised
from atlas.vault import VaultStrategy
from atlas.vitals import Vitals
from maia.heartbeat import core
from maia.heartbeat.core import Reason, State, Verdict
from maia.runs import run_of
from maia.toolbox import open_database

log = logging.getLogger(__name__)

DIGEST = timedelta(days=1)
"""How often OPS hears of a system that stays as it is."""

PING_PATIENCE = timedelta(seconds=10)

LEVELS: dict[State, AlertLevel] = {
    "Healthy": AlertLevel.SUCCESS,
    "Attention": AlertLevel.WARNING,
    "Degraded": AlertLevel.CRITICAL,
}


class HeartbeatSummary(TypedDict):
    """How the system is, since when, and who was told; ``since`` is None when the database cannot be asked."""

    state: State
    reasons: list[str]
    since: datetime | None
    told: bool
    pinged: bool


@run_of("heartbeat")
async def run_once() -> HeartbeatSummary:
    """Look once, with the stores of the settings."""
    rules = settings
    _ = rules.ENV  # settings that cannot be read are an error, no matter of health
    try:
        async with open_database() as dao:
            seen = await vitals.read(db)
            verdict = core.judge(seen, rules, vault_problem=await vault_problem(vault))
            beat = await note(dao, verdict, seen.at)
            if beat.token is not None:
                await tell(verdict, since=beat.since, seen=seen)
                await notifier.drain()  # who dies before leaves the telling to the next heartbeat
                await dao.beat_told(verdict.state, kinds(verdict), token=beat.token, now=seen.at)
    except (DatabaseUnavailable, ConfigurationError) as exc:
        # Nobody remembers what was told before: OPS hears it each time.
        verdict, beat = core.verdict([Reason("Degraded", "database", str(exc))]), None
        await tell(verdict)
        await notifier.close()
    return {
        "state": verdict.state,
        "reasons": [reason.text for reason in verdict.reasons],
        "since": beat.since if beat else None,
        "told": beat is None or beat.token is not None,
        "pinged": await ping(rules, verdict.state),
    }


async def vault_problem(where: VaultStrategy) -> str | None:
    """Say why the vault cannot be used, or that nothing speaks against it."""
    try:
        await recognised(where, db)
    except (VaultError, ConfigurationError) as exc:
        return str(exc)
    return None


async def note(dao: MaiaDAO, verdict: Verdict, now: datetime) -> Beat:
    """Write down how the system is, and learn whether OPS is to be told."""
    return await dao.beat(verdict.state, kinds(verdict), every=DIGEST, now=now)


def kinds(verdict: Verdict) -> list[str]:
    """Name the reasons, whatever their figures are."""
    return [reason.kind for reason in verdict.reasons]


async def tell(verdict: Verdict, *, since: datetime | None = None, seen: Vitals | None = None) -> None:
    """Tell OPS."""
    fields = {"since": f"{since or clock.now():%Y-%m-%d %H:%M} UTC"}
    if seen is not None:
        held = sum(kind["rows"] for kind in seen.vault.values())
        fields |= {
            "tracked": f"{sum(seen.tiers.values()):,} videos",
            "last hour": f"{seen.samples_lately:,} samples, {seen.discoveries_lately:,} discoveries",
            "quota left": ", ".join(f"{usage.bucket} {usage.left:,}" for usage in seen.quota) or "nothing used yet",
            "in SQL": f"{seen.database_bytes / core.MEGABYTE:,.0f} MB",
            "in the vault": f"{held:,} rows",
        }
    await notifier.send(
        f"Pleiades: {verdict.state}",
        "\n".join(f"{reason.state}: {literal(reason.text)}" for reason in verdict.reasons),
        AlertChannel.OPS,
        LEVELS[verdict.state],
        fields,
    )


async def ping(rules: Settings, state: State) -> bool:
    """Call HEARTBEAT_URL, if there is one, as healthchecks.io has it: the address, or ``/fail`` below it."""
    if rules.HEARTBEAT_URL is None:
        return False
    import aiohttp  # heavy, and needed only where there is an address
    from yarl import URL

    from atlas.outside import connector

    with best_effort("heartbeat's ping"):
        try:
            address = URL(rules.HEARTBEAT_URL.get_secret_value())
            if state == "Degraded":
                address = (address / "fail").with_query(address.query)
            async with (
                asyncio.timeout(PING_PATIENCE.total_seconds()),
                aiohttp.ClientSession(connector=connector(str(address))) as http,
                http.get(address, allow_redirects=False) as answer,
            ):
                if answer.status < 300:
                    return True
                problem = f"HTTP {answer.status}"
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            problem = type(exc).__name__  # its text may hold the address
        raise PingFailed(problem)
    return False


class PingFailed(Exception):
    """HEARTBEAT_URL did not take the call; the text never holds the address."""
