"""What a surface may ask of the platform: the seam that `real.Platform` and the shipped fake
implement, and the values that cross it.

A surface knows chats and runs; it knows nothing of models, sockets or databases behind this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Literal, Protocol

import msgspec

from antiphon.core.chat_settings import ChatSettings
from antiphon.core.chats import Chat, KeptChat, Session
from antiphon.core.ids import ChatId, RoomId, RunId, SessionId, ThreadId, UserId
from antiphon.core.model import Place, Said
from antiphon.core.people import Forgotten, Role, UsageEntry, UsageSum
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope

__all__ = [
    "Chat",
    "ChatSettings",
    "Forgotten",
    "KeptChat",
    "Outcome",
    "Platform",
    "PlatformHealth",
    "Progress",
    "Role",
    "Rules",
    "Run",
    "Scope",
    "Session",
    "StateHealth",
    "ToolUse",
    "Usage",
    "UsageEntry",
    "UsageSum",
]


class Run(msgspec.Struct, frozen=True):
    """One asking of the agent for a turn. Frozen when the turn starts: the same `run_id` always
    carries the same body, so that asking again attaches."""

    run_id: RunId
    thread_id: ThreadId
    question: tuple[Said, ...]
    settings: ChatSettings = ChatSettings()


class ToolUse(msgspec.Struct, frozen=True):
    """A tool call as far as a surface shows it. `result` is None while it runs."""

    name: str
    args: str
    result: str | None = None
    outcome: Literal["ok", "error", "unknown"] | None = None


class Usage(msgspec.Struct, frozen=True):
    """What a run took, over all of its attempts: tokens that the model was sent and tokens that it
    gave, and seconds of work. `estimated`: the model did not count (all of) them, the agent did."""

    input_tokens: int
    output_tokens: int
    seconds: float
    estimated: bool = False


class Outcome(msgspec.Struct, frozen=True):
    """How a run ended. `error`: `code` and `message` (a sentence for the person) are set. `usage`
    is None where the agent did not say it."""

    kind: Literal["success", "cancelled", "error"]
    code: str = ""
    message: str = ""
    retryable: bool = False
    usage: Usage | None = None


class Progress(msgspec.Struct, frozen=True):
    """The state of an answer now: the whole text so far, the tools used, and the outcome once
    there is one. `text` may shrink when a run is resumed: text after its
    last whole step is void."""

    text: str
    tools: tuple[ToolUse, ...] = ()
    model: str | None = None
    outcome: Outcome | None = None


class PlatformHealth(msgspec.Struct, frozen=True):
    """Whether the platform can be reached, and a sentence that says so. `code`: of the error
    when it can't, such as `agent_refused` for a token that the agent does not accept."""

    ok: bool
    detail: str
    code: str = ""


class StateHealth(msgspec.Struct, frozen=True):
    """How it stands with whoever keeps users, chats and settings. `remote`: a control plane does.
    `ok`: it can be asked now. `waiting`: changes that it has not been told yet; `conflicts`:
    changes that it did not take as they were, one sentence each, newest last."""

    remote: bool
    ok: bool
    detail: str
    waiting: int = 0
    conflicts: tuple[str, ...] = ()


class Platform(Protocol):
    """The platform as a surface sees it. `request_id` names one change (the id of the turn that
    asked): asked for again under it, nothing is changed again and the answer is the same; another
    change under it is refused (PlatformError `conflict`). `by`: who asked, for the audit log. What
    `by` may do was decided by the surface; a chat or session of another place is `unknown_chat` or
    `unknown_session`, whether it exists or not.

    `chat`, `new_session`, `move_chat` and `resolve` need whoever keeps chats and settings: they
    raise DatabaseError where that is a database of ours which failed, and PlatformError where it
    is asked over the network and did not answer or refused (`retryable` says whether the same call
    may succeed later). Then nothing was changed, and the same call can be made again."""

    async def chat(self, place: Place) -> Chat:
        """The chat of a place, made with a first session when it is new. Idempotent. Raises
        PlatformError `wrong_surface` for a place of another surface, never to be retried."""
        ...

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        """Begins another session of the chat and makes it current. Idempotent by `request_id`
        (the id of the turn that asked). Raises PlatformError `unknown_chat`."""
        ...

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]:
        """The sessions of the chat whose memory was not forgotten, archived ones too, by number.
        Raises PlatformError `unknown_chat`."""
        ...

    async def switch_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        """Makes a session of this chat the current one, and brings it back where it was archived.
        Idempotent. Raises PlatformError `unknown_session`."""
        ...

    async def rename_session(
        self, chat_id: ChatId, session_id: SessionId, title: str, request_id: str
    ) -> Session:
        """Gives a session of this chat a title of up to 200 characters (empty: none). Idempotent.
        Raises PlatformError `unknown_session`, `bad_value`."""
        ...

    async def archive_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        """Puts a session out of sight; where it was the current one, another begins. Gives the one
        that is current now. Idempotent. Raises PlatformError `unknown_session`."""
        ...

    async def move_chat(self, old: Place, new: Place) -> None:
        """The chat of `old` goes on, with its memory, in `new` (a room upgrade). Idempotent; does
        nothing where `old` has no chat or `new` already has one."""
        ...

    async def chats(self, account: UserId) -> tuple[KeptChat, ...]:
        """All chats of this account of the surface, ordered by room. Changes nothing."""
        ...

    async def forget_chat(self, place: Place) -> None:
        """The place has no chat any more and none of its threads is ever used again; a chat that
        begins there later knows nothing of it. What the agent has stays until `forget` erases it
        there. Idempotent."""
        ...

    async def resolve(self, chat: Chat, user_id: UserId) -> ChatSettings:
        """The settings of a run that `user_id` asks for in `chat`."""
        ...

    async def rules(self) -> Rules:
        """The newest snapshot of roles and wide settings; where they can't be asked for, the last
        one that was known, for a while (`Rules.fresh`). Cheap; never asks the agent."""
        ...

    async def rules_after(self, version: str) -> Rules:
        """Waits until the rules are others than those of `version`; gives them."""
        ...

    async def set_setting(
        self, scope: Scope, key: str, value: Any, *, by: UserId, request_id: str
    ) -> None:
        """Sets (None: unsets) one setting in one scope, durably. `scope.surface` is this surface's
        or empty. A change of `isolation` lets every chat that it concerns begin a new session.
        Raises SettingsError (`unknown_setting`, `bad_value`, `bad_scope`): it says what may be."""
        ...

    async def settings(self, scope: Scope) -> dict[str, Any]:
        """What is set in this scope alone."""
        ...

    async def models(self) -> tuple[str, ...]:
        """The models that a run may ask for, the agent's own first. Raises AgentUnreachableError
        and AgentRefusedError."""
        ...

    async def set_role(
        self, pattern: str, role: Role | None, *, by: UserId, request_id: str
    ) -> None:
        """Gives the people of a pattern (an id or a glob) a role, or takes it back. Idempotent.
        Raises SettingsError for a pattern that is none."""
        ...

    async def record_usage(self, entries: tuple[UsageEntry, ...]) -> None:
        """Counts what runs used, each once. Durable; may be called again with the same."""
        ...

    async def usage(
        self, *, since_ms: int, user_id: UserId | None = None, room: RoomId | None = None
    ) -> UsageSum:
        """What was used on this surface since a time, by a person, in a room, or both."""
        ...

    async def forget_user(self, user_id: UserId, request_id: str) -> Forgotten:
        """Erases what is kept of a person: chats that are theirs alone, settings, usage, roles.
        What only admins decide about them stays: `blocked`, and their limits. What the agent
        remembers of them is then owed to it: `forget` for `threads`, `erase_author` for `shared`.
        Idempotent."""
        ...

    async def export_user(self, user_id: UserId) -> dict[str, Any]:
        """All that is kept of a person here, as JSON values; not what was said."""
        ...

    async def erase_author(self, thread_id: ThreadId, user_id: UserId) -> None:
        """Erases from the thread every run in which `user_id` said something. As `cancel`
        otherwise."""
        ...

    async def state_health(self) -> StateHealth:
        """How it stands with users, chats and settings; never raises."""
        ...

    def answer(self, run: Run) -> AsyncGenerator[Progress, None]:
        """Asks for `run`, or reattaches where it was asked before, and yields its progress.

        A slow reader gets the newest state, not every one. The last value, and only that, has an
        outcome; then the iteration ends. A cut connection is mended inside. Closing the iterator
        leaves the run alone. Raises AgentUnreachableError when there was no sign of the agent for
        `answer_timeout_s`, AgentRefusedError when it does not accept our token, and
        AgentProtocolError when it refuses the run: `code` is then an `agent_api` ErrorCode."""
        ...

    async def cancel(self, thread_id: ThreadId, run_id: RunId) -> None:
        """Ends the run, started or not; returns when the agent has it durably. Idempotent.
        Raises AgentUnreachableError: the caller keeps the debt."""
        ...

    async def withdraw(self, thread_id: ThreadId, run_id: RunId) -> None:
        """Cancels the run if it is open and erases it from the thread. As `cancel` otherwise."""
        ...

    async def forget(self, thread_id: ThreadId) -> None:
        """Erases the thread at the agent. As `cancel` otherwise."""
        ...

    async def export_thread(self, thread_id: ThreadId) -> bytes | None:
        """What the thread remembers, as an archive for `import_thread`: its ended runs, without
        those that were withdrawn. None where the agent knows nothing of it (any more). Raises
        AgentUnreachableError, AgentRefusedError, and AgentProtocolError with the agent's code."""
        ...

    async def import_thread(self, thread_id: ThreadId, archive: bytes) -> None:
        """Gives a new thread this memory; runs in it that are asked for again end as they did.
        Idempotent. Raises as `export_thread`; codes: `thread_gone` for an id that was forgotten,
        `conflict` for a thread that remembers something else, `bad_archive`,
        `archive_too_large`. Nothing is changed then."""
        ...

    async def check(self) -> PlatformHealth:
        """Whether an answer could be had now; never raises."""
        ...
