"""What can go wrong, as types: one class for each thing a caller could do differently.

::

    AtlasError
    ├── ConfigurationError        a setting is missing or wrong: mend it (exit code 2)
    ├── DatabaseUnavailable       PostgreSQL cannot be reached, or takes nothing
    │   ├── DatabaseReadOnly      it takes no changes now: another server may, or this one later
    │   └── DatabaseFull          it has no room: make some
    ├── CircuitOpen               a service failed too often: left in peace until ``until``
    ├── ModelUnavailable          a model could not be fetched: later may work
    ├── LeaseLost                 the token is no longer ours: somebody else has the rows
    ├── VaultError
    │   ├── VaultNotFound         the object is not there
    │   ├── VaultUnavailable      timed out or throttled: later may work
    │   ├── VaultDenied           credentials or permissions
    │   ├── VaultFull             no space, or a limit of the provider
    │   └── VaultCorrupt          the bytes are not what was written
    ├── QuotaExhausted            a bucket is spent until ``reset_at``
    ├── NoLiveKey                 every key of the pool is disabled
    └── ApiError                  YouTube answered, but not with what was asked
        ├── QuotaRefused          the project's bucket is spent for the day
        ├── Throttled             too fast: back off on the same key
        ├── KeyRejected           the key is bad, expired, restricted, or its API is off
        ├── ResourceRefused       about the resource asked for: not there, comments off, …
        ├── RequestRefused        our mistake in the request
        │   └── InvalidPageToken  restart the window
        └── ApiUnavailable        5xx, time-out, reset, broken JSON: later may work
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar, Literal

Bucket = Literal["search", "stats", "general"]


class AtlasError(Exception):
    """The root of every error Pleiades raises on purpose."""

    retryable: ClassVar[bool] = False


class ConfigurationError(AtlasError):
    """A setting is missing or wrong; the message says which, and what to do."""


class DatabaseUnavailable(AtlasError):
    """PostgreSQL cannot be reached or does not answer; trying later may work."""

    retryable = True


class DatabaseReadOnly(DatabaseUnavailable):
    """PostgreSQL takes no changes: a standby, or one that was told so. Nothing of the transaction is stored.

    Trying later may work: a fail-over ends by itself.
    """

    def __init__(self) -> None:
        super().__init__(
            "the database takes no changes, and nothing was stored: it is a standby, or default_transaction_read_only "
            "is on. Name the primary in DATABASE_URL (several hosts with target_session_attrs=read-write find it), or "
            "switch that off"
        )


class DatabaseFull(DatabaseUnavailable):
    """PostgreSQL's disk is full; nothing of the transaction is stored. Trying again does not help, room does.

    ``said`` are the server's own words, which name the file.
    """

    retryable = False

    def __init__(self, said: str) -> None:
        super().__init__(
            f"the database's disk is full, and nothing was stored: {said}. Make room there, or give it a larger disk; "
            "a lower JANITOR_SQL_BUDGET_MB keeps the database smaller"
        )
        self.said = said


class CircuitOpen(AtlasError):
    """The service ``name`` failed several times in a row and is not asked before ``until``."""

    def __init__(self, name: str, until: datetime) -> None:
        super().__init__(f"{name} failed too often; it is left in peace until {until:%Y-%m-%d %H:%M:%S} UTC")
        self.name = name
        self.until = until


class ModelUnavailable(AtlasError):
    """A model is not on this machine and could not be fetched; trying later may work."""

    retryable = True


class LeaseLost(AtlasError):
    """The rows are no longer ours: the lease ran out and somebody else may hold them."""

    def __init__(self, what: str, missing: int) -> None:
        super().__init__(f"{missing} {what} no longer leased by this worker")
        self.what = what
        self.missing = missing


class VaultError(AtlasError):
    """A vault operation failed on ``path`` of ``provider``."""

    def __init__(self, message: str, *, provider: str = "", path: str = "") -> None:
        where = ":".join(part for part in (provider, path) if part)
        # A path that nobody can spell is refused, and has to be named in a log all the same.
        where = where.encode("utf-8", "backslashreplace").decode()
        super().__init__(f"{where}: {message}" if where else message)
        self.provider = provider
        self.path = path


class VaultNotFound(VaultError):
    """The object is not there."""


class VaultUnavailable(VaultError):
    """The provider timed out or throttled us; trying later may work."""

    retryable = True


class VaultDenied(VaultError):
    """The provider refuses our credentials, or the file system our permissions."""


class VaultFull(VaultError):
    """There is no room left."""


class VaultCorrupt(VaultError):
    """What was read is not what was written."""


class QuotaExhausted(AtlasError):
    """No project has units left in ``bucket`` before ``reset_at`` (midnight Pacific, in UTC)."""

    def __init__(self, bucket: Bucket, reset_at: datetime) -> None:
        super().__init__(f"the {bucket} bucket is spent until {reset_at:%Y-%m-%d %H:%M} UTC")
        self.bucket: Bucket = bucket
        self.reset_at = reset_at


class NoLiveKey(AtlasError):
    """Every API key of the pool is disabled; ``atlas quota`` says why."""


class ApiError(AtlasError):
    """YouTube answered with an error; ``status`` is the HTTP status (0: none), ``reason`` Google's own word."""

    def __init__(self, reason: str, *, status: int = 0, message: str = "") -> None:
        super().__init__(f"{reason} (HTTP {status})" + (f": {message}" if message else ""))
        self.reason = reason
        self.status = status


class QuotaRefused(ApiError):
    """The project's bucket is spent for this Pacific day, says the server."""


class Throttled(ApiError):
    """Too many calls in a short time; ``retry_after`` is the server's wish, if it gave one."""

    retryable = True

    def __init__(
        self, reason: str, *, status: int = 429, message: str = "", retry_after: timedelta | None = None
    ) -> None:
        super().__init__(reason, status=status, message=message)
        self.retry_after = retry_after


class KeyRejected(ApiError):
    """The key cannot be used: invalid, expired, restricted, or its project's API is off."""


class ResourceRefused(ApiError):
    """An answer about the resource asked for (not found, comments disabled); keys are untouched."""


class RequestRefused(ApiError):
    """Our request was wrong."""


class InvalidPageToken(RequestRefused):
    """The page token is no longer good: restart the window."""


class ApiUnavailable(ApiError):
    """5xx, a time-out, a reset or broken JSON; trying later may work.

    ``sent`` is False when the request provably never left this machine, so that it cost no quota.
    """

    retryable = True

    def __init__(self, reason: str, *, status: int = 0, message: str = "", sent: bool = True) -> None:
        super().__init__(reason, status=status, message=message)
        self.sent = sent
