"""What a homeserver's refusal means: status, headers and body as one error of our tree. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.adapter.matrix.transport import json_body
from antiphon.adapter.matrix.transport.answers import texts
from antiphon.adapter.matrix.transport.values import UserAuth
from antiphon.errors import (
    HomeserverError,
    HomeserverUnreachableError,
    MatrixApiError,
    RateLimitedError,
    TokenRevokedError,
)

DEFAULT_RETRY_MS = 5_000
MAX_RETRY_MS = 15 * 60_000
MAX_QUOTED = 200

_DEAD_TOKEN = {
    "M_UNKNOWN_TOKEN": "no longer accepts this login's access token; log in again",
    "M_MISSING_TOKEN": "was asked without an access token; log in first",
    "M_USER_DEACTIVATED": "says that this account was deactivated",
    "M_USER_LOCKED": "says that this account is locked; ask its administrator",
}


_APPROVAL_STAGES = ("m.oauth", "org.matrix.cross_signing_reset")


class UserAuthNeededError(MatrixApiError):
    """The homeserver wants to see first who asks: `auth` says how. Methods that can meet it give
    `auth` to their callers as a value."""

    def __init__(self, message: str, errcode: str, auth: UserAuth):
        super().__init__(message, 401, errcode)
        self.auth = auth


def refusal(
    what: str, status: int, headers: Mapping[str, str], body: bytes, *, authenticated: bool
) -> HomeserverError:
    """The error for an answer that is no success.

    `what` names the request in the sentence ("send a message"). 429 → RateLimitedError; a token or
    account that stopped working → TokenRevokedError, if the request carried a token; 5xx, a
    redirect, or a body that is no Matrix error (a proxy's page) → HomeserverUnreachableError; 401
    with flows of user-interactive authentication → UserAuthNeededError; everything else →
    MatrixApiError."""
    answer = _object(body)
    errcode = answer.get("errcode") if answer is not None else None
    if status == 429:
        wait = retry_after_ms(headers, answer or {})
        return RateLimitedError(
            f"The homeserver limits how often we may {what}; again in {wait / 1000:.1f} s.", wait
        )
    if status == 401 and answer is not None and isinstance(answer.get("flows"), list):
        return UserAuthNeededError(
            f"The homeserver wants the account's password, or an approval, to {what}.",
            errcode if isinstance(errcode, str) else "M_FORBIDDEN",
            _user_auth(answer),
        )
    if 300 <= status < 400:
        return HomeserverUnreachableError(
            f"The homeserver redirects (HTTP {status}) when asked to {what}. "
            "Set [matrix] homeserver to the address that it redirects to.",
            status,
        )
    if status == 413 and not isinstance(errcode, str):
        errcode = "M_TOO_LARGE"
    if status >= 500 or status == 408 or not isinstance(errcode, str):
        return HomeserverUnreachableError(
            f"The homeserver can't {what} now: HTTP {status}{_quoted(answer)}.", status
        )
    if authenticated and errcode in _DEAD_TOKEN:
        return TokenRevokedError(f"The homeserver {_DEAD_TOKEN[errcode]} ({errcode}).")
    return MatrixApiError(
        f"The homeserver refused to {what}: HTTP {status} {errcode[:64]}{_quoted(answer)}.",
        status,
        errcode,
    )


def retry_after_ms(headers: Mapping[str, str], answer: Mapping[str, Any]) -> int:
    """How long to wait, in milliseconds: `retry_after_ms` of the body (the older form, still sent
    by Synapse), else the Retry-After header in seconds, else a default; never above the cap."""
    for value, factor in ((answer.get("retry_after_ms"), 1), (headers.get("Retry-After"), 1000)):
        try:
            wait = float(value) * factor  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            continue
        if wait >= 0:
            return int(min(wait, MAX_RETRY_MS))
    return DEFAULT_RETRY_MS


def _user_auth(answer: Mapping[str, Any]) -> UserAuth:
    session = answer.get("session")
    flows = [flow for flow in answer.get("flows", ()) if isinstance(flow, dict)]
    params = answer.get("params")
    urls = [
        stage.get("url")
        for name in _APPROVAL_STAGES
        if isinstance(params, dict) and isinstance(stage := params.get(name), dict)
    ]
    return UserAuth(
        session if isinstance(session, str) else None,
        tuple(texts(flow.get("stages")) for flow in flows),
        texts(answer.get("completed")),
        isinstance(answer.get("errcode"), str),
        next((url for url in urls if isinstance(url, str)), None),
    )


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json_body.decode(body)
    except json_body.NotJsonError:
        return None
    return value if isinstance(value, dict) else None


def _quoted(answer: Mapping[str, Any] | None) -> str:
    text = answer.get("error") if answer is not None else None
    if not isinstance(text, str) or not text.strip():
        return ""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f" ({plain[:MAX_QUOTED]})"
