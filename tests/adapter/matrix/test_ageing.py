"""What becomes of what is long over: its texts go, and nothing is answered twice for that."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from antiphon.adapter.matrix.ageing import DAY_MS, Ageing
from antiphon.adapter.matrix.journal import schema
from antiphon.adapter.matrix.journal.journal import Journal
from antiphon.clock import SystemClock
from antiphon.core.ids import UserId
from antiphon.testing.clock import FakeClock
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.remote_worlds import kept_by
from antiphon.testing.world import World, until


@pytest.fixture
async def world(kept: str, tmp_path: Path) -> AsyncIterator[World]:
    async with FakeHomeserver() as server:
        made = World(server, tmp_path)
        made.room = server.room(made.ada, made.bot)
        async with kept_by(kept, made.platform, tmp_path):
            yield made


class Later(FakeClock):
    """The wall clock, some days on."""

    def __init__(self, days: float):
        super().__init__()
        self._ahead = round(days * DAY_MS)

    def now_ms(self) -> int:
        return SystemClock().now_ms() + self._ahead

    async def sleep(self, seconds: float) -> None:
        """Nobody waits."""


async def aged(world: World, days: float, keep_days: int = 30) -> int:
    """The journal, between two lives, so many days later; how many rows went."""
    journal = await Journal.open(
        f"sqlite:///{world.state / 'matrix.db'}", UserId(world.bot), "DEVICE"
    )
    try:
        return await Ageing(journal, Later(days), keep_days).once()
    finally:
        await journal.close()


def rows(world: World, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(world.state / "matrix.db")) as database:
        return database.execute(query).fetchall()


async def lived(world: World) -> str:
    """One question, answered; its event."""
    async with world.adapter.running():
        event = world.ask("a question")
        await world.answered(1)
        world.ask("!help")
        await world.answered(2)
        # The room has shown it.
        await until(lambda: len(rows(world, "SELECT * FROM own_event WHERE final")) >= 2)
    return event


async def test_texts_go_after_their_time_and_not_before(world: World) -> None:
    await lived(world)
    assert await aged(world, 29) == 0
    assert rows(world, "SELECT text FROM turn WHERE kind = 'question'") == [("a question",)]
    assert await aged(world, 31) > 0
    assert rows(world, "SELECT text, run FROM turn WHERE kind = 'question'") == [("", None)]
    assert rows(world, "SELECT * FROM outbox") == []
    assert rows(world, "SELECT count(*) FROM inbound") == [(2,)], "ids stay for twice as long"
    assert await aged(world, 31) == 0
    assert await aged(world, 61) > 0
    assert rows(world, "SELECT count(*) FROM inbound") == [(0,)]
    assert rows(world, "SELECT count(*) FROM turn") == [(2,)]


async def test_open_turns_and_what_is_owed_stay(world: World) -> None:
    await lived(world)
    journal = await Journal.open(
        f"sqlite:///{world.state / 'matrix.db'}", UserId(world.bot), "DEVICE"
    )

    def reopen(connection: Any) -> None:
        connection.execute(
            update(schema.turn)
            .where(schema.turn.c.kind == "question")
            .values(state="answered", ended_ms=None)
        )
        connection.execute(update(schema.outbox).values(state="pending", content="{}"))

    await journal.write(reopen)
    await journal.close()
    await aged(world, 1000)
    assert rows(world, "SELECT text FROM turn WHERE kind = 'question'") == [("a question",)]
    assert rows(world, "SELECT count(*) FROM outbox WHERE state = 'pending'")[0][0] >= 2


async def test_zero_days_keep_everything(world: World) -> None:
    await lived(world)
    journal = await Journal.open(
        f"sqlite:///{world.state / 'matrix.db'}", UserId(world.bot), "DEVICE"
    )
    await Ageing(journal, Later(10_000), 0).run()
    found = await journal.read(lambda c: c.execute(select(schema.turn.c.text)).scalars().all())
    await journal.close()
    assert "a question" in found


async def test_an_old_question_that_comes_again_is_not_answered_again(world: World) -> None:
    """The same event delivered once more, a lost cursor, an edit: nothing is said twice."""
    event = await lived(world)
    await aged(world, 100)
    async with world.adapter.running():
        world.server.repeat_event(world.room, event)
        world.server.edit(world.room, world.ada, event, "a question, reworded")
        world.ask("!retry")
        await world.answered(3)
        world.ask("next")
        await world.answered(4)
    with contextlib.closing(sqlite3.connect(world.state / "matrix.db")) as database:
        database.execute("UPDATE account SET next_batch = NULL")
        database.commit()
    async with world.adapter.running():
        world.ask("last")
        await world.answered(5)
    assert [run.question[0].text for run in world.platform.runs] == ["a question", "next", "last"]
    assert world.shown()[0] == "You said: a question"
    assert world.shown()[2] == "There is no question here to ask again."


async def test_an_old_question_that_is_redacted_takes_its_answer_along(world: World) -> None:
    """Out of the room and out of the agent's memory, however old it is."""
    event = await lived(world)
    await aged(world, 100)
    async with world.adapter.running():
        world.server.redact(world.room, world.ada, event)
        await until(lambda: len(world.shown()) == 1)
        await until(lambda: bool(world.platform.withdrawn))
    assert "You said" not in world.shown()[0]


async def test_a_redacted_answer_is_not_made_readable_by_its_edits_however_old(
    world: World,
) -> None:
    await lived(world)
    await aged(world, 100)
    async with world.adapter.running():
        root = world.roots()[0]["event_id"]
        world.server.redact(world.room, world.ada, root)
        await until(lambda: len(world.shown()) == 1)
        await until(
            lambda: (
                not any(
                    "You said" in str(event["content"])
                    for event in world.server.messages(world.room, world.bot)
                )
            )
        )
