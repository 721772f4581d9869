"""Pays what is owed to the agent, however long it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from sqlalchemy import Connection

from antiphon.adapter.matrix.beside import woken_within
from antiphon.adapter.matrix.journal import debts, erasing
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.clock import Clock
from antiphon.core.ids import UserId
from antiphon.crash import crash_point
from antiphon.errors import PlatformError
from antiphon.sdk.interface import Forgotten, Platform
from antiphon.telemetry import logger

LONGEST_PAUSE_S = 60.0


class Debtor:
    """Tells the agent what it must know, until it has confirmed it."""

    def __init__(self, platform: Platform, journal: Journal, clock: Clock):
        self._platform = platform
        self._journal = journal
        self._clock = clock
        self._due = asyncio.Event()
        self._due.set()  # debts of an earlier life
        self._committed: Callable[[Committed], Awaitable[None]] | None = None
        self._log = logger("matrix.debts")

    def on_committed(self, tell: Callable[[Committed], Awaitable[None]]) -> None:
        """`tell` is given what paying has changed in the journal."""
        self._committed = tell

    def wake(self) -> None:
        """There is a new debt in the journal."""
        self._due.set()

    async def run(self) -> None:
        """Pays for ever; ends by cancellation."""
        pause = 1.0
        while True:
            await self._due.wait()
            self._due.clear()
            if await self.pay():
                pause = 1.0
            else:
                await woken_within(self._due, pause, self._clock)
                pause = min(LONGEST_PAUSE_S, pause * 2)
                self._due.set()

    async def pay(self) -> bool:
        """Tries each debt once; whether all are paid."""
        whole = True
        for debt in await self._journal.read(debts.pending):
            forgotten = None
            try:
                if debt.kind == debts.PERSON:
                    forgotten = await self._platform.forget_user(
                        UserId(debt.run_id), debt.thread_id
                    )
                else:
                    await self._pay(debt)
            except PlatformError as error:
                self._log.warning(
                    "debt_unpaid", kind=debt.kind, thread=debt.thread_id, error=error.message
                )
                if error.retryable:
                    whole = False
                    continue
                # The agent has no such thing (any more): there is nothing to tell it.
            crash_point("debt.told")
            if forgotten is not None:
                await self._follow(debt, forgotten)
                whole = False  # there are new ones
            else:
                await self._journal.write(partial(_settle, done=debt))
            crash_point("debt.settled")
        return whole

    async def _follow(self, debt: Debt, forgotten: Forgotten) -> None:
        """Somebody asked to be forgotten, and the command that did it was not finished."""
        device, now = self._journal.device_id, self._clock.now_ms()
        taken = await self._journal.write(lambda c: erasing.follow(c, debt, forgotten, device, now))
        changed = Committed()
        changed.merge(taken)
        if self._committed is not None:
            await self._committed(changed)

    async def _pay(self, debt: Debt) -> None:
        if debt.kind == "cancel":
            await self._platform.cancel(debt.thread_id, debt.run_id)
        elif debt.kind == "withdraw":
            await self._platform.withdraw(debt.thread_id, debt.run_id)
        elif debt.kind == "erase":
            await self._platform.erase_author(debt.thread_id, UserId(debt.run_id))
        else:
            await self._platform.forget(debt.thread_id)


def _settle(connection: Connection, done: Debt) -> None:
    debts.paid(connection, done)
