"""Writing a backup: the journal, then the local state, then what the agent remembers for it. It
takes no lock and may run while the adapter runs."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from antiphon.adapter.matrix.backup import file, marker
from antiphon.adapter.matrix.backup.file import Manifest, Writer, writing
from antiphon.adapter.matrix.backup.report import BackupReport
from antiphon.adapter.matrix.journal import restoring
from antiphon.adapter.matrix.journal.journal import MIGRATIONS
from antiphon.adapter.matrix.service import JOURNAL
from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import ThreadId
from antiphon.db import database_url
from antiphon.db.dump import Dump, dump, encode
from antiphon.errors import AgentUnreachableError, SettingsError, StateError
from antiphon.sdk import state_backup
from antiphon.sdk.memories import open_memories
from antiphon.settings import AgentSettings, General, MatrixSettings

FOLDER = "backups"
MOST_NAMES = 100


async def write_backup(
    general: General,
    matrix: MatrixSettings,
    agent: AgentSettings,
    target: Path | None,
    *,
    memory: bool,
) -> BackupReport:
    """Writes what this bot is into one file (0600) that is there whole or not at all.

    `target`: where (never over another file), by default below `backups/` in the state folder.
    `memory`: with what the agent remembers of each session; without it the agent is not asked.
    No login, token or key is in it.

    Raises StateError where there is nothing to back up or the file can't be written,
    SettingsError for a name that is taken, AgentUnreachableError and AgentRefusedError."""
    state = general.state_path()
    marker.refuse_unfinished(state)
    # In this order: the state knows every thread that a turn of the journal names.
    journal = await dump(database_url(matrix.database, state, JOURNAL), MIGRATIONS)
    known = restoring.known_of(journal) if journal is not None else None
    if journal is None or known is None:
        raise nothing(state)
    local = await state_backup.dump_state(state)
    created = datetime.fromtimestamp(SystemClock().now_ms() / 1000, UTC)
    threads = remembering(journal, local) if memory else ()

    def manifest(memories: dict[str, str]) -> Manifest:
        return Manifest(
            format=file.FORMAT,
            version=file.VERSION,
            program=version("antiphon"),
            account=known.user_id,
            device=known.device_id,
            created=created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            stores={one.store: one.revision for one in (journal, local) if one is not None},
            counts=counts(journal, local, len(memories)),
            memory=memory,
            memories=memories,
            parts={},
        )

    async def fill(writer: Writer) -> Manifest:
        writer.add(file.JOURNAL, encode(journal))
        if local is not None:
            writer.add(file.STATE, encode(local))
        made = manifest(await _remember(agent, threads, writer))
        writer.finish(made)
        return made

    for path in _names(state, target, created):
        if path.exists():
            continue
        try:
            with writing(path) as writer:
                made = await fill(writer)
        except FileExistsError:
            continue
        return BackupReport(
            path=str(path),
            size=path.stat().st_size,
            created=made.created,
            account=made.account,
            device=made.device,
            counts=made.counts,
            memory=memory,
        )
    raise SettingsError(f"{target or state / FOLDER} is there already: give another name.")


def nothing(state: Path) -> StateError:
    """The error where the bot never was."""
    return StateError(f"There is nothing to back up in {state}: the bot never ran on it.")


def remembering(journal: Dump, local: Dump | None) -> tuple[ThreadId, ...]:
    """The threads whose memory is kept: of sessions, and not owed to be forgotten."""
    if local is None:
        return ()
    known = restoring.known_of(journal)
    owed = {debt.thread_id for debt in known.debts if debt.kind == "forget"} if known else set()
    return tuple(thread for thread in state_backup.threads_of(local) if thread not in owed)


def counts(journal: Dump, local: Dump | None, memories: int) -> dict[str, int]:
    """What there is, for people."""
    return {
        "rooms": sum(row["membership"] == "join" for row in journal.rows("room")),
        "turns": journal.count("turn"),
        "chats": local.count("chats") if local else 0,
        "sessions": len(state_backup.threads_of(local)) if local else 0,
        "memories": memories,
    }


async def _remember(
    agent: AgentSettings, threads: tuple[ThreadId, ...], writer: Writer
) -> dict[str, str]:
    """Adds what the agent remembers of these threads; the part of each."""
    if not threads:
        return {}
    memories: dict[str, str] = {}
    try:
        async with open_memories(agent, clock=SystemClock(), chance=SystemChance()) as source:
            for thread_id in threads:
                archive = await source.export_thread(thread_id)
                if archive is not None:
                    name = f"memories/{len(memories) + 1:06d}.json"
                    writer.add(name, archive)
                    memories[thread_id] = name
    except AgentUnreachableError as error:
        raise AgentUnreachableError(
            f"{error.message} The chats' memories are the agent's: no backup was written."
        ) from error
    return memories


def _names(state: Path, target: Path | None, created: datetime) -> list[Path]:
    """The names to try, in order. The folder is made where it is ours."""
    if target is not None:
        return [target]
    folder = state / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateError(f"Can't make the folder {folder}: {error.strerror}.") from error
    stem = created.strftime("matrix-%Y%m%dT%H%M%SZ")
    more = [f"{stem}-{number}.backup" for number in range(2, MOST_NAMES)]
    return [folder / name for name in (f"{stem}.backup", *more)]


__all__ = ["counts", "remembering", "write_backup"]
