"""The agent of the test machine: it answers when the test says so, survives every life of the
adapter, and writes down whatever a surface must never do to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from antiphon.core.ids import ChatId, RoomId, RunId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.errors import AgentProtocolError, AgentUnreachableError
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
    UsageEntry,
    UsageSum,
)
from antiphon.testing.machine_life import Life
from antiphon.testing.platform import FakePlatform

ANSWER_TIMEOUT_S = 120.0
DEADLINE_S = 1_800.0
LONG = " word" * 2_600
"""A chunk that does not fit into one message."""


class Record:
    """A run as the agent has it."""

    def __init__(self, run_id: RunId) -> None:
        self.run_id = run_id
        self.run: Run | None = None
        self.text = ""
        self.outcome: Outcome | None = None
        self.cancelled = False
        self.abandoned = False
        """Whether a surface was told that the agent can't be reached."""
        self.changed = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether it was asked for and has not ended."""
        return self.run is not None and self.outcome is None

    def begin(self, run: Run) -> None:
        """The agent takes it."""
        self.run = run
        self.text = f"On «{run.question[0].text}»:"
        if self.cancelled:
            self.text = ""
            self.end(Outcome("cancelled"))

    def chunk(self, text: str) -> None:
        """More of the answer."""
        self.text += text
        self._tell()

    def rewind(self) -> None:
        """The agent was killed: a new attempt begins."""
        assert self.run is not None
        self.text = f"On «{self.run.question[0].text}», once more:"
        self._tell()

    def end(self, outcome: Outcome) -> None:
        """It ends so."""
        if self.outcome is None:
            self.outcome = outcome
            self._tell()

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class MachineAgent:
    """The agent, with the chats and sessions of `FakePlatform`."""

    def __init__(self) -> None:
        self.chats = FakePlatform()
        self.records: dict[RunId, Record] = {}
        self.withdrawn: set[RunId] = set()
        self.wrongs: list[str] = []
        self.quick = False
        """Whether runs end by themselves where nothing is to come to rest."""
        self.prompt = False
        """Whether each run ends well at once, as it must for things to come to rest."""
        self.reachable = asyncio.Event()
        self.reachable.set()

    def open_runs(self) -> list[Record]:
        """What is being worked on, oldest first."""
        return [record for record in self.records.values() if record.open]

    def finish_all(self) -> None:
        """Everything ends well from now on."""
        self.prompt = True
        self.reachable.set()
        for record in self.open_runs():
            record.chunk(" done.")
            record.end(Outcome("success"))

    def record(self, run_id: RunId) -> Record:
        """The run of this id, made where it was never heard of."""
        return self.records.setdefault(run_id, Record(run_id))


class LifePlatform:
    """Implements `sdk.interface.Platform`: the agent as one life of the adapter sees it."""

    def __init__(self, agent: MachineAgent, life: Life):
        self._agent = agent
        self._life = life
        self._reading: dict[ThreadId, RunId] = {}

    async def chat(self, place: Place) -> Chat:
        await self._life.cross("platform.chat")
        return await self._agent.chats.chat(place)

    async def new_session(self, chat_id: ChatId, request_id: str) -> Session:
        await self._life.cross("platform.new_session")
        return await self._agent.chats.new_session(chat_id, request_id)

    async def move_chat(self, old: Place, new: Place) -> None:
        await self._life.cross("platform.move_chat")
        await self._agent.chats.move_chat(old, new)

    async def sessions(self, chat_id: ChatId) -> tuple[Session, ...]:
        await self._life.cross("platform.sessions")
        return await self._agent.chats.sessions(chat_id)

    async def switch_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        await self._life.cross("platform.switch_session")
        return await self._agent.chats.switch_session(chat_id, session_id, request_id)

    async def rename_session(
        self, chat_id: ChatId, session_id: SessionId, title: str, request_id: str
    ) -> Session:
        await self._life.cross("platform.rename_session")
        return await self._agent.chats.rename_session(chat_id, session_id, title, request_id)

    async def archive_session(
        self, chat_id: ChatId, session_id: SessionId, request_id: str
    ) -> Session:
        await self._life.cross("platform.archive_session")
        return await self._agent.chats.archive_session(chat_id, session_id, request_id)

    async def resolve(self, chat: Chat, user_id: UserId) -> ChatSettings:
        await self._life.cross("platform.resolve")
        return await self._agent.chats.resolve(chat, user_id)

    async def rules(self) -> Rules:
        await self._life.cross("platform.rules")
        return await self._agent.chats.rules()

    async def rules_after(self, version: str) -> Rules:
        await self._life.cross("platform.rules_after")
        rules = await self._agent.chats.rules_after(version)
        await self._life.cross("platform.rules_after")
        return rules

    async def set_setting(
        self, scope: Scope, key: str, value: Any, *, by: UserId, request_id: str
    ) -> None:
        await self._life.cross("platform.set_setting")
        await self._agent.chats.set_setting(scope, key, value, by=by, request_id=request_id)

    async def settings(self, scope: Scope) -> dict[str, Any]:
        await self._life.cross("platform.settings")
        return await self._agent.chats.settings(scope)

    async def models(self) -> tuple[str, ...]:
        await self._life.cross("platform.models")
        if not self._agent.reachable.is_set():
            raise AgentUnreachableError("The agent does not answer.")
        return ("machine",)

    async def set_role(
        self, pattern: str, role: Role | None, *, by: UserId, request_id: str
    ) -> None:
        await self._life.cross("platform.set_role")
        await self._agent.chats.set_role(pattern, role, by=by, request_id=request_id)

    async def record_usage(self, entries: tuple[UsageEntry, ...]) -> None:
        await self._life.cross("platform.record_usage")
        await self._agent.chats.record_usage(entries)

    async def usage(
        self, *, since_ms: int, user_id: UserId | None = None, room: RoomId | None = None
    ) -> UsageSum:
        await self._life.cross("platform.usage")
        return await self._agent.chats.usage(since_ms=since_ms, user_id=user_id, room=room)

    async def forget_user(self, user_id: UserId, request_id: str) -> Forgotten:
        await self._life.cross("platform.forget_user")
        return await self._agent.chats.forget_user(user_id, request_id)

    async def export_user(self, user_id: UserId) -> dict[str, Any]:
        await self._life.cross("platform.export_user")
        return await self._agent.chats.export_user(user_id)

    async def state_health(self) -> StateHealth:
        return await self._agent.chats.state_health()

    async def answer(self, run: Run) -> AsyncGenerator[Progress, None]:
        await self._life.cross("platform.answer")
        other = self._reading.get(run.thread_id)
        if other is not None:
            self._agent.wrongs.append(f"two lanes in one chat: {other} and {run.run_id}")
        self._reading[run.thread_id] = run.run_id
        try:
            async with aclosing(self._progress(run)) as stream:
                async for progress in stream:
                    await self._life.cross("platform.progress")
                    yield progress
        finally:
            self._reading.pop(run.thread_id, None)

    async def _progress(self, run: Run) -> AsyncGenerator[Progress, None]:
        record = self._agent.record(run.run_id)
        await self._reached(record)
        if record.run is not None and record.run != run:
            self._agent.wrongs.append(f"asked with another body: {record.run} and {run}")
            raise AgentProtocolError("Asked before with another body.", code="conflict")
        if record.run is None:
            await self._thread_free(run)
            if record.run is None:
                record.begin(run)
            if self._agent.prompt:
                record.chunk(" done.")
                record.end(Outcome("success"))
        while True:
            changed = record.changed
            yield Progress(record.text, model="machine", outcome=record.outcome)
            if record.outcome is not None:
                return
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await changed.wait()
            except TimeoutError:
                record.end(Outcome("error", "deadline_exceeded", "It took too long."))
            await self._reached(record)

    async def _reached(self, record: Record) -> None:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await self._agent.reachable.wait()
        except TimeoutError:
            record.abandoned = True
            raise AgentUnreachableError("The agent does not answer.") from None

    async def _thread_free(self, run: Run) -> None:
        """A busy thread is waited for."""
        for other in list(self._agent.records.values()):
            while other.run is not None and other.run.thread_id == run.thread_id and other.open:
                await other.changed.wait()

    async def cancel(self, thread_id: ThreadId, run_id: RunId) -> None:
        await self._told(run_id)

    async def withdraw(self, thread_id: ThreadId, run_id: RunId) -> None:
        await self._told(run_id)
        self._agent.withdrawn.add(run_id)

    async def forget(self, thread_id: ThreadId) -> None:
        await self._forgotten(thread_id, lambda run: True)
        await self._agent.chats.forget(thread_id)

    async def erase_author(self, thread_id: ThreadId, user_id: UserId) -> None:
        await self._forgotten(
            thread_id, lambda run: any(said.author == user_id for said in run.question)
        )

    async def _forgotten(self, thread_id: ThreadId, which: Callable[[Run], bool]) -> None:
        await self._life.cross("platform.verb")
        if not self._agent.reachable.is_set():
            raise AgentUnreachableError("The agent does not answer.")
        for record in list(self._agent.records.values()):
            if record.run is not None and record.run.thread_id == thread_id and which(record.run):
                self._agent.withdrawn.add(record.run_id)
                record.cancelled = True
                if record.open:
                    record.end(Outcome("cancelled"))

    async def chats(self, account: UserId) -> tuple[KeptChat, ...]:
        await self._life.cross("platform.chats")
        return await self._agent.chats.chats(account)

    async def forget_chat(self, place: Place) -> None:
        raise AssertionError("nothing is reset here")

    async def export_thread(self, thread_id: ThreadId) -> bytes | None:
        raise AssertionError("no backup is made here")

    async def import_thread(self, thread_id: ThreadId, archive: bytes) -> None:
        raise AssertionError("no backup is restored here")

    async def check(self) -> PlatformHealth:
        return PlatformHealth(ok=True, detail="The agent can be reached.")

    async def _told(self, run_id: RunId) -> None:
        await self._life.cross("platform.verb")
        if not self._agent.reachable.is_set():
            raise AgentUnreachableError("The agent does not answer.")
        record = self._agent.record(run_id)
        record.cancelled = True
        if record.open:
            record.end(Outcome("cancelled"))
