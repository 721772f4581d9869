"""Has the agent erase what people said, until it has: debts are rows, made in the transaction that
erased the person here, and gone only when the agent has confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from antiphon import telemetry
from antiphon.agent_api.client import AgentClient
from antiphon.clock import Clock
from antiphon.db import Database
from antiphon.errors import AgentProtocolError, AntiphonError, DatabaseError, PlatformError
from antiphon.master.calls import Changes
from antiphon.records import erasure
from antiphon.records.values import Debt

AT_ONCE: Final = 8
MOST: Final = 10_000
"""Most debts of one pass."""
FIRST_RETRY_S: Final = 1.0
LAST_RETRY_S: Final = 60.0
ONLY_SURFACE: Final = "default"
"""The surface's name at an agent that was given a single token."""
GONE: Final = frozenset({"thread_gone", "not_found"})
"""What the agent says of a thread that it does not remember (any more)."""


class Agent(Protocol):
    """Whoever remembers what was said."""

    async def erase(self, debt: Debt) -> None:
        """Returns when that is erased, durably. Idempotent. Raises PlatformError."""
        ...


class AgentAtUrl:
    """The agent behind `/agent_ws/`, by a token that may erase and nothing else."""

    def __init__(self, client: AgentClient):
        self._client = client

    async def erase(self, debt: Debt) -> None:
        for surface in dict.fromkeys((debt.surface, ONLY_SURFACE)):
            try:
                if debt.author is None:
                    await self._client.delete(debt.thread_id, surface)
                else:
                    await self._client.erase_author(debt.thread_id, debt.author, surface)
            except AgentProtocolError as error:
                if error.code not in GONE:
                    raise


class Eraser:
    """Pays what is owed to people who were erased; `run` it for as long as the service lives.

    `owed` is set when there may be new debts; `paid` is told when some are gone."""

    def __init__(
        self,
        database: Database,
        agent: Agent | None,
        clock: Clock,
        owed: asyncio.Event,
        paid: Changes,
    ):
        self._database = database
        self._agent = agent
        self._clock = clock
        self._owed = owed
        self._paid = paid
        self._log = telemetry.logger("master.eraser")

    async def run(self) -> None:
        """Never returns. Without an agent's address debts are kept, and once told of."""
        if self._agent is None:
            await self._tell()
            await asyncio.Event().wait()
        wait_s = FIRST_RETRY_S
        while True:
            self._owed.clear()
            if await self._pass():
                wait_s = FIRST_RETRY_S
                await self._owed.wait()
                continue
            await self._clock.sleep(wait_s)
            wait_s = min(wait_s * 2, LAST_RETRY_S)

    async def _tell(self) -> None:
        found = await self._database.read(lambda connection: erasure.debts(connection, 1))
        if found:
            self._log.warning(
                "the agent was not told of erased people: set [master] agent_url and "
                "agent_erase_token"
            )

    async def _pass(self) -> bool:
        """Tries every debt once; whether none is left."""
        try:
            debts = await self._database.read(lambda connection: erasure.debts(connection, MOST))
            return await self._pay(debts) and len(debts) < MOST
        except DatabaseError as error:
            self._log.warning("erasing waits for the database", error=error.message)
            return False
        except PlatformError as error:
            self._log.warning("erasing waits for the agent", error=error.message, code=error.code)
            return False

    async def _pay(self, debts: Sequence[Debt]) -> bool:
        whole = True
        for at in range(0, len(debts), AT_ONCE):
            piece = debts[at : at + AT_ONCE]
            results = await asyncio.gather(
                *(self._erase(debt) for debt in piece), return_exceptions=True
            )
            self._paid.tell()
            for result in results:
                if isinstance(result, AgentProtocolError):
                    whole = False  # the others must not wait for this one
                    self._log.warning("the agent refused to erase", code=result.code)
                elif isinstance(result, BaseException):
                    raise result
        return whole

    async def _erase(self, debt: Debt) -> None:
        assert self._agent is not None
        await self._agent.erase(debt)
        await self._database.write(lambda connection: erasure.settle(connection, debt))


__all__ = ["Agent", "AgentAtUrl", "AntiphonError", "Eraser"]
