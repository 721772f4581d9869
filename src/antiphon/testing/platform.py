"""`FakePlatform`: the platform in memory, with scripted answers, for tests of surfaces.

It keeps what it is told like a platform that survives the surface: give one FakePlatform to two
lives of an adapter to test a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import msgspec

from antiphon.agent_api.answer import join_steps
from antiphon.core.ids import ChatId, RunId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.errors import (
    AgentProtocolError,
    AgentRefusedError,
    AgentUnreachableError,
    AntiphonError,
    PlatformError,
)
from antiphon.sdk.interface import (
    Chat,
    ChatSettings,
    KeptChat,
    Outcome,
    PlatformHealth,
    Progress,
    Run,
    Session,
    ToolUse,
)
from antiphon.testing.script import NextStep, Rewind, Script, Step, gate_or_stop, words


def echo(run: Run) -> Sequence[Step]:
    """The default answer: what was said, word by word."""
    return words([said.text for said in run.question])


class FakePlatform:
    """Implements `sdk.interface.Platform`.

    `script.reply(...)` queues the answer of the next new run (the default echoes the question);
    `runs` has each run once, in the order first asked; `asks` every call of `answer`, `cancelled`,
    `withdrawn` and `forgotten` every call of those. Set `unreachable` or `refused` to make
    the calls to the agent fail; `settings` is what `resolve` gives."""

    def __init__(self) -> None:
        self.script: Script[Run] = Script(echo)
        self.settings = ChatSettings()
        self.unreachable = False
        self.refused = False
        self.runs: list[Run] = []
        self.asks: list[RunId] = []
        self.cancelled: list[tuple[ThreadId, RunId]] = []
        self.withdrawn: list[tuple[ThreadId, RunId]] = []
        self.forgotten: list[ThreadId] = []
        self.retired: set[ThreadId] = set()
        self._chats: dict[ChatId, Chat] = {}
        self._threads: dict[ChatId, list[ThreadId]] = {}
        self._places = 0
        self._requests: dict[tuple[ChatId, str], Session] = {}
        self._live: dict[RunId, _LiveRun] = {}
        self._sessions = 0
        self._remembered: dict[tuple[ThreadId, RunId], _Remembered] = {}

    def reply(self, *steps: Step) -> None:
        """Queues the answer of the next new run: `script.reply`."""
        self.script.reply(*steps)

    # --- chats ----------------------------------------------------------------------------------

    async def chat(self, place: Place) -> Chat:
        found = self._find(place)
        if found is not None:
            return found
        self._places += 1
        chat_id = ChatId(f"chat-{self._places}")
        chat = Chat(chat_id, place, self._session(chat_id))
        self._chats[chat_id] = chat
        return chat

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        chat = self._chats.get(chat_id)
        if chat is None:
            raise PlatformError(f"There is no chat {chat_id}.", code="unknown_chat")
        known = self._requests.get((chat_id, request_id))
        if known is not None:
            return known
        session = self._session(chat_id)
        self._requests[(chat_id, request_id)] = session
        self._chats[chat_id] = msgspec.structs.replace(chat, session=session)
        return session

    async def move_chat(self, old: Place, new: Place) -> None:
        chat = self._find(old)
        if chat is not None and self._find(new) is None:
            self._chats[chat.chat_id] = msgspec.structs.replace(chat, place=new)

    async def chats(self, account: UserId) -> tuple[KeptChat, ...]:
        mine = [chat for chat in self._chats.values() if chat.place.account == account]
        return tuple(
            KeptChat(chat.place, tuple(self._threads[chat.chat_id]))
            for chat in sorted(mine, key=lambda chat: chat.place.room)
        )

    async def forget_chat(self, place: Place) -> None:
        chat = self._find(place)
        if chat is not None:
            self.retired.update(self._threads[chat.chat_id])
            del self._chats[chat.chat_id]

    async def resolve(self, chat: Chat, user_id: UserId) -> ChatSettings:
        return self.settings

    # --- runs -----------------------------------------------------------------------------------

    def answer(self, run: Run) -> AsyncGenerator[Progress, None]:
        return self._answer(run)

    async def _answer(self, run: Run) -> AsyncGenerator[Progress, None]:
        self.asks.append(run.run_id)
        self._reach()
        if run.thread_id in self.forgotten or run.thread_id in self.retired:
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
        self._live.setdefault(run_id, _LiveRun()).cancel()

    async def forget(self, thread_id: ThreadId) -> None:
        self._reach()
        self.forgotten.append(thread_id)
        for live in self._live.values():
            if live.run is not None and live.run.thread_id == thread_id:
                live.cancel()
        for chat in list(self._chats.values()):
            if chat.session.thread_id == thread_id:
                fresh = msgspec.structs.replace(chat, session=self._session(chat.chat_id))
                self._chats[chat.chat_id] = fresh

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

    def _find(self, place: Place) -> Chat | None:
        return next((chat for chat in self._chats.values() if chat.place == place), None)

    def _session(self, chat_id: ChatId) -> Session:
        self._sessions += 1
        number = self._sessions
        thread_id = ThreadId(f"fake-thread-{number:06d}")
        self._threads.setdefault(chat_id, []).append(thread_id)
        return Session(SessionId(f"session-{number}"), chat_id, thread_id, started_ms=number)


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
