"""The vault in a bucket of any store that speaks S3: AWS, MinIO, R2, Ceph and others."""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any, ClassVar

from atlas.errors import ConfigurationError, VaultDenied, VaultError, VaultFull, VaultNotFound, VaultUnavailable
from atlas.vault.buckets import THREADS, BucketVault, Version, media_type

try:
    from boto3.session import Session
    from botocore import exceptions as errors
    from botocore.config import Config
except ImportError as exc:
    raise ConfigurationError(
        "VAULT_PROVIDER=s3 needs boto3: install pleiades-atlas with its extra s3, pip install 'pleiades-atlas[s3]'"
    ) from exc

log = logging.getLogger(__name__)

_DIGEST = "sha256"
"""Which user metadata of an object has its digest: an ETag is one for some uploads only."""

_CONFLICT = frozenset({409, 412})
_TRANSIENT = frozenset({408, 429})  # and every 5xx but these:
_NOT_IMPLEMENTED = 501
_FULL = frozenset({413, 507})
_FULL_CODES = frozenset({"QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "TooManyBuckets"})
_TRANSIENT_CODES = frozenset({"RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "Throttling", "BadDigest"})
_READINGS = 3  # of an object whose transfer breaks off: the SDK tries again only until the first byte


class S3Vault(BucketVault):
    """Keeps objects in ``bucket``, with conditional writes where the store has them.

    Credentials and region are found as all AWS tools find them (environment, profiles, the machine's role), unless a
    ``session`` brings its own.
    ``endpoint_url`` is the address of a store other than AWS. One request may wait ``timeout`` for each step, and what
    can heal is tried up to ``attempts`` times, by the SDK alone.
    """

    provider: ClassVar[str] = "s3"
    setting: ClassVar[str] = "S3_BUCKET"

    def __init__(
        self,
        bucket: str,
        *,
        endpoint_url: str | None = None,
        session: Session | None = None,
        timeout: timedelta = timedelta(seconds=60),
        attempts: int = 6,
    ) -> None:
        super().__init__(bucket, endpoint_url)
        self._session = session
        self._timeout = timeout
        self._attempts = attempts
        self._conditional = True

    def _connect(self) -> Any:
        config: dict[str, Any] = {
            "connect_timeout": min(10.0, self._timeout.total_seconds()),
            "read_timeout": self._timeout.total_seconds(),
            "retries": {"mode": "standard", "total_max_attempts": self._attempts},
            "max_pool_connections": 2 * THREADS,
            "user_agent_extra": "pleiades",
        }
        if self.endpoint is not None:
            # What every store understands: buckets as folders, and no checksums but the one that we send.
            config |= {
                "s3": {"addressing_style": "path"},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        with self._translated(""):
            return (self._session or Session()).client("s3", endpoint_url=self.endpoint, config=Config(**config))

    def _put(self, path: str, data: bytes, token: str | None) -> bool:
        if not self._conditional and token is None and self._version(path) is not None:
            return False
        condition = {} if not self._conditional else {"IfMatch": token} if token else {"IfNoneMatch": "*"}
        with self._translated(path):
            try:
                self._client.put_object(
                    Bucket=self.bucket,
                    Key=path,
                    Body=data,
                    ContentMD5=base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode(),
                    ContentType=media_type(path),
                    Metadata={_DIGEST: self._digest(data)},
                    **condition,
                )
            except errors.ClientError as exc:
                if condition and _status(exc) == _NOT_IMPLEMENTED:
                    log.warning("this store has no conditional writes: of two at once the last one wins")
                    self._conditional = False
                    return self._put(path, data, token)
                if condition and (_status(exc) in _CONFLICT or _code(exc) == "NoSuchKey"):
                    return False
                raise
        return True

    def _get(self, path: str) -> bytes:
        for _ in range(_READINGS - 1):
            try:
                return self._get_once(path)
            except _Interrupted:
                continue
        return self._get_once(path)

    def _get_once(self, path: str) -> bytes:
        with self._translated(path):
            answer = self._client.get_object(Bucket=self.bucket, Key=path)
        try:
            with self._translated(path), closing(answer["Body"]) as body:  # as its own context it is another object
                return bytes(body.read())
        except VaultUnavailable as exc:
            raise _Interrupted("the transfer broke off", provider=self.provider, path=path) from exc

    def _version(self, path: str) -> Version | None:
        try:
            with self._translated(path):
                answer = self._client.head_object(Bucket=self.bucket, Key=path)
        except VaultNotFound:
            next(self._names(path), None)  # a HEAD does not tell whether it is the bucket that is missing
            return None
        return Version(answer["ETag"], answer["Metadata"].get(_DIGEST))

    def _names(self, prefix: str) -> Iterator[str]:
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            for page in pages:
                for entry in page.get("Contents", ()):
                    yield entry["Key"]

    def _remove(self, path: str) -> None:
        try:
            with self._translated(path):
                self._client.delete_object(Bucket=self.bucket, Key=path)
        except VaultNotFound:
            return

    def _digest(self, data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Turn what the SDK and the store say into what a vault says."""
        try:
            yield
        except errors.ClientError as exc:
            raise self._answer(exc, path) from exc
        except (
            errors.NoCredentialsError,
            errors.PartialCredentialsError,
            errors.CredentialRetrievalError,
            errors.TokenRetrievalError,
            errors.SSOError,
            errors.ProfileNotFound,
        ) as exc:
            raise self._failure(VaultDenied, f"there are no usable credentials ({type(exc).__name__})", path) from exc
        except (errors.ParamValidationError, errors.ValidationError, errors.ConfigParseError) as exc:
            raise self._failure(VaultDenied, f"the SDK refuses it ({type(exc).__name__})", path) from exc
        except ValueError as exc:  # an address that is none
            raise self._failure(VaultDenied, str(exc), path) from exc
        except (errors.BotoCoreError, errors.HTTPClientError, OSError) as exc:
            raise self._failure(VaultUnavailable, f"no answer ({type(exc).__name__})", path) from exc

    def _answer(self, exc: Any, path: str) -> VaultError:
        status, code = _status(exc), _code(exc)
        reason = f"HTTP {status}: {exc.response.get('Error', {}).get('Message') or code}"
        if code == "NoSuchBucket":
            return self._failure(VaultDenied, "there is no such bucket", path)
        if status == 404:
            return self._failure(VaultNotFound, "it is not there", path)
        if status in _FULL or code in _FULL_CODES:
            return self._failure(VaultFull, reason, path)
        if code in _TRANSIENT_CODES or status in _TRANSIENT or status >= 500 or status < 400:
            return self._failure(VaultUnavailable, reason, path)
        return self._failure(VaultDenied, reason, path)

    def _failure(self, kind: type[VaultError], reason: str, path: str) -> VaultError:
        return kind(reason, provider=self.provider, path=path)


class _Interrupted(VaultUnavailable):
    """An object's transfer broke off half-way."""


def _status(exc: Any) -> int:
    return int(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _code(exc: Any) -> str:
    return str(exc.response.get("Error", {}).get("Code", ""))
