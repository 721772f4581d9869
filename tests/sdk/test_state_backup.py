"""The local state taken out and put back: what was decided since is not undone by it."""

from __future__ import annotations

from pathlib import Path

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, RunId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.people import Grant, Role, UsageEntry
from antiphon.core.scopes import Scope
from antiphon.db import load
from antiphon.db.dump import Dump, decode, encode
from antiphon.sdk import state_backup
from antiphon.sdk.prototype_state import MIGRATIONS, LocalState

BOT, ANNA, BERT = UserId("@bot:x"), UserId("@anna:x"), UserId("@bert:x")
PLACE = Place("matrix", BOT, RoomId("!room:x"))
ANNAS = Place("matrix", BOT, RoomId("!room:x"), user=ANNA)
NOW_MS = 2_000_000_000_000


async def opened(folder: Path) -> LocalState:
    url = f"sqlite:///{folder / 'state.db'}"
    return await LocalState.open(url, clock=SystemClock(), chance=SystemChance())


async def taken(folder: Path) -> Dump:
    found = await state_backup.dump_state(folder)
    assert found is not None
    return decode(encode(found))


async def restored(
    backup: Dump, present: Dump | None, folder: Path, moved: dict[ThreadId, ThreadId] | None = None
) -> LocalState:
    folder.mkdir()
    since = state_backup.since_of(present)
    await load.build(
        backup,
        folder / "state.db",
        MIGRATIONS,
        lambda connection: state_backup.put_back(connection, moved or {}, since, NOW_MS),
        store=state_backup.STORE,
    )
    return await opened(folder)


async def fill(state: LocalState) -> None:
    chat = await state.chat(PLACE)
    await state.rename_session(chat.chat_id, chat.session.session_id, "Trip", "turn-1")
    await state.new_session(chat.chat_id, "turn-2")
    await state.chat(ANNAS)
    of_anna = Scope("user", "matrix", ANNA)
    await state.set_setting(of_anna, "language", "Suomi", by=ANNA, request_id="s1")
    await state.set_role(BERT, Role.ADMIN, by=ANNA, request_id="r1")
    await state.record_usage((UsageEntry(RunId("a"), ANNA, PLACE.room, SystemClock().now_ms()),))


async def test_everything_comes_back(tmp_path: Path) -> None:
    """Sessions with titles, settings, roles, usage, answered requests."""
    state = await opened(tmp_path)
    await fill(state)
    chat = await state.chat(PLACE)
    sessions = await state.sessions(chat.chat_id)
    version = (await state.rules()).version
    await state.close()
    again = await restored(await taken(tmp_path), None, tmp_path / "new")
    assert await again.chat(PLACE) == chat
    assert await again.sessions(chat.chat_id) == sessions
    assert await again.new_session(chat.chat_id, "turn-2") == sessions[1]
    assert await again.settings(Scope("user", "matrix", ANNA)) == {"language": "Suomi"}
    rules = await again.rules()
    assert rules.grants == (Grant(BERT, Role.ADMIN),)
    assert rules.version != version
    assert (await again.usage(since_ms=0)).turns == 1
    await again.close()


async def test_who_was_erased_or_blocked_since_stays_so(tmp_path: Path) -> None:
    """A backup brings back nobody who was erased after it, and unblocks nobody."""
    state = await opened(tmp_path)
    await fill(state)
    chat = await state.chat(PLACE)
    backup = await taken(tmp_path)
    gone = await state.forget_user(ANNA, "forget-anna")
    await state.set_role(BERT, Role.BLOCKED, by=ANNA, request_id="r2")
    await state.retire(chat.session.thread_id)
    await state.close()
    present = await taken(tmp_path)
    assert state_backup.erased_since(backup, present) == (ANNA,)
    assert state_backup.erased_since(present, present) == ()
    moved = {chat.session.thread_id: ThreadId("moved-000000000000001")}
    again = await restored(backup, present, tmp_path / "new", moved)
    assert await again.settings(Scope("user", "matrix", ANNA)) == {}
    assert (await again.usage(since_ms=0)).turns == 0
    assert [kept.place for kept in await again.chats("matrix", BOT)] == [PLACE]
    assert await again.is_retired(gone.threads[0])
    assert await again.is_retired(chat.session.thread_id)
    rules = await again.rules()
    assert rules.grants == (Grant(BERT, Role.BLOCKED),)
    assert [user for user, _ in rules.erased] == [ANNA]
    assert (await again.chat(PLACE)).session.thread_id == "moved-000000000000001"
    await again.close()


async def test_where_nothing_is_here_the_backup_is_taken_as_it_is(tmp_path: Path) -> None:
    """Nothing is known to have been decided since."""
    state = await opened(tmp_path)
    await fill(state)
    await state.close()
    backup = await taken(tmp_path)
    again = await restored(backup, None, tmp_path / "new")
    assert await again.settings(Scope("user", "matrix", ANNA)) == {"language": "Suomi"}
    assert state_backup.erased_since(backup, None) == ()
    await again.close()
