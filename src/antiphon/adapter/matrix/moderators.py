"""Who is a moderator of a room: who may send the room's state by its power levels, asked for when a
command needs it. What can't be seen makes nobody one."""

from __future__ import annotations

from typing import Any

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.core.ids import RoomId, UserId
from antiphon.errors import HomeserverError, TokenRevokedError
from antiphon.telemetry import logger

STATE_DEFAULT = 50
"""Where a room's power levels do not say it (client-server API, `m.room.power_levels`)."""


class Moderators:
    """Asks the homeserver."""

    def __init__(self, client: MatrixClient):
        self._client = client
        self._log = logger("matrix.moderators")

    async def is_one(self, room_id: RoomId, user_id: UserId) -> bool:
        """Whether this person moderates the room now. Raises TokenRevokedError."""
        try:
            levels = await self._client.state_event(room_id, "m.room.power_levels")
            if levels is not None and may_send_state(levels, user_id):
                return True
            return await self._is_creator(room_id, user_id)
        except TokenRevokedError:
            raise
        except HomeserverError as error:
            self._log.warning("power_not_seen", room=room_id, error=error.message)
            return False

    async def _is_creator(self, room_id: RoomId, user_id: UserId) -> bool:
        """From room version 12 on creators have power above all levels (MSC4289), and a room's id
        is that of the event that made it (MSC4291)."""
        if ":" in room_id:
            return False
        create = await self._client.event(room_id, f"${room_id[1:]}")
        if create is None or create.type != "m.room.create":
            return False
        more = create.content.get("additional_creators")
        return user_id == create.sender or (isinstance(more, list) and user_id in more)


def may_send_state(levels: dict[str, Any], user_id: UserId) -> bool:
    """Whether these power levels let this person send state of the room."""
    users = levels.get("users")
    own = users.get(user_id) if isinstance(users, dict) else None
    have = _level(own if own is not None else levels.get("users_default"), 0)
    need = _level(levels.get("state_default"), STATE_DEFAULT)
    return have is not None and need is not None and have >= need and have > 0


def _level(value: object, default: int) -> int | None:
    """A level; old rooms hold them as text, too. None: it is none."""
    if value is None:
        return default
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal() and len(value) < 20:
        return int(value)
    return None
