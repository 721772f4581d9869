"""The way of verification messages to the homeserver: a few attempts each, under an id of its own,
so that a repeated one is the same one. Never sealed: who is not trusted yet must be able to read
them, and what they say needs no secrecy (decision 0026)."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from antiphon.adapter.matrix.crypto.keys_api import KeysApi
from antiphon.adapter.matrix.crypto.verification_messages import ROOM_MESSAGE, Outgoing
from antiphon.clock import Clock
from antiphon.errors import (
    HomeserverError,
    HomeserverUnreachableError,
    RateLimitedError,
    TokenRevokedError,
)
from antiphon.telemetry import logger

PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)
LONGEST_PAUSE_S = 30.0


class RoomsApi(Protocol):
    """What is asked of the homeserver about rooms; `MatrixClient` does it."""

    async def send(
        self, room_id: str, event_type: str, txn_id: str, content: Mapping[str, Any]
    ) -> str:
        """Sends an event, once for a `txn_id`; its id."""
        ...


class Mail:
    """Sends verification messages."""

    def __init__(self, keys: KeysApi, rooms: RoomsApi, clock: Clock):
        self._keys = keys
        self._rooms = rooms
        self._clock = clock
        self._log = logger("matrix.verification")

    async def request(self, room_id: str, content: Mapping[str, Any]) -> str:
        """Asks in a room; the event's id. Raises HomeserverError."""
        return await self._rooms.send(room_id, ROOM_MESSAGE, "v" + secrets.token_hex(20), content)

    async def send(self, outgoing: Outgoing) -> bool:
        """Whether the homeserver took it: an outage or a limit is waited out for a while, since
        people are waiting. Raises TokenRevokedError only."""
        txn_id = _txn_id(outgoing)
        for pause in PAUSES_S:
            try:
                await self._attempt(outgoing, txn_id)
            except TokenRevokedError:
                raise
            except RateLimitedError as error:
                await self._clock.sleep(min(LONGEST_PAUSE_S, error.retry_after_ms / 1000))
            except HomeserverUnreachableError:
                await self._clock.sleep(pause)
            except HomeserverError as error:
                self._log.warning(
                    "verification_not_sent", user=outgoing.user_id, error=error.message
                )
                return False
            else:
                return True
        self._log.warning("verification_not_sent", user=outgoing.user_id, error="tried for long")
        return False

    async def _attempt(self, outgoing: Outgoing, txn_id: str) -> None:
        if outgoing.room_id is not None:
            await self._rooms.send(outgoing.room_id, outgoing.type, txn_id, outgoing.content)
            return
        contents = dict.fromkeys(outgoing.device_ids, outgoing.content)
        await self._keys.send_to_device(outgoing.type, txn_id, {outgoing.user_id: contents})


def _txn_id(outgoing: Outgoing) -> str:
    """Of all that it says and to whom: no two messages are the same."""
    said = [outgoing.type, outgoing.content, outgoing.user_id, outgoing.device_ids]
    text = json.dumps([*said, outgoing.room_id], sort_keys=True)
    return "v" + hashlib.sha256(text.encode()).hexdigest()[:40]
