"""What a reset has done."""

from __future__ import annotations

from typing import Literal

import msgspec

from antiphon.core.ids import RoomId


class Refused(msgspec.Struct, frozen=True):
    """A room that the homeserver does not let us leave."""

    room_id: RoomId
    reason: str


class Result(msgspec.Struct, kw_only=True):
    """What was done. `rooms`, `turns`, `sessions`: forgotten here; `erased`: what the agent has
    confirmed, `owed`: what it has not, a durable debt; `cursor`: from when on messages count."""

    rooms: int = 0
    turns: int = 0
    sessions: int = 0
    left: int = 0
    declined: int = 0
    refused: list[Refused] = msgspec.field(default_factory=list)
    still_joined: list[RoomId] = msgspec.field(default_factory=list)
    erased: int = 0
    owed: int = 0
    cursor: Literal["now", "first contact"] = "now"
    logged_out: bool = False
    backup: str | None = None
    seconds: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether nothing is left that another run would do."""
        return not self.refused and not self.still_joined
