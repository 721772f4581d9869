"""LocalState on a SQLite file and on PostgreSQL: chats, sessions, retired threads, settings."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import ChatId, EventId, RoomId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope
from antiphon.errors import PlatformError, SettingsError
from antiphon.records.schema import metadata
from antiphon.sdk.interface import ChatSettings
from antiphon.sdk.prototype_state import LocalState

BOT, ANNA, BERT = UserId("@bot:x"), UserId("@anna:x"), UserId("@bert:x")
ROOM = RoomId("!room:x")
PLACE = Place("matrix", BOT, ROOM)


@pytest.fixture
def url(store_url: str) -> str:
    return store_url


@pytest.fixture
async def state(url: str) -> AsyncIterator[LocalState]:
    state = await LocalState.open(url, clock=SystemClock(), chance=SystemChance())
    yield state
    await state.close()


async def put(state: LocalState, scope: Scope, key: str, value: object) -> None:
    request_id = SystemChance().token()
    await state.set_setting(scope, key, value, by=ANNA, request_id=request_id)


class Repeating:
    """Chance that gives each token twice."""

    def __init__(self) -> None:
        self.calls = 0

    def token(self) -> str:
        self.calls += 1
        return f"token-number-{self.calls // 2:06d}"

    def jitter(self) -> float:
        return 0.0


async def test_the_migrations_make_exactly_the_tables_of_the_schema(
    state: LocalState, url: str
) -> None:
    """No difference between a migrated database and the tables that the code uses."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


async def test_a_place_has_one_chat_with_a_random_thread(state: LocalState) -> None:
    """The first call makes it, later ones find it; nothing of the place is in the thread's id."""
    chat = await state.chat(PLACE)
    assert await state.chat(PLACE) == chat
    assert chat.place == PLACE
    assert len(chat.session.thread_id) >= 32
    assert "room" not in chat.session.thread_id


async def test_calls_at_once_for_one_place_get_one_chat(state: LocalState, url: str) -> None:
    """Twenty callers in two processes' worth of stores agree."""
    other = await LocalState.open(url, clock=SystemClock(), chance=SystemChance())
    chats = await asyncio.gather(*(s.chat(PLACE) for s in (state, other) for _ in range(10)))
    await other.close()
    assert len(set(chats)) == 1


async def test_places_that_differ_in_any_field_are_different_chats(state: LocalState) -> None:
    """Account, room, thread and user each set two chats apart."""
    places = [
        PLACE,
        Place("terminal", BOT, ROOM),
        Place("matrix", UserId("@bot2:x"), ROOM),
        Place("matrix", BOT, RoomId("!other:x")),
        Place("matrix", BOT, ROOM, thread_root=EventId("$root")),
        Place("matrix", BOT, ROOM, user=ANNA),
        Place("matrix", BOT, ROOM, thread_root=EventId("$root"), user=ANNA),
    ]
    chats = [await state.chat(place) for place in places]
    assert [chat.place for chat in chats] == places
    assert len({chat.chat_id for chat in chats}) == len(places)
    assert len({chat.session.thread_id for chat in chats}) == len(places)


async def test_a_chat_survives_a_restart(state: LocalState, url: str) -> None:
    """What was given out is what the next process finds."""
    chat = await state.chat(PLACE)
    await state.close()
    again = await LocalState.open(url, clock=SystemClock(), chance=SystemChance())
    assert await again.chat(PLACE) == chat
    await again.close()


async def test_a_new_session_is_begun_once_per_request(state: LocalState) -> None:
    """The same request gives the same session and does not undo a later one."""
    chat = await state.chat(PLACE)
    first = await state.new_session(chat.chat_id, "turn-1")
    assert (await state.chat(PLACE)).session == first
    second = await state.new_session(chat.chat_id, "turn-2")
    assert await state.new_session(chat.chat_id, "turn-1") == first
    assert (await state.chat(PLACE)).session == second
    assert await state.sessions(chat.chat_id) == (chat.session, first, second)


async def test_requests_at_once_begin_one_session(state: LocalState) -> None:
    """Ten deliveries of one request are one session."""
    chat = await state.chat(PLACE)
    made = await asyncio.gather(*(state.new_session(chat.chat_id, "turn-1") for _ in range(10)))
    assert len(set(made)) == 1


async def test_a_session_of_an_unknown_chat_is_refused(state: LocalState) -> None:
    """The error has a code, and says nothing of what there is."""
    with pytest.raises(PlatformError, match="no such chat") as caught:
        await state.new_session(ChatId("nothing"), "turn-1")
    assert caught.value.code == "unknown_chat"


async def test_a_moved_chat_keeps_its_memory(state: LocalState) -> None:
    """After a room upgrade the new room has the old chat; doing it again changes nothing."""
    new = Place("matrix", BOT, RoomId("!new:x"))
    chat = await state.chat(PLACE)
    await state.move_chat(PLACE, new)
    await state.move_chat(PLACE, new)
    moved = await state.chat(new)
    assert (moved.chat_id, moved.session) == (chat.chat_id, chat.session)
    assert (await state.chat(PLACE)).chat_id != chat.chat_id


async def test_a_chat_is_not_moved_onto_another(state: LocalState) -> None:
    """Where the new place has a chat already, both stay as they are."""
    new = Place("matrix", BOT, RoomId("!new:x"))
    before = (await state.chat(PLACE), await state.chat(new))
    await state.move_chat(PLACE, new)
    assert (await state.chat(PLACE), await state.chat(new)) == before


async def test_a_retired_thread_never_comes_back(state: LocalState) -> None:
    """Retiring the current memory begins another; retired sessions are no longer listed."""
    chat = await state.chat(PLACE)
    await state.retire(chat.session.thread_id)
    await state.retire(chat.session.thread_id)
    now = await state.chat(PLACE)
    assert now.chat_id == chat.chat_id
    assert now.session.thread_id != chat.session.thread_id
    assert await state.is_retired(chat.session.thread_id)
    assert not await state.is_retired(now.session.thread_id)
    assert await state.sessions(chat.chat_id) == (now.session,)


async def test_an_id_that_chance_repeats_is_not_used_again(url: str) -> None:
    """Even where the source of randomness repeats itself, no two sessions share a thread."""
    state = await LocalState.open(url, clock=SystemClock(), chance=Repeating())
    await state.retire(ThreadId("token-number-000002"))
    one = await state.chat(PLACE)
    two = await state.chat(Place("matrix", BOT, RoomId("!two:x")))
    await state.close()
    threads = {one.session.thread_id, two.session.thread_id, "token-number-000002"}
    assert len(threads) == 3


async def test_the_narrowest_scope_wins_setting_by_setting(state: LocalState) -> None:
    """platform → surface → room → user, each setting by itself; others are not affected."""
    await put(state, Scope("platform"), "model", "offline")
    await put(state, Scope("platform"), "system_prompt", "Be kind.")
    await put(state, Scope("surface", "matrix"), "model", "local")
    await put(state, Scope("room", "matrix", ROOM), "max_output_tokens", 100)
    await put(state, Scope("user", "matrix", ANNA), "model", "openai:x")
    assert await state.resolve(PLACE, ANNA) == ChatSettings(
        model="openai:x", system_prompt="Be kind.", max_output_tokens=100
    )
    assert (await state.resolve(PLACE, BERT)).model == "local"


async def test_a_setting_is_replaced_and_unset(state: LocalState) -> None:
    """Setting again replaces; None removes, so that the wider scope counts again."""
    scope = Scope("room", "matrix", ROOM)
    await put(state, scope, "tools", ["clock"])
    await put(state, scope, "tools", ["clock", "notes"])
    assert await state.settings(scope) == {"tools": ["clock", "notes"]}
    assert (await state.resolve(PLACE, ANNA)).tools == ("clock", "notes")
    await put(state, scope, "tools", None)
    assert await state.resolve(PLACE, ANNA) == ChatSettings()


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("modle", "x", "Did you mean `model`"),
        ("model", 5, "text of up to 256"),
        ("max_output_tokens", 0, "from 1 to 1000000"),
        ("deadline_s", -1, "deadline_s"),
    ],
)
async def test_a_wrong_setting_is_refused_with_what_is_allowed(
    state: LocalState, key: str, value: object, says: str
) -> None:
    """Unknown keys and values that the agent would refuse are refused here, by name."""
    with pytest.raises(SettingsError, match=says):
        await put(state, Scope("platform"), key, value)
