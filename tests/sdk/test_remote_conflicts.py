"""RemoteState when what it did while its control plane was away does not fit what was done there
meanwhile: what is kept there wins, no session is lost, and every such case is one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.core.ids import RoomId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Role
from antiphon.core.scopes import Scope
from antiphon.errors import MasterRefusedError, PlatformError
from antiphon.sdk.remote_state import RemoteState
from antiphon.testing.fault_proxy import FaultProxy, Rule
from antiphon.testing.homeserver_faults import Fault
from antiphon.testing.remote_worlds import RemoteWorld, away, remote_world, settled

BOT, ANNA = UserId("@bot:x"), UserId("@anna:x")
ROOM = RoomId("!room:x")
PLACE, OTHER = Place("matrix", BOT, ROOM), Place("matrix", BOT, RoomId("!other:x"))
CUT = Fault(taken=False, drop=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[RemoteWorld]:
    async with remote_world(tmp_path, lambda: None) as world:
        yield world


@pytest.fixture
async def proxy(world: RemoteWorld) -> AsyncIterator[FaultProxy]:
    """Between one surface process and the control plane."""
    async with FaultProxy(world.plane.url) as proxy:
        yield proxy


async def cut_off(proxy: FaultProxy, state: RemoteState) -> None:
    proxy.rules = [Rule(("other",), CUT)]
    await state.chat(OTHER)
    await away(state)


async def back(proxy: FaultProxy, state: RemoteState) -> None:
    proxy.rules = []
    await settled(state)


async def test_a_chat_that_was_made_elsewhere_too_is_the_one_that_is_kept(
    world: RemoteWorld, proxy: FaultProxy
) -> None:
    """The sessions that began here go on in it, the newest is its current one, and the id that was
    given out here still means it, in a later life too."""
    here, there = await world.open(url=proxy.url, name="here"), await world.open()
    await here.chat(OTHER)
    await cut_off(proxy, here)
    kept = await there.chat(PLACE)
    mine = await here.chat(PLACE)
    second = await here.new_session(mine.chat_id, "r1")
    assert mine.chat_id != kept.chat_id
    await back(proxy, here)
    now = await here.chat(PLACE)
    assert (now.chat_id, now.session.thread_id) == (kept.chat_id, second.thread_id)
    threads = [one.thread_id for one in await there.sessions(kept.chat_id)]
    assert threads == [kept.session.thread_id, mine.session.thread_id, second.thread_id]
    assert (await there.chat(PLACE)).session.thread_id == second.thread_id
    (sentence,) = (await here.health()).conflicts
    assert "!room:x" in sentence
    third = await here.new_session(mine.chat_id, "r2")
    assert third.chat_id == kept.chat_id
    again = await world.open(name="here")
    assert (await again.health()).conflicts == (sentence,)
    assert (await again.sessions(mine.chat_id))[-1] == third


async def test_a_newer_session_there_stays_the_current_one(
    world: RemoteWorld, proxy: FaultProxy
) -> None:
    """What began here before it is an older conversation of the chat."""
    here, there = await world.open(url=proxy.url), await world.open()
    chat = await here.chat(PLACE)
    await cut_off(proxy, here)
    older = await here.new_session(chat.chat_id, "r1")
    newer = await there.new_session(chat.chat_id, "r2")
    assert newer.started_ms > older.started_ms
    await back(proxy, here)
    assert (await here.chat(PLACE)).session.session_id == newer.session_id
    assert [one.session_id for one in await here.sessions(chat.chat_id)] == [
        chat.session.session_id,
        newer.session_id,
        older.session_id,
    ]
    assert len((await here.health()).conflicts) == 1


async def test_a_chat_that_was_deleted_there_begins_anew(
    world: RemoteWorld, proxy: FaultProxy
) -> None:
    """Its memories are never used again, the one that began here meanwhile included."""
    here, there = await world.open(url=proxy.url), await world.open()
    chat = await here.chat(PLACE)
    await cut_off(proxy, here)
    mine = await here.new_session(chat.chat_id, "r1")
    await here.rename_session(chat.chat_id, mine.session_id, "a title", "r2")
    await there.forget_chat(PLACE)
    await back(proxy, here)
    fresh = await here.chat(PLACE)
    assert fresh.chat_id != chat.chat_id
    assert await here.is_retired(mine.thread_id)
    conflicts = (await here.health()).conflicts
    assert len(conflicts) == 2
    assert all("refused: There is no such chat." in one for one in conflicts)
    with pytest.raises(PlatformError) as caught:
        await here.sessions(chat.chat_id)
    assert caught.value.code == "unknown_chat"


async def test_what_is_refused_later_is_told_and_undone(world: RemoteWorld) -> None:
    """The token may change no settings of every surface: said once, not tried for ever, and what
    was set here is as it is there again. What waited behind it arrives."""
    token = await world.plane.token("matrix", ("chats", "settings", "users", "usage"))
    world.token = token
    state = await world.open()
    await state.rules()
    await world.plane.stop()
    everywhere = Scope("platform")
    await state.set_setting(everywhere, "streaming", False, by=ANNA, request_id="1")
    await state.set_role("@x:y", Role.USER, by=ANNA, request_id="2")
    assert not (await state.resolve(PLACE, ANNA)).streaming
    await world.plane.start()
    await settled(state)
    (sentence,) = (await state.health()).conflicts
    assert sentence.startswith("Setting `streaming` everywhere was refused:")
    assert "platform" in sentence
    assert (await state.resolve(PLACE, ANNA)).streaming
    assert await state.settings(everywhere) == {}
    assert [grant.pattern for grant in (await state.rules()).grants] == ["@x:y"]


async def test_a_lost_answer_to_a_new_session_loses_none(
    world: RemoteWorld, proxy: FaultProxy
) -> None:
    """The one that was given out here is the chat's, and the current one."""
    state = await world.open(url=proxy.url)
    chat = await state.chat(PLACE)
    proxy.rules = [Rule(("other",), Fault(drop=True))]  # taken, and not answered
    given = await state.new_session(chat.chat_id, "r1")
    await back(proxy, state)
    other = await world.open()
    assert (await other.chat(PLACE)).session.thread_id == given.thread_id
    assert await state.new_session(chat.chat_id, "r1") == given
    assert given.thread_id in {one.thread_id for one in await other.sessions(chat.chat_id)}
    assert (await state.health()).conflicts == ()


async def test_a_token_that_was_revoked_ends_a_start_and_not_a_life(world: RemoteWorld) -> None:
    """Exit code 2 and what to do; who runs already goes on as if the control plane were away."""
    state = await world.open(name="here")
    chat = await state.chat(PLACE)
    await world.plane.revoke_all()
    async with asyncio.timeout(15):
        while (await state.health()).ok:
            assert await state.chat(PLACE) == chat
            await asyncio.sleep(0.05)
    assert await state.chat(PLACE) == chat
    await state.new_session(chat.chat_id, "r1")
    health = await state.health()
    assert "does not accept our token" in health.detail
    assert health.waiting == 1
    world.token = "antiphon-a-token-of-nobody"
    with pytest.raises(MasterRefusedError) as caught:
        await world.open()
    assert caught.value.exit_code == 2
    assert "antiphon master token" in caught.value.message


async def test_a_token_of_another_surface_is_refused_at_the_start(world: RemoteWorld) -> None:
    """It would mix two surfaces' chats."""
    world.token = await world.plane.token("terminal")
    with pytest.raises(MasterRefusedError) as caught:
        await world.open()
    assert "another surface" in caught.value.message
