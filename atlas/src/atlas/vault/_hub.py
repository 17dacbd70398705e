"""The Hub's own client, made to give up in time, and its failures in a vault's words.

The client has one HTTP session for the whole process, without time-outs, and tries again by itself for as long as a
server wishes. It gets a session here that waits for a bounded time and reports every failure at once, so that
whoever calls decides what is tried again. Model downloads keep the client's own manners.
"""

from __future__ import annotations

import email.utils
import importlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from atlas.errors import ConfigurationError, VaultDenied, VaultError, VaultFull, VaultNotFound, VaultUnavailable

if TYPE_CHECKING:
    import httpx2

PROVIDER = "huggingface"

# Read when the client is imported. Xet, the client's second road for uploads, keeps its own time-outs and retries;
# our shards are compressed and never change, so that its deduplication would find nothing.
ENVIRONMENT = {
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_CONFLICT = frozenset({409, 412})
_FULL = frozenset({402, 413, 507})
_DOWNLOAD = "X-HF-Download-Counter"  # the client's mark on what hf_hub_download and its like ask for
_LONGEST_REASON = 200

_lock = threading.Lock()
_session_seconds: float | None = None


class HubBusy(VaultUnavailable):
    """The Hub did not do it. ``retry_after`` is its wish in seconds; ``answered``: it surely did nothing."""

    def __init__(self, message: str, *, path: str = "", retry_after: float | None = None, answered: bool = False):
        super().__init__(message, provider=PROVIDER, path=path)
        self.retry_after = retry_after
        self.answered = answered


class HubMoved(VaultUnavailable):
    """The branch is not where we took it to be: somebody else has committed."""


class HubUnknown(VaultDenied):
    """There is no such repository, or none that this token may see."""


def client(timeout: float) -> Any:
    """Import the client, with a session that waits ``timeout`` seconds for each step of an exchange.

    Of several vaults in one process the one opened last decides the time-out.

    Raises:
        ConfigurationError: it is not installed.
    """
    global _session_seconds
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        hub = importlib.import_module("huggingface_hub")
        constants: Any = importlib.import_module("huggingface_hub.constants")
    except ImportError as exc:
        raise ConfigurationError(
            "VAULT_PROVIDER=huggingface needs the extra huggingface: pip install 'pleiades-atlas[huggingface]'"
        ) from exc
    # Somebody may have imported it before us, without our environment: it would then tell who we are, and ask for more.
    constants.HF_HUB_DISABLE_TELEMETRY = os.environ["HF_HUB_DISABLE_TELEMETRY"] != "0"
    with _lock:
        if _session_seconds != timeout:
            hub.set_client_factory(lambda: _session(hub, timeout))
            _session_seconds = timeout
    return hub


def _session(hub: Any, timeout: float) -> httpx2.Client:
    import httpx2

    class Session(httpx2.Client):
        def request(
            self, method: str, url: Any, *, data: Any = None, content: Any = None, **kwargs: Any
        ) -> httpx2.Response:
            if hasattr(data, "read"):  # the client sends files in a way that its HTTP library is giving up
                data, content = None, data
            return super().request(method, url, data=data, content=content, **kwargs)

        def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
            if hub.constants.is_offline_mode():
                raise hub.errors.OfflineModeIsEnabled("HF_HUB_OFFLINE is set")
            if _DOWNLOAD in request.headers:
                return super().send(request, **kwargs)
            if not any((request.extensions.get("timeout") or {}).values()):  # parts of the client ask for none
                request.extensions["timeout"] = self.timeout.as_dict()
            try:
                response = super().send(request, **kwargs)
                if response.status_code in _TRANSIENT:
                    response.read()
            except (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError) as exc:
                # A type that the client does not know: it would wait and try again, and close the session of others.
                raise httpx2.TransportError(f"{type(exc).__name__} {exc}".strip()) from exc
            if response.status_code in _TRANSIENT:
                hub.utils.hf_raise_for_status(response)
            return response

    return Session(follow_redirects=True, timeout=timeout)


def understood(failure: Exception, path: str = "") -> VaultError:
    """Say in a vault's words what the client reports."""
    import httpx2
    from huggingface_hub import errors

    for exc in _causes(failure):
        if isinstance(exc, VaultError):
            return exc
        if isinstance(exc, errors.HfHubHTTPError):
            return _refusal(exc, path)
        if isinstance(exc, httpx2.HTTPError):
            return HubBusy(f"no answer ({exc})", path=path)
    if isinstance(failure, errors.OfflineModeIsEnabled):
        return HubBusy("HF_HUB_OFFLINE is set", path=path, answered=True)
    return HubBusy(f"an answer that cannot be understood ({type(failure).__name__})", path=path)


def _refusal(exc: Any, path: str) -> VaultError:
    from huggingface_hub import errors

    status = exc.response.status_code
    said = " ".join(str(exc.server_message or "").split())[:_LONGEST_REASON]
    reason = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if isinstance(exc, errors.RemoteEntryNotFoundError):
        return VaultNotFound("it is not there", provider=PROVIDER, path=path)
    if isinstance(exc, errors.RepositoryNotFoundError) and not isinstance(exc, errors.GatedRepoError):
        return HubUnknown(f"no such dataset repository for this token ({reason})", provider=PROVIDER)
    if status in _TRANSIENT:
        return HubBusy(reason, path=path, retry_after=_retry_after(exc.response.headers), answered=status == 429)
    if status in _CONFLICT:
        return HubMoved(reason, provider=PROVIDER, path=path)
    if status in _FULL or (status == 403 and "storage" in said.lower()):
        return VaultFull(reason, provider=PROVIDER, path=path)
    if status >= 500:
        return HubBusy(reason, path=path)
    return VaultDenied(reason, provider=PROVIDER, path=path)


def _retry_after(headers: Any) -> float | None:
    """Read the server's wish, in seconds: ``Retry-After`` as a number or a date, or the reset of a spent limit."""
    text = (headers.get("Retry-After") or "").strip()
    if text.isdigit():
        return float(text)
    if text:
        try:
            # A date counts from the answer's own Date, so that no clock is asked.
            wait = email.utils.parsedate_to_datetime(text) - email.utils.parsedate_to_datetime(headers["Date"])
        except (KeyError, ValueError, TypeError):
            return None
        return max(wait.total_seconds(), 0.0)
    limit = importlib.import_module("huggingface_hub.utils").parse_ratelimit_headers(headers)
    return float(limit.reset_in_seconds) if limit is not None and limit.remaining == 0 else None


def _causes(failure: BaseException | None) -> Iterator[BaseException]:
    while failure is not None:
        yield failure
        failure = failure.__cause__
