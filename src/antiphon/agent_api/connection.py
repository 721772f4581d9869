"""Opening a WebSocket to the agent: what the library and the network raise becomes our errors."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as library_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from antiphon.agent_api.messages import MAX_FRAME_BYTES
from antiphon.agent_api.waiting import within
from antiphon.clock import Clock
from antiphon.errors import AgentRefusedError, AgentUnreachableError

CLOSE_S = 2.0
"""Most seconds that a closing handshake may take."""


class _Connect(library_connect):
    """The library's own follows redirects, to any host and with our token: an agent has none."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


async def connect(url: str, token: str, *, open_s: float, ping_s: float) -> ClientConnection:
    """A connection on which the agent has accepted `token`.

    Raises AgentRefusedError (401, 403) and AgentUnreachableError, each with what to do."""
    try:
        return await _Connect(
            url,
            additional_headers={"Authorization": f"Bearer {token}"},
            max_size=MAX_FRAME_BYTES,
            open_timeout=open_s,
            ping_interval=ping_s,
            ping_timeout=ping_s,
            close_timeout=CLOSE_S,
            compression=None,
            proxy=None,
        )
    except InvalidStatus as error:
        status = error.response.status_code
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise AgentRefusedError(
                f"The agent at {url} does not accept our token (HTTP {status}): set "
                "ANTIPHON_AGENT__TOKEN to one that it knows."
            ) from error
        if 300 <= status < 400:
            raise AgentUnreachableError(
                f"{url} redirects (HTTP {status}), and questions go only where the settings say: "
                "set ANTIPHON_AGENT__URL to the agent's own address."
            ) from error
        raise AgentUnreachableError(
            f"At {url} something answers with HTTP {status}, which no agent that is ready does: "
            "check ANTIPHON_AGENT__URL."
        ) from error
    except TimeoutError as error:
        raise AgentUnreachableError(
            f"The agent at {url} did not answer within {open_s:g} s."
        ) from error
    except OSError as error:
        raise AgentUnreachableError(
            f"The agent at {url} can't be reached ({error.strerror or error}). Is it running?"
        ) from error
    except (WebSocketException, EOFError) as error:
        raise AgentUnreachableError(
            f"At {url} there is no agent ({error}): check ANTIPHON_AGENT__URL."
        ) from error


async def ping(socket: ClientConnection, clock: Clock, seconds: float) -> None:
    """Returns when the other side has answered a ping; raises AgentUnreachableError."""
    try:
        pong = asyncio.ensure_future(await socket.ping())
        await within(clock, seconds, pong)
    except (ConnectionClosed, TimeoutError) as error:
        raise AgentUnreachableError("The agent does not answer a ping.") from error
