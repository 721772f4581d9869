"""Databases of older versions go forward: from the very first schema, with what it kept."""

from __future__ import annotations

from sqlalchemy import Connection, create_engine

from antiphon.agent.model import ThreadId
from antiphon.agent.store import MIGRATIONS, events, notes, reading, runs, steps, tombstones
from antiphon.agent_api.messages import Usage
from antiphon.db import Database, migrate

OLD = ThreadId("matrix", "thread-0123456789")
KEY = "'matrix', 'thread-0123456789'"
SETTINGS = (
    '{"model":"offline","system_prompt":"","tools":[],"max_output_tokens":100,'
    '"history_tokens":1000,"max_steps":16,"deadline_s":60.0}'
)
FIRST = f"""
INSERT INTO threads VALUES ({KEY}, 1, 2, 7);
INSERT INTO runs VALUES ({KEY}, 'r1', 1, 'success', 1, 0, false, 5, 'hash', '[{{"text":"hi"}}]', '', NULL, 7, 8);
INSERT INTO runs VALUES ({KEY}, 'r2', 2, 'running', 2, 1, false, 5, 'hash', '[{{"text":"on"}}]', '{SETTINGS}', NULL, 9, NULL);
INSERT INTO steps VALUES ({KEY}, 'r1', 0, true, 'hello', NULL, NULL, 7);
INSERT INTO calls VALUES ({KEY}, 'c1', 'r1', 0, 0, 'lookup', '{{}}', 'done', 'ok', 'found', false);
INSERT INTO events VALUES ({KEY}, 1, 'r2', 1, 'run.started', '{{}}');
INSERT INTO notes VALUES ({KEY}, 1, 'c1', 'r1', 'milk', 7);
INSERT INTO tombstones VALUES ({KEY}, 'r9', 'cancelled', 7);
"""  # noqa: E501
"""A thread as the first version wrote it: frozen here, whatever the tables become."""


def reading_usage(connection: Connection, run_id: str) -> Usage | None:
    """What a snapshot of the run says of it."""
    found = reading.snapshot(connection, OLD, run_id)
    assert found is not None
    return found.usage


async def test_the_very_first_schema_goes_forward_with_its_data(store_url: str) -> None:
    """A thread that the first version kept is there for this one: history, notes, tombstones,
    and the run that was in flight."""
    engine = create_engine(store_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        migrate.run(connection, MIGRATIONS, "0001")
        for statement in FIRST.strip().splitlines():
            connection.exec_driver_sql(statement)
    engine.dispose()
    database = await Database.open(store_url, MIGRATIONS)

    def check(connection: Connection) -> None:
        (turn,) = steps.turns(connection, OLD, 99)
        assert (turn.run_id, turn.steps[0].calls[0].content) == ("r1", "found")
        assert [(one.run_id, one.failed_attempts) for one in runs.settle(connection)] == [("r2", 2)]
        assert reading_usage(connection, "r1") is None
        run = runs.get(connection, OLD, "r2")
        assert run is not None
        assert run.settings is not None
        assert run.settings.model == "offline"
        assert run.used == Usage(seconds=0.005, estimated=True)
        assert [one.seq for one in events.after(connection, OLD, 0, 9)] == [1]
        assert [note.text for note in notes.all_of(connection, OLD)] == ["milk"]
        assert tombstones.find(connection, OLD, "r9") == "cancelled"

    await database.write(check)
    await database.close()
