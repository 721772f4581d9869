"""What a surface must know of everybody before it looks at any message: the roles that were given
and what the wide scopes and the rooms set. A snapshot, so that policy is decided without asking."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.core.chat_settings import ChatSettings, merge
from antiphon.core.ids import RoomId, UserId
from antiphon.core.people import Grant
from antiphon.core.scopes import Scope


class SetValue(msgspec.Struct, frozen=True):
    """One setting in one scope; `value` as `core.chat_settings.check` gives it."""

    scope: Scope
    key: str
    value: Any


class Rules(msgspec.Struct, frozen=True):
    """The snapshot of a surface. `version` changes whenever anything in it does. `settings`: of the
    scopes platform, surface and room, and the limits of users. `base`: of the settings file.
    `erased`: people who were erased and when, newest last. `fresh`: the roles are known to be the
    newest; where they are not, a role that was given while running counts no more, except
    `blocked`."""

    version: str
    grants: tuple[Grant, ...] = ()
    settings: tuple[SetValue, ...] = ()
    base: dict[str, Any] = {}
    erased: tuple[tuple[UserId, int], ...] = ()
    fresh: bool = True

    def of_room(self, surface: str, room: RoomId) -> ChatSettings:
        """What applies in a room, whoever asks."""
        wide = (Scope("platform"), Scope("surface", surface), Scope("room", surface, room))
        return merge(
            ((s.scope, s.key, s.value) for s in self.settings if s.scope in wide), self.base
        )

    def of_scope(self, scope: Scope) -> dict[str, Any]:
        """What is set in this scope alone."""
        return {s.key: s.value for s in self.settings if s.scope == scope}
