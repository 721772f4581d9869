"""A journal of the very first schema goes forward with all that it holds."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from antiphon.adapter.matrix.journal import debts, inbound, outbox, rooms, turns
from antiphon.adapter.matrix.journal.journal import MIGRATIONS, Journal, account_of
from antiphon.core.ids import RoomId, TurnId, TxnId, UserId
from antiphon.core.model import TurnState
from antiphon.db import migrate
from antiphon.db.database import store_name
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.world import World

ME = UserId("@bot:hs")
ROOM = RoomId("!room:hs")


def first_schema(url: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """A database as the first version made it, with these rows."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    migrate.upgrade(engine, MIGRATIONS, store=store_name(MIGRATIONS), where=url, to="0001")
    with engine.begin() as connection:
        for table, found in rows.items():
            for row in found:
                names = ", ".join(row)
                values = ", ".join(f":{name}" for name in row)
                connection.execute(
                    text(f"INSERT INTO {table} ({names}) VALUES ({values})"),
                    row,
                )
    engine.dispose()


def a_turn(number: int, state: str, **more: Any) -> dict[str, Any]:
    return {
        "turn_id": f"turn{number}",
        "room_id": ROOM,
        "place_thread": "",
        "place_user": "",
        "pos": number,
        "kind": "question",
        "state": state,
        "revision": 1,
        "event_id": f"$q{number}",
        "sender": "@ada:hs",
        "reply_thread": "",
        "text": f"question {number}",
        "quote": True,
        "created_ms": 1_000 + number,
        **more,
    }


def account(user: str = ME, next_batch: str = "s7") -> dict[str, Any]:
    return {
        "id": 1,
        "user_id": user,
        "device_id": "DEV",
        "next_batch": next_batch,
        "batch": 7,
        "epoch": 3,
    }


def a_room(room_id: str, membership: str, *, encrypted: bool = False) -> dict[str, Any]:
    return {
        "room_id": room_id,
        "membership": membership,
        "encrypted": encrypted,
        "inviter": "@ada:hs",
        "updated_ms": 1,
    }


def a_send(txn: str, kind: str, state: str) -> dict[str, Any]:
    return {
        "txn_id": txn,
        "turn_id": "turn3",
        "room_id": ROOM,
        "part": 0,
        "kind": kind,
        "content": '{"body":"text"}' if state == "pending" else "",
        "device_id": "DEV",
        "state": state,
        "event_id": None if state == "pending" else "$root",
        "created_ms": 5,
    }


ROWS: dict[str, list[dict[str, Any]]] = {
    "account": [account()],
    "room": [
        a_room(ROOM, "join"),
        a_room("!secret:hs", "join", encrypted=True),
        a_room("!invited:hs", "invite"),
    ],
    "inbound": [
        {"event_id": "$q1", "room_id": ROOM, "pos": 1, "state": "taken", "event": ""},
        {
            "event_id": "$waits",
            "room_id": "!secret:hs",
            "pos": 9,
            "state": "pending",
            "event": '{"event_id":"$waits","type":"m.room.message","sender":"@ada:hs",'
            '"content":{"msgtype":"m.text","body":"hi"},"origin_server_ts":1}',
        },
    ],
    "gap": [{"room_id": "!secret:hs", "batch": 7, "from_token": "p", "to_token": "s6"}],
    "turn": [
        a_turn(1, "delivered", outcome="success", ended_ms=9),
        a_turn(2, "running", thread_id="thread", run='{"run_id":"r"}'),
        a_turn(3, "answered", thread_id="thread", run="{}", outcome="success"),
        a_turn(4, "queued"),
    ],
    "outbox": [a_send("root", "root", "sent"), a_send("final", "final", "pending")],
    "debt": [{"kind": "cancel", "thread_id": "thread", "run_id": "r", "created_ms": 2}],
}


async def test_every_table_of_the_first_schema_is_kept(store_url: str) -> None:
    first_schema(store_url, ROWS)
    journal = await Journal.open(store_url, ME, "DEV")
    assert (journal.epoch, journal.device_changed) == (4, False)
    found = await journal.read(account_of)
    assert found is not None
    assert (found.next_batch, found.batches) == ("s7", 7)
    turn = await journal.read(lambda c: [turns.get(c, TurnId(f"turn{n}")) for n in range(1, 5)])
    assert [t and t.state for t in turn] == [
        TurnState.DELIVERED,
        TurnState.RUNNING,
        TurnState.ANSWERED,
        TurnState.QUEUED,
    ]
    running = turn[1]
    assert running is not None
    assert (running.text, running.thread_id, running.run, running.quote) == (
        "question 2",
        "thread",
        '{"run_id":"r"}',
        True,
    )
    sends = await journal.read(lambda c: outbox.of_turn(c, TurnId("turn3")))
    assert [(s.txn_id, s.state, s.event_id) for s in sends] == [
        (TxnId("root"), "sent", "$root"),
        (TxnId("final"), "pending", None),
    ]
    assert sends[1].body() == {"body": "text"}
    assert await journal.read(lambda c: rooms.may_send(c, ROOM, sealed=False))
    assert await journal.read(lambda c: rooms.is_encrypted(c, RoomId("!secret:hs")))
    assert await journal.read(lambda c: rooms.with_membership(c, "invite")) == (
        ("!invited:hs", "@ada:hs"),
    )
    (gap,) = await journal.read(inbound.open_gaps)
    assert (gap.from_token, gap.to_token, gap.until_event) == ("p", "s6", None)
    assert await journal.read(lambda c: inbound.known(c, ["$q1", "$waits", "$new"])) == {
        "$q1",
        "$waits",
    }
    assert [d.run_id for d in await journal.read(debts.pending)] == ["r"]
    await journal.close()


async def test_a_bot_goes_on_with_the_state_of_the_first_version(tmp_path: Path) -> None:
    """Its question is answered, and what was answered before is not answered again."""
    async with FakeHomeserver() as server:
        world = World(server, tmp_path)
        world.room = server.room(world.ada, world.bot)
        old, new = world.ask("old"), world.ask("new")
        place = {"room_id": world.room, "sender": world.ada}
        rows = {
            "account": [account(world.bot, f"s{server.rooms.position}") | {"device_id": "DEVICE"}],
            "room": [a_room(world.room, "join")],
            "turn": [
                a_turn(1, "delivered", event_id=old, **place),
                a_turn(2, "queued", event_id=new, text="new", **place),
            ],
        }
        first_schema(f"sqlite:///{tmp_path / 'matrix.db'}", rows)
        report = await world.adapter.reconcile()
        assert world.shown() == ["You said: new"]
        assert report.ended == {"delivered": 1}
    with sqlite3.connect(tmp_path / "matrix.db") as database:
        (version,) = database.execute("SELECT version_num FROM alembic_version").fetchone()
    database.close()
    assert version == migrate.head(MIGRATIONS)
