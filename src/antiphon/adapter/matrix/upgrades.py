"""Room upgrades: the chat follows its room, with its memory, where the new room proves where it
comes from. A tombstone alone proves nothing: anyone who may write it can name any room."""

from __future__ import annotations

import msgspec

from antiphon.adapter.matrix.journal import rooms
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.policy import SURFACE
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.core.ids import RoomId, UserId
from antiphon.core.model import Place
from antiphon.crash import crash_point
from antiphon.errors import MatrixApiError
from antiphon.sdk.interface import Platform
from antiphon.telemetry import logger


class Upgrades:
    """Follows tombstones that the journal holds. Its calls raise what the homeserver raises for
    something that may pass; they are tried again then."""

    def __init__(
        self,
        me: UserId,
        client: MatrixClient,
        journal: Journal,
        platform: Platform,
        clock: Clock,
    ):
        self._me = me
        self._client = client
        self._journal = journal
        self._platform = platform
        self._clock = clock
        self._log = logger("matrix.upgrades")

    async def follow(self, upgrade: rooms.Upgrade) -> bool:
        """Does what can be done now for one upgrade; whether it is decided."""
        membership = await self._journal.read(lambda c: rooms.membership(c, upgrade.successor))
        if membership == "join":
            await self._decide(upgrade)
            return True
        if upgrade.followed == "owed" and membership in (None, "leave"):
            await self._try_to_join(upgrade)
        return False  # an invite, or the join that /sync will show, comes first

    async def _try_to_join(self, upgrade: rooms.Upgrade) -> None:
        server = upgrade.successor.partition(":")[2]
        try:
            await self._client.join(upgrade.successor, via=(server,) if server else ())
        except MatrixApiError as error:
            self._log.info("upgrade_needs_an_invite", room=upgrade.room_id, errcode=error.errcode)
        await self._journal.write(lambda c: rooms.set_followed(c, upgrade.room_id, "tried"))

    async def _decide(self, upgrade: rooms.Upgrade) -> None:
        proven = await self._names_as_predecessor(upgrade.successor, upgrade.room_id)
        if proven:
            await self._move(upgrade)
            self._log.info("upgrade_followed", room=upgrade.room_id, to=upgrade.successor)
        else:
            self._log.warning("upgrade_refused", room=upgrade.room_id, names=upgrade.successor)
        await self._journal.write(
            lambda c: rooms.set_followed(c, upgrade.room_id, "done" if proven else "refused")
        )

    async def _move(self, upgrade: rooms.Upgrade) -> None:
        """Every chat of the room moves: the room's own, each thread's, each person's."""
        room = Place(SURFACE, self._me, upgrade.room_id)
        # The room itself even where it has no chat: what is set for it goes along.
        places = [chat.place for chat in await self._platform.chats(self._me)]
        for place in (room, *(p for p in places if p.room == upgrade.room_id and p != room)):
            moved = msgspec.structs.replace(place, room=upgrade.successor)
            await self._platform.move_chat(place, moved)
            crash_point("upgrade.moved")

    async def _names_as_predecessor(self, room_id: RoomId, predecessor: RoomId) -> bool:
        try:
            create = await self._client.state_event(room_id, "m.room.create")
        except MatrixApiError:
            return False
        named = (create or {}).get("predecessor")
        return isinstance(named, dict) and named.get("room_id") == predecessor
