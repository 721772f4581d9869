"""What every implementation of `sdk.state.State` promises of chats, sessions and settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from antiphon.core.ids import ChatId, EventId, RoomId, SessionId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope
from antiphon.errors import PlatformError, SettingsError
from antiphon.sdk.interface import ChatSettings
from antiphon.sdk.state import State
from antiphon.testing.postgres import PostgresServer
from antiphon.testing.state_worlds import WORLDS, StateWorld

BOT, ANNA, BERT = UserId("@bot:x"), UserId("@anna:x"), UserId("@bert:x")
ROOM, OTHER_ROOM = RoomId("!room:x"), RoomId("!other:x")
PLACE, OTHER = Place("matrix", BOT, ROOM), Place("matrix", BOT, OTHER_ROOM)
IN_ROOM = Scope("room", "matrix", ROOM)

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


async def put(state: State, scope: Scope, key: str, value: object, name: str = "") -> None:
    name = name or f"request-{next(_names)}"
    await state.set_setting(scope, key, value, by=ANNA, request_id=name)


def code_of(caught: pytest.ExceptionInfo[PlatformError | SettingsError]) -> str:
    return caught.value.code


# --- chats --------------------------------------------------------------------------------------


async def test_a_place_has_one_chat_with_a_random_thread(state: State) -> None:
    """The first call makes it, later ones find it; nothing of the place is in the thread's id."""
    chat = await state.chat(PLACE)
    assert await state.chat(PLACE) == chat
    assert chat.place == PLACE
    assert len(chat.session.thread_id) >= 16
    assert "room" not in chat.session.thread_id
    assert (chat.session.number, chat.session.title, chat.session.archived) == (1, "", False)


async def test_calls_at_once_for_one_place_get_one_chat(world: StateWorld) -> None:
    """Twenty callers in two processes agree."""
    states = [await world.open(), await world.open()]
    chats = await asyncio.gather(*(s.chat(PLACE) for s in states for _ in range(10)))
    assert len({chat.session.thread_id for chat in chats}) == 1
    assert len({chat.chat_id for chat in chats}) == 1


async def test_places_that_differ_in_any_field_are_different_chats(state: State) -> None:
    """Account, room, thread and user each set two chats apart."""
    places = [
        PLACE,
        Place("matrix", UserId("@bot2:x"), ROOM),
        OTHER,
        Place("matrix", BOT, ROOM, thread_root=EventId("$root")),
        Place("matrix", BOT, ROOM, user=ANNA),
        Place("matrix", BOT, ROOM, thread_root=EventId("$root"), user=ANNA),
    ]
    chats = [await state.chat(place) for place in places]
    assert [chat.place for chat in chats] == places
    assert len({chat.chat_id for chat in chats}) == len(places)
    assert len({chat.session.thread_id for chat in chats}) == len(places)


async def test_a_moved_chat_keeps_its_memory(state: State) -> None:
    """After a room upgrade the new room has the old chat; doing it again changes nothing."""
    new = Place("matrix", BOT, RoomId("!new:x"))
    chat = await state.chat(PLACE)
    await state.move_chat(PLACE, new)
    await state.move_chat(PLACE, new)
    moved = await state.chat(new)
    assert (moved.chat_id, moved.session) == (chat.chat_id, chat.session)
    assert (await state.chat(PLACE)).chat_id != chat.chat_id


async def test_a_chat_is_not_moved_onto_another(state: State) -> None:
    """Where the new place has a chat already, both stay as they are."""
    before = (await state.chat(PLACE), await state.chat(OTHER))
    await state.move_chat(PLACE, OTHER)
    assert (await state.chat(PLACE), await state.chat(OTHER)) == before


async def test_what_is_set_for_a_room_goes_along_to_its_new_one(state: State) -> None:
    """Also where nobody has asked anything yet; but over nothing that is set there."""
    await put(state, IN_ROOM, "isolation", "user")
    await put(state, IN_ROOM, "language", "Deutsch")
    mine = Place("matrix", BOT, ROOM, user=ANNA)
    chat = await state.chat(mine)
    new = Place("matrix", BOT, RoomId("!new:x"), user=ANNA)
    await state.move_chat(mine, new)
    resolved = await state.resolve(new, BERT)
    assert (resolved.isolation, resolved.language) == ("user", "Deutsch")
    assert (await state.chat(new)).session == chat.session
    await put(state, Scope("room", "matrix", OTHER_ROOM), "language", "Suomi")
    await state.move_chat(new, Place("matrix", BOT, OTHER_ROOM, user=ANNA))
    assert await state.settings(Scope("room", "matrix", OTHER_ROOM)) == {"language": "Suomi"}


async def test_a_forgotten_chat_leaves_no_thread_that_is_used_again(state: State) -> None:
    """All its sessions; twice is as good as once."""
    chat = await state.chat(PLACE)
    second = await state.new_session(chat.chat_id, "turn-1")
    for _ in range(2):
        await state.forget_chat(PLACE)
    assert await state.is_retired(chat.session.thread_id)
    assert await state.is_retired(second.thread_id)
    assert await state.chats("matrix", BOT) == ()
    fresh = await state.chat(PLACE)
    assert fresh.session.thread_id not in (chat.session.thread_id, second.thread_id)


async def test_the_chats_of_an_account_are_listed_with_all_their_threads(state: State) -> None:
    """By room; those of another account are not."""
    chat, other = await state.chat(PLACE), await state.chat(OTHER)
    second = await state.new_session(chat.chat_id, "turn-1")
    await state.chat(Place("matrix", UserId("@bot2:x"), ROOM))
    kept = await state.chats("matrix", BOT)
    assert [(one.place, one.threads) for one in kept] == [
        (OTHER, (other.session.thread_id,)),
        (PLACE, (chat.session.thread_id, second.thread_id)),
    ]


# --- sessions -----------------------------------------------------------------------------------


async def test_a_new_session_is_begun_once_per_request(state: State) -> None:
    """The same request gives the same session and does not undo a later one."""
    chat = await state.chat(PLACE)
    first = await state.new_session(chat.chat_id, "turn-1")
    assert (await state.chat(PLACE)).session == first
    second = await state.new_session(chat.chat_id, "turn-2")
    assert await state.new_session(chat.chat_id, "turn-1") == first
    assert (await state.chat(PLACE)).session == second
    assert await state.sessions(chat.chat_id) == (chat.session, first, second)
    assert [session.number for session in (chat.session, first, second)] == [1, 2, 3]


async def test_requests_at_once_begin_one_session(world: StateWorld) -> None:
    """Ten deliveries of one request, in two processes, are one session."""
    one, two = await world.open(), await world.open()
    chat = await one.chat(PLACE)
    made = await asyncio.gather(
        *(state.new_session(chat.chat_id, "turn-1") for state in (one, two) for _ in range(5))
    )
    assert len(set(made)) == 1


async def test_one_goes_back_to_an_earlier_session(state: State) -> None:
    """It is current then; asked for again under the same name, a later switch is not undone."""
    chat = await state.chat(PLACE)
    second = await state.new_session(chat.chat_id, "turn-1")
    back = await state.switch_session(chat.chat_id, chat.session.session_id, "turn-2")
    assert back == chat.session == (await state.chat(PLACE)).session
    await state.switch_session(chat.chat_id, second.session_id, "turn-3")
    await state.switch_session(chat.chat_id, chat.session.session_id, "turn-2")
    assert (await state.chat(PLACE)).session == second


async def test_a_session_is_given_a_title(state: State) -> None:
    """Told again, taken away again, never too long nor unprintable; spaces are trimmed."""
    chat = await state.chat(PLACE)
    ids = (chat.chat_id, chat.session.session_id)
    named = await state.rename_session(*ids, "  My  trip ", "turn-1")
    assert named.title == "My trip"
    assert (await state.chat(PLACE)).session == named
    assert (await state.rename_session(*ids, "", "turn-2")).title == ""
    for title in ("x" * 201, "a\x00b", "a\u202eb"):
        with pytest.raises(PlatformError) as caught:
            await state.rename_session(*ids, title, "turn-3")
        assert code_of(caught) == "bad_value"
    assert (await state.rename_session(*ids, "x" * 200, "turn-3")).title == "x" * 200


async def test_an_archived_session_is_out_of_sight_until_it_is_switched_to(state: State) -> None:
    """Where it was the current one another begins, once; it stays in the list."""
    chat = await state.chat(PLACE)
    ids = (chat.chat_id, chat.session.session_id)
    fresh = await state.archive_session(*ids, "turn-1")
    assert fresh.thread_id != chat.session.thread_id
    assert (await state.chat(PLACE)).session == fresh
    assert await state.archive_session(*ids, "turn-1") == fresh
    assert [one.archived for one in await state.sessions(chat.chat_id)] == [True, False]
    other = await state.new_session(chat.chat_id, "turn-2")
    assert await state.archive_session(chat.chat_id, fresh.session_id, "turn-3") == other
    assert await state.switch_session(*ids, "turn-4") == chat.session
    assert [one.archived for one in await state.sessions(chat.chat_id)] == [False, True, False]


async def test_another_change_under_the_same_name_is_refused(state: State) -> None:
    """Whatever the first one was; nothing is changed by it."""
    chat = await state.chat(PLACE)
    ids = (chat.chat_id, chat.session.session_id)
    await state.rename_session(*ids, "one", "turn-1")
    for change in (
        state.rename_session(*ids, "two", "turn-1"),
        state.archive_session(*ids, "turn-1"),
        state.new_session(chat.chat_id, "turn-1"),
        state.set_setting(IN_ROOM, "model", "x", by=ANNA, request_id="turn-1"),
        state.forget_user(ANNA, "turn-1"),
    ):
        with pytest.raises(PlatformError) as caught:
            await change
        assert code_of(caught) == "conflict"
    assert [one.title for one in await state.sessions(chat.chat_id)] == ["one"]
    assert await state.settings(IN_ROOM) == {}


async def test_nobody_reaches_the_session_of_another_chat(world: StateWorld) -> None:
    """By chat, by session, from another surface: the same answer as for what is not there."""
    state, elsewhere = await world.open(), await world.open("terminal")
    chat, other = await state.chat(PLACE), await state.chat(OTHER)
    foreign, unknown = other.session.session_id, SessionId("nothing")
    said = set()
    for session_id in (foreign, unknown):
        for change in (
            state.switch_session(chat.chat_id, session_id, "t1"),
            state.rename_session(chat.chat_id, session_id, "x", "t2"),
            state.archive_session(chat.chat_id, session_id, "t3"),
        ):
            with pytest.raises(PlatformError) as caught:
                await change
            assert code_of(caught) == "unknown_session"
            said.add(str(caught.value))
    for surface, chat_id in ((state, ChatId("nothing")), (elsewhere, chat.chat_id)):
        for question in (
            surface.sessions(chat_id),
            surface.new_session(chat_id, "t4"),
            surface.switch_session(chat_id, chat.session.session_id, "t5"),
        ):
            with pytest.raises(PlatformError) as caught:
                await question
            assert code_of(caught) == "unknown_chat"
            said.add(str(caught.value))
    assert len(said) == 2
    assert not any(word in sentence for sentence in said for word in (foreign, chat.chat_id))
    assert await state.sessions(other.chat_id) == (other.session,)


async def test_a_retired_thread_never_comes_back(state: State) -> None:
    """Retiring the current memory begins another; retired sessions can't be reached any more."""
    chat = await state.chat(PLACE)
    await state.retire(chat.session.thread_id)
    await state.retire(chat.session.thread_id)
    await state.retire(ThreadId("never-seen-here-000000001"))
    now = await state.chat(PLACE)
    assert now.chat_id == chat.chat_id
    assert now.session.thread_id != chat.session.thread_id
    assert await state.is_retired(chat.session.thread_id)
    assert await state.is_retired(ThreadId("never-seen-here-000000001"))
    assert not await state.is_retired(now.session.thread_id)
    assert await state.sessions(chat.chat_id) == (now.session,)
    with pytest.raises(PlatformError) as caught:
        await state.switch_session(chat.chat_id, chat.session.session_id, "turn-1")
    assert code_of(caught) == "unknown_session"


# --- settings -----------------------------------------------------------------------------------


async def test_the_narrowest_scope_wins_setting_by_setting(state: State) -> None:
    """platform, surface, room, user: each setting by itself; others are not affected."""
    await put(state, Scope("platform"), "model", "offline")
    await put(state, Scope("platform"), "system_prompt", "Be kind.")
    await put(state, Scope("surface", "matrix"), "model", "local")
    await put(state, IN_ROOM, "max_output_tokens", 100)
    await put(state, Scope("user", "matrix", ANNA), "model", "openai:x")
    assert await state.resolve(PLACE, ANNA) == ChatSettings(
        model="openai:x", system_prompt="Be kind.", max_output_tokens=100
    )
    assert (await state.resolve(PLACE, BERT)).model == "local"


async def test_the_settings_file_is_the_widest_layer(world: StateWorld) -> None:
    """Whatever is set while running stands above it, and the snapshot shows it."""
    state = await world.open(base={"model": "offline", "streaming": False})
    await put(state, Scope("platform"), "model", "local")
    assert await state.resolve(PLACE, ANNA) == ChatSettings(model="local", streaming=False)
    rules = await state.rules()
    assert rules.of_room("matrix", ROOM) == ChatSettings(model="local", streaming=False)


async def test_a_setting_is_replaced_and_unset(state: State) -> None:
    """Setting again replaces; None removes, so that the wider scope counts again."""
    await put(state, IN_ROOM, "tools", ["clock"])
    await put(state, IN_ROOM, "tools", ["clock", "notes"])
    assert await state.settings(IN_ROOM) == {"tools": ["clock", "notes"]}
    assert (await state.resolve(PLACE, ANNA)).tools == ("clock", "notes")
    await put(state, IN_ROOM, "tools", None)
    await put(state, IN_ROOM, "tools", None)
    assert await state.resolve(PLACE, ANNA) == ChatSettings()


async def test_a_setting_asked_for_again_does_not_undo_a_later_one(state: State) -> None:
    await put(state, IN_ROOM, "language", "Deutsch", "turn-1")
    await put(state, IN_ROOM, "language", "English", "turn-2")
    await put(state, IN_ROOM, "language", "Deutsch", "turn-1")
    assert await state.settings(IN_ROOM) == {"language": "English"}


@pytest.mark.parametrize(
    ("scope", "key", "value", "code", "says"),
    [
        (Scope("platform"), "modle", "x", "unknown_setting", "Did you mean `model`"),
        (Scope("platform"), "model", 5, "bad_value", "text of up to 256"),
        (IN_ROOM, "max_output_tokens", 0, "bad_value", "from 1 to 1000000"),
        (IN_ROOM, "deadline_s", -1, "bad_value", "deadline_s"),
        (Scope("user", "matrix", ANNA), "isolation", "user", "bad_scope", "platform, surface"),
    ],
)
async def test_a_wrong_setting_is_refused_with_what_is_allowed(
    state: State, scope: Scope, key: str, value: object, code: str, says: str
) -> None:
    """By name, with its code; nothing is set."""
    with pytest.raises(SettingsError, match=says) as caught:
        await put(state, scope, key, value)
    assert code_of(caught) == code
    assert await state.settings(scope) == {}


# --- isolation ----------------------------------------------------------------------------------


async def test_another_isolation_begins_new_sessions_where_it_counts(state: State) -> None:
    """In that room, in every chat of it; no other room is touched, and each begins one only."""
    mine = Place("matrix", BOT, ROOM, user=ANNA)
    before = [await state.chat(place) for place in (PLACE, mine, OTHER)]
    await put(state, IN_ROOM, "isolation", "user")
    after = [await state.chat(place) for place in (PLACE, mine, OTHER)]
    assert [chat.chat_id for chat in after] == [chat.chat_id for chat in before]
    changed = [a.session != b.session for a, b in zip(after, before, strict=True)]
    assert changed == [True, True, False]
    assert [await state.chat(place) for place in (PLACE, mine, OTHER)] == after
    assert len(await state.sessions(after[0].chat_id)) == 2


async def test_a_change_that_changes_nothing_begins_no_session(state: State) -> None:
    """The default said aloud, the same value again, and a wide scope that a room overrides."""
    await put(state, Scope("room", "matrix", OTHER_ROOM), "isolation", "thread")
    chat, other = await state.chat(PLACE), await state.chat(OTHER)
    await put(state, IN_ROOM, "isolation", "room")
    await put(state, IN_ROOM, "isolation", "room")
    await put(state, Scope("surface", "matrix"), "isolation", "thread")
    assert await state.chat(PLACE) == chat
    assert await state.chat(OTHER) == other
    await put(state, IN_ROOM, "isolation", None)
    assert (await state.chat(PLACE)).session != chat.session
    assert await state.chat(OTHER) == other


async def test_isolation_that_went_and_came_back_begins_a_new_session(state: State) -> None:
    """What was said in between may have been another's secret: the old memory stays away."""
    chat = await state.chat(PLACE)
    await put(state, Scope("platform"), "isolation", "user")
    await put(state, Scope("platform"), "isolation", "room")
    assert (await state.chat(PLACE)).session.thread_id != chat.session.thread_id
