"""One HTTP request to the homeserver: time-outs, JSON, and every failure as an error of our tree.

The only module that touches aiohttp. It makes one attempt; whoever asks decides about the next.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import aiohttp
import msgspec
from yarl import URL

from antiphon.adapter.matrix.transport import address, json_body
from antiphon.adapter.matrix.transport.refusals import refusal
from antiphon.errors import HomeserverError, HomeserverUnreachableError, MatrixApiError
from antiphon.settings import Secret

CONNECTIONS = 40
KEEPALIVE_S = 30.0
CONNECT_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 30.0
REFUSAL_BYTES = 64 * 1024
"""A refusal may be as large as this, whatever the limit of the answer."""
MAX_REDIRECTS = 3
USER_AGENT = "antiphon"


class Upload(msgspec.Struct, frozen=True):
    """A body that is no JSON. `mime` must be a plain media type."""

    body: bytes
    mime: str


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
        body: Mapping[str, Any] | Upload | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        authenticated: bool = True,
        most_bytes: int | None = None,
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
            most_bytes=most_bytes,
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
        body: Mapping[str, Any] | Upload | None = None,
        timeout_s: float = REQUEST_TIMEOUT_S,
        authenticated: bool = True,
        most_bytes: int | None = None,
    ) -> bytes:
        """The body of a successful (2xx) answer.

        `what` names the request in errors ("send a message"); `path` begins with a slash and is
        already quoted. Raises HomeserverUnreachableError when no whole answer came within
        `timeout_s` (the request may have been carried out all the same), MatrixApiError with
        errcode M_TOO_LARGE as soon as the body is seen to have more than `most_bytes` bytes, and
        what `refusal` makes of any other answer."""
        url = await self.base_url() + path
        token = self.token if authenticated else None
        status, headers, raw = await self._exchange(
            what, method, url, query, body, timeout_s, token, most_bytes=most_bytes
        )
        if 200 <= status < 300:
            return raw
        raise self._without_token(refusal(what, status, headers, raw, authenticated=authenticated))

    async def download(
        self, what: str, path: str, *, most_bytes: int, timeout_s: float = REQUEST_TIMEOUT_S
    ) -> bytes:
        """The body of a file, as `ask_raw` with the token, redirects followed: to wherever the
        homeserver says, without the token, and never from https to http."""
        url, token = await self.base_url() + path, self.token
        for _ in range(MAX_REDIRECTS):
            status, headers, raw = await self._exchange(
                what, "GET", url, None, None, timeout_s, token, most_bytes=most_bytes
            )
            target = _redirect(url, status, headers)
            if target is None:
                break
            url, token = target, None
        if 200 <= status < 300:
            return raw
        authenticated = token is not None
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
        body: Mapping[str, Any] | Upload | None,
        timeout_s: float,
        token: Secret | None,
        *,
        redirects: bool = False,
        most_bytes: int | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        session = self._session
        if session is None:
            raise RuntimeError("Use the client inside `async with`.")
        # A redirect is never followed with a token: it would hand the token to another server.
        try:
            async with session.request(
                method,
                URL(f"{url}?{urlencode(query)}" if query else url, encoded=True),
                data=_data(body),
                headers=_headers(token, body),
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=CONNECT_TIMEOUT_S),
                allow_redirects=redirects,
            ) as response:
                raw = await _read(response, what, most_bytes)
                return response.status, response.headers, raw
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


async def _read(response: aiohttp.ClientResponse, what: str, most_bytes: int | None) -> bytes:
    if most_bytes is None:
        return await response.read()
    if response.status >= 300:
        most_bytes = max(most_bytes, REFUSAL_BYTES)
    body = bytearray()
    if (response.content_length or 0) <= most_bytes:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > most_bytes:
                break
        else:
            return bytes(body)
    raise MatrixApiError(
        f"The homeserver's answer is larger than {most_bytes} bytes (asked to {what}).",
        response.status,
        "M_TOO_LARGE",
    )


def _redirect(url: str, status: int, headers: Mapping[str, str]) -> str | None:
    """Where an answer sends us on to; None where it does not, or to what may not be followed."""
    if status not in (301, 302, 303, 307, 308) or not headers.get("Location"):
        return None
    try:
        target = urljoin(url, headers["Location"])
        scheme = urlsplit(target).scheme
    except ValueError:
        return None
    return target if scheme in ("https", urlsplit(url).scheme) else None


def _data(body: Mapping[str, Any] | Upload | None) -> bytes | None:
    if isinstance(body, Upload):
        return body.body
    return None if body is None else json_body.encode(body)


def _headers(token: Secret | None, body: Mapping[str, Any] | Upload | None) -> dict[str, str]:
    headers = {}
    if body is not None:
        headers["Content-Type"] = body.mime if isinstance(body, Upload) else "application/json"
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
