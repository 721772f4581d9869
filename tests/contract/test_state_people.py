"""What every implementation of `sdk.state.State` promises of rules, roles, usage and people."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import msgspec
import pytest

from antiphon.core.ids import EventId, RoomId, RunId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Forgotten, Grant, Role, UsageEntry, UsageSum
from antiphon.core.rules import Rules
from antiphon.core.scopes import Scope
from antiphon.errors import SettingsError
from antiphon.sdk.state import State
from antiphon.testing.postgres import PostgresServer
from antiphon.testing.state_worlds import WORLDS, StateWorld

BOT, ANNA, BERT = UserId("@bot:x"), UserId("@anna:x"), UserId("@bert:x")
ROOM, OTHER_ROOM = RoomId("!room:x"), RoomId("!other:x")
PLACE = Place("matrix", BOT, ROOM)
ANNAS, BERTS = Place("matrix", BOT, ROOM, user=ANNA), Place("matrix", BOT, ROOM, user=BERT)
IN_ROOM = Scope("room", "matrix", ROOM)
OF_ANNA, OF_BERT = Scope("user", "matrix", ANNA), Scope("user", "matrix", BERT)
FAR_MS = 4_000_000_000_000
"""A time after all of those that tests here are told of."""

_names = count(1)


@pytest.fixture(params=list(WORLDS))
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StateWorld]:
    def server() -> PostgresServer:
        found = request.getfixturevalue("postgres")
        assert isinstance(found, PostgresServer)
        return found

    async with WORLDS[request.param](tmp_path, server) as world:
        yield world


@pytest.fixture
async def state(world: StateWorld) -> State:
    return await world.open()


async def put(state: State, scope: Scope, key: str, value: object) -> None:
    await state.set_setting(scope, key, value, by=ANNA, request_id=f"request-{next(_names)}")


async def give(state: State, pattern: str, role: Role | None) -> None:
    await state.set_role(pattern, role, by=ANNA, request_id=f"request-{next(_names)}")


def used(run_id: str, user: UserId = ANNA, room: RoomId = ROOM, at_ms: int = 1000) -> UsageEntry:
    return UsageEntry(RunId(run_id), user, room, at_ms, 10, 5, 1.5)


async def changed(state: State, before: Rules) -> Rules:
    async with asyncio.timeout(10):
        return await state.rules_after(before.version)


# --- rules and roles ----------------------------------------------------------------------------


async def test_the_rules_show_what_must_be_known_before_any_message(state: State) -> None:
    """Roles, wide settings, those of rooms and the limits of people; not what else is theirs."""
    await give(state, "@*:bad.example", Role.BLOCKED)
    await give(state, "@ada:x", Role.ADMIN)
    await put(state, IN_ROOM, "answer_when", "addressed")
    await put(state, Scope("platform"), "tools", ["clock"])
    await put(state, OF_ANNA, "tokens_per_day", 100)
    await put(state, OF_ANNA, "language", "Deutsch")
    rules = await state.rules()
    assert rules.fresh
    assert set(rules.grants) == {
        Grant("@*:bad.example", Role.BLOCKED),
        Grant("@ada:x", Role.ADMIN),
    }
    assert rules.of_scope(OF_ANNA) == {"tokens_per_day": 100}
    here, there = rules.of_room("matrix", ROOM), rules.of_room("matrix", OTHER_ROOM)
    assert (here.answer_when, here.tools) == ("addressed", ("clock",))
    assert (there.answer_when, there.tools) == ("always", ("clock",))


async def test_each_change_of_the_rules_is_another_version(state: State) -> None:
    """And what is no part of them is none; a change that changes nothing is none either."""
    seen = [(await state.rules()).version]
    await give(state, "@ada:x", Role.USER)
    seen.append((await state.rules()).version)
    await give(state, "@ada:x", None)
    seen.append((await state.rules()).version)
    await put(state, IN_ROOM, "streaming", False)
    seen.append((await state.rules()).version)
    await put(state, Scope("platform"), "streaming", False)
    seen.append((await state.rules()).version)
    await put(state, OF_ANNA, "queued_turns", 2)
    seen.append((await state.rules()).version)
    await state.forget_user(BERT, "forget-1")
    seen.append((await state.rules()).version)
    assert len(set(seen)) == len(seen)
    await put(state, OF_ANNA, "language", "Deutsch")
    await put(state, IN_ROOM, "streaming", False)
    await give(state, "@nobody:x", None)
    await state.resolve(PLACE, ANNA)
    await state.chat(PLACE)
    assert (await state.rules()).version == seen[-1]


async def test_whoever_waits_for_other_rules_is_told(world: StateWorld) -> None:
    """Of a change in the same process, and of one in another; and at once of an old version."""
    one, two = await world.open(), await world.open()
    first = await one.rules()
    waiting = [asyncio.ensure_future(changed(state, first)) for state in (one, two)]
    await asyncio.sleep(0.02)
    assert not any(future.done() for future in waiting)
    await give(one, "@ada:x", Role.USER)
    second = await one.rules()
    assert await asyncio.gather(*waiting) == [second, second]
    assert await changed(two, first) == second


async def test_a_role_is_given_replaced_and_taken_back(state: State) -> None:
    """Asked for again under its name, a later one stays."""
    await state.set_role(ANNA, Role.USER, by=BERT, request_id="r1")
    await state.set_role(ANNA, Role.BLOCKED, by=BERT, request_id="r2")
    await state.set_role(ANNA, Role.USER, by=BERT, request_id="r1")
    assert (await state.rules()).grants == (Grant(ANNA, Role.BLOCKED),)
    await give(state, ANNA, None)
    await give(state, ANNA, None)
    assert (await state.rules()).grants == ()


@pytest.mark.parametrize("pattern", ["", "anna", "!room:x", "@anna", "@a b:x", "@:x"])
async def test_a_pattern_that_is_none_gets_no_role(state: State, pattern: str) -> None:
    with pytest.raises(SettingsError):
        await give(state, pattern, Role.USER)
    assert (await state.rules()).grants == ()


# --- usage --------------------------------------------------------------------------------------


async def test_usage_is_summed_by_person_room_and_time(state: State) -> None:
    """Both bounds of a sum at once, too; `since` is included."""
    await state.record_usage((used("a"), used("b", BERT), used("c", room=OTHER_ROOM)))
    await state.record_usage((used("d", at_ms=2000),))
    await state.record_usage(())
    assert await state.usage(since_ms=0) == UsageSum(4, 40, 20, 6.0)
    assert (await state.usage(since_ms=0, user_id=ANNA)).turns == 3
    assert (await state.usage(since_ms=0, room=ROOM)).turns == 3
    assert (await state.usage(since_ms=0, user_id=ANNA, room=ROOM)).turns == 2
    assert (await state.usage(since_ms=2000)).turns == 1
    assert await state.usage(since_ms=2001) == UsageSum()
    assert (await state.usage(since_ms=0)).tokens == 60


async def test_a_run_is_counted_once_however_often_it_is_told(world: StateWorld) -> None:
    """Also at once, and by two processes."""
    one, two = await world.open(), await world.open()
    entries = (used("a"), used("b"))
    await asyncio.gather(*(state.record_usage(entries) for state in (one, two) for _ in range(5)))
    await one.record_usage((used("a", at_ms=5000), used("c")))
    assert (await one.usage(since_ms=0)).turns == 3
    assert (await one.usage(since_ms=5000)).turns == 0


# --- people -------------------------------------------------------------------------------------


async def fill(state: State) -> None:
    """Two people with something of everything."""
    for person, place in ((ANNA, ANNAS), (BERT, BERTS)):
        await state.chat(place)
        await state.resolve(place, person)
        await put(state, Scope("user", "matrix", person), "language", "Deutsch")
        await give(state, person, Role.ADMIN)
        await state.record_usage((used(f"run-of-{person[1:-2]}", person),))


async def test_a_person_is_erased_and_nobody_else(state: State) -> None:
    """Their chats, settings, usage and role; told are their threads, and those that they shared."""
    await fill(state)
    shared = (await state.chat(PLACE)).session.thread_id
    thread = Place("matrix", BOT, OTHER_ROOM, thread_root=EventId("$root"))
    also = (await state.chat(thread)).session.thread_id
    first = (await state.chat(ANNAS)).session
    second = await state.new_session(first.chat_id, "turn-1")
    of_bert = await state.chat(BERTS)
    gone = await state.forget_user(ANNA, "forget-1")
    assert (gone.chats, gone.settings, gone.usage) == (1, 1, 1)
    assert gone.threads == (first.thread_id, second.thread_id)
    assert set(gone.shared) == {shared, also}
    assert [kept.place for kept in await state.chats("matrix", BOT) if kept.place.user] == [BERTS]
    assert await state.is_retired(second.thread_id)
    assert await state.settings(OF_ANNA) == {}
    assert (await state.usage(since_ms=0, user_id=ANNA)).turns == 0
    rules = await state.rules()
    assert rules.grants == (Grant(BERT, Role.ADMIN),)
    assert [user for user, _ in rules.erased] == [ANNA]
    assert await state.chat(BERTS) == of_bert
    assert await state.settings(OF_BERT) == {"language": "Deutsch"}
    assert (await state.usage(since_ms=0)).turns == 1


async def test_nothing_of_an_erased_person_is_left_to_export(state: State) -> None:
    """Their id stands nowhere but in the note that they were erased."""
    await fill(state)
    await state.forget_user(ANNA, "forget-1")
    left = await state.export_user(ANNA)
    assert left.pop("erased_ms") is not None
    assert (left.pop("surface"), left.pop("user_id")) == ("matrix", ANNA)
    assert not any(left.values()), left
    assert ANNA not in str(await state.export_user(BERT))


async def test_erasing_again_gives_the_same_answer_and_takes_nothing_new(state: State) -> None:
    """Who was stopped before the threads were erased is told of the same ones."""
    await fill(state)
    gone = await state.forget_user(ANNA, "forget-1")
    await state.resolve(ANNAS, ANNA)
    chat = await state.chat(ANNAS)
    await put(state, OF_ANNA, "language", "Suomi")
    assert await state.forget_user(ANNA, "forget-1") == gone
    assert await state.chat(ANNAS) == chat
    assert await state.settings(OF_ANNA) == {"language": "Suomi"}
    again = await state.forget_user(ANNA, "forget-2")
    assert (again.chats, again.settings, again.threads) == (1, 1, (chat.session.thread_id,))
    nobody = await state.forget_user(UserId("@nobody:x"), "forget-3")
    assert nobody == Forgotten(shared=nobody.shared)


async def test_erasing_lifts_no_block_and_no_limit(state: State) -> None:
    """What admins decided about a person is not theirs to take back."""
    await give(state, ANNA, Role.BLOCKED)
    await put(state, OF_ANNA, "tokens_per_day", 10)
    await put(state, OF_ANNA, "model", "local")
    await state.forget_user(ANNA, "forget-1")
    rules = await state.rules()
    assert rules.grants == (Grant(ANNA, Role.BLOCKED),)
    assert await state.settings(OF_ANNA) == {"tokens_per_day": 10}


async def test_usage_from_before_an_erasure_is_not_counted_after_it(state: State) -> None:
    """A surface tells it late; what the person uses later counts."""
    await state.forget_user(ANNA, "forget-1")
    await state.record_usage((used("late"), used("other", BERT), used("new", at_ms=FAR_MS)))
    assert (await state.usage(since_ms=0, user_id=ANNA)).turns == 1
    assert (await state.usage(since_ms=0, user_id=BERT)).turns == 1


async def test_a_person_gets_all_that_is_kept_of_them_as_json(state: State) -> None:
    """Chats with sessions and titles, settings, role, each run; nothing of anybody else."""
    await fill(state)
    session = (await state.chat(ANNAS)).session
    await state.rename_session(session.chat_id, session.session_id, "My trip", "turn-1")
    found = await state.export_user(ANNA)
    assert msgspec.json.decode(msgspec.json.encode(found)) == found
    assert (found["user_id"], found["role"], found["settings"]) == (
        ANNA,
        "admin",
        {"language": "Deutsch"},
    )
    (chat,) = found["chats"]
    assert chat["place"]["user"] == ANNA
    assert [one["title"] for one in chat["sessions"]] == ["My trip"]
    assert [run["run_id"] for run in found["usage"]] == ["run-of-anna"]
    assert isinstance(found["first_seen_ms"], int)
    # Who gave a role is in the log: here Anna gave Bert his.
    others = {key: value for key, value in found.items() if key != "audit"}
    assert BERT not in str(others)


async def test_the_health_says_where_things_are_kept(state: State) -> None:
    health = await state.health()
    assert health.ok
    assert health.detail
    assert (health.waiting, health.conflicts) == (0, ())


# --- many at once -------------------------------------------------------------------------------


async def test_settings_written_at_once_by_two_processes_lose_none(world: StateWorld) -> None:
    """A hundred people, each written twice by each process."""
    states = [await world.open(), await world.open()]
    people = [UserId(f"@user{n}:x") for n in range(100)]
    await asyncio.gather(
        *(
            put(state, Scope("user", "matrix", person), key, f"by {n}")
            for person in people
            for n, state in enumerate(states)
            for key in ("language", "model")
        )
    )
    for person in people:
        found = await states[0].settings(Scope("user", "matrix", person))
        assert set(found) == {"language", "model"}
        assert set(found.values()) <= {"by 0", "by 1"}
