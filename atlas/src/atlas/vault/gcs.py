"""The vault in a bucket of Google Cloud Storage."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from atlas.errors import ConfigurationError, VaultDenied, VaultError, VaultFull, VaultNotFound, VaultUnavailable
from atlas.vault.buckets import BucketVault, Version, media_type

try:
    from google.api_core import exceptions as errors
    from google.auth import exceptions as auth_errors
    from google.auth.credentials import AnonymousCredentials, Credentials
    from google.cloud import storage
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
    from google.cloud.storage.retry import DEFAULT_RETRY
    from google.oauth2.credentials import Credentials as PersonalCredentials
    from google.oauth2.service_account import Credentials as ServiceCredentials
except ImportError as exc:
    raise ConfigurationError(
        "VAULT_PROVIDER=gcs needs google-cloud-storage: install pleiades-atlas with its extra gcs, "
        "pip install 'pleiades-atlas[gcs]'"
    ) from exc

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"

_TRANSIENT = frozenset({408, 429})  # and every 5xx
_FULL = frozenset({413, 507})
_NO_OBJECT = "No such object"  # other messages of a 404 speak of the bucket
_LONGEST_REASON = 200


class GCSVault(BucketVault):
    """Keeps objects in ``bucket``; every upload is bound to the generation it replaces.

    ``credentials`` is a file as Google's tools write it; None means what the machine has. ``endpoint`` is the address
    of another server that speaks the JSON API, which is asked without credentials unless a file is given.
    One request may take ``timeout``; what can heal is tried again, by the SDK alone, until ``patience`` is over.
    """

    provider: ClassVar[str] = "gcs"
    setting: ClassVar[str] = "GCS_BUCKET_NAME"

    def __init__(
        self,
        bucket: str,
        *,
        credentials: Path | None = None,
        endpoint: str | None = None,
        timeout: timedelta = timedelta(seconds=60),
        patience: timedelta = timedelta(minutes=2),
    ) -> None:
        super().__init__(bucket, endpoint)
        self._credentials = credentials
        first = min(1.0, patience.total_seconds() / 10)
        self._manner = {
            "timeout": timeout.total_seconds(),
            "retry": DEFAULT_RETRY.with_timeout(patience.total_seconds()).with_delay(initial=first),
        }

    def _connect(self) -> Any:
        # For traces that nobody asked for it would ask about the bucket too, from threads of its own.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        options: dict[str, Any] = {}
        if self.endpoint is not None:
            options["client_options"] = {"api_endpoint": self.endpoint}
        if self._credentials is not None:
            options["credentials"] = _load(self._credentials)
        elif self.endpoint is not None:
            options["credentials"] = AnonymousCredentials()  # type: ignore[no-untyped-call]
        with self._translated(""):
            # A project is asked for by calls that we never make, and not every kind of credentials names one.
            client = storage.Client(project="-", **options)
        return client.bucket(self.bucket)

    def _put(self, path: str, data: bytes, token: str | None) -> bool:
        with self._translated(path):
            try:
                self._client.blob(path).upload_from_string(
                    data,
                    content_type=media_type(path),
                    if_generation_match=int(token or 0),
                    checksum="crc32c",
                    **self._manner,
                )
            except errors.PreconditionFailed:
                return False
        return True

    def _get(self, path: str) -> bytes:
        with self._translated(path):
            return bytes(self._client.blob(path).download_as_bytes(checksum="crc32c", **self._manner))

    def _version(self, path: str) -> Version | None:
        blob = self._client.blob(path)
        try:
            with self._translated(path):
                blob.reload(**self._manner)
        except VaultNotFound:
            return None
        return Version(str(blob.generation), blob.md5_hash)

    def _names(self, prefix: str) -> Iterator[str]:
        with self._translated(prefix):
            for blob in self._client.list_blobs(
                prefix=prefix or None, fields="items(name),nextPageToken", **self._manner
            ):
                yield blob.name

    def _remove(self, path: str) -> None:
        try:
            with self._translated(path):
                self._client.blob(path).delete(**self._manner)
        except VaultNotFound:
            return

    def _digest(self, data: bytes) -> str:
        return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        """Turn what Google says into what a vault says."""
        try:
            yield
        except (errors.GoogleAPICallError, InvalidResponse) as exc:
            raise self._answer(exc, path) from exc
        except errors.RetryError as exc:
            if isinstance(exc.cause, (errors.GoogleAPICallError, InvalidResponse)):
                raise self._answer(exc.cause, path) from exc
            raise self._failure(VaultUnavailable, f"no answer ({type(exc.cause).__name__})", path) from exc
        except auth_errors.TransportError as exc:
            raise self._failure(VaultUnavailable, f"no answer ({type(exc).__name__})", path) from exc
        except auth_errors.GoogleAuthError as exc:
            kind = VaultUnavailable if getattr(exc, "retryable", False) else VaultDenied
            raise self._failure(kind, f"the credentials do not work ({type(exc).__name__})", path) from exc
        except DataCorruption as exc:
            raise self._failure(VaultUnavailable, "it was damaged on the way", path) from exc
        except OSError as exc:  # those of requests are such
            raise self._failure(VaultUnavailable, f"no answer ({type(exc).__name__})", path) from exc

    def _answer(self, exc: Any, path: str) -> VaultError:
        status, reason = _status_and_reason(exc)
        if status == 404:
            if _NO_OBJECT in reason:
                return self._failure(VaultNotFound, "it is not there", path)
            return self._failure(VaultDenied, "there is no such bucket, or it may not be seen", path)
        if status in _FULL:
            return self._failure(VaultFull, reason, path)
        if status in _TRANSIENT or status >= 500 or status < 400:
            return self._failure(VaultUnavailable, f"HTTP {status}: {reason}", path)
        return self._failure(VaultDenied, f"HTTP {status}: {reason}", path)

    def _failure(self, kind: type[VaultError], reason: str, path: str) -> VaultError:
        return kind(reason, provider=self.provider, path=path)


# They have annotations of some arguments only.
_service_account: Callable[..., Credentials] = ServiceCredentials.from_service_account_info
_person: Callable[..., Credentials] = PersonalCredentials.from_authorized_user_info


def _load(file: Path) -> Credentials | None:
    """Read credentials of the two kinds that people download or log in for.

    Google's general loader warns against itself; the others are found where the environment names the file.
    """
    problem = f"GOOGLE_APPLICATION_CREDENTIALS: {file}"
    try:
        document = json.loads(file.expanduser().read_bytes())
        kind = document["type"]
        if kind == "service_account":
            return _service_account(document, scopes=[SCOPE])
        if kind == "authorized_user":
            return _person(document, scopes=[SCOPE])
    except OSError as exc:
        raise ConfigurationError(f"{problem} cannot be read ({exc.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f"{problem} holds no credentials of Google's") from None
    return None  # google.auth finds them by itself, in the environment


def _status_and_reason(exc: Any) -> tuple[int, str]:
    """Find the status and the server's own words; the exception's have the whole request, secrets of uploads too."""
    response = getattr(exc, "response", None)
    status = int(getattr(exc, "code", 0) or getattr(response, "status_code", 0) or 0)
    text = getattr(response, "text", "") or ""
    try:
        reason = str(json.loads(text)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        reason = text or str(getattr(response, "reason", "")) or "no reason given"
    return status, " ".join(reason.split())[:_LONGEST_REASON]
