"""Where a setting of a chat applies, from the widest scope to the narrowest. Pure values."""

from __future__ import annotations

from typing import Literal

import msgspec

from antiphon.core.ids import UserId
from antiphon.core.model import Place

ScopeKind = Literal["platform", "surface", "room", "user"]

SCOPES: tuple[ScopeKind, ...] = ("platform", "surface", "room", "user")
"""From the widest to the narrowest; the narrower one wins, setting by setting."""


class Scope(msgspec.Struct, frozen=True):
    """Where a setting applies: everywhere, on a surface, in a room of it, or for a user of it.

    `surface` is empty for `platform`; `subject` is the room's or the user's id, else empty."""

    kind: ScopeKind
    surface: str = ""
    subject: str = ""


def scopes_of(place: Place, user_id: UserId) -> tuple[Scope, ...]:
    """The scopes that apply to what `user_id` asks in `place`, the widest first."""
    return (
        Scope("platform"),
        Scope("surface", place.surface),
        Scope("room", place.surface, place.room),
        Scope("user", place.surface, user_id),
    )
