"""`FakeCipher`: encryption that hides nothing, for tests of what the adapter does around it. Keys
are names of sessions: what was said in one whose key is here can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from antiphon.adapter.matrix.cipher import ENCRYPTED, Sealed
from antiphon.adapter.matrix.gate import SendGate
from antiphon.adapter.matrix.transport.events import Event
from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.core.ids import RoomId

OURS = "session-of-the-bot"


def hide(content: Mapping[str, Any], session: str) -> dict[str, Any]:
    """The content of an encrypted message of this session."""
    hidden = {"type": "m.room.message", "content": content}
    sealed = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "session_id": session,
        "ciphertext": msgspec.json.encode(hidden).decode(),
    }
    relation = content.get("m.relates_to")
    return sealed | ({"m.relates_to": relation} if relation else {})


def shown(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content that `hide` was given."""
    hidden = msgspec.json.decode(content["ciphertext"])
    found: dict[str, Any] = hidden["content"]
    return found


class FakeCipher:
    """Implements `adapter.matrix.cipher.Cipher`. `keys`: the sessions that can be read."""

    enabled = True

    def __init__(self, *keys: str):
        self.keys = set(keys)
        self.received_batches: list[str] = []

    def on_keys(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def on_standing(self, tell: Callable[[str, float], None]) -> None:
        """There is nothing to tell."""

    def ask_who_may_talk(self, may_talk: Callable[[str], bool]) -> None:
        self.may_talk = may_talk

    def send_through(self, gate: SendGate) -> None:
        """Nothing is said."""

    async def run(self) -> None:
        """Nothing is owed."""

    async def received(self, response: SyncResponse) -> None:
        self.received_batches.append(response.next_batch)

    async def readable(self, room_id: RoomId, events: Sequence[Event]) -> tuple[Event, ...]:
        return tuple(self._opened(event) for event in events)

    async def prepare(self, room_id: RoomId) -> None:
        """Nobody lacks a key."""

    async def seal(
        self, room_id: RoomId, event_type: str, content: Mapping[str, Any]
    ) -> Sealed | None:
        return Sealed(ENCRYPTED, hide(content, OURS))

    def _opened(self, event: Event) -> Event:
        if event.type != ENCRYPTED or event.content.get("session_id") not in self.keys:
            return event
        return msgspec.structs.replace(
            event, type="m.room.message", content=shown(event.content), sealed=True
        )
