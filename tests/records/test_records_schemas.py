"""Databases of older versions go forward: from the very first schema, with what it kept."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, ThreadId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope
from antiphon.db import migrate
from antiphon.records.records import MIGRATIONS
from antiphon.records.transfer import read_local
from antiphon.sdk.prototype_state import LocalState, kept_chats

BOT, ANNA = UserId("@bot:x"), UserId("@anna:x")
PLACE = Place("matrix", BOT, RoomId("!room:x"))
OLD, SECOND = ThreadId("thread-0000000001"), ThreadId("thread-0000000002")

FIRST = f"""
INSERT INTO users VALUES ('matrix', '{ANNA}', 5);
INSERT INTO chats VALUES ('c1', 'matrix', '{BOT}', '!room:x', '', '', 's2', 6);
INSERT INTO sessions VALUES ('s1', 'c1', 1, '{OLD}', NULL, 6);
INSERT INTO sessions VALUES ('s2', 'c1', 2, '{SECOND}', 'turn-1', 7);
INSERT INTO sessions VALUES ('s3', 'c1', 3, 'thread-0000000003', NULL, 8);
INSERT INTO retired_threads VALUES ('thread-0000000003', 9);
INSERT INTO settings VALUES ('room', 'matrix', '!room:x', 'model', '"local"');
"""
"""What the first version wrote: frozen here, whatever the tables become."""


def old_database(url: str) -> None:
    """A database as the first version left it."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        migrate.run(connection, MIGRATIONS, "0001")
        for statement in FIRST.strip().splitlines():
            connection.exec_driver_sql(statement)
    engine.dispose()


async def test_the_very_first_schema_goes_forward_with_its_data(store_url: str) -> None:
    """Chats, sessions, answered requests, settings; and all that is new works on them."""
    old_database(store_url)
    state = await LocalState.open(store_url, clock=SystemClock(), chance=SystemChance())
    chat = await state.chat(PLACE)
    assert (chat.chat_id, chat.session.thread_id) == ("c1", SECOND)
    first, second = await state.sessions(chat.chat_id)
    assert [one.number for one in (first, second)] == [1, 2]
    assert await state.is_retired(ThreadId("thread-0000000003"))
    assert await state.new_session(chat.chat_id, "turn-1") == second
    assert (await state.chat(PLACE)).session == second
    assert (await state.resolve(PLACE, ANNA)).model == "local"
    assert (await state.export_user(ANNA))["first_seen_ms"] == 5
    fourth = await state.new_session(chat.chat_id, "turn-2")
    assert fourth.number == 4
    named = await state.rename_session(chat.chat_id, first.session_id, "Old", "turn-3")
    assert await state.switch_session(chat.chat_id, named.session_id, "turn-4") == named
    room = Scope("room", "matrix", PLACE.room)
    await state.set_setting(room, "isolation", "user", by=ANNA, request_id="turn-5")
    assert (await state.chat(PLACE)).session.number == 5
    await state.close()


async def test_an_old_file_is_looked_into_without_a_change(tmp_path: Path) -> None:
    """By a dry run, and to be moved into a control plane."""
    path = tmp_path / "state.db"
    old_database(f"sqlite:///{path}")
    before = path.read_bytes()
    (kept,) = await kept_chats(f"sqlite:///{path}", "matrix", BOT)
    assert kept.threads == (OLD, SECOND, "thread-0000000003")
    rows = await read_local(f"sqlite:///{path}", "matrix")
    assert [row["title"] for row in rows.of("sessions")] == ["", "", ""]
    assert path.read_bytes() == before
