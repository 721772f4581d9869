"""LocalState on a SQLite file and on PostgreSQL, beyond what the contract suite shows: its tables,
its starts, its settings file."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, RunId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import UsageEntry
from antiphon.core.scopes import Scope
from antiphon.errors import PlatformError
from antiphon.records.schema import metadata
from antiphon.sdk.prototype_state import DAY_MS, LocalState
from antiphon.testing.clock import FakeClock

BOT, ANNA, BERT = UserId("@bot:x"), UserId("@anna:x"), UserId("@bert:x")
ROOM = RoomId("!room:x")
PLACE, OTHER = Place("matrix", BOT, ROOM), Place("matrix", BOT, RoomId("!other:x"))


@pytest.fixture
def url(store_url: str) -> str:
    return store_url


@pytest.fixture
async def state(url: str) -> AsyncIterator[LocalState]:
    state = await LocalState.open(url, clock=SystemClock(), chance=SystemChance())
    yield state
    await state.close()


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


async def test_a_chat_survives_a_restart(state: LocalState, url: str) -> None:
    """What was given out is what the next process finds."""
    chat = await state.chat(PLACE)
    await state.close()
    again = await LocalState.open(url, clock=SystemClock(), chance=SystemChance())
    assert await again.chat(PLACE) == chat
    await again.close()


async def test_an_id_that_chance_repeats_is_not_used_again(url: str) -> None:
    """Even where the source of randomness repeats itself, no two sessions share a thread."""
    state = await LocalState.open(url, clock=SystemClock(), chance=Repeating())
    await state.retire(ThreadId("token-number-000002"))
    one = await state.chat(PLACE)
    two = await state.chat(Place("matrix", BOT, RoomId("!two:x")))
    await state.close()
    threads = {one.session.thread_id, two.session.thread_id, "token-number-000002"}
    assert len(threads) == 3


async def opened(url: str, clock: FakeClock | None = None, **base: object) -> LocalState:
    return await LocalState.open(
        url, clock=clock or FakeClock(), chance=SystemChance(), surface="matrix", base=base
    )


async def test_another_isolation_in_the_settings_file_begins_new_sessions(url: str) -> None:
    """At the first start that reads it, in the rooms where nothing narrower is set; once."""
    first = await opened(url)
    chat, other = await first.chat(PLACE), await first.chat(OTHER)
    own = Scope("room", "matrix", OTHER.room)
    await first.set_setting(own, "isolation", "room", by=ANNA, request_id="s1")
    await first.close()
    second = await opened(url, isolation="user")
    changed = await second.chat(PLACE)
    assert changed.session.thread_id != chat.session.thread_id
    assert await second.chat(OTHER) == other
    await second.close()
    third = await opened(url, isolation="user", model="local")
    assert await third.chat(PLACE) == changed
    assert await third.settings(Scope("surface", "matrix")) == {}
    await third.close()
    fourth = await opened(url)
    assert (await fourth.chat(PLACE)).session.number == 3
    await fourth.close()


async def test_what_is_old_goes_when_the_state_is_opened(url: str) -> None:
    """Usage and answered requests; nothing of what still counts."""
    clock = FakeClock()
    state = await opened(url, clock)
    chat = await state.chat(PLACE)
    await state.rename_session(chat.chat_id, chat.session.session_id, "one", "turn-1")
    await state.record_usage((UsageEntry(RunId("a"), ANNA, ROOM, clock.now_ms()),))
    await state.forget_user(BERT, "forget-1")
    await state.close()
    clock.step_wall(61 * DAY_MS)
    state = await opened(url, clock)
    assert (await state.usage(since_ms=0)).turns == 1
    renamed = await state.rename_session(chat.chat_id, chat.session.session_id, "two", "turn-1")
    assert renamed.title == "two"
    await state.close()
    clock.step_wall(400 * DAY_MS)
    state = await opened(url, clock)
    assert (await state.usage(since_ms=0)).turns == 0
    assert (await state.rules()).erased == ()
    assert (await state.chat(PLACE)).session.title == "two"
    await state.close()


async def test_a_scope_of_another_surface_is_refused(state: LocalState) -> None:
    """Nothing is set there."""
    scope = Scope("surface", "terminal")
    with pytest.raises(PlatformError) as caught:
        await state.set_setting(scope, "model", "x", by=ANNA, request_id="s1")
    assert caught.value.code == "wrong_surface"
    assert await state.settings(scope) == {}


async def test_two_changes_of_isolation_in_two_rooms_do_not_wait_for_each_other(
    state: LocalState,
) -> None:
    """Each room's chats are renewed, whoever comes first."""
    before = [await state.chat(place) for place in (PLACE, OTHER)]
    async with asyncio.TaskGroup() as group:
        for place in (PLACE, OTHER):
            scope = Scope("room", "matrix", place.room)
            change = state.set_setting(
                scope, "isolation", "user", by=ANNA, request_id=f"s {place.room}"
            )
            group.create_task(change)
    after = [await state.chat(place) for place in (PLACE, OTHER)]
    assert all(a.session != b.session for a, b in zip(before, after, strict=True))
