"""What every implementation of `sdk.interface.Platform` promises where a person asks for their own:
sessions, settings, being forgotten. What is kept of them is `test_state*`'s; this is the whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from antiphon.core.ids import RoomId, RunId, UserId
from antiphon.core.model import Place, Said
from antiphon.core.people import Role, UsageEntry
from antiphon.core.scopes import Scope
from antiphon.errors import AgentUnreachableError, PlatformError
from antiphon.sdk.interface import Outcome, Run
from antiphon.testing.platform_worlds import (
    ANNA,
    KINDS,
    PLACE,
    RealWorld,
    World,
    a_run,
    last_of,
    platform_world,
)

BERT = UserId("@bert:x")


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with platform_world(request.param, tmp_path) as world:
        yield world


def ended(outcome: Outcome | None) -> str:
    return "" if outcome is None else outcome.kind


async def test_what_one_went_back_to_is_what_is_remembered(world: World) -> None:
    """A run of a session that is current again goes into its thread."""
    chat = await world.platform.chat(PLACE)
    second = await world.platform.new_session(chat.chat_id, "turn-1")
    back = await world.platform.switch_session(chat.chat_id, chat.session.session_id, "turn-2")
    assert (await a_run(world)).thread_id == back.thread_id
    named = await world.platform.rename_session(chat.chat_id, second.session_id, "Trip", "turn-3")
    fresh = await world.platform.archive_session(chat.chat_id, back.session_id, "turn-4")
    sessions = await world.platform.sessions(chat.chat_id)
    assert [one.session_id for one in sessions] == [
        back.session_id,
        named.session_id,
        fresh.session_id,
    ]
    assert (await world.platform.chat(PLACE)).session == fresh


async def test_a_place_of_another_surface_is_refused(world: World) -> None:
    """By every call that takes a place."""
    other = msgspec.structs.replace(PLACE, surface="terminal")
    for call in (
        world.platform.chat(other),
        world.platform.forget_chat(other),
        world.platform.move_chat(other, PLACE),
        world.platform.move_chat(PLACE, other),
    ):
        with pytest.raises(PlatformError) as caught:
            await call
        assert caught.value.code == "wrong_surface"


async def test_what_is_set_is_what_a_run_gets(world: World) -> None:
    """And the rules of the room show it before anybody asks."""
    room = Scope("room", "matrix", PLACE.room)
    await world.platform.set_setting(room, "language", "Deutsch", by=ANNA, request_id="s1")
    await world.platform.set_role(BERT, Role.BLOCKED, by=ANNA, request_id="r1")
    chat = await world.platform.chat(PLACE)
    assert (await world.platform.resolve(chat, ANNA)).language == "Deutsch"
    assert await world.platform.settings(room) == {"language": "Deutsch"}
    rules = await world.platform.rules()
    assert rules.of_room("matrix", PLACE.room).language == "Deutsch"
    assert [grant.pattern for grant in rules.grants] == [BERT]
    assert await world.platform.rules_after("another") == rules


async def test_the_models_are_the_agents(world: World) -> None:
    """At least its own; where it can't be asked, that is said."""
    assert await world.platform.models()
    assert (await world.platform.state_health()).ok
    await world.unreachable()
    with pytest.raises(AgentUnreachableError):
        await world.platform.erase_author((await a_run(world)).thread_id, ANNA)
    assert (await world.platform.state_health()).ok


async def test_a_person_who_asks_for_it_is_forgotten_everywhere(world: World) -> None:
    """Their own thread whole, in a shared one what they said and no more, and what is kept."""
    mine = Place("matrix", PLACE.account, PLACE.room, user=ANNA)
    chat = await world.platform.chat(mine)
    alone = Run(RunId("t9.0"), chat.session.thread_id, (Said(ANNA, "secret"),))
    shared = await a_run(world, "t1.0", "of Anna")
    of_bert = msgspec.structs.replace(
        shared, run_id=RunId("t2.0"), question=(Said(BERT, "of Bert"),)
    )
    for run in (alone, shared, of_bert):
        assert ended((await last_of(world, run)).outcome) == "success"
    await world.platform.record_usage((UsageEntry(RunId("t1.0"), ANNA, PLACE.room, 1000),))
    gone = await world.platform.forget_user(ANNA, "forget-1")
    assert (gone.threads, gone.shared) == ((chat.session.thread_id,), (shared.thread_id,))
    for _ in range(2):
        for thread_id in gone.threads:
            await world.platform.forget(thread_id)
        for thread_id in gone.shared:
            await world.platform.erase_author(thread_id, ANNA)
    with pytest.raises(PlatformError) as caught:
        await last_of(world, alone)
    assert caught.value.code == "thread_gone"
    if not isinstance(world, RealWorld):  # the fake agent tells an answer that it gave again
        assert ended((await last_of(world, shared)).outcome) == "cancelled"
    begun = world.begun()
    assert ended((await last_of(world, of_bert)).outcome) == "success"
    assert world.begun() == begun
    archive = await world.platform.export_thread(shared.thread_id)
    assert archive is not None
    assert b"of Bert" in archive
    assert b"of Anna" not in archive
    exported = await world.platform.export_user(ANNA)
    assert (exported["chats"], exported["usage"]) == ([], [])
    assert (await world.platform.usage(since_ms=0, user_id=ANNA)).turns == 0
    assert await world.platform.chat(Place("matrix", PLACE.account, RoomId("!other:x")))
