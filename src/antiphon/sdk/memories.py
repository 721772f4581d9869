"""The memories of threads, out of the agent and back: for backups. No chats, no state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from antiphon.agent_api.client import AgentClient
from antiphon.agent_api.messages import ErrorCode
from antiphon.clock import Chance, Clock
from antiphon.core.ids import ThreadId, UserId
from antiphon.errors import AgentProtocolError, AgentUnreachableError
from antiphon.settings import AgentSettings

NOTHING = frozenset({ErrorCode.NOT_FOUND, ErrorCode.THREAD_GONE})
"""Refusals that mean that there is nothing to export."""

PASSING = frozenset({ErrorCode.SHUTTING_DOWN, ErrorCode.INTERNAL})


class Memories:
    """Reads and writes whole threads at the agent; as `sdk.interface.Platform` promises of
    `export_thread` and `import_thread`."""

    def __init__(self, client: AgentClient):
        self._client = client

    async def export_thread(self, thread_id: ThreadId) -> bytes | None:
        """What the thread remembers; None: nothing."""
        try:
            return await self._client.export(thread_id)
        except AgentProtocolError as error:
            if error.code in NOTHING:
                return None
            raise _unable(error) from error

    async def import_thread(self, thread_id: ThreadId, archive: bytes) -> None:
        """Gives a new thread this memory."""
        try:
            await self._client.import_(thread_id, archive)
        except AgentProtocolError as error:
            raise _unable(error) from error

    async def erase_author(self, thread_id: ThreadId, user_id: UserId) -> None:
        """Erases from the thread what this person said; that it is gone already is as good."""
        try:
            await self._client.erase_author(thread_id, user_id)
        except AgentProtocolError as error:
            if error.code not in NOTHING:
                raise _unable(error) from error

    async def forget_thread(self, thread_id: ThreadId) -> None:
        """Erases the thread at the agent; that it is gone already is as good."""
        try:
            await self._client.delete(thread_id)
        except AgentProtocolError as error:
            if error.code not in NOTHING:
                raise _unable(error) from error


def _unable(error: AgentProtocolError) -> AgentProtocolError | AgentUnreachableError:
    """The refusal as a caller is told: an agent that can't now is as good as one that is away."""
    if error.code in PASSING:
        return AgentUnreachableError(f"The agent can't do this now ({error.code}): {error.message}")
    return error


@asynccontextmanager
async def open_memories(
    agent: AgentSettings, *, clock: Clock, chance: Chance
) -> AsyncIterator[Memories]:
    """The memories at the agent of `agent.url`, by `agent.token`. Raises SettingsError for an
    address or a token that is none, and at once AgentUnreachableError or AgentRefusedError where
    no agent answers there or it does not know us."""
    client = AgentClient(agent.url, agent.token.reveal(), clock=clock, chance=chance)
    async with client:
        await client.check()
        yield Memories(client)
