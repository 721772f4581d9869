"""`FakePlatform`: the platform in memory, with scripted answers, for tests of surfaces.

It keeps what it is told like a platform that survives the surface: give one FakePlatform to two
lives of an adapter to test a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import msgspec

from antiphon.agent_api.answer import join_steps
from antiphon.clock import Clock
from antiphon.core.ids import ChatId, RoomId, RunId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    AntiphonError,
    DatabaseError,
    PlatformError,
)
from antiphon.sdk.interface import (
    Chat,
    ChatSettings,
    Forgotten,
    KeptChat,
    Outcome,
    PlatformHealth,
    Progress,
    Role,
    Rules,
    Run,
    Scope,
    Session,
    StateHealth,
    ToolUse,
    UsageEntry,
    UsageSum,
)
from antiphon.sdk.prototype_state import LocalState
from antiphon.testing.memory_state import memory_state
from antiphon.testing.script import NextStep, Rewind, Script, Step, gate_or_stop, words


def echo(run: Run) -> Sequence[Step]:
    """The default answer: what was said, word by word."""
    return words([said.text for said in run.question])


class FakePlatform:
    """Implements `sdk.interface.Platform`.

    `script.reply(...)` queues the answer of the next new run (the default echoes the question);
    `runs` has each run once, in the order first asked; `asks` every call of `answer`, `cancelled`,
    `withdrawn`, `forgotten` and `erased` every call of those. Set `unreachable` or `refused` to
    make the calls to the agent fail, `state_lost` those to whoever keeps users and chats; `usage`
    of an outcome that a script gives is told as it is. `state` is where all else is kept: real
    statements, in memory."""

    def __init__(
        self,
        surface: str = "matrix",
        *,
        base: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.script: Script[Run] = Script(echo)
        self.state = memory_state(surface, base=base, clock=clock)
        self.known_models: tuple[str, ...] = ("fake",)
        self.unreachable = False
        self.refused = False
        self.state_lost = False
        self.runs: list[Run] = []
        self.asks: list[RunId] = []
        self.cancelled: list[tuple[ThreadId, RunId]] = []
        self.withdrawn: list[tuple[ThreadId, RunId]] = []
        self.forgotten: list[ThreadId] = []
        self.erased: list[tuple[ThreadId, UserId]] = []
        self._surface = surface
        self._live: dict[RunId, _LiveRun] = {}
        self._remembered: dict[tuple[ThreadId, RunId], _Remembered] = {}

    def reply(self, *steps: Step) -> None:
        """Queues the answer of the next new run: `script.reply`."""
        self.script.reply(*steps)

    # --- chats ----------------------------------------------------------------------------------

    async def chat(self, place: Place) -> Chat:
        self._own(place)
        return await self._kept().chat(place)

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        return await self._kept().new_session(chat_id, request_id)

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]:
        return await self._kept().sessions(chat_id)

    async def switch_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        return await self._kept().switch_session(chat_id, session_id, request_id)

    async def rename_session(
        self, chat_id: ChatId, session_id: SessionId, title: str, request_id: str
    ) -> Session:
        return await self._kept().rename_session(chat_id, session_id, title, request_id)

    async def archive_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        return await self._kept().archive_session(chat_id, session_id, request_id)

    async def move_chat(self, old: Place, new: Place) -> None:
        self._own(old)
        self._own(new)
        await self._kept().move_chat(old, new)

    async def chats(self, account: UserId) -> tuple[KeptChat, ...]:
        return await self._kept().chats(self._surface, account)

    async def forget_chat(self, place: Place) -> None:
        self._own(place)
        await self._kept().forget_chat(place)

    # --- settings, roles, usage, people ---------------------------------------------------------

    async def resolve(self, chat: Chat, user_id: UserId) -> ChatSettings:
        return await self._kept().resolve(chat.place, user_id)

    async def rules(self) -> Rules:
        return await self._kept().rules()

    async def rules_after(self, version: str) -> Rules:
        return await self._kept().rules_after(version)

    async def set_setting(
        self, scope: Scope, key: str, value: Any, *, by: UserId, request_id: str
    ) -> None:
        await self._kept().set_setting(scope, key, value, by=by, request_id=request_id)

    async def settings(self, scope: Scope) -> dict[str, Any]:
        return await self._kept().settings(scope)

    async def models(self) -> tuple[str, ...]:
        self._reach()
        return self.known_models

    async def set_role(
        self, pattern: str, role: Role | None, *, by: UserId, request_id: str
    ) -> None:
        await self._kept().set_role(pattern, role, by=by, request_id=request_id)

    async def record_usage(self, entries: tuple[UsageEntry, ...]) -> None:
        await self._kept().record_usage(entries)

    async def usage(
        self, *, since_ms: int, user_id: UserId | None = None, room: RoomId | None = None
    ) -> UsageSum:
        return await self._kept().usage(since_ms=since_ms, user_id=user_id, room=room)

    async def forget_user(self, user_id: UserId, request_id: str) -> Forgotten:
        return await self._kept().forget_user(user_id, request_id)

    async def export_user(self, user_id: UserId) -> dict[str, Any]:
        return await self._kept().export_user(user_id)

    async def state_health(self) -> StateHealth:
        if self.state_lost:
            return StateHealth(remote=False, ok=False, detail="Users and chats can't be read.")
        return await self.state.health()

    # --- runs -----------------------------------------------------------------------------------

    def answer(self, run: Run) -> AsyncGenerator[Progress, None]:
        return self._answer(run)

    async def _answer(self, run: Run) -> AsyncGenerator[Progress, None]:
        self.asks.append(run.run_id)
        self._reach()
        if run.thread_id in self.forgotten or await self.state.is_retired(run.thread_id):
            raise AgentProtocolError("This conversation was erased.", code="thread_gone")
        past = self._remembered.get((run.thread_id, run.run_id))
        live = None if past else self._live.get(run.run_id)
        before = past.run if past else live.run if live else None
        if before is not None and before != run:
            raise AgentProtocolError("Asked before with another body.", code="conflict")
        if past is not None:
            yield past.progress
            return
        if live is None or live.run is None:
            for other in list(self._live.values()):
                if other.run is not None and other.run.thread_id == run.thread_id:
                    await other.finish()
            live = self._live.setdefault(run.run_id, _LiveRun())
            live.begin(run, self.script.take(run))
            self.runs.append(run)
        seen: Progress | None = None
        while True:
            progress = live.progress
            if progress != seen:
                seen = progress
                yield progress
            if progress.outcome is not None:
                return
            await live.advance()

    async def cancel(self, thread_id: ThreadId, run_id: RunId) -> None:
        self._reach()
        self.cancelled.append((thread_id, run_id))
        self._live.setdefault(run_id, _LiveRun()).cancel()

    async def withdraw(self, thread_id: ThreadId, run_id: RunId) -> None:
        self._reach()
        self.withdrawn.append((thread_id, run_id))
        self._live.setdefault(run_id, _LiveRun()).erase()

    async def forget(self, thread_id: ThreadId) -> None:
        self._reach()
        self.forgotten.append(thread_id)
        await self.state.retire(thread_id)
        for live in self._live.values():
            if live.run is not None and live.run.thread_id == thread_id:
                live.cancel()

    async def erase_author(self, thread_id: ThreadId, user_id: UserId) -> None:
        self._reach()
        self.erased.append((thread_id, user_id))
        for run_id, live in self._live.items():
            run = live.run
            if run is not None and run.thread_id == thread_id and _spoke(run, user_id):
                self.withdrawn.append((thread_id, run_id))
                live.erase()
        for key, past in list(self._remembered.items()):
            if key[0] == thread_id and _spoke(past.run, user_id):
                del self._remembered[key]

    # --- memories -------------------------------------------------------------------------------

    async def export_thread(self, thread_id: ThreadId) -> bytes | None:
        self._reach()
        runs = self._past_of(thread_id)
        return None if thread_id in self.forgotten or not runs else msgspec.json.encode(runs)

    async def import_thread(self, thread_id: ThreadId, archive: bytes) -> None:
        self._reach()
        if thread_id in self.forgotten:
            raise AgentProtocolError("This conversation was erased.", code="thread_gone")
        try:
            found = msgspec.json.decode(archive, type=tuple[_Remembered, ...])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise AgentProtocolError("This is no archive.", code="bad_archive") from error
        runs = tuple(one.into(thread_id) for one in found)
        used = any(run.thread_id == thread_id for run in self.runs) or self._past_of(thread_id)
        if used and self._past_of(thread_id) != runs:
            raise AgentProtocolError("The thread has another memory.", code="conflict")
        for one in runs:
            self._remembered[thread_id, one.run.run_id] = one

    def _past_of(self, thread_id: ThreadId) -> tuple[_Remembered, ...]:
        withdrawn = {run_id for thread, run_id in self.withdrawn if thread == thread_id}
        past = [one for (thread, _), one in self._remembered.items() if thread == thread_id]
        for run in self.runs:
            live = self._live[run.run_id]
            if run.thread_id == thread_id and live.progress.outcome is not None:
                past.append(_Remembered(run, live.progress))
        return tuple(one for one in past if one.run.run_id not in withdrawn)

    async def check(self) -> PlatformHealth:
        try:
            self._reach()
        except AntiphonError as error:
            return PlatformHealth(ok=False, detail=error.message, code=error.code)
        return PlatformHealth(ok=True, detail="The agent can be reached.")

    # --- inside ---------------------------------------------------------------------------------

    def _reach(self) -> None:
        if self.refused:
            raise AgentRefusedError("The agent does not accept our token.")
        if self.unreachable:
            raise AgentUnreachableError("The agent does not answer.")

    def _kept(self) -> LocalState:
        if self.state_lost:
            raise DatabaseError("Users and chats can't be read.")
        return self.state

    def _own(self, place: Place) -> None:
        if place.surface != self._surface:
            raise PlatformError("This is a place of another surface.", code="wrong_surface")


def _spoke(run: Run, user_id: UserId) -> bool:
    return any(said.author == user_id for said in run.question)


class _Remembered(msgspec.Struct, frozen=True):
    """A run that has ended, as an archive carries it."""

    run: Run
    progress: Progress

    def into(self, thread_id: ThreadId) -> _Remembered:
        """The same in another thread."""
        run = msgspec.structs.replace(self.run, thread_id=thread_id)
        return msgspec.structs.replace(self, run=run)


class _LiveRun:
    """A run as it stands. Whoever waits for it moves it on; its state outlives every reader."""

    def __init__(self) -> None:
        self.run: Run | None = None
        self._steps: tuple[Step, ...] = ()
        self._position = 0
        self._stop = asyncio.Event()
        self._texts = [""]
        self._tools: list[tuple[int, ToolUse]] = []
        self._new_step = False
        self.progress = Progress(text="", model="fake")

    def begin(self, run: Run, steps: tuple[Step, ...]) -> None:
        self.run = run
        self._steps = steps
        if self._stop.is_set():
            self._show(Outcome("cancelled"))

    def cancel(self) -> None:
        self._stop.set()
        if self.run is not None and self.progress.outcome is None:
            self._show(Outcome("cancelled"))

    def erase(self) -> None:
        """Ends it where it is open; nothing of an answer that was given is left."""
        self._stop.set()
        if self.run is not None and self.progress.outcome is not None:
            self.progress = Progress("", model="fake", outcome=Outcome("cancelled"))
        self.cancel()

    async def finish(self) -> None:
        """Waits until the run has ended."""
        while self.progress.outcome is None:
            await self.advance()

    async def advance(self) -> None:
        """Takes the next step; at a gate, waits for it or for the run's cancellation."""
        position = self._position
        if position >= len(self._steps):
            self._show(Outcome("success"))
            return
        step = self._steps[position]
        if isinstance(step, AntiphonError):
            self._position += 1
            raise step
        if isinstance(step, asyncio.Event):
            await gate_or_stop(step, self._stop)
        else:
            await asyncio.sleep(0)
        if self._position == position and self.progress.outcome is None:
            self._position += 1
            self._take(step)

    def _take(self, step: Step) -> None:
        match step:
            case str():
                if self._new_step:
                    self._texts.append("")
                    self._new_step = False
                self._texts[-1] += step
            case ToolUse():
                self._use(step)
                self._new_step = True
            case NextStep():
                self._new_step = True
            case Rewind():
                self._texts = [*self._texts[: step.step], ""]
                self._tools = [(at, use) for at, use in self._tools if at < step.step]
                self._new_step = False
            case Outcome():
                self._show(step)
                return
        self._show(None)

    def _use(self, use: ToolUse) -> None:
        for index, (at, known) in enumerate(self._tools):
            if (known.name, known.args, known.result) == (use.name, use.args, None):
                self._tools[index] = (at, use)
                return
        self._tools.append((len(self._texts) - 1, use))

    def _show(self, outcome: Outcome | None) -> None:
        self.progress = Progress(
            text=join_steps(self._texts),
            tools=tuple(use for _, use in self._tools),
            model="fake",
            outcome=outcome,
        )
