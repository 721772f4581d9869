"""Restoring: the conversation goes on with its memory, nothing is said twice, and what was decided
since is not undone behind anybody's back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import MetaData, create_engine

from antiphon.adapter.matrix.app import known_account, run
from antiphon.adapter.matrix.backup import file as backup_file
from antiphon.adapter.matrix.backup import marker, replacing
from antiphon.adapter.matrix.backup.file import opened, writing
from antiphon.adapter.matrix.journal.journal import MIGRATIONS
from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.login import StoredLogin
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import ThreadId, UserId
from antiphon.db import StateLock, migrate
from antiphon.db.dump import Dump, Rows, encode
from antiphon.errors import AgentUnreachableError, StateError, StateInUseError
from antiphon.sdk.memories import open_memories
from antiphon.settings import AgentSettings, Secret
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.agent_service import TOKEN, running_agent
from antiphon.testing.engine import ScriptedEngine
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.keeper import COUNTING, Keeper

NOWHERE = AgentSettings(url="ws://127.0.0.1:9/agent_ws/", token=Secret(TOKEN))


class Home(Keeper):
    """A keeper whose agent's model can be looked at."""

    engine: ScriptedEngine


@pytest.fixture
async def home(homeserver: FakeHomeserver, tmp_path: Path) -> AsyncIterator[Home]:
    engine = ScriptedEngine(COUNTING)
    async with running_agent(tmp_path / "agent", engine) as agent:
        made = Home(homeserver, tmp_path, agent.url)
        made.engine = engine
        yield made


def epoch(home: Home) -> int:
    return int(home.rows("matrix", "SELECT epoch FROM account")[0][0])


async def test_the_conversation_goes_on_with_its_memory(home: Home) -> None:
    """State lost and memory erased: a new thread remembers, old runs are known, and what was
    answered stays answered once."""
    await home.talk("My name is Ada.", "I like tea.")
    path = (await home.backup()).path
    (old,) = home.threads()
    home.erase()
    await home.forget(old)
    result = await home.restore(path)
    assert result is not None
    assert result.undo is None
    (new,) = home.threads()
    assert new != old
    asked = len(home.engine.requests)
    await home.talk("What is my name?")
    assert home.shown()[:2] == ["1: My name is Ada.", "2: I like tea."]
    assert home.shown()[2:] == ["3: What is my name?"]
    assert len(home.engine.requests) == asked + 1
    frozen = home.rows("matrix", "SELECT thread_id, run FROM turn")
    assert {row[0] for row in frozen} == {new}
    assert {msgspec.json.decode(row[1])["thread_id"] for row in frozen} == {new}


async def test_a_memory_that_the_agent_has_stays_as_it_is(home: Home) -> None:
    """Its record is the newer one: what was said since the backup is not unlearned."""
    await home.talk("one")
    path = (await home.backup()).path
    await home.talk("two")
    before = home.threads()
    await home.restore(path)
    assert home.threads() == before
    await home.talk("three")
    assert home.shown() == ["1: one", "2: two", "3: three"]


async def test_what_was_asked_and_answered_since_is_not_answered_again(home: Home) -> None:
    """The rooms are looked at before anything is sent; what came while nobody ran is answered."""
    await home.talk("one")
    path = (await home.backup()).path
    await home.talk("two", "three")
    home.ask("four")
    await home.restore(path)
    async with home.running():
        await home.answered(4)
        await asyncio.sleep(0.3)
    assert home.shown() == ["1: one", "2: two", "3: three", "4: four"]


async def test_a_run_that_was_open_is_taken_up(home: Home) -> None:
    """Asked before the backup and ended at the agent, the answer not yet said: the thread that took
    the memory answers from its record, and no model is asked again."""
    home.server.fail("send", faults.lost_request(), 100_000)
    async with home.running():
        home.ask("one")
        async with asyncio.timeout(10):
            while not (home.state / "state.db").exists() or not home.threads():
                await asyncio.sleep(0.02)
            (thread_id,) = home.threads()
            while await home.remembered(thread_id) is None:
                await asyncio.sleep(0.02)
    home.server.faults.clear()
    home.change("matrix", "UPDATE turn SET state = 'running', outcome = NULL, ended_ms = NULL")
    home.change("matrix", "DELETE FROM outbox")
    path = (await home.backup()).path
    await home.forget(thread_id)
    await home.restore(path)
    async with home.running():
        await home.answered(1)
    assert home.shown() == ["1: one"]
    assert len(home.engine.requests) == 1


async def test_the_lease_never_goes_back(home: Home) -> None:
    """A process that still holds the present lease must stay fenced."""
    await home.talk("one")
    path = (await home.backup()).path
    for _ in range(3):
        await home.talk("more")
    present = epoch(home)
    await home.restore(path)
    assert epoch(home) == present + 1
    await home.restore(path)
    assert epoch(home) == present + 2


async def test_what_was_forgotten_since_comes_back_under_another_id(home: Home) -> None:
    """`!new` and a reset retire threads: their ids never come back. What the agent still has of
    one is newer than the backup; the erasure that is owed to it stays owed."""
    await home.talk("one")
    path = (await home.backup()).path
    await home.talk("two")
    (old,) = home.threads()
    home.change("state", "INSERT INTO retired_threads VALUES (?, 1)", old)
    home.change("matrix", "INSERT INTO debt VALUES ('forget', ?, '', 1)", old)
    plan = await home.preview(path)
    assert any("forgotten here since" in line for line in plan.lines())
    await home.restore(path)
    (new,) = home.threads()
    assert new != old
    assert home.rows("state", "SELECT thread_id FROM retired_threads") == [(old,)]
    assert home.rows("matrix", "SELECT kind, thread_id FROM debt") == [("forget", old)]
    await home.talk("three")
    assert home.shown() == ["1: one", "2: two", "3: three"]
    assert await home.remembered(old) is None


async def test_who_was_erased_since_is_not_brought_back(home: Home) -> None:
    """Neither by the state, nor by a memory that comes back from the file."""
    await home.talk("My name is Ada.")
    path = (await home.backup()).path
    (old,) = home.threads()
    assert b"My name is Ada." in (await home.remembered(old) or b"")
    async with home.running() as platform:
        gone = await platform.forget_user(UserId(home.ada), "forget-1")
    assert gone.shared == (old,)
    await home.forget(old)
    await home.restore(path)
    (new,) = home.threads()
    assert new != old
    assert b"My name is Ada." not in (await home.remembered(new) or b"")
    assert home.rows("state", "SELECT user_id FROM users") == []
    assert home.rows("state", "SELECT user_id FROM erasures") == [(home.ada,)]


async def test_what_is_owed_to_the_agent_stays_owed(home: Home) -> None:
    """Also to the thread that took the memory: a question that was taken back is erased there."""
    await home.talk("my password is 1234", "hello")
    path = (await home.backup()).path
    (old,) = home.threads()
    run_id = home.rows("matrix", "SELECT run FROM turn WHERE text LIKE '%1234%'")[0][0]
    run_id = msgspec.json.decode(run_id)["run_id"]
    home.change("matrix", "INSERT INTO debt VALUES ('withdraw', ?, ?, 1)", old, run_id)
    await home.forget(old)
    await home.restore(path)
    (new,) = home.threads()
    assert b"1234" in (await home.remembered(new) or b"")
    async with home.running():
        async with asyncio.timeout(10):
            while home.rows("matrix", "SELECT * FROM debt"):
                await asyncio.sleep(0.02)
    archive = await home.remembered(new)
    assert archive is not None
    assert b"1234" not in archive


async def test_what_was_to_be_taken_back_in_a_room_still_is(home: Home) -> None:
    """A redaction that the homeserver has not confirmed is of the present, whatever comes back."""
    await home.talk("one")
    path = (await home.backup()).path
    (event,) = home.roots()
    row = ("r1", "t1", home.room, event["event_id"])
    home.change(
        "matrix",
        "INSERT INTO outbox VALUES (?, ?, ?, 0, 'redact', ?, 'DEVICE', 'pending', NULL, 1, 0)",
        *row,
    )
    await home.restore(path)
    async with home.running():
        await home.server.until(lambda: not home.roots()[0]["content"])


async def test_without_memories_gone_sessions_begin_anew(home: Home) -> None:
    """A backup without memories is no dead end: nothing asks in an erased thread."""
    await home.talk("one")
    path = (await home.backup(memory=False)).path
    (old,) = home.threads()
    await home.forget(old)
    plan = await home.preview(path)
    assert any("begin anew" in line for line in plan.lines())
    await home.restore(path)
    await home.talk("two")
    assert home.shown() == ["1: one", "1: two"]


async def test_what_is_here_is_kept_before_it_is_replaced(home: Home) -> None:
    """And restoring that undoes the restore."""
    await home.talk("one")
    path = (await home.backup()).path
    await home.talk("two", "!new", "three")
    turns = home.rows("matrix", "SELECT turn_id, state FROM turn ORDER BY pos")
    threads = home.threads()
    result = await home.restore(path)
    assert result is not None
    assert result.undo is not None
    assert len(home.threads()) == 1
    assert any(result.undo in line for line in result.lines())
    assert await home.restore(result.undo, backup_first=False) is not None
    assert home.threads() == threads
    assert home.rows("matrix", "SELECT turn_id, state FROM turn ORDER BY pos") == turns


async def test_a_preview_changes_nothing_and_is_what_is_done(home: Home) -> None:
    """Not a byte here, and nothing at the agent; also where no agent runs."""
    await home.talk("one", "!new", "two")
    path = (await home.backup()).path
    first, second = home.threads()
    await home.forget(first)

    def files() -> dict[str, bytes]:
        return {
            str(file): file.read_bytes()
            for file in home.state.rglob("*")
            if file.is_file() and not file.name.endswith(("-shm", "-wal"))
        }

    before = files()
    plan = await home.preview(path)
    assert plan.fate is not None
    assert (plan.fate.kept, plan.fate.moved) == ((second,), (first,))
    there = home.agent
    home.agent = NOWHERE
    assert any("can't be told" in line for line in (await home.preview(path)).lines())
    assert files() == before
    home.agent = there
    assert await home.restore(path, agreed=False) is None
    assert await home.remembered(first) is None
    assert {k: v for k, v in files().items() if "lock" not in k} == before
    done = await home.restore(path)
    assert done is not None
    assert done.plan == msgspec.structs.replace(plan, dry_run=False)
    kept, moved = second, next(thread for thread in home.threads() if thread != second)
    assert kept in home.threads()
    assert await home.remembered(moved) is not None


async def test_it_is_refused_while_an_adapter_runs(home: Home) -> None:
    await home.talk("one")
    path = (await home.backup()).path
    with (
        StateLock.acquire(home.state, "matrix", what="A Matrix adapter"),
        pytest.raises(StateInUseError, match="already runs"),
    ):
        await home.restore(path)


async def test_another_accounts_backup_is_refused(home: Home) -> None:
    """By the settings, by the login here, by the journal here."""
    await home.talk("one")
    path = (await home.backup()).path
    theirs = home.server.account("another")
    settings = home.matrix
    home.matrix = msgspec.structs.replace(settings, user=theirs)
    with pytest.raises(StateError, match=f"this is {theirs}") as caught:
        await home.restore(path)
    assert caught.value.exit_code == 2
    home.matrix = msgspec.structs.replace(settings, user="")
    login.save(home.state, StoredLogin(theirs, "D", Secret("t"), home.server.url))
    with pytest.raises(StateError, match="backup of"):
        await home.restore(path)
    (home.state / login.FILE_NAME).unlink()
    home.change("matrix", "UPDATE account SET user_id = ?", theirs)
    with pytest.raises(StateError, match="backup of"):
        await home.restore(path)


async def test_without_the_agent_nothing_is_replaced(home: Home) -> None:
    await home.talk("one")
    path = (await home.backup()).path
    before = home.rows("matrix", "SELECT * FROM account")
    home.agent = NOWHERE
    with pytest.raises(AgentUnreachableError):
        await home.restore(path)
    assert home.rows("matrix", "SELECT * FROM account") == before


async def test_a_damaged_state_can_be_replaced_and_its_lease_is_outrun(home: Home) -> None:
    """It can't be kept, and the sentence says how to go on without."""
    await home.talk("one")
    path = (await home.backup()).path
    shutil.copy(path, home.folder / "kept.backup")
    for file in home.state.glob("matrix.db*"):
        file.write_bytes(b"rubbish " * 4096)
    with pytest.raises(StateError, match="--no-backup"):
        await home.restore(path)
    assert await home.restore(path, backup_first=False) is not None
    assert epoch(home) > 1_000_000
    await home.talk("two")
    assert home.shown() == ["1: one", "2: two"]


async def test_the_newer_login_stays_and_a_lost_one_becomes_a_new_device(home: Home) -> None:
    """Encryption is never rewound: keys live with the login that is here, and the device of the
    backup is not taken up where it has none."""
    await home.talk("one")
    path = (await home.backup()).path
    kept = StoredLogin(home.bot, "NEWER", Secret("newer"), home.server.url)
    login.save(home.state, kept)
    await home.restore(path)
    assert login.load(home.state) == kept
    (home.state / login.FILE_NAME).unlink()
    shutil.copy(path, home.folder / "kept.backup")
    shutil.rmtree(home.state)
    await home.restore(home.folder / "kept.backup")
    assert home.rows("matrix", "SELECT device_id FROM account") == [("",)]
    # The next start signs in as a new device, and not as one without a name.
    home.server.passwords[home.bot] = "password"
    general, agent = home.general, home.agent
    settings = msgspec.structs.replace(
        home.matrix, access_token=Secret(""), password=Secret("password")
    )
    await run(general, settings, agent, until_idle=10)
    (device_id,) = home.rows("matrix", "SELECT device_id FROM account")[0]
    kept_now = login.load(home.state)
    assert kept_now is not None
    assert kept_now.device_id == device_id
    assert device_id not in ("", "DEVICE", "NEWER")


def as_of_the_first_version(taken: Dump) -> Dump:
    """The rows that the journal's first schema has room for."""
    engine = create_engine("sqlite://")
    first = MetaData()
    with engine.begin() as connection:
        migrate.run(connection, MIGRATIONS, "0001")
        first.reflect(connection)
    engine.dispose()
    tables = []
    for rows in taken.tables:
        if rows.table in first.tables:
            known = first.tables[rows.table].columns.keys()
            places = [n for n, column in enumerate(rows.columns) if column in known]
            columns = tuple(rows.columns[n] for n in places)
            tables.append(
                Rows(rows.table, columns, [[row[n] for n in places] for row in rows.rows])
            )
    return Dump(taken.store, "0001", tuple(tables))


async def test_an_older_backup_goes_forward(home: Home) -> None:
    """Written by the first version: restored into the newest schema."""
    await home.talk("one")
    old = home.folder / "old.backup"
    with opened(Path((await home.backup()).path)) as backup, writing(old) as writer:
        writer.add(backup_file.JOURNAL, encode(as_of_the_first_version(backup.journal())))
        for name in set(backup.manifest.parts) - {backup_file.JOURNAL}:
            writer.add(name, backup.read(name))
        writer.finish(backup.manifest)
    home.erase()
    await home.restore(old)
    await home.talk("two")
    assert home.shown() == ["1: one", "2: two"]


async def test_while_a_restore_is_half_done_nothing_starts(home: Home) -> None:
    """Neither an adapter nor a dry run nor a backup; another restore goes on, whatever of."""
    await home.talk("one")
    path = (await home.backup()).path
    await home.talk("two")
    place = replacing.place_of(home.state, home.matrix)
    half = marker.Marker("replacing", path, "0" * 64, {}, None, place)
    marker.save(home.state, half)
    for attempt in (known_account(home.matrix, home.state), home.backup()):
        with pytest.raises(StateError, match="matrix restore") as caught:
            await attempt
        assert caught.value.code == "restore_unfinished"
    settings = home.matrix
    home.matrix = msgspec.structs.replace(settings, database="sqlite:////tmp/elsewhere.db")
    with pytest.raises(StateError, match=r"another \[matrix\] database"):
        await home.restore(path)
    home.matrix = settings
    assert await home.restore(path) is not None
    assert marker.load(home.state) is None
    await home.backup()


async def test_a_restore_that_was_given_up_leaves_no_memories_behind(home: Home) -> None:
    """Interrupted before anything was replaced, and then another backup restored: what had been
    brought to the agent is erased there."""
    await home.talk("one")
    first = (await home.backup()).path
    await home.talk("two")
    second = (await home.backup()).path
    (old,) = home.threads()
    archive = await home.remembered(old)
    assert archive is not None
    orphan = ThreadId("orphan-0123456789abcdef")
    async with open_memories(home.agent, clock=SystemClock(), chance=SystemChance()) as there:
        await there.import_thread(orphan, archive)
    begun = marker.Marker("importing", first, "0" * 64, {ThreadId(old): orphan}, None)
    marker.save(home.state, begun)
    await known_account(home.matrix, home.state)  # an adapter may start: all is as it was
    await home.restore(second)
    assert await home.remembered(orphan) is None
