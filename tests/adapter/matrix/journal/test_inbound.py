"""The journal's inbound half: one turn per event, in order, gaps first."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select, update

from antiphon.adapter.matrix.digest import Batch, Invite, RoomNews
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import debts, inbound, rooms, turns
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.journal.schema import account
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.commands import STANDARD
from antiphon.core.ids import RoomId, ThreadId, UserId
from antiphon.core.model import TurnState
from antiphon.errors import LeaseLostError, StateError
from antiphon.testing.policies import policy_of

ME = UserId("@bot:hs")
ROOM = RoomId("!room")
INTAKE = Intake(ME, "DEV", policy_of(["@*:hs"]), STANDARD)


@pytest.fixture
async def journal(store_url: str) -> AsyncIterator[Journal]:
    opened = await Journal.open(store_url, ME, "DEV")
    yield opened
    await opened.close()


def said(event_id: str, body: str = "hello", sender: str = "@ada:hs") -> Event:
    return Event(event_id, "m.room.message", sender, {"msgtype": "m.text", "body": body}, 0)


def news(*events: Event, limited: bool = False, arrival: int | None = None) -> RoomNews:
    return RoomNews(ROOM, events, limited, "prev" if limited else None, False, arrival)


def batch(*room_news: RoomNews, since: str | None = "s") -> Batch:
    return Batch(since, "next", room_news, (), ())


async def commit(journal: Journal, new: Batch) -> inbound.Committed:
    return await journal.write(lambda c: inbound.commit_batch(c, new, INTAKE, 1))


async def queued(journal: Journal) -> list[str]:
    found = await journal.read(lambda c: turns.open_in_room(c, ROOM))
    return [turn.event_id for turn in found]


async def joined(journal: Journal) -> None:
    await commit(journal, batch(news(), since=None))


async def test_a_first_sync_adopts_rooms_and_answers_no_history(journal: Journal) -> None:
    committed = await commit(journal, batch(news(said("$old")), since=None))
    assert committed.queued == []
    assert await journal.read(lambda c: rooms.may_send(c, ROOM, sealed=False))
    assert await journal.read(inbound.cursor) == "next"


async def test_an_event_delivered_twice_causes_one_turn(journal: Journal) -> None:
    await joined(journal)
    await commit(journal, batch(news(said("$1"), said("$2"))))
    again = await commit(journal, batch(news(said("$2"), said("$1"), said("$3"))))
    assert [turn.event_id for turn in again.queued] == ["$3"]
    assert await queued(journal) == ["$1", "$2", "$3"]


async def test_a_new_room_answers_only_what_was_said_since_the_invite(journal: Journal) -> None:
    await commit(journal, batch(news(said("$before"), said("$first"), arrival=1)))
    assert await queued(journal) == ["$first"]


async def test_a_gap_holds_the_room_back_until_it_is_read_and_keeps_the_order(
    journal: Journal,
) -> None:
    await joined(journal)
    first = await commit(journal, batch(news(said("$4"), limited=True)))
    assert first.queued == []
    assert first.gaps == [inbound.Gap(ROOM, 2, "prev", "s")]
    await commit(journal, batch(news(said("$5"))))
    assert await queued(journal) == []
    (gap,) = await journal.read(inbound.open_gaps)
    found = [said("$1"), said("$2"), said("$3"), said("$4")]
    closed = await journal.write(lambda c: inbound.close_gap(c, gap, found, INTAKE, 1))
    assert [turn.event_id for turn in closed.queued] == ["$1", "$2", "$3", "$4", "$5"]
    assert await queued(journal) == ["$1", "$2", "$3", "$4", "$5"]


async def test_a_limited_first_look_into_a_room_reads_back_to_our_arrival(
    journal: Journal,
) -> None:
    committed = await commit(journal, batch(news(said("$9"), limited=True)))
    assert committed.gaps == [inbound.Gap(ROOM, 1, "prev", None)]


async def test_strangers_and_notices_become_no_turn_and_leave_no_row(journal: Journal) -> None:
    await joined(journal)
    committed = await commit(journal, batch(news(said("$x", sender="@eve:evil"))))
    assert [skip.reason for skip in committed.skipped] == ["the sender may not talk"]
    assert await journal.read(lambda c: inbound.known(c, ["$x"])) == frozenset()


async def test_an_encrypted_room_is_told_once_and_its_flag_stays(journal: Journal) -> None:
    await joined(journal)
    secret = Event("$s1", "m.room.encrypted", "@ada:hs", {}, 0)
    first = await commit(
        journal, Batch("s", "n", (RoomNews(ROOM, (secret,), False, None, True, None),), (), ())
    )
    assert [turn.kind for turn in first.queued] == ["note"]
    second = await commit(journal, batch(news(said("$plain"))))
    assert second.queued == []
    assert not await journal.read(lambda c: rooms.may_send(c, ROOM, sealed=False))


async def test_leaving_ends_open_turns_and_owes_the_agent_a_cancel(journal: Journal) -> None:
    await joined(journal)
    await commit(journal, batch(news(said("$1"), said("$2"))))
    running = (await journal.read(lambda c: turns.open_in_room(c, ROOM)))[0]
    await journal.write(lambda c: turns.start(c, running, ThreadId("th"), "{}", False))
    left = await commit(journal, Batch("s", "n", (), (), (ROOM,)))
    assert left.closed == [ROOM]
    assert await queued(journal) == []
    assert [d.kind for d in await journal.read(debts.pending)] == ["cancel"]
    assert (await commit(journal, Batch("s", "n", (), (), (ROOM,)))).closed == []


async def test_an_invite_is_kept_until_it_is_decided(journal: Journal) -> None:
    await commit(journal, Batch("s", "n", (), (Invite(ROOM, UserId("@ada:hs")),), ()))
    invites = await journal.read(lambda c: rooms.with_membership(c, "invite"))
    assert invites == ((ROOM, "@ada:hs"),)


async def test_a_turn_moves_only_from_the_state_it_is_in(journal: Journal) -> None:
    await joined(journal)
    await commit(journal, batch(news(said("$1"))))
    (turn,) = await journal.read(lambda c: turns.open_in_room(c, ROOM))

    def start() -> object:
        return journal.write(lambda c: turns.start(c, turn, ThreadId("t"), "{}", False))

    assert await start() is True  # type: ignore[misc]
    assert await start() is False  # type: ignore[misc]
    assert await journal.write(lambda c: turns.answer(c, turn, "success", None))
    assert await journal.write(
        lambda c: turns.end(c, turn, TurnState.DELIVERED, 5, expected=(TurnState.ANSWERED,))
    )
    assert not await journal.write(lambda c: turns.end(c, turn, TurnState.CANCELLED, 6))


async def test_a_zombie_can_write_nothing(journal: Journal, store_url: str) -> None:
    """A process that was frozen while another took over is fenced by the lease's epoch."""
    other = await Journal.open(store_url, ME, "DEV")
    with pytest.raises(LeaseLostError):
        await journal.write(lambda c: c.execute(update(account).values(next_batch="zombie")))
    assert await other.read(lambda c: c.execute(select(account.c.next_batch)).scalar_one()) is None
    await other.close()


async def test_a_state_folder_belongs_to_one_account(journal: Journal, store_url: str) -> None:
    with pytest.raises(StateError, match="belongs to @bot:hs"):
        await Journal.open(store_url, UserId("@other:hs"), "DEV")
