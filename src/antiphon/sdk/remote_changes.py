"""Changes that a control plane has not been told yet, as values that lie in a queue: written down
in the transaction that makes them here, told in order, each under its request's name. No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.core.chats import Session
from antiphon.core.ids import ChatId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Role, UsageEntry
from antiphon.core.scopes import Scope


class AdoptChat(msgspec.Struct, frozen=True, tag="adopt_chat"):
    """A chat that began here, with its first session."""

    place: Place
    session: Session

    @property
    def what(self) -> str:
        return f"The chat that began in {self.place.room}"


class BeginSession(msgspec.Struct, frozen=True, tag="begin_session"):
    """Another session of a chat, with the ids that it got here."""

    session: Session

    @property
    def what(self) -> str:
        return "A new conversation of a chat"


class ChangeSession(msgspec.Struct, frozen=True, tag="change_session"):
    """A session's title, whether it is archived, or that it is the current one."""

    chat_id: ChatId
    session_id: SessionId
    title: str | None = None
    archived: bool | None = None
    current: bool = False

    @property
    def what(self) -> str:
        if self.current:
            return "Switching to another conversation of a chat"
        return "Archiving a conversation" if self.title is None else "Renaming a conversation"

    @property
    def body(self) -> dict[str, Any]:
        """As it is asked for."""
        values = {"title": self.title, "archived": self.archived, "current": self.current or None}
        return {key: value for key, value in values.items() if value is not None}


class MoveChat(msgspec.Struct, frozen=True, tag="move_chat"):
    """A chat that goes on in another place."""

    chat_id: ChatId
    new: Place

    @property
    def what(self) -> str:
        return f"Moving a chat to {self.new.room}"


class ForgetChat(msgspec.Struct, frozen=True, tag="forget_chat"):
    """A chat that is not there any more. `chat_id` is None where it was not known here."""

    place: Place
    chat_id: ChatId | None

    @property
    def what(self) -> str:
        return f"Forgetting the chat in {self.place.room}"


class Retire(msgspec.Struct, frozen=True, tag="retire"):
    """A thread that must never be used again."""

    thread_id: ThreadId

    @property
    def what(self) -> str:
        return "Forgetting a conversation"


class SetSetting(msgspec.Struct, frozen=True, tag="set_setting"):
    """A setting in a scope; None unsets it."""

    scope: Scope
    key: str
    value: Any
    by: UserId

    @property
    def what(self) -> str:
        # A person's id stays out of it: the sentence outlives them.
        of = {"platform": "everywhere", "surface": "on this surface", "user": "for a person"}
        where = of.get(self.scope.kind, f"in {self.scope.subject}")
        return f"{'Setting' if self.value is not None else 'Unsetting'} `{self.key}` {where}"


class SetRole(msgspec.Struct, frozen=True, tag="set_role"):
    """A role of the people of a pattern; None takes it back."""

    pattern: str
    role: Role | None
    by: UserId

    @property
    def what(self) -> str:
        return "Giving a role" if self.role is not None else "Taking a role back"


class RecordUsage(msgspec.Struct, frozen=True, tag="record_usage"):
    """What runs used."""

    entries: tuple[UsageEntry, ...]

    @property
    def what(self) -> str:
        return f"Counting what {len(self.entries)} answers used"


class ForgetUser(msgspec.Struct, frozen=True, tag="forget_user"):
    """A person who is erased."""

    user_id: UserId

    @property
    def what(self) -> str:
        return "Erasing a person"


Change = (
    AdoptChat
    | BeginSession
    | ChangeSession
    | MoveChat
    | ForgetChat
    | Retire
    | SetSetting
    | SetRole
    | RecordUsage
    | ForgetUser
)


def encode(change: Change) -> str:
    """As it lies in the queue."""
    return msgspec.json.encode(change).decode()


def decode(text: str) -> Change:
    """The change in the queue."""
    change: Change = msgspec.json.decode(text, type=Change)
    return change


def of_person(change: Change, user_id: UserId) -> bool:
    """Whether the change would give an erased person something again."""
    return (
        isinstance(change, SetSetting)
        and change.scope.kind == "user"
        and change.scope.subject == user_id
    )
