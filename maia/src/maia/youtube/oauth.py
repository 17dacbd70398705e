"""Calls in the name of a channel's owner: OAuth's refresh-token flow, with the quota of the API key's project.

One POST with a form and one JSON answer: less than any library for it would bring along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

import aiohttp
import orjson
from pydantic import SecretStr

from atlas import clock, outside
from atlas.errors import (
    ApiError,
    ApiUnavailable,
    Bucket,
    ConfigurationError,
    KeyRejected,
    QuotaRefused,
    ResourceRefused,
    Throttled,
)
from atlas.quota import UNNAMED, QuotaLedger
from atlas.retry import Sleep, can_heal, retry_async
from maia.youtube.errors import classify

T = TypeVar("T")

TIMEOUT = timedelta(seconds=30)

MARGIN = timedelta(minutes=1)
"""An access token is renewed so long before it ends."""

SHORT_LIVED = timedelta(minutes=5)
"""How long a token is taken to last that comes without saying so; Google's last an hour."""

LONGEST_LIVED_SECONDS = 86_400
"""A token is renewed after so long, whatever it says."""


SCOPE_REASONS = frozenset({"ACCESS_TOKEN_SCOPE_INSUFFICIENT", "insufficientPermissions"})
"""The permission is good, but not for this (google.api.ErrorReason, and the old layout's word)."""


class Owner(NamedTuple):
    """Who allowed us to act for them: an OAuth client of the project, and their refresh token."""

    client_id: SecretStr
    client_secret: SecretStr
    refresh_token: SecretStr
    token_endpoint: str


class OwnerExecutor:
    """Runs calls with the owner's access token, within the quota of ``project``."""

    def __init__(
        self, owner: Owner, project: str, *, ledger: QuotaLedger | None = None, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._owner = owner
        self._project = project
        self._ledger = ledger if ledger is not None else QuotaLedger()
        self._sleep = sleep
        self._token = ""
        self._until: datetime | None = None
        self._renewing = asyncio.Lock()

    async def execute_async(
        self,
        make_request: Callable[[str], Awaitable[T]],
        *,
        bucket: Bucket = "general",
        cost: int = 1,
        purpose: str = UNNAMED,
    ) -> T:
        """Await ``make_request(token)``; each attempt first reserves ``cost`` units for ``purpose``.

        Raises:
            ConfigurationError: Google does not take the refresh token, or the client, any more.
            QuotaExhausted: the project does not have the units left.
            ApiError: what no further attempt would change.
        """

        async def attempt() -> T:
            token = await self._access_token()
            now = clock.now()
            await self._ledger.reserve(self._project, bucket, cost, purpose=purpose, now=now)
            try:
                return await make_request(token)
            except QuotaRefused:
                await self._ledger.refused(self._project, bucket, cost, purpose=purpose, now=now)
                raise
            except (KeyRejected, ApiUnavailable) as error:
                if isinstance(error, KeyRejected) or not error.sent:
                    await self._ledger.refund(self._project, bucket, cost, purpose=purpose, now=now)
                raise

        try:
            return await retry_async(attempt, when=_heals, sleep=self._sleep)
        except KeyRejected:
            self._until = None  # ended before its time: a fresh one shows whether the permission is, too
            try:
                return await retry_async(attempt, when=_heals, sleep=self._sleep)
            except KeyRejected as error:
                raise _no_access(error) from None
        except ResourceRefused as error:
            if error.reason in SCOPE_REASONS:
                raise _no_access(error) from None
            raise

    async def _access_token(self) -> str:
        async with self._renewing:
            if self._until is None or clock.now() >= self._until:
                self._token, lasts = await self._renew()
                self._until = clock.now() + lasts - MARGIN
            return self._token

    async def _renew(self) -> tuple[str, timedelta]:
        """Ask for an access token; what Google says no to is the operator's to mend."""
        form = {
            "grant_type": "refresh_token",
            "client_id": self._owner.client_id.get_secret_value(),
            "client_secret": self._owner.client_secret.get_secret_value(),
            "refresh_token": self._owner.refresh_token.get_secret_value(),
        }
        try:
            async with (
                aiohttp.ClientSession(
                    connector=outside.connector(self._owner.token_endpoint),
                    timeout=aiohttp.ClientTimeout(TIMEOUT.total_seconds()),
                ) as session,
                session.post(self._owner.token_endpoint, data=form, allow_redirects=False) as answer,
            ):
                status, headers, body = answer.status, answer.headers, await answer.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            problem = type(exc).__name__
        else:
            if status == 200:
                return _granted(body)
            error = classify(status, body, headers)
            if isinstance(error, ApiUnavailable | Throttled):
                raise error
            raise _refused(error)
        # Raised out here, without its cause: some of aiohttp's errors spell out what was sent.
        raise ApiUnavailable("noToken", message=problem, sent=False)


def _no_access(error: ApiError) -> ConfigurationError:
    return ConfigurationError(
        f"YouTube refuses the access that YOUTUBE_OAUTH_REFRESH_TOKEN gives ({error.reason}): "
        "ask the channel's owner for it again, with the scope youtube.force-ssl"
    )


def _granted(body: bytes) -> tuple[str, timedelta]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    told = answer if isinstance(answer, dict) else {}
    token, seconds = told.get("access_token"), told.get("expires_in")
    if not isinstance(token, str) or not token:
        raise ApiUnavailable("noToken", status=200, message="an answer without a token")
    if type(seconds) is not int or seconds <= 0:
        return token, SHORT_LIVED
    return token, timedelta(seconds=min(seconds, LONGEST_LIVED_SECONDS))


def _refused(error: ApiError) -> ConfigurationError:
    """Say which of the settings Google does not take (RFC 6749, 5.2)."""
    name = {
        "invalid_client": "YOUTUBE_OAUTH_CLIENT_ID or YOUTUBE_OAUTH_CLIENT_SECRET",
        "unauthorized_client": "YOUTUBE_OAUTH_CLIENT_ID",
    }.get(error.reason, "YOUTUBE_OAUTH_REFRESH_TOKEN")
    return ConfigurationError(f"{name}: Google refuses it ({error.reason}); give a fresh one")


def _heals(error: BaseException) -> bool:
    return isinstance(error, ApiUnavailable | Throttled) and can_heal(error)
