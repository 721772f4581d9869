"""Local state moved into a control plane's database, of either kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, RunId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Grant, Role, UsageEntry
from antiphon.core.scopes import Scope
from antiphon.db import Database
from antiphon.errors import StateError
from antiphon.records.records import MIGRATIONS
from antiphon.records.transfer import Imported, import_local, read_local
from antiphon.sdk.prototype_state import LocalState

BOT, ANNA, BERT = UserId("@bot:x"), UserId("@anna:x"), UserId("@bert:x")
ROOM = RoomId("!room:x")
PLACE, OTHER = Place("matrix", BOT, ROOM), Place("matrix", BOT, RoomId("!other:x"))
ANNAS = Place("matrix", BOT, ROOM, user=ANNA)
OF_ANNA = Scope("user", "matrix", ANNA)

_names = count(1)


async def opened(url: str, surface: str = "matrix") -> LocalState:
    return await LocalState.open(url, clock=SystemClock(), chance=SystemChance(), surface=surface)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[LocalState]:
    state = await opened(f"sqlite:///{tmp_path / 'local.db'}")
    yield state
    await state.close()


@pytest.fixture
async def there(store_url: str) -> AsyncIterator[LocalState]:
    state = await opened(store_url)
    yield state
    await state.close()


async def move(tmp_path: Path, store_url: str, surface: str = "matrix") -> Imported:
    rows = await read_local(f"sqlite:///{tmp_path / 'local.db'}", surface)
    target = await Database.open(store_url, MIGRATIONS)
    try:
        return await import_local(target, rows, by="operator", now_ms=SystemClock().now_ms())
    finally:
        await target.close()


async def put(state: LocalState, scope: Scope, key: str, value: object) -> None:
    await state.set_setting(scope, key, value, by=ANNA, request_id=f"request-{next(_names)}")


async def fill(state: LocalState) -> None:
    chat = await state.chat(PLACE)
    await state.new_session(chat.chat_id, "turn-1")
    await state.rename_session(chat.chat_id, chat.session.session_id, "The first", "turn-2")
    forgotten = await state.new_session(chat.chat_id, "turn-3")
    await state.retire(forgotten.thread_id)
    await state.chat(ANNAS)
    await state.resolve(ANNAS, ANNA)
    await put(state, OF_ANNA, "language", "Deutsch")
    await put(state, Scope("platform"), "model", "local")
    await state.set_role("@*:bad.example", Role.BLOCKED, by=BERT, request_id="r1")
    await state.record_usage((UsageEntry(RunId("a"), ANNA, ROOM, 1000, 10, 5, 1.5),))
    await state.forget_user(BERT, "forget-bert")


async def test_all_of_it_is_there_afterwards(
    here: LocalState, there: LocalState, tmp_path: Path, store_url: str
) -> None:
    """Chats with their ids and titles, settings, roles, usage, what was forgotten and asked."""
    await fill(here)
    moved = await move(tmp_path, store_url)
    assert moved.conflicts == ()
    assert (moved.taken["chats"], moved.taken["usage"], moved.taken["roles"]) == (2, 1, 1)
    for place in (PLACE, ANNAS):
        chat = await here.chat(place)
        assert await there.chat(place) == chat
        assert await there.sessions(chat.chat_id) == await here.sessions(chat.chat_id)
    assert await there.chats("matrix", BOT) == await here.chats("matrix", BOT)
    assert await there.resolve(ANNAS, ANNA) == await here.resolve(ANNAS, ANNA)
    assert await there.usage(since_ms=0) == await here.usage(since_ms=0)
    rules = await there.rules()
    assert rules.grants == (Grant("@*:bad.example", Role.BLOCKED),)
    assert [user for user, _ in rules.erased] == [BERT]
    for kept in await here.chats("matrix", BOT):
        for thread_id in kept.threads:
            assert await there.is_retired(thread_id) == await here.is_retired(thread_id)
    chat = await there.chat(PLACE)
    again = await there.new_session(chat.chat_id, "turn-1")
    assert again in await here.sessions(chat.chat_id)


async def test_the_same_again_changes_nothing(
    here: LocalState, there: LocalState, tmp_path: Path, store_url: str
) -> None:
    """All of it is kept, and nobody is told that the rules have changed."""
    await fill(here)
    first = await move(tmp_path, store_url)
    version = (await there.rules()).version
    second = await move(tmp_path, store_url)
    assert (second.taken, second.conflicts) == ({}, ())
    assert sum(second.kept.values()) == sum(first.taken.values()) + sum(first.kept.values())
    assert (await there.rules()).version == version


async def test_what_was_set_for_everybody_is_set_for_the_surface(
    here: LocalState, there: LocalState, tmp_path: Path, store_url: str
) -> None:
    """One surface's word is not the word of all; what it has for itself stays the narrower."""
    await put(here, Scope("platform"), "model", "local")
    await put(here, Scope("platform"), "language", "Deutsch")
    await put(here, Scope("surface", "matrix"), "language", "Suomi")
    await move(tmp_path, store_url)
    assert await there.settings(Scope("platform")) == {}
    found = await there.settings(Scope("surface", "matrix"))
    assert found == {"model": "local", "language": "Suomi"}


async def test_what_does_not_fit_stays_as_it_is_there_and_is_told(
    here: LocalState, there: LocalState, tmp_path: Path, store_url: str
) -> None:
    """Another value, another role; no value is told."""
    await put(here, OF_ANNA, "language", "Deutsch")
    await here.set_role(ANNA, Role.ADMIN, by=BERT, request_id="r1")
    await put(there, OF_ANNA, "language", "Suomi")
    await there.set_role(ANNA, Role.BLOCKED, by=BERT, request_id="r2")
    moved = await move(tmp_path, store_url)
    assert moved.conflicts == (
        "`language` is set otherwise there for user @anna:x.",
        "@anna:x is blocked there and admin here.",
    )
    assert await there.settings(OF_ANNA) == {"language": "Suomi"}
    assert (await there.rules()).grants == (Grant(ANNA, Role.BLOCKED),)


async def test_a_place_that_has_a_chat_there_gets_the_memories_of_both(
    here: LocalState, there: LocalState, tmp_path: Path, store_url: str
) -> None:
    """The chat there stays, with its session; what was said here can be switched to."""
    ours, theirs = await here.chat(PLACE), await there.chat(PLACE)
    moved = await move(tmp_path, store_url)
    assert len(moved.conflicts) == 1
    assert await there.chat(PLACE) == theirs
    threads = [one.thread_id for one in await there.sessions(theirs.chat_id)]
    assert threads == [theirs.session.thread_id, ours.session.thread_id]
    back = await there.switch_session(theirs.chat_id, ours.session.session_id, "turn-1")
    assert (back.thread_id, back.number) == (ours.session.thread_id, 2)
    assert (await move(tmp_path, store_url)).taken == {}


async def test_what_was_forgotten_there_does_not_come_back(
    here: LocalState, there: LocalState, tmp_path: Path, store_url: str
) -> None:
    """A chat that was deleted, a person who was erased."""
    await fill(here)
    await move(tmp_path, store_url)
    await there.forget_chat(PLACE)
    await there.forget_user(ANNA, "forget-anna")
    again = await move(tmp_path, store_url)
    assert again.taken == {}
    assert await there.chats("matrix", BOT) == ()
    assert await there.settings(OF_ANNA) == {}
    assert (await there.usage(since_ms=0)).turns == 0


async def test_who_was_erased_here_is_erased_there(
    here: LocalState, there: LocalState, tmp_path: Path, store_url: str
) -> None:
    """Where the surface went on by itself after a first import."""
    await fill(here)
    await move(tmp_path, store_url)
    await here.forget_user(ANNA, "forget-anna")
    await move(tmp_path, store_url)
    assert await there.settings(OF_ANNA) == {}
    assert [kept.place for kept in await there.chats("matrix", BOT)] == [PLACE]
    assert (await there.usage(since_ms=0)).turns == 0


async def test_a_room_that_is_isolated_otherwise_there_begins_anew(
    here: LocalState, there: LocalState, tmp_path: Path, store_url: str
) -> None:
    """A memory that a whole room shares is not handed to whom the control plane keeps apart."""
    ours = await here.chat(PLACE)
    await put(there, Scope("platform"), "isolation", "user")
    await move(tmp_path, store_url)
    chat = await there.chat(PLACE)
    assert chat.chat_id == ours.chat_id
    assert chat.session.thread_id != ours.session.thread_id


async def test_only_the_named_surface_is_taken(
    here: LocalState, there: LocalState, tmp_path: Path, store_url: str
) -> None:
    """Another one's rows stay; none of its own is an error, and so is no file."""
    await fill(here)
    with pytest.raises(StateError, match="nothing of a surface 'terminal'"):
        await move(tmp_path, store_url, "terminal")
    with pytest.raises(StateError, match="no state"):
        await read_local(f"sqlite:///{tmp_path / 'nothing.db'}", "matrix")
    assert await there.chats("matrix", BOT) == ()
