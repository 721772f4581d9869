"""The agent's port: `/agent_ws/` for surfaces with a token, `/health` for probes, else 404."""

from __future__ import annotations

import errno
import logging
from http import HTTPStatus
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from antiphon.agent.auth import Grant, Tokens
from antiphon.agent.connection import Connection
from antiphon.agent.health import health
from antiphon.agent.ports import EngineRegistry
from antiphon.agent.service import Service
from antiphon.clock import Chance
from antiphon.errors import SettingsError

PATHS = ("/agent_ws/", "/agent_ws")
HEALTH = "/health"

HARD_FRAME_LIMIT = 4 << 20
"""A frame above this closes the socket (1009); one between it and the protocol's limit is read
and refused, and the socket lives."""

MAX_CONNECTIONS = 256
PING_S = 20.0
CLOSE_S = 2.0


class Front:
    """Decides what becomes of a request, and serves sockets."""

    def __init__(
        self,
        *,
        service: Service,
        registry: EngineRegistry,
        tokens: Tokens,
        chance: Chance,
        version: str,
    ):
        self._service = service
        self._registry = registry
        self._tokens = tokens
        self._chance = chance
        self._version = version
        self._sockets = 0

    async def listen(self, host: str, port: int) -> Server:
        """Takes the port; the caller lets requests in by `start_serving`. Raises SettingsError
        when the port is taken or the address is not ours."""
        # The library logs each failed handshake with a traceback: any port scan would fill the
        # log. What matters is logged here.
        quiet = logging.getLogger("antiphon.agent.websockets")
        quiet.setLevel(logging.CRITICAL)
        try:
            return await serve(
                self._socket,
                host,
                port,
                process_request=self._request,
                compression=None,
                server_header=None,
                max_size=HARD_FRAME_LIMIT,
                ping_interval=PING_S,
                ping_timeout=PING_S,
                close_timeout=CLOSE_S,
                logger=quiet,
                start_serving=False,
            )
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            reason = "is in use" if taken else f"can't be listened on ({error.strerror or error})"
            raise SettingsError(
                f"Port {port} on {host} {reason}. Stop what listens there, or set "
                "ANTIPHON_AGENT__PORT (0 takes any free one) or ANTIPHON_AGENT__HOST."
            ) from error

    async def _request(self, socket: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == HEALTH:
            status, body = await health(self._service, self._registry, self._version)
            return _json(status, body)
        if path not in PATHS:
            return _problem(404, "not_found", f"There is only {PATHS[0]} and {HEALTH} here.")
        if self._grant(request) is None:
            refusal = _problem(
                401,
                "unauthorized",
                "Send a known token: Authorization: Bearer TOKEN (ANTIPHON_AGENT__TOKEN).",
            )
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        if self._service.stopping:
            return _problem(503, "shutting_down", "The agent is stopping.")
        if self._sockets >= MAX_CONNECTIONS:
            return _problem(503, "too_many", f"There are {MAX_CONNECTIONS} connections already.")
        return None

    def _grant(self, request: Request) -> Grant | None:
        given = request.headers.get_all("Authorization")
        return self._tokens.grant(given[0]) if len(given) == 1 else None

    async def _socket(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        grant = self._grant(socket.request)
        assert grant is not None  # `_request` has let it in
        self._sockets += 1
        try:
            await Connection(socket, grant, self._service, self._chance).run()
        finally:
            self._sockets -= 1


def _problem(status: int, code: str, message: str) -> Response:
    return _json(status, {"error": {"code": code, "message": message}})


def _json(status: int, body: dict[str, Any]) -> Response:
    data = msgspec.json.encode(body)
    headers = Headers(
        {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            "Cache-Control": "no-store",
            "Connection": "close",
        }
    )
    return Response(status, HTTPStatus(status).phrase, headers, data)
