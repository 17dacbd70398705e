"""Google's token endpoint, as far as a refresh token goes."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

CLIENT_ID = "standin-client.apps.googleusercontent.com"
CLIENT_SECRET = "standin-client-secret"  # noqa: S105 - of nothing
REFRESH_TOKEN = "standin-refresh-token"  # noqa: S105
SCOPE = "https://www.googleapis.com/auth/youtube.force-ssl"
FORM = {
    "grant_type": "refresh_token",
    "client_id": CLIENT_ID,
    "client_secret": CLIENT_SECRET,
    "refresh_token": REFRESH_TOKEN,
}
"""What is posted for an access token."""
LASTS = timedelta(seconds=3599)


class Authority:
    """Gives out access tokens for whom the refresh token speaks for: the owner of the channels ``owned``."""

    def __init__(self, owned: Sequence[str]) -> None:
        self.owned = tuple(owned)
        self.granted = 0
        self.revoked = False
        """The owner took the permission back; tokens that were given out end with it."""
        self._until: dict[str, datetime] = {}

    def knows(self, token: str, at: datetime) -> bool:
        """Say whether an access token is good."""
        return not self.revoked and token in self._until and at < self._until[token]

    def forget(self) -> None:
        """End the access tokens that were given out, before their time."""
        self._until.clear()

    def grant(self, form: Mapping[str, str], at: datetime) -> tuple[int, dict[str, Any]]:
        """Answer a POST, with status and body (RFC 6749, 5.1 and 5.2, in Google's words)."""
        if form.get("grant_type") != "refresh_token":
            return 400, {"error": "unsupported_grant_type", "error_description": "Invalid grant_type"}
        if form.get("client_id") != CLIENT_ID:
            return 401, {"error": "invalid_client", "error_description": "The OAuth client was not found."}
        if form.get("client_secret") != CLIENT_SECRET:
            return 401, {"error": "invalid_client", "error_description": "Unauthorized"}
        if self.revoked or form.get("refresh_token") != REFRESH_TOKEN:
            return 400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self._until[token] = at + LASTS
        self.granted += 1
        seconds = int(LASTS.total_seconds())
        return 200, {"access_token": token, "expires_in": seconds, "scope": SCOPE, "token_type": "Bearer"}
