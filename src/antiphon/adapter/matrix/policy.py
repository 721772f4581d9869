"""What applies now: who may do what, what is set, what a chat is. Reads one snapshot; asks nobody.

`rules_watch` keeps the snapshot; the journal's transactions decide by it, in whatever thread."""

from __future__ import annotations

from collections.abc import Iterable

from antiphon.adapter.matrix.journal.ruling import Known, narrower
from antiphon.adapter.matrix.journal.turns import Lane
from antiphon.core.access import AllowList
from antiphon.core.chat_settings import ChatSettings, Isolation
from antiphon.core.ids import EventId, RoomId, UserId
from antiphon.core.limits import Limits, day_start_ms, person_limits, room_limits
from antiphon.core.people import UsageEntry
from antiphon.core.roles import Access, RoomList
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope
from antiphon.settings import MatrixSettings

SURFACE = "matrix"


def access_of(matrix: MatrixSettings) -> Access:
    """What the settings file says of people and rooms. Raises SettingsError naming the setting."""
    return Access(
        AllowList(matrix.allow),
        AllowList(matrix.admins, "[matrix] admins"),
        AllowList(matrix.blocked, "[matrix] blocked"),
        AllowList(matrix.invite, "[matrix] invite"),
        RoomList(matrix.rooms),
    )


class _Snapshot:
    """One moment of the rules, with what was worked out of it."""

    def __init__(self, file: Access, known: Known, *, fresh: bool):
        self.known = known
        self.fresh = fresh
        self.access = file.with_grants(known.rules.grants, fresh=fresh)
        self.wide = known.rules.of_room(SURFACE, RoomId(""))
        self.set_for = {s.scope.subject for s in known.rules.settings if s.scope.kind == "room"}
        self.rooms: dict[RoomId, ChatSettings] = {}
        self.own: dict[RoomId, Isolation | None] = {}


class Policy:
    """The newest snapshot. Before there is one nobody may do anything."""

    def __init__(self, file: Access, display_name: str = ""):
        self._file = file
        self.display_name = display_name
        """What the bot is called, for messages that name it in their text."""
        self.aliases: dict[RoomId, tuple[str, ...]] = {}
        """Of rooms: aliases that the homeserver resolves to them."""
        self._now = _Snapshot(Access(), Known(Rules(""), 0), fresh=False)
        self._tokens: dict[tuple[UserId | None, RoomId | None], tuple[int, int]] = {}
        self._counted: dict[tuple[UserId | None, RoomId | None], int] = {}

    def apply(self, known: Known, *, fresh: bool) -> None:
        """These are the rules now. `fresh`: they are known to be the newest."""
        self._now = _Snapshot(self._file, known, fresh=fresh)

    @property
    def known(self) -> Known:
        """What is applied."""
        return self._now.known

    @property
    def fresh(self) -> bool:
        """Whether what is applied is known to be the newest."""
        return self._now.fresh

    @property
    def access(self) -> Access:
        """Who may do what."""
        return self._now.access

    def may_enter(self, room_id: RoomId) -> bool:
        """Whether the room may be entered and answered in."""
        return self.access.may_enter(room_id, self.aliases.get(room_id, ()))

    def settings(self, room_id: RoomId) -> ChatSettings:
        """What is set for a room, whoever asks in it."""
        now = self._now
        if room_id not in now.set_for:
            return now.wide
        if room_id not in now.rooms:
            now.rooms[room_id] = now.known.rules.of_room(SURFACE, room_id)
        return now.rooms[room_id]

    def isolation(self, room_id: RoomId, predecessors: Iterable[RoomId] = ()) -> Isolation:
        """What a chat is in this room. A room that replaces others, and for which nobody has set
        it, is not wider than they are; where the rules may have changed, nothing is wider than it
        ever was."""
        now = self._now
        values = [self.settings(room_id).isolation]
        if self._own_isolation(now, room_id) is None:
            values += [self.settings(before).isolation for before in predecessors]
        if not now.fresh:
            names = ["", room_id, *predecessors]
            values += [now.known.narrowest.get(name, "room") for name in names]
        return narrower(*values)

    def lane(
        self,
        room_id: RoomId,
        thread_root: EventId | None,
        sender: UserId,
        predecessors: Iterable[RoomId] = (),
    ) -> Lane:
        """The chat of a message that `sender` says now."""
        match self.isolation(room_id, predecessors):
            case "room":
                return Lane(room_id)
            case "thread":
                return Lane(room_id, place_thread=thread_root or "")
            case _:
                return Lane(room_id, place_user=sender)

    def person_limits(self, user_id: UserId) -> Limits:
        """What a person may use."""
        return person_limits(self._now.known.rules, SURFACE, user_id)

    def room_limits(self, room_id: RoomId) -> Limits:
        """What everybody in a room may use together."""
        return room_limits(self._now.known.rules, SURFACE, room_id)

    def tokens_today(
        self, now_ms: int, *, by: UserId | None = None, room: RoomId | None = None
    ) -> int:
        """The tokens of today's runs as last counted."""
        day, tokens = self._tokens.get((by, room), (0, 0))
        return tokens if day == day_start_ms(now_ms) else 0

    def count_tokens(
        self, now_ms: int, tokens: int, *, by: UserId | None = None, room: RoomId | None = None
    ) -> None:
        """So many tokens were used today. Never fewer than were counted before: a person who is
        erased at their own wish has used up what they have used up, for this day."""
        today = day_start_ms(now_ms)
        if any(day != today for day, _ in self._tokens.values()):
            self._tokens, self._counted = {}, {}
        most = max(tokens, self._counted.get((by, room), 0))
        self._counted[by, room] = most
        self._tokens[by, room] = (today, most)

    def used(self, entry: UsageEntry) -> None:
        """This was used too: what is counted already grows by it until it is counted anew."""
        tokens = entry.input_tokens + entry.output_tokens
        for key in ((entry.user_id, None), (None, entry.room)):
            day, before = self._tokens.get(key, (-1, 0))
            if day == day_start_ms(entry.at_ms):
                self._tokens[key] = (day, before + tokens)

    @staticmethod
    def _own_isolation(now: _Snapshot, room_id: RoomId) -> Isolation | None:
        if room_id not in now.own:
            found = now.known.rules.of_scope(Scope("room", SURFACE, room_id))
            now.own[room_id] = found.get("isolation") if room_id in now.set_for else None
        return now.own[room_id]
