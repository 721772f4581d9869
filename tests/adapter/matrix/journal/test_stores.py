"""The journal's stores on both databases: whole transactions or nothing, one writer, odd values."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from sqlalchemy import Connection, insert, select, update

from antiphon.adapter.matrix.digest import Batch, Invite, RoomNews
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import (
    debts,
    inbound,
    outbox,
    own,
    rooms,
    ruling,
    sight,
    turns,
    unreadable,
    usage,
)
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.journal import Account, Journal, account_of
from antiphon.adapter.matrix.journal.outbox import Entry
from antiphon.adapter.matrix.journal.own import OwnEvent
from antiphon.adapter.matrix.journal.schema import account, forgotten, metadata
from antiphon.adapter.matrix.journal.turns import Lane, Turn
from antiphon.adapter.matrix.owed import owed
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.commands import STANDARD
from antiphon.core.ids import EventId, RoomId, RunId, ThreadId, TurnId, TxnId, UserId
from antiphon.core.loops import Quiet
from antiphon.core.model import TurnState
from antiphon.core.people import UsageEntry
from antiphon.core.rules import Rules
from antiphon.errors import LeaseLostError
from antiphon.testing.policies import policy_of

ME = UserId("@bot:hs")
ROOM = RoomId("!room")
OTHER = RoomId("!other")
INTAKE = Intake(ME, "DEV", policy_of(["@*:hs"]), STANDARD)


@pytest.fixture
async def journal(store_url: str) -> AsyncIterator[Journal]:
    opened = await Journal.open(store_url, ME, "DEV")
    yield opened
    await opened.close()


def a_turn(number: int, room: RoomId = ROOM, kind: str = turns.QUESTION) -> Turn:
    return Turn(
        turn_id=TurnId(f"turn{number}"),
        lane=Lane(room),
        pos=number,
        kind=kind,
        state=TurnState.QUEUED,
        revision=1,
        event_id=EventId(f"$q{number}"),
        sender=UserId("@ada:hs"),
        reply_thread=None,
        text=f"question {number}",
        quote=False,
        thread_id=None,
        run=None,
        created_ms=number,
    )


def an_entry(number: int, kind: str = "root", content: str = "{}") -> Entry:
    return Entry(TxnId(f"txn{number}"), TurnId("turn1"), ROOM, 0, kind, content, "DEV")


def said(event_id: str, body: str = "hello", ts: int = 0) -> Event:
    return Event(event_id, "m.room.message", "@ada:hs", {"msgtype": "m.text", "body": body}, ts)


def news(*events: Event, room: RoomId = ROOM) -> RoomNews:
    return RoomNews(room, events, False, None, False, None)


def batch(*room_news: RoomNews, since: str | None = "s", to: str = "next") -> Batch:
    return Batch(since, to, room_news, (), ())


def everything(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables."""
    return {
        table.name: sorted((tuple(row) for row in connection.execute(select(table))), key=repr)
        for table in metadata.sorted_tables
    }


class KilledError(Exception):
    """Stands for whatever ends a transaction half-way."""


def fill(connection: Connection) -> None:
    """Something in every table."""
    rooms.set_membership(connection, ROOM, "join", 1)
    rooms.set_membership(connection, OTHER, "invite", 1, inviter="@ada:hs")
    limited = RoomNews(ROOM, (said("$1"),), True, "prev", False, None)
    new = Batch("s", "next", (limited,), (Invite(OTHER, UserId("@ada:hs")),), ())
    inbound.commit_batch(connection, new, INTAKE, 1)
    turns.add(connection, a_turn(1))
    turns.start(connection, a_turn(1), ThreadId("thread"), "{}", False)
    outbox.put(connection, an_entry(1), 1)
    own.add(
        connection,
        OwnEvent(EventId("$o"), ROOM, TurnId("turn1"), 0, EventId("$o"), False, False, 1, 1),
    )
    debts.add(connection, Debt("cancel", ThreadId("thread"), RunId("run")), 1)
    connection.execute(insert(forgotten).values(room_id=ROOM, unread=False))
    ruling.keep(connection, Rules("1"), 1)
    sight.keep_quiet(connection, Lane(ROOM), Quiet((UserId("@robot:hs"),), 1))
    sight.note_asking(connection, TurnId("turn1"), 1, ROOM, UserId("@ada:hs"), 1)
    usage.owe(connection, UsageEntry(RunId("run"), UserId("@ada:hs"), ROOM, 1))
    assert unreadable.add(connection, ROOM, said("$s"), "session", 9, 1)


async def test_a_transaction_that_breaks_off_leaves_nothing_of_itself(journal: Journal) -> None:
    """In no table, and not the cursor; what was there stays."""

    def half(connection: Connection) -> None:
        fill(connection)
        raise KilledError

    before = await journal.read(everything)
    with pytest.raises(KilledError):
        await journal.write(half)
    assert await journal.read(everything) == before
    await journal.write(fill)
    after = await journal.read(everything)
    assert all(after.values()), "the test fills every table"

    def undo(connection: Connection) -> None:
        for table in metadata.sorted_tables:
            if table is not account:
                connection.execute(table.delete())
        raise KilledError

    with pytest.raises(KilledError):
        await journal.write(undo)
    assert await journal.read(everything) == after


async def test_what_a_write_returned_for_is_there_after_a_restart(
    journal: Journal, store_url: str
) -> None:
    await journal.write(fill)
    before = await journal.read(everything)
    await journal.close()
    again = await Journal.open(store_url, ME, "DEV")
    after = await again.read(everything)
    assert {name: rows for name, rows in after.items() if name != "account"} == {
        name: rows for name, rows in before.items() if name != "account"
    }
    assert (again.epoch, again.device_changed) == (journal.epoch + 1, False)
    await again.close()


async def test_of_two_processes_only_the_later_one_writes(journal: Journal, store_url: str) -> None:
    """However often the earlier one tries, and with whatever; it may still read."""
    later = await Journal.open(store_url, ME, "DEV")
    await later.write(fill)
    before = await later.read(everything)
    for write in (fill, lambda c: turns.end(c, a_turn(1), TurnState.CANCELLED, 9)):
        with pytest.raises(LeaseLostError):
            await journal.write(write)
    assert await later.read(everything) == before
    assert await journal.read(everything) == before
    await later.close()


async def test_a_lease_is_taken_once_by_each_of_many(journal: Journal, store_url: str) -> None:
    """Started at the same moment, they get different epochs, and one of them goes on."""
    opened = await asyncio.gather(*[Journal.open(store_url, ME, "DEV") for _ in range(4)])
    assert sorted(o.epoch for o in opened) == [journal.epoch + n for n in range(1, 5)]
    results = await asyncio.gather(
        *[o.write(lambda c: turns.add(c, a_turn(1))) for o in opened], return_exceptions=True
    )
    assert sum(result is True for result in results) == 1
    assert sum(isinstance(result, LeaseLostError) for result in results) == 3
    await asyncio.gather(*[o.close() for o in opened])


async def test_writes_at_the_same_time_are_one_after_the_other(journal: Journal) -> None:
    """What looks first and then inserts is safe: a turn, a debt, a send, a batch."""
    both = Debt("cancel", ThreadId("t"), RunId("r"))

    def work(connection: Connection) -> bool:
        debts.add(connection, both, 1)
        outbox.put(connection, an_entry(1), 1)
        inbound.commit_batch(connection, batch(news(said("$1")), since=None), INTAKE, 1)
        return turns.add(connection, a_turn(1))

    added = await asyncio.gather(*[journal.write(work) for _ in range(12)])
    assert sum(added) == 1
    assert await journal.read(debts.pending) == (both,)
    assert (await journal.read(outbox.backlog))[0] == 1
    found = await journal.read(account_of)
    assert found == Account(ME, "DEV", "next", 12)


async def test_a_turn_is_moved_once_however_many_try(journal: Journal) -> None:
    await journal.write(lambda c: turns.add(c, a_turn(1)))

    def start(connection: Connection) -> bool:
        return turns.start(connection, a_turn(1), ThreadId("t"), "{}", True)

    assert sum(await asyncio.gather(*[journal.write(start) for _ in range(8)])) == 1
    found = await journal.read(lambda c: turns.get(c, TurnId("turn1")))
    assert found is not None
    assert (found.state, found.quote, found.thread_id) == (TurnState.RUNNING, True, "t")


async def test_numbers_and_texts_come_back_as_they_went_in(journal: Journal) -> None:
    """Positions beyond 32 bits, long texts, every plane of Unicode, quotes and percent signs."""
    text = "ä 🜂 \U0010ffff '\"%s :x \\ \n\t" + "x" * 60_000

    def write(connection: Connection) -> None:
        connection.execute(update(account).values(batch=9_000_000_000))
        rooms.set_membership(connection, ROOM, "join", 2**62)
        inbound.commit_batch(connection, batch(news(said("$1", text, 2**53))), INTAKE, 2**62)
        outbox.put(connection, an_entry(1, content=msgspec.json.encode({"a": text}).decode()), 1)

    await journal.write(write)
    (turn,) = await journal.read(lambda c: turns.open_in_room(c, ROOM))
    assert turn.text == text.strip()
    assert turn.pos == 9_000_000_001 * inbound.BATCH_SPAN + inbound.TIMELINE_START
    assert turn.created_ms == 2**62
    entry = await journal.read(lambda c: outbox.get(c, TxnId("txn1")))
    assert entry is not None
    assert entry.body() == {"a": text}


@pytest.mark.parametrize(
    "odd",
    [
        said("$odd", "before\x00after"),
        said("$odd", ts=2**80),
        said("$odd", "\ud800"),
        Event("$odd", "m.room.message", "@a\x00da:hs", {"msgtype": "m.text", "body": "x"}, 0),
    ],
    ids=["NUL in the text", "a time out of range", "a surrogate", "sender"],
)
async def test_an_event_that_no_database_takes_stops_nothing_else(
    journal: Journal, odd: Event
) -> None:
    """It is taken or left out by itself: the cursor moves, and the others become turns."""
    await journal.write(
        lambda c: inbound.commit_batch(c, batch(news(), since=None, to="s1"), INTAKE, 1)
    )
    room_news = (news(said("$1"), odd, said("$2")), news(said("$3"), room=OTHER))
    await journal.write(lambda c: inbound.commit_batch(c, batch(*room_news), INTAKE, 1))
    assert await journal.read(inbound.cursor) == "next"
    here = [turn.event_id for turn in await journal.read(lambda c: turns.open_in_room(c, ROOM))]
    assert [event_id for event_id in here if event_id != odd.event_id] == ["$1", "$2"]
    there = await journal.read(lambda c: turns.open_in_room(c, OTHER))
    assert [turn.event_id for turn in there] == ["$3"]


async def test_a_send_is_recorded_once_and_its_text_goes_when_it_is_done(
    journal: Journal,
) -> None:
    """The first row of a transaction id stays; sent, refused or void it holds no text any more."""
    await journal.write(lambda c: outbox.put(c, an_entry(1, content='{"a":1}'), 1))
    await journal.write(lambda c: outbox.put(c, an_entry(1, content='{"a":2}'), 2))
    await journal.write(lambda c: outbox.put(c, an_entry(2, "final", '{"b":1}'), 3))
    await journal.write(lambda c: outbox.put(c, an_entry(3, "redact", "$x"), 4))
    first = await journal.read(lambda c: outbox.get(c, TxnId("txn1")))
    assert first is not None
    assert first.content == '{"a":1}'
    await journal.write(lambda c: outbox.sent(c, TxnId("txn1"), EventId("$e")))
    await journal.write(lambda c: outbox.void(c, TurnId("turn1")))
    states = {e.txn_id: (e.state, e.content, e.event_id) for e in await _sends(journal)}
    assert states == {
        "txn1": ("sent", "", "$e"),
        "txn2": ("failed", "", None),
        "txn3": ("pending", "$x", None),
    }
    assert await journal.read(outbox.backlog) == (1, 4)


async def _sends(journal: Journal) -> tuple[Entry, ...]:
    return await journal.read(lambda c: outbox.of_turn(c, TurnId("turn1")))


async def test_encryption_is_for_ever_and_rooms_keep_their_word(journal: Journal) -> None:
    def write(connection: Connection) -> None:
        rooms.set_membership(connection, ROOM, "join", 1)
        rooms.set_encrypted(connection, ROOM)
        rooms.set_membership(connection, ROOM, "leave", 2)
        rooms.set_membership(connection, ROOM, "join", 3)
        rooms.set_seen(connection, ROOM, "$last")
        assert rooms.set_successor(connection, ROOM, OTHER, allowed=True)
        assert not rooms.set_successor(connection, ROOM, OTHER, allowed=True)

    await journal.write(write)
    assert await journal.read(lambda c: rooms.is_encrypted(c, ROOM))
    assert not await journal.read(lambda c: rooms.may_send(c, ROOM, sealed=False))
    assert await journal.read(lambda c: rooms.seen(c, ROOM)) == "$last"
    upgrades = await journal.read(rooms.open_upgrades)
    assert [(u.room_id, u.successor, u.followed) for u in upgrades] == [(ROOM, OTHER, "owed")]


async def test_what_is_owed_is_told_by_whom_it_waits_for(journal: Journal) -> None:
    """A chat whose next question waits for the agent waits as a whole; others do not."""

    def write(connection: Connection) -> None:
        for turn in (
            a_turn(1),
            a_turn(2, kind=turns.COMMAND),
            a_turn(3, OTHER, kind=turns.COMMAND),
            a_turn(4, OTHER),
        ):
            turns.add(connection, turn)
        turns.start(connection, a_turn(1), ThreadId("t"), "{}", False)
        outbox.put(connection, an_entry(9, "redact", "$x"), 1)

    await journal.write(write)
    found = await journal.read(owed)
    assert (found.queued, found.running, found.turns_for_agent) == (3, 1, 2)
    assert (found.redactions, found.unconfirmed_sends) == (1, 0)
    assert found.for_others
    assert found.for_agent
    assert not found.nothing
