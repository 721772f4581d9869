"""No update is lost: of many who change the same version of a thing at once, one does, and the
others are told that it is stale. On a file and on a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import Connection

from antiphon.clock import SystemChance
from antiphon.core.chats import Chat, Session
from antiphon.core.ids import ChatId, RoomId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Role
from antiphon.core.scopes import Scope
from antiphon.db import Database
from antiphon.errors import PlatformError
from antiphon.records import chats, people, roles, sessions, settings
from antiphon.records.pages import Cut, Page
from antiphon.records.records import MIGRATIONS
from antiphon.records.values import UserRecord

BOT, ANNA = UserId("@bot:x"), UserId("@anna:x")
PLACE = Place("matrix", BOT, RoomId("!room:x"))
IN_ROOM = Scope("room", "matrix", PLACE.room)
NOW = 1_700_000_000_000
ROLES = (Role.ADMIN, Role.BLOCKED)

mint = SystemChance().token


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    database = await Database.open(store_url, MIGRATIONS)
    yield database
    await database.close()


async def outcomes(
    database: Database, change: Callable[[Connection, int], object], times: int = 8
) -> list[str]:
    """What became of so many of the same change at once: `done` or an error's code."""

    async def one(n: int) -> str:
        try:
            await database.write(lambda connection: change(connection, n))
        except PlatformError as error:
            return error.code
        return "done"

    return sorted(await asyncio.gather(*(one(n) for n in range(times))))


ONE_OF_EIGHT = ["done", *["stale"] * 7]


async def test_a_setting(database: Database) -> None:
    """One that is there, and one that is not."""

    def change(expected: int) -> Callable[[Connection, int], object]:
        return lambda connection, n: settings.write(
            connection,
            IN_ROOM,
            "language",
            f"{expected} {n}",
            by="a",
            now_ms=NOW,
            base={},
            expected=expected,
        )

    assert await outcomes(database, change(0)) == ONE_OF_EIGHT
    assert await outcomes(database, change(1)) == ONE_OF_EIGHT
    found = await database.read(lambda connection: settings.one(connection, IN_ROOM, "language"))
    assert found is not None
    assert found.version == 2


async def test_a_role(database: Database) -> None:
    """Nobody's, and somebody's; a person has another version by it."""
    await database.write(lambda connection: people.note(connection, "matrix", ANNA, NOW))

    def change(expected: int, shift: int) -> Callable[[Connection, int], object]:
        return lambda connection, n: roles.write(
            connection, "matrix", ANNA, ROLES[shift], by="a", now_ms=NOW, expected=expected
        )

    assert await outcomes(database, change(0, 0)) == ONE_OF_EIGHT
    assert await outcomes(database, change(1, 1)) == ONE_OF_EIGHT
    person = await database.read(lambda connection: people.one(connection, "matrix", ANNA))
    assert (person.role, person.version) == (Role.BLOCKED, 3)


async def test_a_person(database: Database) -> None:
    """Made by one, then changed by one, whatever others give roles meanwhile."""

    def put(expected: int | None) -> Callable[[Connection, int], object]:
        return lambda connection, n: people.put(
            connection,
            "matrix",
            ANNA,
            name=f"Anna {expected} {n}",
            role=None,
            by="a",
            now_ms=NOW,
            expected=expected,
        )

    assert await outcomes(database, put(None)) == ONE_OF_EIGHT
    assert await outcomes(database, put(1)) == ONE_OF_EIGHT

    def either(connection: Connection, n: int) -> object:
        if n % 2:
            return roles.write(connection, "matrix", ANNA, ROLES[n // 2 % 2], by="a", now_ms=NOW)
        return people.change(
            connection, "matrix", ANNA, role=ROLES[n // 2 % 2], keep_role=False, by="a", now_ms=NOW
        )

    assert await outcomes(database, either, 40) == ["done"] * 40


async def test_chats_and_sessions(database: Database) -> None:
    """Titles of both; a chat shows its session, so that another one is another version of it."""
    chat = await database.write(lambda connection: chats.make(connection, PLACE, mint, NOW))
    ids = (chat.chat_id, chat.session.session_id)

    def name_chat(connection: Connection, n: int) -> object:
        return chats.change(
            connection, "matrix", chat.chat_id, title=f"t{n}", now_ms=NOW, expected=1
        )

    def name_session(connection: Connection, n: int) -> object:
        return sessions.change(connection, "matrix", *ids, title=f"t{n}", now_ms=NOW, expected=1)

    assert await outcomes(database, name_chat) == ONE_OF_EIGHT
    assert await outcomes(database, name_session) == ONE_OF_EIGHT
    await database.write(lambda c: sessions.make(c, "matrix", chat.chat_id, "r1", mint, NOW))
    found = await database.read(lambda connection: chats.one(connection, "matrix", chat.chat_id))
    assert (found.version, found.session.number) == (3, 2)


async def test_a_chat_that_a_surface_made_up_is_taken_once(database: Database) -> None:
    """The same again is fine; other ids for its place, or ids that are in use, are a conflict."""
    thread_id = ThreadId("thread-000000000001")
    given = Chat(
        ChatId("c1"), PLACE, Session(SessionId("s1"), ChatId("c1"), thread_id, started_ms=5)
    )

    def adopt(chat: Chat) -> Callable[[Connection, int], object]:
        return lambda connection, n: chats.adopt(connection, chat, mint, NOW)

    assert await outcomes(database, adopt(given)) == ["done"] * 8
    found = await database.read(lambda connection: chats.one(connection, "matrix", ChatId("c1")))
    assert (found.session.thread_id, found.session.started_ms) == (thread_id, 5)
    other = Session(SessionId("s2"), ChatId("c2"), ThreadId("thread-000000000002"), started_ms=5)
    elsewhere = Place("matrix", BOT, RoomId("!other:x"))
    for wrong in (
        Chat(ChatId("c2"), PLACE, other),
        Chat(ChatId("c1"), elsewhere, other),
        Chat(
            ChatId("c2"), elsewhere, Session(SessionId("s2"), ChatId("c2"), thread_id, started_ms=5)
        ),
    ):
        assert await outcomes(database, adopt(wrong), 2) == ["conflict"] * 2
    assert await database.read(lambda connection: chats.record_at(connection, elsewhere)) is None


async def note(database: Database, name: UserId) -> None:
    await database.write(lambda connection: people.note(connection, "matrix", name, NOW))


async def page_of(database: Database, cut: Cut) -> Page[UserRecord]:
    return await database.read(lambda connection: people.page(connection, "matrix", cut))


async def test_pages_neither_repeat_nor_hide_what_stays(database: Database) -> None:
    """While others come and go; and a cursor that was not given here is refused."""
    names = [UserId(f"@user{n:02}:x") for n in range(25)]
    for name in names[::2]:
        await note(database, name)
    seen: list[str] = []
    cursor: str | None = None
    for turn in range(10):
        page = await page_of(database, Cut(cursor, 4))
        seen += [person.user_id for person in page.items]
        cursor = page.cursor
        for name in (names[turn * 2 + 1], UserId("@another:x")):
            await note(database, name)
        if cursor is None:
            break
    assert len(seen) == len(set(seen))
    assert set(names[::2]) <= set(seen)
    for wrong in ("", "x", "!!", "W10", "WzFd", "WyJcdTAwMDAiXQ", "é", "W1tdXQ", "bnVsbA"):
        with pytest.raises(PlatformError) as caught:
            await page_of(database, Cut(wrong))
        assert caught.value.code == "bad_cursor", wrong
    for limit in (0, 201, -1):
        with pytest.raises(PlatformError) as caught:
            await page_of(database, Cut(None, limit))
        assert caught.value.code == "bad_value"
