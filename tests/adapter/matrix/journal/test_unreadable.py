"""Messages whose key has not come: debts, each counted once, in the order in which they become
readable. On both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest

from antiphon.adapter.matrix.digest import Batch, RoomNews
from antiphon.adapter.matrix.intake import Intake
from antiphon.adapter.matrix.journal import inbound, rooms, turns, unreadable
from antiphon.adapter.matrix.journal.inbound import Committed
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.adapter.matrix.transport.events import Event
from antiphon.core.commands import STANDARD
from antiphon.core.ids import RoomId, UserId
from antiphon.testing.policies import policy_of

ME = UserId("@bot:hs")
ROOM = RoomId("!room")
INTAKE = Intake(ME, "DEV", policy_of(["@ada:hs"]), STANDARD, decrypts=True)


@pytest.fixture
async def journal(store_url: str) -> AsyncIterator[Journal]:
    opened = await Journal.open(store_url, ME, "DEV")
    yield opened
    await opened.close()


def sealed(event_id: str, sender: str = "@ada:hs", session: str = "s1") -> Event:
    content = {"algorithm": "m.megolm.v1.aes-sha2", "session_id": session, "ciphertext": "x"}
    return Event(event_id, "m.room.encrypted", sender, content, 0)


def opened(event_id: str, text: str, **more: object) -> Event:
    content = {"msgtype": "m.text", "body": text, **more}
    return Event(event_id, "m.room.message", "@ada:hs", content, 0, sealed=True)


async def come(journal: Journal, *events: Event, limited: bool = False) -> Committed:
    news = RoomNews(ROOM, events, limited, "prev" if limited else None, True, None)
    batch = Batch("s", "next", (news,), (), ())

    def commit(connection: object) -> Committed:
        return inbound.commit_batch(connection, batch, INTAKE, 1)  # type: ignore[arg-type]

    return await journal.write(commit)


async def readable(journal: Journal, *events: Event) -> Committed:
    return await journal.write(lambda c: inbound.become_readable(c, ROOM, events, INTAKE, 2))


async def texts(journal: Journal) -> list[str]:
    return [turn.text for turn in await journal.read(lambda c: turns.open_in_room(c, ROOM))]


@pytest.fixture
async def room(journal: Journal) -> Journal:
    await journal.write(lambda c: rooms.set_membership(c, ROOM, "join", 1))
    return journal


async def test_it_waits_and_is_asked_once_its_key_is_there(room: Journal) -> None:
    """After what was readable before; it is in order with those that came with it."""
    result = await come(room, sealed("$1"), sealed("$2"), opened("$3", "three"))
    assert result.unreadable == 2
    assert await texts(room) == ["three"]
    assert [w.event.event_id for w in await room.read(unreadable.waiting)] == ["$1", "$2"]
    await readable(room, opened("$1", "one"), opened("$2", "two"))
    assert await texts(room) == ["three", "one", "two"]
    assert await room.read(unreadable.count) == 0


async def test_what_comes_twice_counts_once(room: Journal) -> None:
    """As it was sealed, and when it has become readable."""
    await come(room, sealed("$1"))
    assert (await come(room, sealed("$1"))).unreadable == 0
    for _ in range(2):
        await readable(room, opened("$1", "one"))
    await come(room, opened("$1", "one"))
    await come(room, sealed("$1"))
    assert await texts(room) == ["one"]
    assert await room.read(unreadable.count) == 0


async def test_it_becomes_readable_by_coming_again(room: Journal) -> None:
    await come(room, sealed("$1"))
    await come(room, opened("$1", "one"))
    assert await texts(room) == ["one"]


async def test_nobody_who_may_not_talk_makes_a_debt(room: Journal) -> None:
    result = await come(room, sealed("$1", sender="@eve:hs"))
    assert result.unreadable == 0
    assert await room.read(unreadable.count) == 0


async def test_one_that_is_taken_back_is_not_answered(room: Journal) -> None:
    await come(room, sealed("$1"))
    await come(room, Event("$r", "m.room.redaction", "@ada:hs", {}, 0, redacts="$1"))
    await readable(room, opened("$1", "one"))
    assert await texts(room) == []


async def test_an_edit_waits_too_and_changes_its_question(room: Journal) -> None:
    await come(room, opened("$1", "one"))
    relation = {"rel_type": "m.replace", "event_id": "$1"}
    edit = sealed("$2")
    hidden = msgspec.structs.replace(edit, content={**edit.content, "m.relates_to": relation})
    assert (await come(room, hidden)).unreadable == 1
    shown = opened(
        "$2",
        "* uno",
        **{"m.relates_to": relation, "m.new_content": {"msgtype": "m.text", "body": "uno"}},
    )
    await readable(room, shown)
    assert await texts(room) == ["uno"]


async def test_behind_a_gap_it_waits_for_that_too(room: Journal) -> None:
    """It came sealed while the gap was open: when that is closed, it waits for its key."""
    await come(room, sealed("$1"), limited=True)
    await readable(room, opened("$1", "one"))
    assert await texts(room) == []
    (gap,) = await room.read(inbound.open_gaps)
    result = await room.write(
        lambda c: inbound.close_gap(c, gap, [opened("$0", "zero")], INTAKE, 3)
    )
    assert (result.unreadable, await texts(room)) == (1, ["zero"])
    await readable(room, opened("$1", "one"))
    assert await texts(room) == ["zero", "one"]


async def test_one_that_became_readable_behind_a_gap_keeps_its_place(room: Journal) -> None:
    await come(room, sealed("$1"))
    await come(room, opened("$2", "two"), limited=True)
    await readable(room, opened("$1", "one"))
    assert await texts(room) == []
    (gap,) = await room.read(inbound.open_gaps)
    await room.write(lambda c: inbound.close_gap(c, gap, [], INTAKE, 3))
    assert await texts(room) == ["one", "two"]
    assert await room.read(unreadable.count) == 0


async def test_a_room_that_is_left_waits_for_no_key(room: Journal) -> None:
    await come(room, sealed("$1"))
    await room.write(lambda c: inbound.close_room(c, ROOM, INTAKE, 3, Committed()))
    assert await room.read(unreadable.count) == 0
