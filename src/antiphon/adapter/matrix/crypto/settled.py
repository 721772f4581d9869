"""Which rooms are settled: everybody who may read the next message has the key of its session, so
that it can be written without looking at anybody's devices. In memory: a new life looks anew.

Whatever changes in the key store about a person is told here once it is committed, and unsettles
the rooms that they are in.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from antiphon.adapter.matrix.crypto.values import Problem, RoomSettings


class SettledRoom(msgspec.Struct, frozen=True, kw_only=True):
    """A room whose session was given to all devices of `members` but the `missing`; `asked` are the
    members without ourselves, where we were not named. It holds from `since_ms` to `until_ms`,
    as long as nothing changes."""

    session_id: str
    asked: frozenset[str]
    members: frozenset[str]
    settings: RoomSettings
    missing: tuple[Problem, ...]
    since_ms: int
    until_ms: int

    def fits(self, members: Collection[str], settings: RoomSettings, now_ms: int) -> bool:
        """Whether it is so for these members, encrypted so, and now."""
        if not self.since_ms <= now_ms < self.until_ms:
            return False
        same = self.asked is members or self.asked == frozenset(members)
        return same and self.settings == settings


class Settling:
    """A room that is being settled for `members`; `disturbed` where something of theirs has changed
    meanwhile."""

    def __init__(self, members: frozenset[str]):
        self.members = members
        self.disturbed = False


class SettledRooms:
    """The settled rooms of one life, and those that are being settled."""

    def __init__(self) -> None:
        self._rooms: dict[str, SettledRoom] = {}
        self._under_way: dict[str, Settling] = {}

    def of(
        self, room_id: str, members: Collection[str], settings: RoomSettings, now_ms: int
    ) -> SettledRoom | None:
        """The room as it is settled for these members; None where it is not."""
        found = self._rooms.get(room_id)
        return found if found is not None and found.fits(members, settings, now_ms) else None

    def last(self, room_id: str, now_ms: int) -> SettledRoom | None:
        """The room as it is settled, for whomever."""
        found = self._rooms.get(room_id)
        if found is None or not found.fits(found.asked, found.settings, now_ms):
            return None
        return found

    def begin(self, room_id: str, members: frozenset[str]) -> Settling:
        """Somebody looks at the members' devices from now on; one at a time for each room."""
        self._rooms.pop(room_id, None)
        self._under_way[room_id] = settling = Settling(members)
        return settling

    def keep(self, room_id: str, settling: Settling, settled: SettledRoom) -> None:
        """The room is settled, unless that was disturbed."""
        if self._under_way.get(room_id) is settling:
            del self._under_way[room_id]
            if not settling.disturbed:
                self._rooms[room_id] = settled

    def forget(self, room_id: str) -> None:
        """The room's session is spent, or not the room's any more."""
        self._rooms.pop(room_id, None)

    def heard(self, users: Collection[str]) -> None:
        """Devices of these people wrote to us: those of them that had no one-time key for us may
        be given keys now."""
        self._disturb(users)
        for room_id, room in list(self._rooms.items()):
            if any(one.user_id in users and one.code == "m.no_olm" for one in room.missing):
                del self._rooms[room_id]

    def changed(self, users: Collection[str] | None) -> None:
        """Something has changed about these people's devices (None: about anybody's)."""
        self._disturb(users)
        for room_id, room in list(self._rooms.items()):
            if users is None or not room.members.isdisjoint(users):
                del self._rooms[room_id]

    def _disturb(self, users: Collection[str] | None) -> None:
        for settling in self._under_way.values():
            if users is None or not settling.members.isdisjoint(users):
                settling.disturbed = True
