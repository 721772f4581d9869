"""The agent as a process on a database that can't be used: refused at the start with exit code 2;
failing later, it acknowledges nothing that it has not committed."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from antiphon.agent.store import MIGRATIONS
from antiphon.db import Database
from antiphon.sdk.prototype_state import MIGRATIONS as STATE
from antiphon.testing.agent_service import AgentProcess, RawClient, raw_client
from antiphon.testing.databases import locked
from antiphon.testing.disk import SmallDisk, limit_files
from antiphon.testing.engine import Act, Rule, Script, say


async def refusal(state: Path) -> str:
    """What the real entry point says on standard error; it must end with exit code 2."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "antiphon.agent",
        env={k: v for k, v in os.environ.items() if not k.startswith("ANTIPHON_")}
        | {
            "ANTIPHON_STATE_DIR": str(state),
            "ANTIPHON_AGENT__TOKEN": "x",
            "ANTIPHON_AGENT__PORT": "0",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2, errors.decode()
    assert b"ready" not in said
    assert errors.count(b"\n") == 1, errors.decode()
    return errors.decode()


def no_database(path: Path) -> None:
    path.write_bytes(b"this is no database\n" * 1_000)


def damaged(path: Path) -> None:
    asyncio.run(_made(path, MIGRATIONS))
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * 8_192)


def of_another_store(path: Path) -> None:
    asyncio.run(_made(path, STATE))


def newer(path: Path) -> None:
    asyncio.run(_made(path, MIGRATIONS))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.close()


async def _made(path: Path, migrations: Path) -> None:
    await (await Database.open(f"sqlite:///{path}", migrations)).close()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (no_database, "no database"),
        (damaged, "damaged"),
        (of_another_store, "something else"),
        (newer, "newer version"),
    ],
)
async def test_a_database_that_can_not_be_used_is_refused(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    """One line that names the file and says what to do; the file is left as it was."""
    path = tmp_path / "agent.db"
    await asyncio.to_thread(make, path)
    before = path.read_bytes()
    errors = await refusal(tmp_path)
    assert says in errors
    assert str(path) in errors
    assert path.read_bytes() == before


async def test_a_full_disk_and_one_without_writes_are_refused(disk: SmallDisk) -> None:
    """And when that is over it starts."""
    (disk.path / "state").mkdir()
    disk.fill()
    assert "full" in await refusal(disk.path / "state")
    disk.free()
    disk.read_only(True)
    assert "writable" in await refusal(disk.path / "state")
    disk.read_only(False)
    agent = await AgentProcess.start(disk.path, Script())
    await agent.kill()


async def test_a_locked_database_is_refused(tmp_path: Path) -> None:
    """Once the lock was waited for."""
    await _made(tmp_path / "agent.db", MIGRATIONS)
    with locked(tmp_path / "agent.db"):
        assert "locked" in await refusal(tmp_path)


class Faulty:
    """An agent whose database fails while a test wants it to."""

    def __init__(self, folder: Path, agent: AgentProcess, disk: SmallDisk | None):
        self.folder = folder
        self.agent = agent
        self._disk = disk

    def fail(self) -> None:
        """From now on nothing can be written."""
        if self._disk is not None:
            self._disk.fill()
        else:
            # Every write beyond the first page of any file fails, as it does on a broken disk.
            limit_files(self.agent.process.pid, 1)

    def mend(self) -> None:
        """From now on it can again."""
        if self._disk is not None:
            self._disk.free()
        else:
            limit_files(self.agent.process.pid, None)

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """What the database file has."""
        with sqlite3.connect(self.folder / "state" / "agent.db") as connection:
            found = connection.execute(statement).fetchall()
        connection.close()
        return found


SLOW = Rule(
    ((Act(text="one "), Act(gate="g"), Act(text="two "), Act(words=30, pause_ms=5)),), when="slow"
)
SCRIPT = Script((SLOW, say("quick")))


@pytest.fixture(params=["full disk", "I/O error"])
async def faulty(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Faulty]:
    disk: SmallDisk | None = None
    folder = tmp_path
    if request.param == "full disk":
        disk = request.getfixturevalue("disk")
        assert disk is not None
        folder = disk.path
    env = {"ANTIPHON_AGENT__DATABASE": f"sqlite:///{folder / 'state' / 'agent.db'}"}
    agent = await AgentProcess.start(folder, SCRIPT, env)
    made = Faulty(folder, agent, disk)
    yield made
    await made.agent.kill()


def thread(number: int) -> str:
    return f"thread-{number:016d}"


async def ask(client: RawClient, number: int) -> bool:
    """Whether the agent has taken the run."""
    answer = await client.start("r1", f"question {number} {'x' * 9_000}", thread(number))
    if answer["type"] == "error":
        assert (answer["code"], answer["retryable"]) == ("internal", True)
    return bool(answer["type"] == "ok")


async def test_nothing_is_acknowledged_that_is_not_committed(faulty: Faulty) -> None:
    """Runs and cancels are refused while the database fails; when it works again the state is
    what was acknowledged, a run in flight goes on, and after a kill it is still so."""
    agent = faulty.agent
    async with raw_client(agent.url) as client:
        taken = {number for number in range(5) if await ask(client, number)}
        assert taken == set(range(5))
        await client.start("r1", "slow", thread(99))
        while (await client.recv()).get("text") != "one ":
            pass
        faulty.fail()
        agent.open("g")
        taken |= {number for number in range(10, 30) if await ask(client, number)}
        refused = set(range(10, 30)) - taken
        assert refused
        cancel = await client.ask("run.cancel", thread(99), run_id="r1")
        faulty.mend()
        again = {number for number in range(40, 45) if await ask(client, number)}
        assert again == set(range(40, 45))
        while True:
            end = await client.recv(40)
            if end["type"] in ("run.finished", "run.error") and end["thread_id"] == thread(99):
                break
    if cancel["type"] == "ok":
        assert end["outcome"] == "cancelled"
    else:
        assert end["text"] == "one two " + "".join(f"w{n} " for n in range(30))
    await agent.kill()
    found = {row[0] for row in faulty.rows("SELECT thread_id FROM runs")}
    assert found == {thread(number) for number in taken | again | {99}}
    ends = faulty.rows(
        "SELECT thread_id, count(*) FROM events WHERE type IN ('run.finished', 'run.error') "
        "GROUP BY thread_id"
    )
    assert all(count == 1 for _, count in ends)
