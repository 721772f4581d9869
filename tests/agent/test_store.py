"""The store's contract, on every database that it is written for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, select

from antiphon.agent.model import (
    CallRow,
    Frame,
    FrozenSettings,
    StepRow,
    ThreadId,
    frame,
)
from antiphon.agent.store import (
    MIGRATIONS,
    erasure,
    events,
    ledger,
    lifecycle,
    notes,
    reading,
    runs,
    schema,
    steps,
    threads,
    tombstones,
)
from antiphon.agent_api.messages import Cursor, InputPart, TextDelta, Usage
from antiphon.db import Database
from antiphon.errors import AgentProtocolError, LeaseLostError

THREAD = ThreadId("matrix", "thread-0123456789")
OTHER = ThreadId("terminal", "thread-0123456789")
SETTINGS = FrozenSettings("offline", "", (), 100, 1_000, 16, 60.0)


@pytest.fixture
async def database(store_url: str) -> AsyncIterator[Database]:
    """A fresh database of each kind."""
    opened = await Database.open(store_url, MIGRATIONS)
    yield opened
    await opened.close()


def wanted(run_id: str, text: str = "hi", thread: ThreadId = THREAD) -> lifecycle.Start:
    return lifecycle.Start(thread, run_id, (InputPart(text),), f"hash of {text}", SETTINGS)


def delta(run_id: str, seq: int, attempt: int = 1, thread: ThreadId = THREAD) -> Frame:
    return frame(
        TextDelta(
            thread_id=thread.thread_id, run_id=run_id, attempt=attempt, seq=seq, step=0, text="x"
        )
    )


def answered(connection: Connection, run_id: str, text: str = "hi", answer: str = "yes") -> None:
    """A run from start to success."""
    lifecycle.start(connection, wanted(run_id, text), 1)
    steps.add(connection, THREAD, run_id, StepRow(0, answer), 2)
    runs.end(connection, THREAD, run_id, "success", None, 3, Usage())


async def test_the_migrations_build_the_tables(database: Database) -> None:
    """Alembic finds no difference between them and the schema."""

    def difference(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, schema.metadata))

    assert await database.read(difference) == []


async def test_a_new_run_begins_its_thread_at_seq_1(database: Database) -> None:
    """Its first event is `run.started`; the second run's follows."""

    def check(connection: Connection) -> None:
        started = lifecycle.start(connection, wanted("r1"), 1)
        assert [(one.seq, one.type) for one in started.frames] == [(1, "run.started")]
        runs.end(connection, THREAD, "r1", "success", None, 1, Usage())
        again = lifecycle.start(connection, wanted("r2"), 1)
        assert again.frames[0].seq == 2
        assert again.run.ordinal == started.run.ordinal + 1

    await database.write(check)


async def test_a_refused_start_leaves_nothing(database: Database) -> None:
    """The transaction is rolled back whole, thread included."""
    refusal = AgentProtocolError("no", code="unknown_model")
    start = msgspec.structs.replace(wanted("r1"), settings=None, refusal=refusal)
    with pytest.raises(AgentProtocolError, match="no"):
        await database.write(lambda connection: lifecycle.start(connection, start, 1))
    assert not await database.read(lambda connection: threads.exists(connection, THREAD))


async def test_only_the_attempt_that_has_the_run_may_write(database: Database) -> None:
    """An older attempt, and any attempt after the end, gets LeaseLostError."""

    def check(connection: Connection) -> None:
        lifecycle.start(connection, wanted("r1"), 1)
        runs.fence(connection, THREAD, "r1", 1, Usage(seconds=0.005))
        resumed = lifecycle.resume(connection, THREAD, "r1", 1)
        assert resumed is not None
        assert (resumed.run.attempt, resumed.run.spent_ms) == (2, 5)
        for attempt in (1, 3):
            with pytest.raises(LeaseLostError):
                runs.fence(connection, THREAD, "r1", attempt, Usage())
        runs.end(connection, THREAD, "r1", "success", None, 1, Usage())
        with pytest.raises(LeaseLostError):
            runs.fence(connection, THREAD, "r1", 2, Usage())
        with pytest.raises(LeaseLostError):
            runs.end(connection, THREAD, "r1", "error", None, 1, Usage())
        assert lifecycle.resume(connection, THREAD, "r1", 1) is None

    await database.write(check)


async def test_events_must_follow_each_other(database: Database) -> None:
    """A writer that does not know the thread's last seq is refused."""

    def check(connection: Connection) -> None:
        lifecycle.start(connection, wanted("r1"), 1)
        events.append(connection, THREAD, [delta("r1", 2), delta("r1", 3)])
        for seq in (3, 5):
            with pytest.raises(LeaseLostError):
                events.append(connection, THREAD, [delta("r1", seq)])
        assert threads.last_seq(connection, THREAD) == 3
        assert [one.seq for one in events.after(connection, THREAD, 1, 10)] == [2, 3]
        assert events.after(connection, THREAD, 5, 10) == []

    await database.write(check)


async def test_a_place_for_every_kind_of_cursor(database: Database) -> None:
    """Known: after it. Void: at the resumption. Ahead, too old, of another history: none."""

    def check(connection: Connection) -> None:
        lifecycle.start(connection, wanted("r1"), 1)
        events.append(connection, THREAD, [delta("r1", seq) for seq in (2, 3, 4)])
        lifecycle.resume(connection, THREAD, "r1", 1)
        events.append(connection, THREAD, [delta("r1", 6, attempt=2)])

        def place(run_id: str, attempt: int, seq: int) -> int | None:
            return reading.place(connection, THREAD, Cursor(run_id, attempt, seq)).after_seq

        assert place("r1", 1, 3) == 3
        assert place("r1", 2, 6) == 6
        assert place("r1", 1, 0) == 0
        assert place("r1", 1, 5) == 4  # sent, never committed: the resumption took its place
        assert place("r1", 1, 9) == 4
        assert place("r1", 2, 7) is None
        assert place("r1", 3, 5) is None
        assert place("r9", 1, 3) is None
        assert place("r9", 1, 0) is None

    await database.write(check)


async def test_events_of_runs_before_the_previous_are_pruned(database: Database) -> None:
    """Their history stays."""

    def check(connection: Connection) -> None:
        for number in range(4):
            answered(connection, f"r{number}", f"q{number}")
        kept = connection.execute(select(schema.events.c.run_id).distinct()).scalars().all()
        assert set(kept) == {"r2", "r3"}
        history = steps.turns(connection, THREAD, 99)
        assert [turn.input[0].text for turn in history] == ["q3", "q2", "q1", "q0"]

    await database.write(check)


async def test_errors_are_no_history(database: Database) -> None:
    """Question and answer of an errored run are left out, and a withdrawn one's erased."""

    def check(connection: Connection) -> None:
        answered(connection, "r1", "one")
        lifecycle.start(connection, wanted("r2", "two"), 1)
        runs.end(connection, THREAD, "r2", "error", None, 1, Usage())
        answered(connection, "r3", "three")
        lifecycle.withdraw(connection, THREAD, "r3", 1)
        assert [turn.run_id for turn in steps.turns(connection, THREAD, 99)] == ["r1"]
        assert notes.search(connection, THREAD, 99, "t", 9) == ()

    await database.write(check)


async def test_the_ledger_keeps_a_recorded_result(database: Database) -> None:
    """asked → begun → done; a second result changes nothing."""

    def check(connection: Connection) -> None:
        lifecycle.start(connection, wanted("r1"), 1)
        calls = tuple(CallRow(f"c{n}", "r1", 0, n, "tool", "{}") for n in range(3))
        steps.add(connection, THREAD, "r1", StepRow(0, "", calls=calls), 1)
        ledger.begin(connection, THREAD, "c0")
        ledger.finish(connection, THREAD, "c0", "ok", "first", False)
        ledger.finish(connection, THREAD, "c0", "error", "second", False)
        ledger.begin(connection, THREAD, "c0")
        ledger.begin(connection, THREAD, "c1")
        lifecycle.close_calls(connection, THREAD, "r1")
        found = ledger.of_run(connection, THREAD, "r1")
        assert [call.state for call in found] == ["done"] * 3
        assert [call.outcome for call in found] == ["ok", "unknown", "error"]
        assert found[0].content == "first"
        assert ledger.known_ids(connection, THREAD, ["c0", "c9"]) == {"c0"}
        assert ledger.known_ids(connection, OTHER, ["c0"]) == set()

    await database.write(check)


async def test_notes_are_numbered_and_idempotent_by_call(database: Database) -> None:
    """The same call again gives the note that it made."""

    def check(connection: Connection) -> None:
        first = notes.add(connection, THREAD, "r1", "c1", "milk", 1)
        assert notes.add(connection, THREAD, "r1", "c1", "other", 2) == first
        assert notes.add(connection, THREAD, "r1", "c2", "eggs", 3).number == 2
        assert [note.text for note in notes.all_of(connection, THREAD)] == ["milk", "eggs"]
        assert notes.all_of(connection, OTHER) == ()

    await database.write(check)


async def test_search_finds_all_words_whatever_their_case(database: Database) -> None:
    """Newest first, in this thread and before this run only."""

    def check(connection: Connection) -> None:
        answered(connection, "r1", "Der ÄPFEL-Kuchen", "gut, mit 100% Zucker")
        answered(connection, "r2", "kuchen wieder", "ja")
        found = notes.search(connection, THREAD, 99, "KUCHEN", 9)
        assert [(one.role, one.text) for one in found] == [
            ("user", "kuchen wieder"),
            ("user", "Der ÄPFEL-Kuchen"),
        ]
        assert len(notes.search(connection, THREAD, 99, "kuchen äpfel", 9)) == 1
        assert len(notes.search(connection, THREAD, 2, "kuchen", 9)) == 1
        assert len(notes.search(connection, THREAD, 99, "100%", 9)) == 1
        assert notes.search(connection, THREAD, 99, "10_%", 9) == ()
        assert notes.search(connection, OTHER, 99, "kuchen", 9) == ()
        assert len(notes.search(connection, THREAD, 99, "kuchen", 1)) == 1

    await database.write(check)


async def test_deleting_erases_every_row_of_the_thread_and_no_other(database: Database) -> None:
    """All tables; the same id of another surface stays."""

    def check(connection: Connection) -> None:
        for thread in (THREAD, OTHER):
            lifecycle.start(connection, wanted("r1", thread=thread), 1)
            calls = (CallRow("c1", "r1", 0, 0, "tool", "{}"),)
            steps.add(connection, thread, "r1", StepRow(0, "text", calls=calls), 1)
            notes.add(connection, thread, "r1", "c1", "note", 1)
            tombstones.bury(connection, thread, "r9", "cancelled", 1)
        lifecycle.delete_thread(connection, THREAD, 1)
        lifecycle.delete_thread(connection, THREAD, 2)
        for name, table in schema.metadata.tables.items():
            count = select(func.count()).select_from(table)
            mine = connection.execute(count.where(threads.of(table, THREAD))).scalar_one()
            others = connection.execute(count.where(threads.of(table, OTHER))).scalar_one()
            assert mine == (1 if name == "tombstones" else 0), name
            assert others == 1, name
        with pytest.raises(AgentProtocolError) as caught:
            lifecycle.start(connection, wanted("r1"), 1)
        assert caught.value.code == "thread_gone"

    await database.write(check)


async def test_withdrawn_outdoes_cancelled_in_a_tombstone(database: Database) -> None:
    """And is not undone by a later cancel."""

    def check(connection: Connection) -> None:
        lifecycle.cancel(connection, THREAD, "r1", 1)
        lifecycle.withdraw(connection, THREAD, "r1", 1)
        lifecycle.cancel(connection, THREAD, "r1", 1)
        started = lifecycle.start(connection, wanted("r1", "secret"), 1)
        assert (started.run.status, started.run.input) == ("withdrawn", ())
        assert tombstones.find(connection, THREAD, "r1") is None

    await database.write(check)


async def test_cancelling_a_run_that_nobody_works_on_ends_it_once(database: Database) -> None:
    """With its terminal event, in one transaction; a second time changes nothing."""

    def check(connection: Connection) -> None:
        lifecycle.start(connection, wanted("r1"), 1)
        ended = lifecycle.cancel(connection, THREAD, "r1", 1)
        assert [one.type for one in ended] == ["run.finished"]
        assert lifecycle.cancel(connection, THREAD, "r1", 1) == []
        assert runs.running_of(connection, THREAD) is None
        assert threads.last_seq(connection, THREAD) == ended[0].seq

    await database.write(check)


async def test_only_crashes_at_work_are_failed_attempts(database: Database) -> None:
    """A process that died counts once for what it worked on: not for what it had parked, nor for
    what it had not begun again. A takeover within a process counts nothing."""

    def check(connection: Connection) -> None:
        def failed() -> dict[str, int]:
            return {one.run_id: one.failed_attempts for one in runs.settle(connection)}

        for number in range(3):
            thread = ThreadId("matrix", f"thread-{number:016d}")
            start = wanted(f"r{number}", thread=thread)
            lifecycle.start(connection, start, number)
            if number == 1:
                runs.park(connection, thread, "r1")
            if number == 2:
                runs.end(connection, thread, "r2", "success", None, 1, Usage())
        first, second = (
            ThreadId("matrix", f"thread-{0:016d}"),
            ThreadId("matrix", f"thread-{1:016d}"),
        )
        assert failed() == {"r0": 1, "r1": 0}
        assert failed() == {"r0": 1, "r1": 0}
        for expected in (1, 2):
            for _ in range(2):
                resumed = lifecycle.resume(connection, second, "r1", 1)
                assert resumed is not None
                assert (resumed.run.status, resumed.run.attempt) == ("running", resumed.run.attempt)
            assert failed() == {"r0": 1, "r1": expected}
        for thread, run_id in ((second, "r1"), (first, "r0")):
            assert lifecycle.resume(connection, thread, run_id, 1) is not None
        assert failed() == {"r0": 2, "r1": 3}
        over = lifecycle.resume(connection, second, "r1", 1)
        assert over is not None
        assert over.run.status == "error"
        assert [one.type for one in over.frames] == ["run.error"]
        assert failed() == {"r0": 2}

    await database.write(check)


async def test_many_runs_of_an_author_are_erased_in_pieces(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The open one among them ends, and its bare end stays; nobody else's row is touched."""
    monkeypatch.setattr(lifecycle, "AT_ONCE", 2)

    def check(connection: Connection) -> None:
        for number in range(7):
            author = "@bert:x" if number == 3 else "@anna:x"
            start = wanted(f"r{number}")
            start = msgspec.structs.replace(start, input=(InputPart("hi", author),))
            lifecycle.start(connection, start, 1)
            steps.add(connection, THREAD, f"r{number}", StepRow(0, "yes"), 2)
            if number < 6:
                runs.end(connection, THREAD, f"r{number}", "success", None, 3, Usage(steps=1))
        erased = erasure.erase_author(connection, THREAD, "@anna:x", 5)
        assert erased.runs == ("r0", "r1", "r2", "r4", "r5", "r6")
        assert [one.type for one in erased.frames] == ["run.finished"]
        assert erasure.erase_author(connection, THREAD, "@anna:x", 5).runs == ()
        assert [turn.run_id for turn in steps.turns(connection, THREAD, 99)] == ["r3"]
        left = connection.execute(select(schema.events.c.run_id, schema.events.c.type)).all()
        assert [tuple(row) for row in left] == [("r6", "run.finished")]
        gone = runs.get(connection, THREAD, "r0")
        assert gone is not None
        assert (gone.status, gone.input, gone.usage) == ("withdrawn", (), Usage(steps=1))

    await database.write(check)
