"""A restore that is killed at any of its points and run again ends in the same state; in between
the adapter sees all of the old state or refuses to start."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.adapter.matrix.app import known_account
from antiphon.adapter.matrix.journal.journal import MIGRATIONS
from antiphon.crash import VARIABLE
from antiphon.db import database_url
from antiphon.db.dump import dump
from antiphon.errors import StateError
from antiphon.sdk.state_backup import dump_state
from antiphon.testing.agent_service import TOKEN, running_agent
from antiphon.testing.crash_points import crash_points
from antiphon.testing.databases import Kind
from antiphon.testing.engine import ScriptedEngine
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.keeper import COUNTING, Keeper
from antiphon.testing.postgres import PostgresServer
from antiphon.testing.processes import Ended, Process

POINTS = (
    "restore.decided",
    "restore.imported",
    "restore.imported@2",
    "restore.prepared",
    "restore.replacing",
    "restore.journal_placed",
    "restore.state_placed",
)
WHOLE = POINTS[:4]
"""Where nothing here has changed yet."""


@pytest.fixture
def journal(request: pytest.FixtureRequest, kind: Kind) -> str:
    if kind == "sqlite":
        return ""
    server = request.getfixturevalue("postgres")
    assert isinstance(server, PostgresServer)
    return server.fresh()


@pytest.fixture
async def keeper(homeserver: FakeHomeserver, tmp_path: Path, journal: str) -> AsyncIterator[Keeper]:
    async with running_agent(tmp_path / "agent", ScriptedEngine(COUNTING)) as agent:
        made = Keeper(homeserver, tmp_path, agent.url)
        made.matrix = msgspec.structs.replace(made.matrix, database=journal)
        yield made


async def command(keeper: Keeper, *args: str, crash: str = "") -> Ended:
    """`antiphon matrix ARGS` as a process of its own."""
    env = {
        "ANTIPHON_STATE_DIR": str(keeper.state),
        "ANTIPHON_MATRIX__HOMESERVER": keeper.server.url,
        "ANTIPHON_MATRIX__USER": keeper.bot,
        "ANTIPHON_MATRIX__ACCESS_TOKEN": keeper.matrix.access_token.reveal(),
        "ANTIPHON_MATRIX__DATABASE": keeper.matrix.database,
        "ANTIPHON_AGENT__URL": keeper.agent.url,
        "ANTIPHON_AGENT__TOKEN": TOKEN,
        VARIABLE: crash,
    }
    return await Process("restore", (), env, keeper.folder).once("matrix", *args)


async def state_of(keeper: Keeper) -> list[Any]:
    """All that is in both databases, but for the lease and what is random: new thread ids."""
    journal = await dump(
        database_url(keeper.matrix.database, keeper.state, "matrix.db"), MIGRATIONS
    )
    local = await dump_state(keeper.state)
    assert journal is not None
    assert local is not None
    threads = [row["thread_id"] for row in local.rows("sessions")]
    found: list[Any] = []
    for taken in (journal, local):
        for rows in taken.tables:
            text = msgspec.json.encode(taken.rows(rows.table)).decode()
            if rows.table == "account":
                text = msgspec.json.encode(
                    [r | {"epoch": 0} for r in taken.rows("account")]
                ).decode()
            for number, thread_id in enumerate(threads):
                text = text.replace(thread_id, f"thread {number}")
            if rows.table != "counters":  # a restore moves them on, so that rules are read anew
                found.append((rows.table, text))
    return found


async def remembered(keeper: Keeper) -> list[bytes | None]:
    local = await dump_state(keeper.state)
    assert local is not None
    return [await keeper.remembered(row["thread_id"]) for row in local.rows("sessions")]


def test_every_point_of_a_restore_is_killed_at() -> None:
    """A point that is added is added here."""
    named = {point.name for point in crash_points() if point.name.startswith("restore.")}
    assert named == {point.partition("@")[0] for point in POINTS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "point"),
    [("sqlite", point) for point in POINTS]
    + [("postgres", point) for point in ("restore.replacing", "restore.journal_placed")],
)
async def test_killed_and_run_again_it_ends_in_the_same_state(keeper: Keeper, point: str) -> None:
    """Databases, memories and the conversation; what was said since the backup is known again from
    the rooms."""
    await keeper.talk("one", "!new", "two")
    path = (await keeper.backup()).path
    wanted, memories = await state_of(keeper), await remembered(keeper)
    await keeper.talk("three")
    old = await state_of(keeper)
    local = await dump_state(keeper.state)
    assert local is not None
    await keeper.forget(*[row["thread_id"] for row in local.rows("sessions")])

    killed = await command(keeper, "restore", path, "--yes", crash=point)
    assert killed.code == -signal.SIGKILL, killed.err
    if point in WHOLE:
        assert await state_of(keeper) == old
        await known_account(keeper.matrix, keeper.state)
    else:
        with pytest.raises(StateError, match="matrix restore"):
            await known_account(keeper.matrix, keeper.state)
        refused = await command(keeper, "run")
        assert (refused.code, "interrupted" in refused.said) == (2, True)

    again = await command(keeper, "restore", path, "--yes", "--json")
    assert again.code == 0, again.err
    assert msgspec.json.decode(again.out)["done"] is True
    assert await state_of(keeper) == wanted
    assert await remembered(keeper) == memories
    assert not list(keeper.state.glob("*.restored*"))
    await keeper.talk("four")
    assert [text for text in keeper.shown() if not text.startswith("A new")] == [
        *("1: one", "1: two", "2: three", "2: four"),
    ]
