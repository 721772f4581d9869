"""What a surface may ask of the platform: the seam that `real.Platform` and the shipped fake
implement, and the values that cross it.

A surface knows chats and runs; it knows nothing of models, sockets or databases behind this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

import msgspec

from antiphon.core.ids import ChatId, RunId, SessionId, ThreadId, UserId
from antiphon.core.model import Place, Said


class Session(msgspec.Struct, frozen=True):
    """One memory of a chat, named at the agent by `thread_id` (random, minted by the sdk)."""

    session_id: SessionId
    chat_id: ChatId
    thread_id: ThreadId
    started_ms: int


class Chat(msgspec.Struct, frozen=True):
    """One conversation as we see it, with its current session."""

    chat_id: ChatId
    place: Place
    session: Session


class KeptChat(msgspec.Struct, frozen=True):
    """A chat that is kept, with the threads of all its sessions, forgotten ones too."""

    place: Place
    threads: tuple[ThreadId, ...]


class ResolvedSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What applies to one run, after all scopes; `None` leaves it to the agent."""

    model: str | None = None
    system_prompt: str | None = None
    tools: tuple[str, ...] | None = None
    max_output_tokens: int | None = None
    deadline_s: float | None = None


class Run(msgspec.Struct, frozen=True):
    """One asking of the agent for a turn. Frozen when the turn starts: the same `run_id` always
    carries the same body, so that asking again attaches."""

    run_id: RunId
    thread_id: ThreadId
    question: tuple[Said, ...]
    settings: ResolvedSettings = ResolvedSettings()


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


class Platform(Protocol):
    """The platform as a surface sees it.

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

    async def resolve(self, chat: Chat, user_id: UserId) -> ResolvedSettings:
        """The settings of a run that `user_id` asks for in `chat`."""
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
