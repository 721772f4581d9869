"""Restoring a backup: looks, asks, keeps what was, brings the memories to the agent, then puts both
databases in place. Killed at any moment and run again, it ends in the same state.

Until `matrix-restore.json` says `replacing`, all here is as it was; from then on no adapter starts
until both databases are in place."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from antiphon.adapter.matrix.app import SURFACE
from antiphon.adapter.matrix.backup import marker, replacing
from antiphon.adapter.matrix.backup.file import BackupFile, opened
from antiphon.adapter.matrix.backup.marker import Marker
from antiphon.adapter.matrix.backup.plan import Fate, Plan, Result, decide
from antiphon.adapter.matrix.backup.present import Present, look
from antiphon.adapter.matrix.backup.write import counts, remembering, write_backup
from antiphon.adapter.matrix.reset import record
from antiphon.clock import Chance, SystemChance, SystemClock
from antiphon.core.ids import ThreadId
from antiphon.crash import crash_point
from antiphon.db import StateLock
from antiphon.errors import (
    AgentProtocolError,
    AgentUnreachableError,
    PlatformError,
    SettingsError,
    StateError,
)
from antiphon.sdk import state_backup
from antiphon.sdk.memories import Memories, open_memories
from antiphon.settings import AgentSettings, General, MatrixSettings

WHAT = "A Matrix adapter"


def check(general: General, path: Path) -> None:
    """Raises what is wrong before anybody is asked for anything: an adapter that runs
    (StateInUseError), a reset under way, a file that is no whole backup. For a restore that goes
    on, the file may be gone."""
    state = general.state_path()
    if state.exists():
        StateLock.acquire(state, SURFACE, what=WHAT).release()
        record.refuse_unfinished(state)
        begun = marker.load(state)
        if begun is not None and begun.stage == "replacing":
            return
    with opened(path):
        pass


async def preview(
    general: General, matrix: MatrixSettings, agent: AgentSettings, path: Path
) -> Plan:
    """What `restore` would do, changing nothing. Raises as it does, but not where an adapter runs
    or the agent can't be reached."""
    state = general.state_path()
    begun = marker.load(state)
    with opened(path) as backup:
        present = await look(matrix, state, backup)
        plan = _plan(backup, present, begun, dry_run=True)
        try:
            async with open_memories(agent, clock=SystemClock(), chance=SystemChance()) as there:
                return msgspec.structs.replace(plan, fate=await _fate(backup, present, there))
        except PlatformError as error:
            return msgspec.structs.replace(plan, agent_problem=error.message)


async def restore(
    general: General,
    matrix: MatrixSettings,
    agent: AgentSettings,
    path: Path,
    *,
    agreed: Callable[[Plan], bool],
    backup_first: bool,
) -> Result | None:
    """Makes this bot what it was when the backup was written, but for its login and its keys; None
    where it was not `agreed` to.

    Holds the adapter's lock. `backup_first`: writes what is here into a backup before. Raises
    StateInUseError, SettingsError (no such file), SchemaTooNewError, StateError (damaged, another
    account's), AgentUnreachableError and AgentRefusedError. Nothing was replaced then, unless the
    disk or the database failed: then no adapter starts, and another call goes on."""
    state = general.state_path()
    with StateLock.acquire(state, SURFACE, what=WHAT):
        record.refuse_unfinished(state)
        begun = marker.load(state)
        if begun is not None and begun.stage == "replacing":
            await replacing.finish(state, matrix, begun)
            if _is_same(path, begun):
                return Result(None, begun.backup, begun.undo)
            begun = None
        with opened(path) as backup:
            return await _restore(
                general, matrix, agent, backup, begun, agreed=agreed, backup_first=backup_first
            )


def _is_same(path: Path, begun: Marker) -> bool:
    """Whether `path` is what the restore that was just finished was of."""
    try:
        with opened(path) as backup:
            return backup.digest == begun.digest
    except SettingsError:
        return str(path.absolute()) == begun.backup  # it is done with, and may be gone


async def _restore(
    general: General,
    matrix: MatrixSettings,
    agent: AgentSettings,
    backup: BackupFile,
    begun: Marker | None,
    *,
    agreed: Callable[[Plan], bool],
    backup_first: bool,
) -> Result | None:
    state = general.state_path()
    present = await look(matrix, state, backup)
    async with open_memories(agent, clock=SystemClock(), chance=SystemChance()) as there:
        fate = await _fate(backup, present, there)
        plan = msgspec.structs.replace(_plan(backup, present, begun, dry_run=False), fate=fate)
        if not agreed(plan):
            return None
        undo = None
        if backup_first and present.problem:
            raise StateError(
                f"What is here can't be backed up ({present.problem}) Restore with --no-backup to "
                "replace it all the same."
            )
        if backup_first and present.known is not None:
            written = await write_backup(general, matrix, agent, None, memory=True)
            undo = written.path
        place = replacing.place_of(state, matrix)
        decided = _decided(backup, fate, begun, undo, place, SystemChance())
        marker.save(state, decided)
        crash_point("restore.decided")
        await _forget_others(begun, decided, there)
        for thread_id, source in fate.source.items():
            new = decided.moved[thread_id]
            await _bring(backup, thread_id, new, source, there)
            for user_id in state_backup.erased_since(backup.state(), present.state):
                await there.erase_author(new, user_id)
            crash_point("restore.imported")
    await replacing.prepare(state, matrix, backup, present, decided, SystemClock().now_ms())
    crash_point("restore.prepared")
    decided = msgspec.structs.replace(decided, stage="replacing")
    marker.save(state, decided)
    crash_point("restore.replacing")
    await replacing.finish(state, matrix, decided)
    return Result(plan, decided.backup, undo)


def _plan(backup: BackupFile, present: Present, begun: Marker | None, *, dry_run: bool) -> Plan:
    manifest = backup.manifest
    return Plan(
        file=str(backup.path),
        account=manifest.account,
        created=manifest.created,
        program=manifest.program,
        counts=manifest.counts,
        memory=manifest.memory,
        present=None if present.journal is None else counts(present.journal, present.state, 0),
        present_problem=present.problem,
        goes_on=begun is not None and begun.digest == backup.digest,
        dry_run=dry_run,
    )


async def _fate(backup: BackupFile, present: Present, there: Memories) -> Fate:
    threads = remembering(backup.journal(), backup.state())
    alive = [one for one in threads if await there.export_thread(one) is not None]
    return decide(
        threads,
        alive=frozenset(alive),
        saved=frozenset(map(ThreadId, backup.manifest.memories)),
        retired=present.retired,
    )


def _decided(
    backup: BackupFile,
    fate: Fate,
    begun: Marker | None,
    undo: str | None,
    place: str,
    chance: Chance,
) -> Marker:
    """The marker: each moved thread has its new id before anything goes there, and keeps it."""
    before = begun.moved if begun is not None and begun.digest == backup.digest else {}
    moved = {one: before.get(one) or ThreadId(chance.token()) for one in fate.moved}
    return Marker("importing", str(backup.path.absolute()), backup.digest, moved, undo, place)


async def _forget_others(begun: Marker | None, decided: Marker, there: Memories) -> None:
    """Erases what an interrupted restore has brought to threads that nothing will use."""
    if begun is not None:
        for thread_id in sorted(set(begun.moved.values()) - set(decided.moved.values())):
            with suppress(PlatformError):
                await there.forget_thread(thread_id)


async def _bring(
    backup: BackupFile, old: ThreadId, new: ThreadId, source: str, there: Memories
) -> None:
    archive = await there.export_thread(old) if source == "agent" else backup.memory(old)
    if archive is None:
        raise AgentUnreachableError(
            "A memory is gone at the agent that was there a moment ago. Run the restore again."
        )
    try:
        await there.import_thread(new, archive)
    except AgentProtocolError as error:
        # Nobody but this restore knows the new id: an earlier try has brought what there was then.
        if error.code != "conflict":
            raise


__all__ = ["preview", "restore"]
