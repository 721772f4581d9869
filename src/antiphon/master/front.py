"""What every request comes through before the routes: paths as UTF-8, tokens, bounded JSON bodies;
and what every answer goes out through: the log, and an envelope for what went wrong. Plain ASGI."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from antiphon import telemetry
from antiphon.clock import Chance, Clock
from antiphon.errors import DatabaseError
from antiphon.master.auth import Gatekeeper
from antiphon.master.problems import JSON, Problem, internal, of_error, unauthorized

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

PUBLIC: Final = ("/health", "/openapi.json")
MAX_BODY: Final = 256 * 1024
"""Most bytes of a request's body."""
BODY_WITHIN_S: Final = 30.0
"""Seconds in which a body must have come."""

SLASH: Final = "\ufdd0"
"""Stands in a path for a slash that is part of an id (a code point that text never has)."""

HEADERS: Final = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))


class Front:
    """Wraps the application; `who` of a request is in its scope's state as `principal`."""

    def __init__(self, app: App, gatekeeper: Gatekeeper, clock: Clock, chance: Chance):
        self._app = app
        self._gatekeeper = gatekeeper
        self._clock = clock
        # Names a request in the log. A count, not chance: that would cost each a system call.
        self._life, self._count = chance.token()[:8], itertools.count(1)
        self._log = telemetry.logger("master.http")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = self._clock.monotonic()
        answer = _Answer(send)
        request_id = f"{self._life}-{next(self._count)}"
        scope["state"] = {**scope.get("state", {}), "request_id": request_id}
        failed: BaseException | None = None
        try:
            await self._serve(scope, receive, answer)
        except Problem as problem:
            await answer.refuse(problem)
        except DatabaseError as error:
            await answer.refuse(of_error(error))
        except Exception as error:  # noqa: BLE001 - one request's fault must not end the service
            failed = error
            if not answer.status:
                await answer.refuse(internal())
        self._tell(scope, answer.status, request_id, began, failed)

    async def _serve(
        self, scope: MutableMapping[str, Any], receive: Receive, answer: _Answer
    ) -> None:
        path = _path(scope)
        if path not in PUBLIC:
            peer = (scope.get("client") or ("unknown",))[0]
            header = _header(scope, b"authorization")
            principal = await self._gatekeeper.who(header, peer)
            if principal is None:
                raise unauthorized()
            scope["state"]["principal"] = principal
        if path is None or _unreadable(scope["query_string"]):
            raise Problem(400, "bad_request", "Path and query must be UTF-8 text without NUL.")
        scope["path"] = path
        if scope["method"] in ("POST", "PUT", "PATCH"):
            receive = await _with_body(scope, receive)
        await self._app(scope, receive, answer.send)

    def _tell(
        self,
        scope: MutableMapping[str, Any],
        status: int,
        request_id: str,
        began: float,
        failed: BaseException | None,
    ) -> None:
        """One line. The route is named by its template: ids are personal, and tokens secret."""
        principal = scope["state"].get("principal")
        line = {
            "method": scope["method"],
            "route": getattr(scope.get("route"), "path", ""),
            "status": status,
            "ms": round((self._clock.monotonic() - began) * 1000, 1),
            "token": principal.token_id if principal else "",
            "request_id": request_id,
        }
        if failed is not None:
            self._log.error("request failed", **line, exc_info=failed)
        elif status >= 500:
            self._log.warning("request not served", **line)
        elif status >= 400:
            self._log.info("request refused", **line)
        else:
            self._log.debug("request", **line)


class _Answer:
    """Sends an answer with the headers that all have; knows its status (0: none begun yet)."""

    def __init__(self, send: Send):
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *HEADERS]
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        body = problem.body
        headers = {"Content-Type": JSON, "Content-Length": str(len(body)), **problem.headers}
        await self.send(
            {
                "type": "http.response.start",
                "status": problem.status,
                "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            }
        )
        await self.send({"type": "http.response.body", "body": body})


def _header(scope: MutableMapping[str, Any], name: bytes) -> str | None:
    """The value of a header that may stand once; None where it does not, or stands twice."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None


def _path(scope: MutableMapping[str, Any]) -> str | None:
    """The path with each segment decoded by itself, so that an id may hold a slash; None where it
    is no UTF-8 text."""
    raw: bytes = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    try:
        segments = [unquote_to_bytes(segment).decode() for segment in raw.split(b"/")]
    except UnicodeDecodeError:
        return None
    if any("\0" in segment or SLASH in segment for segment in segments):
        return None
    return "/".join(segment.replace("/", SLASH) for segment in segments)


def _unreadable(query: bytes) -> bool:
    try:
        return "\0" in unquote_to_bytes(query.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        return True


async def _with_body(scope: MutableMapping[str, Any], receive: Receive) -> Receive:
    """Reads the body, up to its bound; gives a `receive` that tells it again. Raises Problem."""
    length = _header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length[:20]) > MAX_BODY:
        raise _too_large()
    body = b""
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Problem(400, "bad_request", "The request ended before its body did.")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > MAX_BODY:
                    raise _too_large()
    except TimeoutError:
        raise Problem(408, "too_slow", "The body did not come in time.") from None
    if body:
        kind = (_header(scope, b"content-type") or "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise Problem(415, "unsupported_media_type", f"Send the body as {JSON}.")
        try:
            body.decode()
        except UnicodeDecodeError:
            raise Problem(400, "bad_request", "The body is no UTF-8 text.") from None
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _too_large() -> Problem:
    return Problem(
        413,
        "body_too_large",
        f"A body may have {MAX_BODY} bytes at most.",
        headers={"Connection": "close"},
    )
