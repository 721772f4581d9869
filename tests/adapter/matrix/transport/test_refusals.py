"""What the homeserver's refusals become."""

from __future__ import annotations

import json

import pytest

from antiphon.adapter.matrix.transport.refusals import (
    DEFAULT_RETRY_MS,
    MAX_RETRY_MS,
    refusal,
    retry_after_ms,
)
from antiphon.errors import (
    AntiphonError,
    HomeserverUnreachableError,
    MatrixApiError,
    RateLimitedError,
    TokenRevokedError,
)


def refused(
    status: int, body: object, *, authenticated: bool = True, **headers: str
) -> AntiphonError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refusal("send an event", status, headers, raw, authenticated=authenticated)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (500, {"errcode": "M_UNKNOWN"}, HomeserverUnreachableError),
        (502, b"<html>bad gateway</html>", HomeserverUnreachableError),
        (404, b"<html>no such page</html>", HomeserverUnreachableError),
        (403, {"no": "errcode"}, HomeserverUnreachableError),
        (301, b"", HomeserverUnreachableError),
        (408, {"errcode": "M_UNKNOWN"}, HomeserverUnreachableError),
        (429, b"<html>slow down</html>", RateLimitedError),
        (401, {"errcode": "M_UNKNOWN_TOKEN"}, TokenRevokedError),
        (403, {"errcode": "M_USER_DEACTIVATED"}, TokenRevokedError),
        (403, {"errcode": "M_FORBIDDEN"}, MatrixApiError),
        (413, b"<html>too large</html>", MatrixApiError),
        (400, {"errcode": "M_BAD_JSON", "error": 7}, MatrixApiError),
    ],
)
def test_each_refusal_has_its_error(status: int, body: object, kind: type[AntiphonError]) -> None:
    assert type(refused(status, body)) is kind


def test_a_token_is_revoked_only_where_one_was_sent() -> None:
    error = refused(403, {"errcode": "M_USER_DEACTIVATED"}, authenticated=False)
    assert isinstance(error, MatrixApiError)


def test_a_refusal_says_what_the_homeserver_says_in_one_short_line() -> None:
    error = refused(403, {"errcode": "M_FORBIDDEN", "error": "You\n\x1b[31m can't" + "x" * 999})
    assert isinstance(error, MatrixApiError)
    assert (error.status, error.errcode) == (403, "M_FORBIDDEN")
    assert "You [31m can't" in error.message
    assert error.message.isprintable()
    assert len(error.message) < 400


@pytest.mark.parametrize(
    ("answer", "headers", "wait"),
    [
        ({"retry_after_ms": 4500}, {}, 4500),
        ({"retry_after_ms": 4500}, {"Retry-After": "60"}, 4500),
        ({}, {"Retry-After": "2"}, 2000),
        ({"retry_after_ms": "soon"}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"},
         DEFAULT_RETRY_MS),
        ({"retry_after_ms": -5}, {}, DEFAULT_RETRY_MS),
        ({"retry_after_ms": 0}, {}, 0),
        ({"retry_after_ms": 10**40}, {}, MAX_RETRY_MS),
        ({"retry_after_ms": float("nan")}, {}, DEFAULT_RETRY_MS),
        ({"retry_after_ms": None}, {}, DEFAULT_RETRY_MS),
        ({}, {}, DEFAULT_RETRY_MS),
    ],
)  # fmt: skip
def test_how_long_to_wait(answer: dict[str, object], headers: dict[str, str], wait: int) -> None:
    assert retry_after_ms(headers, answer) == wait
