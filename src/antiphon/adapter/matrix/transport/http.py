"""One HTTP request to the homeserver: time-outs, JSON, and every failure as an error of our tree.

The only module that touches aiohttp. It makes one attempt; whoever asks decides about the next.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from antiphon.adapter.matrix.transport import address, json_body
from antiphon.adapter.matrix.transport.refusals import refusal
from antiphon.errors import HomeserverError, HomeserverUnreachableError
from antiphon.settings import Secret

CONNECTIONS = 40
KEEPALIVE_S = 30.0
CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 30.0
USER_AGENT = "antiphon"


class Http:
    """A session with one homeserver; use it as an async context manager.

    `homeserver` is a base URL, or a bare server name that is discovered at the first request.
    Raises SettingsError when it is neither. `token` may be set and replaced at any time."""

    def __init__(self, homeserver: str, token: Secret | None):
        self.homeserver = homeserver.strip()
        self.token = token
        self._base: str | None = None
        self._fallback_base = address.base_url(homeserver)
        if not address.is_server_name(self.homeserver):
            self._base = self._fallback_base
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Http:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": USER_AGENT, "Accept": "application/json"},
        )
        # aiohttp repeats a GET or PUT by itself when the connection is cut. There is no public way
        # to turn that off; a hidden repeat would be counted in no budget and seen by no test.
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
        what: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        authenticated: bool = True,
    ) -> dict[str, Any]:
        """The JSON object that the homeserver answers; see `ask_raw` for the rest.

        Raises HomeserverUnreachableError also when a successful answer is no JSON object."""
        raw = await self.ask_raw(
            what,
            method,
            path,
            query=query,
            body=body,
            timeout_s=timeout_s,
            authenticated=authenticated,
        )
        try:
            answer = json_body.decode(raw)
        except json_body.NotJsonError:
            answer = None
        if not isinstance(answer, dict):
            raise HomeserverUnreachableError(
                f"The homeserver's answer can't be read (asked to {what}): no JSON object. "
                "Is [matrix] homeserver the address of a Matrix homeserver?",
                200,
            )
        return answer

    async def ask_raw(
        self,
        what: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        authenticated: bool = True,
    ) -> bytes:
        """The body of a successful (2xx) answer.

        `what` names the request in errors ("send a message"); `path` begins with a slash and is
        already quoted. Raises HomeserverUnreachableError when no whole answer came within
        `timeout_s` (the request may have been carried out all the same), and what `refusal`
        makes of any other answer."""
        url = await self.base_url() + path
        status, headers, raw = await self._exchange(
            what, method, url, query, body, timeout_s, self.token if authenticated else None
        )
        if 200 <= status < 300:
            return raw
        raise self._without_token(refusal(what, status, headers, raw, authenticated=authenticated))

    async def look(
        self, what: str, path: str, *, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of a GET without a token, whatever the status.

        Raises HomeserverUnreachableError as `ask_raw`, where there was no answer at all."""
        url = await self.base_url() + path
        return await self._exchange(what, "GET", url, None, None, timeout_s, None)

    async def base_url(self) -> str:
        """Where the homeserver is: as given, or as `.well-known` says of a bare server name."""
        if self._base is None:
            name = self.homeserver
            status, _, raw = await self._exchange(
                f"look up the homeserver of {name}",
                "GET",
                f"https://{name}/.well-known/matrix/client",
                None,
                None,
                REQUEST_TIMEOUT_S,
                None,
                redirects=True,
            )
            self._base = address.discovered(name, status, raw)
        return self._base

    async def _exchange(
        self,
        what: str,
        method: str,
        url: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        timeout_s: float,
        token: Secret | None,
        *,
        redirects: bool = False,
    ) -> tuple[int, Mapping[str, str], bytes]:
        session = self._session
        if session is None:
            raise RuntimeError("Use the client inside `async with`.")
        # A redirect is never followed with a token: it would hand the token to another server.
        try:
            async with session.request(
                method,
                URL(f"{url}?{urlencode(query)}" if query else url, encoded=True),
                data=None if body is None else json_body.encode(body),
                headers=_headers(token, has_body=body is not None),
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
                allow_redirects=redirects,
            ) as response:
                return response.status, response.headers, await response.read()
        except TimeoutError:
            raise HomeserverUnreachableError(
                f"The homeserver did not answer within {timeout_s:.0f} s (asked to {what})."
            ) from None
        except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as error:
            # `from None`: aiohttp's own errors carry the request's headers, and so the token.
            raise HomeserverUnreachableError(_unreachable(self.homeserver, what, error)) from None

    def _without_token(self, error: HomeserverError) -> HomeserverError:
        secret = self.token.reveal() if self.token is not None else ""
        if secret and secret in error.message:
            error.message = error.message.replace(secret, "***")
            error.args = (error.message,)
        return error


def _headers(token: Secret | None, *, has_body: bool) -> dict[str, str]:
    headers = {"Content-Type": "application/json"} if has_body else {}
    if token is not None and token:
        headers["Authorization"] = f"Bearer {token.reveal()}"
    return headers


def _unreachable(homeserver: str, what: str, error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = "its TLS certificate is not valid"
    elif isinstance(error, aiohttp.ClientSSLError):
        why = "the TLS handshake failed; is it https:// at all?"
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        why = "the name of its host can't be resolved"
    elif isinstance(error, aiohttp.ClientConnectorError):
        why = f"can't connect: {error.strerror or type(error.os_error).__name__}"
    elif isinstance(error, aiohttp.ClientPayloadError):
        why = "its answer was cut off"
    elif isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionError)):
        why = "it closed the connection without an answer"
    else:
        why = f"no usable answer ({type(error).__name__})"
    return f"The homeserver at {homeserver} can't be reached: {why} (asked to {what})."
