"""RemoteState while its control plane is away: everything goes on with what is known, and what is
changed meanwhile arrives, once and in order. The service is the real one, stopped and started."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from antiphon.core.ids import RoomId, RunId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Grant, Role, UsageEntry
from antiphon.core.scopes import Scope
from antiphon.errors import MasterUnreachableError, PlatformError, SettingsError
from antiphon.testing.remote_worlds import LIMITS, RemoteWorld, away, remote_world, settled

BOT, ANNA, BERT = UserId("@bot:x"), UserId("@anna:x"), UserId("@bert:x")
ROOM = RoomId("!room:x")
PLACE, OTHER = Place("matrix", BOT, ROOM), Place("matrix", BOT, RoomId("!other:x"))
OF_ANNA = Scope("user", "matrix", ANNA)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RemoteWorld]:
    async with remote_world(tmp_path, lambda: None) as world:
        yield world


def used(run: str, by: UserId = ANNA) -> UsageEntry:
    return UsageEntry(RunId(run), by, ROOM, 1_000, 10, 5, 1.0)


async def test_what_was_looked_up_before_is_there_while_it_is_away(world: RemoteWorld) -> None:
    """Chat, settings of every scope, sessions, usage and rules: the same, and still fresh."""
    state = await world.open()
    chat = await state.chat(PLACE)
    await state.set_setting(OF_ANNA, "language", "Deutsch", by=ANNA, request_id="1")
    await state.set_setting(
        Scope("room", "matrix", ROOM), "streaming", False, by=ANNA, request_id="2"
    )
    await state.record_usage((used("t1.0"),))
    resolved, rules = await state.resolve(PLACE, ANNA), await state.rules()
    assert (resolved.language, resolved.streaming) == ("Deutsch", False)
    await world.plane.stop()
    assert await state.chat(PLACE) == chat
    await away(state)
    assert await state.resolve(PLACE, ANNA) == resolved
    assert await state.rules() == rules
    assert await state.sessions(chat.chat_id) == (chat.session,)
    assert (await state.usage(since_ms=0, user_id=ANNA)).tokens == 15
    assert not await state.is_retired(chat.session.thread_id)
    health = await state.health()
    assert (health.remote, health.ok, health.waiting) == (True, False, 0)
    assert "can't be reached" in health.detail


async def test_changes_made_while_it_is_away_arrive_once_and_in_order(world: RemoteWorld) -> None:
    """A new chat, sessions, titles, settings, roles and usage; seen here at once, there later, and
    by another surface process exactly so."""
    state = await world.open()
    first = await state.chat(PLACE)
    await world.plane.stop()
    await state.rename_session(first.chat_id, first.session.session_id, "before", "r1")
    second = await state.new_session(first.chat_id, "r2")
    assert await state.new_session(first.chat_id, "r2") == second
    await state.rename_session(first.chat_id, first.session.session_id, "after", "r3")
    born = await state.chat(OTHER)
    current = await state.archive_session(born.chat_id, born.session.session_id, "r4")
    await state.set_role("@bert:x", Role.ADMIN, by=ANNA, request_id="r5")
    await state.set_role("@bert:x", Role.BLOCKED, by=ANNA, request_id="r6")
    await state.set_setting(OF_ANNA, "language", "Suomi", by=ANNA, request_id="r7")
    await state.record_usage((used("t1.0"), used("t2.0")))
    await state.record_usage((used("t2.0"), used("t3.0")))
    assert (await state.rules()).grants == (Grant("@bert:x", Role.BLOCKED),)
    assert (await state.chat(PLACE)).session == second
    assert (await state.chat(OTHER)).session == current
    assert (await state.resolve(PLACE, ANNA)).language == "Suomi"
    waiting = (await state.health()).waiting
    assert waiting >= 9
    await world.plane.start()
    await settled(state)
    other = await world.open()
    assert [(s.number, s.title) for s in await other.sessions(first.chat_id)] == [
        (1, "after"),
        (2, ""),
    ]
    assert (await other.chat(PLACE)).session == second
    there = await other.chat(OTHER)
    assert (there.chat_id, there.session) == (born.chat_id, current)
    assert [s.archived for s in await other.sessions(born.chat_id)] == [True, False]
    assert (await other.rules()).grants == (Grant("@bert:x", Role.BLOCKED),)
    assert (await other.resolve(PLACE, ANNA)).language == "Suomi"
    assert (await other.usage(since_ms=0)).turns == 3
    health = await state.health()
    assert (health.ok, health.waiting, health.conflicts) == (True, 0, ())
    assert await state.chat(OTHER) == there


async def test_a_wrong_value_is_refused_here_too_and_nothing_waits(world: RemoteWorld) -> None:
    """With the same error as when the control plane is there."""
    state = await world.open()
    caught = []
    for _ in range(2):
        with pytest.raises(SettingsError) as value:
            await state.set_setting(OF_ANNA, "max_output_tokens", 0, by=ANNA, request_id="1")
        with pytest.raises(SettingsError) as scope:
            await state.set_setting(OF_ANNA, "isolation", "user", by=ANNA, request_id="2")
        with pytest.raises(PlatformError) as session:
            await state.new_session((await state.chat(PLACE)).session.session_id, "3")  # type: ignore[arg-type]
        caught.append((value.value.message, scope.value.code, session.value.code))
        await world.plane.stop()
    assert caught[0] == caught[1]
    assert (await state.health()).waiting == 0


async def test_a_change_of_isolation_begins_one_session_also_when_made_away(
    world: RemoteWorld,
) -> None:
    """And none more when it is told."""
    state = await world.open()
    before = await state.chat(PLACE)
    await world.plane.stop()
    scope = Scope("room", "matrix", ROOM)
    await state.set_setting(scope, "isolation", "thread", by=ANNA, request_id="1")
    after = await state.chat(PLACE)
    assert after.session.number == 2
    await world.plane.start()
    await settled(state)
    assert await state.chat(PLACE) == after
    assert len(await state.sessions(before.chat_id)) == 2


async def test_a_forgotten_chat_and_a_retired_thread_stay_so(world: RemoteWorld) -> None:
    """Forgotten while it is away: nothing of them is used again, here or there."""
    state = await world.open()
    chat, other = await state.chat(PLACE), await state.chat(OTHER)
    await world.plane.stop()
    await state.forget_chat(PLACE)
    await state.retire(other.session.thread_id)
    fresh, next_one = await state.chat(PLACE), await state.chat(OTHER)
    assert fresh.session.thread_id != chat.session.thread_id
    assert next_one.session.thread_id != other.session.thread_id
    await world.plane.start()
    await settled(state)
    second = await world.open()
    for thread_id in (chat.session.thread_id, other.session.thread_id):
        assert await second.is_retired(thread_id)
        assert await state.is_retired(thread_id)
    assert await second.chat(PLACE) == fresh
    assert (await second.chat(OTHER)).session.thread_id == next_one.session.thread_id


async def test_somebody_who_is_forgotten_while_it_is_away_is_forgotten_there(
    world: RemoteWorld,
) -> None:
    """What they say after that request stays."""
    state = await world.open()
    mine = Place("matrix", BOT, ROOM, user=ANNA)
    before = await state.chat(mine)
    await state.set_setting(OF_ANNA, "language", "Deutsch", by=ANNA, request_id="1")
    await world.plane.stop()
    forgotten = await state.forget_user(ANNA, "2")
    assert forgotten.threads == (before.session.thread_id,)
    after = await state.chat(mine)
    await world.plane.start()
    await settled(state)
    assert await state.settings(OF_ANNA) == {}
    assert await state.is_retired(before.session.thread_id)
    assert await state.chat(mine) == after
    assert not await state.is_retired(after.session.thread_id)
    assert ANNA in dict((await state.rules()).erased)


async def test_the_erasure_of_a_person_is_followed(world: RemoteWorld) -> None:
    """Asked for elsewhere: their rows go here too, and what waited to be set for them."""
    one, two = await world.open(), await world.open()
    mine = Place("matrix", BOT, ROOM, user=ANNA)
    chat = await one.chat(mine)
    await two.chat(mine)
    await two.forget_user(ANNA, "1")
    async with asyncio.timeout(10):
        while ANNA not in dict((await one.rules()).erased):
            await one.rules_after((await one.rules()).version)
    await world.plane.stop()
    await away(one)
    assert await one.is_retired(chat.session.thread_id)
    assert await one.usage(since_ms=0, user_id=ANNA) == await one.usage(since_ms=1 << 50)
    assert (await one.chat(mine)).session.thread_id != chat.session.thread_id


async def test_a_first_start_without_a_control_plane_knows_nothing(
    world: RemoteWorld, tmp_path: Path
) -> None:
    """Nothing is made up: who asks may ask again. It goes on once it is there."""
    await world.plane.token()
    await world.plane.stop()
    state = await world.open()
    for ask in (state.rules(), state.chat(PLACE), state.resolve(PLACE, ANNA)):
        with pytest.raises(MasterUnreachableError) as caught:
            await ask
        assert caught.value.retryable
    await world.plane.start()
    await settled(state)
    assert (await state.rules()).fresh
    assert (await state.chat(PLACE)).session.number == 1


async def test_chats_that_were_never_asked_for_are_known_when_it_goes_away(
    world: RemoteWorld,
) -> None:
    """The first time it is there, a surface looks through its chats."""
    chat = await (await world.open()).chat(PLACE)
    state = await world.open()
    async with asyncio.timeout(10):
        while not await state._keep.has_chat(PLACE):
            await asyncio.sleep(0.01)
    await world.plane.stop()
    assert (await state.chat(PLACE)).session == chat.session


async def test_a_change_elsewhere_is_seen_after_a_moment(world: RemoteWorld) -> None:
    """A chat is taken as it was told for `known_s`, then asked for again."""
    limits = msgspec.structs.replace(LIMITS, known_s=0.2)
    one, two = await world.open(limits=limits), await world.open()
    chat = await one.chat(PLACE)
    second = await two.new_session(chat.chat_id, "1")
    assert (await one.chat(PLACE)).session == chat.session
    async with asyncio.timeout(5):
        while (await one.chat(PLACE)).session != second:
            await asyncio.sleep(0.02)


async def test_an_export_is_whole_or_not_given(world: RemoteWorld) -> None:
    """While the control plane is away not all of it is known here."""
    state = await world.open()
    await state.resolve(PLACE, ANNA)
    assert (await state.export_user(ANNA))["user_id"] == ANNA
    await world.plane.stop()
    with pytest.raises(PlatformError) as caught:
        await state.export_user(ANNA)
    assert caught.value.retryable


async def test_an_unknown_thread_is_not_retired(world: RemoteWorld) -> None:
    """Asked of a thread of nobody's."""
    state = await world.open()
    assert not await state.is_retired(ThreadId("a-thread-of-nobody-at-all"))
