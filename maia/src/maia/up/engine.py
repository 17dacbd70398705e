"""The Prefect server of ``maia up``: its settings, its database beside ours, and what is asked of it over HTTP.

Prefect is not imported here: the process that watches the others stays small.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from atlas.beside import database_beside
from atlas.errors import ConfigurationError

DATABASE = "prefect"
DATABASE_URL = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
"""Prefect's own setting: where it is set, that database is used, and not made."""

DAYS_KEPT = 30
"""Days that Prefect keeps a finished run; a day has about 250 of them, with their logs."""

UNFINISHED = ("RUNNING", "PENDING", "CANCELLING")


@dataclass(frozen=True, slots=True)
class Engine:
    """A Prefect server at ``port`` of this machine, its files in ``folder``."""

    folder: Path
    port: int
    database_url: str

    @property
    def page(self) -> str:
        """Where its page is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the server, and of all that speaks to it."""
        ours = {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_URL": f"{self.page}/api",
            "PREFECT_UI_API_URL": f"{self.page}/api",
            DATABASE_URL: self.database_url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            # In memory, as is the default, the leases on a deployment's one place die with the server, and a run that
            # was at work then keeps the place for ever: no other would start.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "true",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(DAYS_KEPT * 86_400),
            "NO_COLOR": "1",
            "PYTHONUNBUFFERED": "1",
        }
        return {name: value for name, value in os.environ.items() if name != "PREFECT_API_KEY"} | ours

    async def answers(self) -> bool:
        """Does it answer?"""
        try:
            return bool(await self._ask("GET", "health"))
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def end_unfinished(self) -> int:
        """Let every run that has not ended be crashed: nobody is at work on it any more. Say how many.

        Otherwise they would be shown as running for ever, and hold the places of those that come.
        """
        unfinished = {"flow_runs": {"state": {"type": {"any_": UNFINISHED}}}, "limit": 200}
        runs = await self._ask("POST", "flow_runs/filter", unfinished)
        state = {"type": "CRASHED", "message": "The process that ran it was ended."}
        for run in runs:
            await self._ask("POST", f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})
        return len(runs)

    async def _ask(self, method: str, path: str, body: Any = None) -> Any:
        secret = os.environ.get("PREFECT_API_AUTH_STRING", "")
        user, _, password = secret.partition(":")
        async with (
            aiohttp.ClientSession(
                auth=aiohttp.BasicAuth(user, password) if secret else None,
                timeout=aiohttp.ClientTimeout(total=20),
                raise_for_status=True,
            ) as session,
            session.request(method, f"{self.page}/api/{path}", json=body) as answer,
        ):
            return await answer.json()


async def database_url(conninfo: str) -> str:
    """Give the address, as Prefect wants it, of the database ``prefect`` beside ours, made unless it is there.

    Raises:
        ConfigurationError: it cannot be made, or its address not be put into Prefect's form.
    """
    if given := os.environ.get(DATABASE_URL):
        return given
    return as_url(await asyncio.to_thread(database_beside, conninfo, DATABASE))


def as_url(parts: Mapping[str, str]) -> str:
    """Put an address in libpq's words into the form that Prefect takes.

    Raises:
        ConfigurationError: it names several hosts.
    """
    from sqlalchemy import URL

    host = parts.get("host", "localhost")
    if "," in host:
        raise ConfigurationError(f"DATABASE_URL names several hosts: set {DATABASE_URL} for Prefect's own database")
    # In the query a host may be a folder with a socket; asyncpg has its own name for libpq's sslmode.
    query = {"host": host, "port": parts.get("port", "5432")}
    if mode := parts.get("sslmode"):
        query["ssl"] = mode
    url = URL.create(
        "postgresql+asyncpg", parts.get("user"), parts.get("password"), database=parts.get("dbname"), query=query
    )
    return url.render_as_string(hide_password=False)
