"""One HTTP request to the control plane: time-outs, JSON, and every failure as an error of our
tree. It makes one attempt; whoever asks decides about the next. Knows no chats."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from antiphon.errors import MasterRefusedError, MasterUnreachableError, PlatformError
from antiphon.sdk.remote_address import master_token, master_url

CONNECTIONS = 20
KEEPALIVE_S = 30.0
"""Shorter than the service's own (75 s): who keeps longer sends into a connection that closes."""
MOST_BYTES = 16 << 20
NOT_NOW = frozenset({408, 425, 429})
"""Refusals that mean: later."""

WHAT_TO_DO = (
    "Make a new one where the control plane runs (`antiphon master token make --surface NAME`), "
    "set [master] token (ANTIPHON_MASTER__TOKEN), and start again."
)


class RefusedError(PlatformError):
    """The control plane refused a request: HTTP `status`, its `code`, and `details` of it."""

    def __init__(self, message: str, *, status: int, code: str, details: Mapping[str, Any]):
        super().__init__(message, code=code)
        self.status = status
        self.details = details


class Http:
    """A session with one control plane; use it as an async context manager. `url` and `token` are
    as a person wrote them (SettingsError). No error and no repr ever holds the token."""

    def __init__(self, url: str, token: str):
        self.url = master_url(url)
        self._token = master_token(token)
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        return f"Http({self.url!r})"

    async def __aenter__(self) -> Http:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                "User-Agent": "antiphon",
                "Accept": "application/json",
                "Authorization": f"Bearer {self._token}",
            },
        )
        # A repeat by aiohttp itself would be hidden from who counts them; there is no public way.
        self._session._retry_connection = False
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
        version: int | str | None = None,
        timeout_s: float,
    ) -> Any:
        """The JSON that it answers; None where it answers without a body.

        `path` begins with a slash and is quoted. `key`: the Idempotency-Key. `version`: what the
        change is made over (If-Match). Raises MasterUnreachableError where no whole, readable
        answer came within `timeout_s` (it may have been carried out), MasterRefusedError where
        the token is not accepted, RefusedError, and PlatformError `bad_value` for text that is
        none."""
        status, raw = await self._exchange(method, path, query, body, key, version, timeout_s)
        if status == 401:
            raise MasterRefusedError(
                f"The control plane at {self.url} does not accept our token. {WHAT_TO_DO}"
            )
        if status >= 500 or status in NOT_NOW:
            raise MasterUnreachableError(
                f"The control plane at {self.url} answers with an error (HTTP {status})."
            )
        if 300 <= status < 400:
            raise self._unreadable(f"it sends us elsewhere, HTTP {status}")
        if status >= 400:
            raise self._refusal(status, raw)
        if not raw:
            return None
        try:
            return msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise self._unreadable("no JSON") from None

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        key: str | None,
        version: int | str | None,
        timeout_s: float,
    ) -> tuple[int, bytes]:
        if self._session is None:
            raise RuntimeError("Use the session inside `async with`.")
        headers: dict[str, str] = {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key is not None:
            headers["Idempotency-Key"] = key
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        try:
            url = URL(self.url + path + (f"?{urlencode(query)}" if query else ""), encoded=True)
            data = None if body is None else msgspec.json.encode(body)
        except UnicodeEncodeError:
            raise PlatformError("A text holds what is no character.", code="bad_value") from None
        try:
            async with self._session.request(
                method,
                url,
                data=data,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                return response.status, await self._read(response)
        except TimeoutError:
            raise MasterUnreachableError(
                f"The control plane at {self.url} did not answer within {timeout_s:g} s."
            ) from None
        except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as error:
            # `from None`: aiohttp's own errors carry the request's headers, and so the token.
            raise MasterUnreachableError(
                f"The control plane at {self.url} can't be reached: {_why(error)}."
            ) from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > MOST_BYTES:
                raise self._unreadable(f"more than {MOST_BYTES} bytes")
        return bytes(body)

    def _unreadable(self, why: str) -> MasterUnreachableError:
        return MasterUnreachableError(
            f"What answers at {self.url} can't be read ({why}). Is [master] url the address of "
            "Antiphon's control plane?"
        )

    def _refusal(self, status: int, raw: bytes) -> PlatformError:
        try:
            error = msgspec.json.decode(raw)["error"]
            code, message = str(error["code"]), str(error["message"])
            details = error.get("details") or {}
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
            return self._unreadable(f"HTTP {status} without a reason")
        message = message.replace(self._token, "***")
        details = details if isinstance(details, dict) else {}
        return RefusedError(message, status=status, code=code, details=details)


def _why(error: Exception) -> str:
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return "its TLS certificate is not valid"
        case aiohttp.ClientSSLError():
            return "the TLS handshake failed; is it https:// at all?"
        case aiohttp.ClientConnectorDNSError():
            return "the name of its host can't be resolved"
        case aiohttp.ClientConnectorError():
            why = os.strerror(error.errno) if error.errno else type(error.os_error).__name__
            return f"can't connect: {why}"
        case aiohttp.ClientPayloadError():
            return "its answer was cut off"
        case aiohttp.ServerDisconnectedError() | ConnectionError():
            return "it closed the connection without an answer"
        case _:
            return f"no usable answer ({type(error).__name__})"
