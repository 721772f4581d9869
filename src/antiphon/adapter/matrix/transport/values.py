"""What the client's calls give back, as frozen values. No I/O."""

from __future__ import annotations

from typing import Any

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


class Device(msgspec.Struct, frozen=True):
    """A login of our own account. `last_seen_ts`: milliseconds since the epoch, if known."""

    device_id: str
    display_name: str | None
    last_seen_ts: int | None


class DeviceLists(msgspec.Struct, frozen=True):
    """Whose keys changed, and who shares no room with us any more, between two syncs."""

    changed: tuple[str, ...]
    left: tuple[str, ...]


class UserAuth(msgspec.Struct, frozen=True):
    """What the homeserver wants before it does what it was asked for (spec: "User-Interactive
    Authentication API").

    `flows`: ways to satisfy it, each a sequence of stages; `completed`: stages that are done in
    this `session` (None: the homeserver keeps none). `refused`: the last answer was wrong.
    `url` is where a person must approve it instead, if the homeserver named such a place (MSC4312:
    accounts of an authentication service)."""

    session: str | None
    flows: tuple[tuple[str, ...], ...]
    completed: tuple[str, ...] = ()
    refused: bool = False
    url: str | None = None

    @property
    def takes_password(self) -> bool:
        """Whether the account's password alone is what is missing."""
        return any(set(flow) - set(self.completed) == {"m.login.password"} for flow in self.flows)


class PasswordAuth(msgspec.Struct, frozen=True):
    """The password stage of a UserAuth's `session`."""

    session: str | None
    user_id: str
    password: Secret


class KeyBackupVersion(msgspec.Struct, frozen=True):
    """A backup of room keys. `auth_data` is as it was sent: trust nothing in it before its
    signatures were checked. `etag` changes with every change of the keys."""

    version: str
    algorithm: str
    auth_data: dict[str, Any]
    count: int
    etag: str


class KeyBackupState(msgspec.Struct, frozen=True):
    """How many keys a backup holds, and the tag of just this content."""

    count: int
    etag: str


class MessagesPage(msgspec.Struct, frozen=True):
    """One page of a room's history, in the direction that was asked for.

    `end` is the token for the next page; None says that there is nothing further."""

    events: tuple[Event, ...]
    end: str | None
    problems: tuple[Problem, ...]
