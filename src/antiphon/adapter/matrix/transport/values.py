"""What the client's calls give back, as frozen values. No I/O."""

from __future__ import annotations

import msgspec

from antiphon.adapter.matrix.transport.events import Event, Problem
from antiphon.settings import Secret


class WhoAmI(msgspec.Struct, frozen=True):
    """Whose token it is. `device_id` is None for tokens without a device (an app service's)."""

    user_id: str
    device_id: str | None


class AdminUser(msgspec.Struct, frozen=True):
    """An account as an administrator sees it."""

    admin: bool
    deactivated: bool


class Login(msgspec.Struct, frozen=True):
    """A login that was just made."""

    user_id: str
    device_id: str
    access_token: Secret


class MessagesPage(msgspec.Struct, frozen=True):
    """One page of a room's history, in the direction that was asked for.

    `end` is the token for the next page; None says that there is nothing further."""

    events: tuple[Event, ...]
    end: str | None
    problems: tuple[Problem, ...]
