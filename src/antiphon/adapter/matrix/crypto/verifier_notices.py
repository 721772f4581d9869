"""What is said in a room of a verification, or of a changed identity: in encrypted rooms only, and
sealed. It stands in no journal."""

from __future__ import annotations

import secrets

from antiphon.adapter.matrix.cipher import Cipher, sealed_at_once
from antiphon.adapter.matrix.contents import message
from antiphon.adapter.matrix.crypto.gated_rooms import RoomsApi
from antiphon.core.ids import RoomId
from antiphon.errors import HomeserverError, TokenRevokedError
from antiphon.telemetry import logger


class EncryptedNotices:
    """Implements `verifier.Show` and `identity_notices.Say`."""

    def __init__(self, rooms: RoomsApi, cipher: Cipher):
        self._rooms = rooms
        self._cipher = cipher
        self._log = logger("matrix.verification")

    async def __call__(self, room_id: str, text: str) -> None:
        await self.say(room_id, text, "v" + secrets.token_hex(20))

    async def say(self, room_id: str, text: str, txn_id: str) -> bool:
        """Whether it was said, once for a `txn_id`; it never is in the clear. Raises
        TokenRevokedError."""
        try:
            if await self._rooms.state_event(room_id, "m.room.encryption") is None:
                return False  # it would go in the clear
            content = message(text, notice=True)
            sealed = await sealed_at_once(self._cipher, RoomId(room_id), "m.room.message", content)
            await self._rooms.send(room_id, sealed.type, txn_id, sealed.content)
        except TokenRevokedError:
            raise
        except HomeserverError as error:
            self._log.warning("notice_not_said", room=room_id, error=error.message)
            return False
        return True
