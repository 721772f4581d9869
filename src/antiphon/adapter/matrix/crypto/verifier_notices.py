"""What is said of a verification in its room: in encrypted rooms only, and sealed. It is for the
moment, so it stands in no journal and is not repeated."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Protocol

from antiphon.adapter.matrix.cipher import Cipher, sealed_at_once
from antiphon.adapter.matrix.contents import message
from antiphon.core.ids import RoomId
from antiphon.errors import HomeserverError, TokenRevokedError
from antiphon.telemetry import logger


class RoomsApi(Protocol):
    """What is asked of the homeserver; `MatrixClient` does it."""

    async def send(
        self, room_id: str, event_type: str, txn_id: str, content: Mapping[str, Any]
    ) -> str:
        """Sends an event; its id."""
        ...

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> dict[str, Any] | None:
        """A piece of the room's state."""
        ...


class EncryptedNotices:
    """Implements `verifier.Show`."""

    def __init__(self, rooms: RoomsApi, cipher: Cipher):
        self._rooms = rooms
        self._cipher = cipher
        self._log = logger("matrix.verification")

    async def __call__(self, room_id: str, text: str) -> None:
        try:
            if await self._rooms.state_event(room_id, "m.room.encryption") is None:
                return  # it would go in the clear
            content = message(text, notice=True)
            sealed = await sealed_at_once(self._cipher, RoomId(room_id), "m.room.message", content)
            txn_id = "v" + secrets.token_hex(20)
            await self._rooms.send(room_id, sealed.type, txn_id, sealed.content)
        except TokenRevokedError:
            raise
        except HomeserverError as error:
            self._log.warning("verification_not_shown", room=room_id, error=error.message)
