"""What the control plane refuses with: a status and one JSON envelope for every error. No I/O.

{"error": {"code": "stale", "message": "…", "details": {…}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.errors import AntiphonError, DatabaseError

JSON = "application/json"
RETRY_S = 2
"""Seconds after which to try again where the database failed or the service stops."""


class Problem(AntiphonError):  # noqa: N818 - what the RFC for such answers calls it
    """A request is refused with the HTTP `status`. `details` are for programs."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message, code=code)
        self.status = status
        self.details = details
        self.headers = dict(headers or {})

    @property
    def body(self) -> bytes:
        """The envelope."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return msgspec.json.encode({"error": error})


# One sentence each, always the same: whether a foreign thing exists must not be told by its error.
UNKNOWN = {
    "unknown_user": "There is no such user.",
    "unknown_chat": "There is no such chat.",
    "unknown_session": "There is no such session.",
}
REFUSED = ("bad_value", "bad_scope", "bad_pattern", "bad_cursor", "settings", "unknown_setting")


def unknown(what: str) -> Problem:
    """The answer for something that is not there, or is another's: `unknown_user` and the like."""
    return Problem(404, what, UNKNOWN[what])


def unauthorized() -> Problem:
    """No token, or one that is none (any more)."""
    return Problem(
        401,
        "unauthorized",
        "Send a token of the control plane: `Authorization: Bearer TOKEN`.",
        headers={"WWW-Authenticate": 'Bearer realm="antiphon"'},
    )


def unavailable(message: str = "The database does not answer; try again.") -> Problem:
    """Nothing was changed, and the same request may succeed soon."""
    return Problem(503, "unavailable", message, headers={"Retry-After": str(RETRY_S)})


def of_error(error: AntiphonError) -> Problem:
    """The problem that an error of the records or the rules comes to."""
    match error:
        case Problem():
            return error
        case DatabaseError():
            return unavailable()
    if error.code == "conflict":
        return Problem(409, "conflict", error.message)
    if error.code == "stale":
        return Problem(412, "stale", error.message)
    if error.code in REFUSED:
        return Problem(422, error.code, error.message)
    if error.code in UNKNOWN:
        return unknown(error.code)
    if error.retryable:
        return unavailable(error.message)
    return internal()


def internal() -> Problem:
    """A fault of ours: the log has it."""
    return Problem(500, "internal", "Something unexpected went wrong; the log has the details.")
