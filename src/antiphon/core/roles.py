"""Who may talk, invite and command, and which rooms may be entered. Pure decisions, default nobody.

Decided from the settings file and from the roles that were given while running; where the two say
different things: blocked (wherever it stands) > the file's admins > the file's allow-list > given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from antiphon.core.access import MAX_ID_BYTES, AllowList, glob_matches
from antiphon.core.people import Grant, Role
from antiphon.errors import SettingsError

_NOBODY = AllowList(())

# `!opaque` or `!opaque:server` (room version 12 has no server in it), `#alias:server`; the part
# before the first colon is opaque, behind it stands a server name, or a glob of one.
_ROOM = re.compile(
    r"(?P<local>[!#][^\s:\x00-\x1f\x7f-\x9f\ud800-\udfff]+)(?::(?P<server>[A-Za-z0-9.\-:\[\]*?]+))?"
)


class RoomList:
    """The rooms that some patterns name: ids (`!id:server`), aliases (`#name:server`), globs of
    either (`#*:example.org`), or `*`. Without any pattern: every room.

    As in `AllowList`, the two sides of the colon are matched apart and as a whole."""

    def __init__(self, patterns: Iterable[str] = (), setting: str = "[matrix] rooms"):
        """Raises SettingsError naming `setting` and the pattern that is none."""
        self._parts: list[tuple[str, str | None]] = []
        self._any = True
        for pattern in (raw.strip() for raw in patterns):
            if pattern == "*":
                self._parts = []
                self._any = True
                return
            parts = _room_parts(pattern)
            if parts is None:
                raise SettingsError(
                    f"{setting}: {pattern!r} names no room. Use !id:server, #alias:server, a glob "
                    "such as #*:server, or *."
                )
            self._parts.append(parts)
            self._any = False

    @property
    def any_room(self) -> bool:
        """Whether every room may be entered."""
        return self._any

    def allows(self, room_id: str, aliases: Iterable[str] = ()) -> bool:
        """Whether the room is meant by its id or one of its aliases. `aliases`: only those that the
        homeserver resolves to this very room; what a room says of itself proves nothing."""
        if self._any:
            return True
        names = [room_id] if room_id.startswith("!") else []
        names += [alias for alias in aliases if alias.startswith("#") and ":" in alias]
        return any(self._names(name) for name in names)

    def _names(self, name: str) -> bool:
        parts = _room_parts(name)
        if parts is None or "*" in (parts[1] or "") or "?" in (parts[1] or ""):
            return False
        local, server = parts
        return any(
            glob_matches(pattern, local)
            and (
                wanted == server
                if wanted is None or server is None
                else glob_matches(wanted, server)
            )
            for pattern, wanted in self._parts
        )


def _room_parts(text: str) -> tuple[str, str | None] | None:
    match = _ROOM.fullmatch(text)
    if match is None or len(text.encode()) > MAX_ID_BYTES:
        return None
    if match["server"] is None and text.startswith("#"):
        return None
    return match["local"], match["server"]


class Access:
    """The access policy of a bot at one moment. Ids are compared character by character, as
    `AllowList` does; what is no Matrix ID has no role. Never raises, whatever is asked."""

    def __init__(
        self,
        allow: AllowList = _NOBODY,
        admins: AllowList = _NOBODY,
        blocked: AllowList = _NOBODY,
        invite: AllowList = _NOBODY,
        rooms: RoomList | None = None,
        grants: Iterable[Grant] = (),
        *,
        fresh: bool = True,
    ):
        """`allow` … `rooms`: the settings file's. `grants`: given while running; where they are not
        `fresh` only `blocked` counts of them. A grant whose pattern is none names nobody."""
        self._allow = allow
        self._admins = admins
        self._blocked = blocked
        self._invite = invite
        self._rooms = RoomList() if rooms is None else rooms
        self._fresh = fresh
        given = tuple(grants)
        self._given = {role: _named(given, role) for role in Role}

    def with_grants(self, grants: Iterable[Grant], *, fresh: bool) -> Access:
        """The same file settings with other given roles."""
        return Access(
            self._allow,
            self._admins,
            self._blocked,
            self._invite,
            self._rooms,
            grants,
            fresh=fresh,
        )

    def role_of(self, user_id: str) -> Role | None:
        """The person's role; None where nobody gave one."""
        if self._blocked.allows(user_id) or self._given[Role.BLOCKED].allows(user_id):
            return Role.BLOCKED
        if self._admins.allows(user_id):
            return Role.ADMIN
        if self._allow.allows(user_id):
            # What the file allows may still be given more, never less.
            return Role.ADMIN if self._is_given(Role.ADMIN, user_id) else Role.USER
        for role in (Role.ADMIN, Role.USER):
            if self._is_given(role, user_id):
                return role
        return None

    def may_talk(self, user_id: str) -> bool:
        """Whether what this person says is answered."""
        return self.role_of(user_id) in (Role.ADMIN, Role.USER)

    def is_admin(self, user_id: str) -> bool:
        """Whether this person may give the admins' commands."""
        return self.role_of(user_id) is Role.ADMIN

    def may_invite(self, user_id: str) -> bool:
        """Whether an invitation by this person is taken: of those in `invite` and admins, or where
        nobody is in it, of everybody who may talk."""
        role = self.role_of(user_id)
        if role is Role.BLOCKED:
            return False
        if self._invite.nobody:
            return role is not None
        return role is Role.ADMIN or self._invite.allows(user_id)

    def may_enter(self, room_id: str, aliases: Iterable[str] = ()) -> bool:
        """Whether the room may be entered and answered in (`RoomList.allows`)."""
        return self._rooms.allows(room_id, aliases)

    @property
    def nobody(self) -> bool:
        """Whether nobody may talk: worth a warning at start."""
        given = self._fresh and not all(
            self._given[role].nobody for role in (Role.ADMIN, Role.USER)
        )
        return self._allow.nobody and self._admins.nobody and not given

    def _is_given(self, role: Role, user_id: str) -> bool:
        return self._fresh and self._given[role].allows(user_id)


def _named(grants: Iterable[Grant], role: Role) -> AllowList:
    """The people to whom a role was given."""
    patterns: list[str] = []
    for grant in grants:
        if grant.role is role:
            try:
                AllowList((grant.pattern,), "role")
            except SettingsError:
                continue  # kept by another version; nobody is meant by it
            patterns.append(grant.pattern)
    return AllowList(patterns, "role")
