"""What a reset takes out of the journal, and what it leaves, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Connection, select

from antiphon.adapter.matrix.digest import Batch, RoomNews
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import debts, forgetting, inbound, rooms, turns
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.schema import forgotten, metadata
from antiphon.adapter.matrix.journal.turns import Turn
from antiphon.adapter.matrix.owed import owed
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.commands import STANDARD
from antiphon.core.ids import RoomId, ThreadId, UserId
from antiphon.testing.policies import policy_of

ME = UserId("@bot:hs")
ROOM, OTHER = RoomId("!room"), RoomId("!other")
THREAD = ThreadId("thread-of-room-1")
INTAKE = Intake(ME, "DEV", policy_of(["@*:hs"]), STANDARD)


@pytest.fixture
async def journal(store_url: str) -> AsyncIterator[Journal]:
    opened = await Journal.open(store_url, ME, "DEV")
    yield opened
    await opened.close()


def said(event_id: str) -> Event:
    return Event(event_id, "m.room.message", "@ada:hs", {"msgtype": "m.text", "body": "hi"}, 0)


def come(connection: Connection, room: RoomId, *events: Event, limited: bool = False) -> None:
    news = RoomNews(room, events, limited, "prev" if limited else None, False, None)
    inbound.commit_batch(connection, Batch("s", "next", (news,), (), ()), INTAKE, 1)


def running(connection: Connection, room: RoomId) -> Turn:
    """The room's turn has been asked of the agent."""
    turn = turns.open_in_room(connection, room)[0]
    assert turns.start(connection, turn, THREAD, "{}", False)
    return turns.open_in_room(connection, room)[0]


def begin(connection: Connection) -> None:
    """A running and a waiting turn in one room, a waiting one and a gap in another."""
    for room in (ROOM, OTHER):
        rooms.set_membership(connection, room, "join", 1)
    come(connection, ROOM, said("$1"), said("$2"))
    come(connection, OTHER, said("$3"))
    come(connection, OTHER, said("$4"), limited=True)
    running(connection, ROOM)


def forget(connection: Connection, *room_ids: RoomId, erase: bool, unread: bool = False) -> None:
    forgetting.forget(
        connection,
        room_ids,
        [THREAD],
        erase=erase,
        unread=unread,
        device_id="DEV",
        now_ms=2,
    )


def of(connection: Connection, room: RoomId) -> dict[str, int]:
    found = {one.room_id: one for one in forgetting.held(connection)}
    return found[room].rows


async def test_it_tells_what_each_room_holds(journal: Journal) -> None:
    await journal.write(begin)
    one, other = sorted(await journal.read(forgetting.held), key=lambda held: held.room_id)[::-1]
    assert (one.room_id, one.rows, one.open_turns) == (ROOM, {"turns": 2}, 2)
    assert one.threads == (THREAD,)
    assert (other.room_id, other.rows, other.open_turns) == (OTHER, {"turns": 1, "gaps": 1}, 1)


async def test_one_room_is_emptied_and_the_other_left(journal: Journal) -> None:
    """The agent is owed the end of the thread, and nothing else of it."""
    await journal.write(begin)
    for _ in range(2):
        await journal.write(lambda c: forget(c, ROOM, erase=True))
        assert await journal.read(lambda c: of(c, ROOM)) == {}
        assert await journal.read(lambda c: of(c, OTHER)) == {"turns": 1, "gaps": 1}
        assert await journal.read(debts.pending) == (Debt("forget", THREAD, forgetting.NO_RUN),)


async def test_with_memory_kept_what_runs_is_cancelled(journal: Journal) -> None:
    await journal.write(begin)
    await journal.write(lambda c: forget(c, ROOM, erase=False))
    (owes,) = await journal.read(debts.pending)
    assert (owes.kind, owes.thread_id) == ("cancel", THREAD)


async def test_an_event_of_before_is_never_new_again(journal: Journal) -> None:
    """A repeated sync response brings it; what is new beside it counts."""
    await journal.write(begin)
    await journal.write(lambda c: forget(c, ROOM, erase=True))
    await journal.write(lambda c: come(c, ROOM, said("$1"), said("$2"), said("$9")))
    (turn,) = await journal.read(lambda c: turns.open_in_room(c, ROOM))
    assert turn.event_id == "$9"


async def test_the_next_start_adopts_the_room_and_keeps_what_came_since(journal: Journal) -> None:
    await journal.write(begin)
    await journal.write(lambda c: forget(c, ROOM, erase=True))
    await journal.write(lambda c: come(c, ROOM, said("$9")))
    assert await journal.write(lambda c: forgetting.adopt(c, "DEV", 3)) == [ROOM]
    assert await journal.write(lambda c: forgetting.adopt(c, "DEV", 3)) == []
    assert await journal.read(lambda c: of(c, ROOM)) == {"turns": 1}


async def test_an_unread_room_drops_what_the_first_contact_brings(journal: Journal) -> None:
    """Also what waits for a gap; and it is not new when it comes again."""
    await journal.write(begin)
    await journal.write(lambda c: forget(c, ROOM, OTHER, erase=True, unread=True))
    await journal.write(lambda c: come(c, ROOM, said("$8")))
    await journal.write(lambda c: come(c, OTHER, said("$9"), limited=True))
    assert await journal.write(lambda c: forgetting.adopt(c, "DEV", 3)) == [OTHER, ROOM]
    assert (await journal.read(owed)).for_others is False
    await journal.write(lambda c: come(c, ROOM, said("$8")))
    await journal.write(lambda c: come(c, OTHER, said("$9")))
    assert await journal.read(lambda c: of(c, ROOM)) == {}
    assert await journal.read(lambda c: of(c, OTHER)) == {}


async def test_a_room_that_was_left_leaves_nothing_but_that_it_is_encrypted(
    journal: Journal,
) -> None:
    def leave(connection: Connection) -> None:
        begin(connection)
        rooms.set_encrypted(connection, OTHER)
        forget(connection, ROOM, OTHER, erase=False)
        forgetting.leave(connection, [ROOM, OTHER], 2)

    def left(connection: Connection) -> dict[str, int]:
        return {
            table.name: len(connection.execute(select(table)).all())
            for table in metadata.sorted_tables
        }

    await journal.write(leave)
    found = await journal.read(left)
    assert {name for name, count in found.items() if count} == {"account", "room", "debt"}
    assert found["room"] == 1
    assert await journal.read(lambda c: rooms.is_encrypted(c, OTHER))
    assert await journal.read(lambda c: rooms.membership(c, OTHER)) == "leave"


async def test_marks_of_rooms_that_we_are_not_in_are_not_made(journal: Journal) -> None:
    def leave(connection: Connection) -> None:
        begin(connection)
        rooms.set_membership(connection, ROOM, "leave", 2)
        forget(connection, ROOM, OTHER, erase=True)

    await journal.write(leave)
    rows = await journal.read(lambda c: c.execute(select(forgotten.c.room_id)).scalars().all())
    assert rows == [OTHER]
