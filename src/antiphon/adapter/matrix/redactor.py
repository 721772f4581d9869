"""Redacts what must not stay readable of our answers: owed in the outbox until it is done."""

from __future__ import annotations

import asyncio
from functools import partial

from antiphon.adapter.matrix.delivery import Delivery, RoomRefusedError
from antiphon.adapter.matrix.journal import outbox
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.core.pacing import SendClass
from antiphon.telemetry import logger


class Redactor:
    """Works off owed redactions, one after the other."""

    def __init__(self, journal: Journal, delivery: Delivery):
        self._journal = journal
        self._delivery = delivery
        self._due = asyncio.Event()
        self._due.set()  # those of an earlier life
        self._log = logger("matrix.redactor")

    def wake(self) -> None:
        """There may be a redaction in the outbox."""
        self._due.set()

    async def run(self) -> None:
        """Works for ever; ends by cancellation."""
        while True:
            await self._due.wait()
            self._due.clear()
            await self.work()

    async def work(self) -> None:
        """Does all that is owed now."""
        for entry in await self._journal.read(outbox.owed_redactions):
            try:
                await self._delivery.deliver(entry, SendClass.NOTICE)
            except RoomRefusedError as error:
                # Not ours to redact any more: we were removed, or it is gone.
                self._log.warning("redaction_refused", room=entry.room_id, error=str(error))
                await self._journal.write(partial(outbox.refused, txn_id=entry.txn_id))
