"""A bot on the fake homeserver with the real agent behind it, whose state is backed up, lost and
restored; each `running` is one life of the adapter."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec

from antiphon.adapter.matrix.backup import BackupReport, write_backup
from antiphon.adapter.matrix.backup import restore as restoring
from antiphon.adapter.matrix.backup.plan import Plan, Result
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import ThreadId
from antiphon.sdk.memories import open_memories
from antiphon.sdk.real import Platform, open_platform
from antiphon.settings import AgentSettings, General, MatrixSettings, Secret
from antiphon.testing.adapter import AdapterUnderTest
from antiphon.testing.agent_service import TOKEN
from antiphon.testing.engine import Script, say
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.world import World

COUNTING = Script((say("{messages}: {question}"),))
"""A model that tells how many questions it was sent: how much it remembers."""


class Keeper(World):
    """A `World` over a real platform; `general`, `matrix` and `agent` are its settings."""

    def __init__(self, server: FakeHomeserver, folder: Path, agent_url: str):
        super().__init__(server, folder / "state")
        self.folder = folder
        self.general = General(state_dir=str(self.state))
        self.matrix = MatrixSettings(
            homeserver=server.url,
            user=self.bot,
            access_token=server.token(self.bot),
            allow=(f"@*:{server.name}",),
            edit_interval_s=0.05,
        )
        self.agent = AgentSettings(url=agent_url, token=Secret(TOKEN))
        self.room = server.room(self.ada, self.bot)

    @asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator[Platform]:
        """One life of the adapter."""
        self.state.mkdir(exist_ok=True)
        async with open_platform(
            self.general,
            self.agent,
            surface="matrix",
            answer_timeout_s=10,
            clock=SystemClock(),
            chance=SystemChance(),
        ) as platform:
            adapter = AdapterUnderTest(
                self.server.url,
                self.bot,
                self.matrix.access_token,
                platform,
                self.state,
                settings=msgspec.structs.replace(self.matrix, **settings),
            )
            async with adapter.running():
                yield platform

    async def talk(self, *texts: str) -> None:
        """One life in which each of these is asked and answered."""
        async with self.running():
            for text in texts:
                before = self.finals()
                self.ask(text)
                await self.answered(before + 1)

    async def backup(self, target: Path | None = None, *, memory: bool = True) -> BackupReport:
        """Writes a backup."""
        return await write_backup(self.general, self.matrix, self.agent, target, memory=memory)

    async def preview(self, path: str | Path) -> Plan:
        """What a restore would do."""
        return await restoring.preview(self.general, self.matrix, self.agent, Path(path))

    async def restore(
        self, path: str | Path, *, agreed: bool = True, backup_first: bool = True
    ) -> Result | None:
        """Restores a backup."""
        return await restoring.restore(
            self.general,
            self.matrix,
            self.agent,
            Path(path),
            agreed=lambda _: agreed,
            backup_first=backup_first,
        )

    def erase(self) -> None:
        """Loses both databases."""
        for file in self.state.glob("*.db*"):
            file.unlink()

    async def forget(self, *threads: str) -> None:
        """Has the agent erase these threads."""
        async with open_memories(self.agent, clock=SystemClock(), chance=SystemChance()) as there:
            for thread_id in threads:
                await there.forget_thread(ThreadId(thread_id))

    async def remembered(self, thread_id: str) -> bytes | None:
        """What the agent remembers of a thread."""
        async with open_memories(self.agent, clock=SystemClock(), chance=SystemChance()) as there:
            return await there.export_thread(ThreadId(thread_id))

    def threads(self) -> list[str]:
        """The threads of all sessions."""
        return [row[0] for row in self.rows("state", "SELECT thread_id FROM sessions")]

    def rows(self, database: str, query: str) -> list[Any]:
        """Rows of `state` or `matrix`."""
        with closing(sqlite3.connect(self.state / f"{database}.db")) as connection:
            return connection.execute(query).fetchall()

    def change(self, database: str, statement: str, *values: object) -> None:
        """Changes a database behind everybody's back."""
        with closing(sqlite3.connect(self.state / f"{database}.db")) as connection:
            connection.execute(statement, values)
            connection.commit()
