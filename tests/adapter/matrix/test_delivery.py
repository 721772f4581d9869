"""Delivery over days: a transaction id that the homeserver has forgotten doubles nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from antiphon.adapter.matrix.cipher import NoCipher
from antiphon.adapter.matrix.contents import Address, opening
from antiphon.adapter.matrix.delivery import FORGETS_AFTER_S, Delivery
from antiphon.adapter.matrix.gate import SendGate
from antiphon.adapter.matrix.journal import outbox
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.marks import Mark
from antiphon.adapter.matrix.metrics import Metrics
from antiphon.adapter.matrix.sync_watch import SyncWatch
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.core.ids import EventId, RoomId, TurnId, TxnId, UserId
from antiphon.core.pacing import SendClass
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.clock import FakeClock
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.world import until


async def test_an_uncertain_send_older_than_a_day_looks_at_the_room_first(
    homeserver: FakeHomeserver, tmp_path: Path
) -> None:
    bot = homeserver.account("bot")
    room = RoomId(homeserver.room(bot))
    clock, watch = FakeClock(), SyncWatch()
    journal = await Journal.open(f"sqlite:///{tmp_path / 'm.db'}", UserId(bot), "DEVICE")
    async with MatrixClient(homeserver.url, access_token=homeserver.token(bot)) as client:
        delivery = Delivery(client, journal, SendGate(clock), Metrics(), clock, watch, NoCipher())
        mark = Mark(TurnId("t1"), 0, final=True, last=True)
        content = opening("hi", Address(EventId("$q")), mark)
        entry = delivery.entry(TxnId("x"), TurnId("t1"), room, 0, "root", content)
        await journal.write(lambda c: outbox.put(c, entry, clock.now_ms()))

        # Taken, but its answer is lost; then nothing gets through for a day.
        homeserver.fail("send", faults.lost_response())
        homeserver.fail("send", faults.lost_request(), times=100_000)
        sending = asyncio.create_task(delivery.deliver(entry, SendClass.FINAL))
        while clock.monotonic() <= FORGETS_AFTER_S:
            await until(lambda: clock.sleeping == 1)
            await clock.advance(FORGETS_AFTER_S / 8)
        # A sleep that began before the day was over may still have to end.
        await asyncio.sleep(0.2)
        await clock.advance(60)
        homeserver.sent.clear()  # the transaction id is forgotten
        homeserver.faults.clear()
        tries = len(homeserver.asked("send"))
        await asyncio.sleep(0.2)
        await clock.advance(3600)
        assert len(homeserver.asked("send")) == tries  # it waits for /sync to show the room

        (event,) = homeserver.messages(room, bot)
        number = watch.begin()
        await journal.write(lambda c: outbox.sent(c, entry.txn_id, EventId(event["event_id"])))
        watch.committed(number)
        assert await asyncio.wait_for(sending, 5) == event["event_id"]
    await journal.close()
    assert len(homeserver.messages(room, bot)) == 1
