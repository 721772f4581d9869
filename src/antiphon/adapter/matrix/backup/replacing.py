"""The two databases of a backup made ready beside those that are here, and put into their places.

What lies ready is whole; putting it in place is done in steps that can each be done again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from antiphon.adapter.matrix.backup import marker
from antiphon.adapter.matrix.backup.file import BackupFile
from antiphon.adapter.matrix.backup.marker import Marker
from antiphon.adapter.matrix.backup.present import Present
from antiphon.adapter.matrix.journal import restoring
from antiphon.adapter.matrix.journal.journal import MIGRATIONS
from antiphon.adapter.matrix.journal.restoring import FAR, Fitting
from antiphon.adapter.matrix.service import JOURNAL
from antiphon.crash import crash_point
from antiphon.db import database_url, load
from antiphon.db.database import store_name
from antiphon.db.dump import dump
from antiphon.errors import StateError
from antiphon.sdk import state_backup
from antiphon.sdk.prototype_state import MIGRATIONS as STATE_MIGRATIONS
from antiphon.settings import MatrixSettings

READY = ".restored"
"""The end of the name of a database that lies ready."""


def _targets(state: Path, matrix: MatrixSettings) -> tuple[str, Path | None, Path]:
    """The journal's URL, its file (None: it is in PostgreSQL), and the file that lies ready."""
    url = database_url(matrix.database, state, JOURNAL)
    file = load.file_of(url)
    beside = file if file is not None else state / JOURNAL
    return url, file, beside.with_name(beside.name + READY)


def _state_ready(state: Path) -> Path:
    file = state_backup.state_file(state)
    return file.with_name(file.name + READY)


async def prepare(
    state: Path,
    matrix: MatrixSettings,
    backup: BackupFile,
    present: Present,
    decided: Marker,
    now_ms: int,
) -> None:
    """Makes both databases, in the newest schema and fitted to the present: moved threads, a lease
    above all others, debts and forgotten threads of now. Nothing here is changed by it."""
    journal = backup.journal()
    own, here = restoring.known_of(journal), present.known
    epoch = max(one.epoch for one in (own, here) if one is not None) if own or here else 0
    if present.problem and here is None:
        epoch += FAR  # whatever it was, it has not come so far
    device_id = None
    if not present.has_login:
        # Without the login that is kept here, the device of the backup may live on elsewhere,
        # with its keys: an empty one makes the next start a new device.
        device_id = here.device_id if here is not None else ""
    fitting = Fitting(
        moved=decided.moved,
        epoch=epoch,
        device_id=device_id,
        debts=here.debts if here is not None else (),
        redactions=here.redactions if here is not None else (),
        now_ms=now_ms,
    )
    _, _, ready = _targets(state, matrix)
    since = state_backup.since_of(present.state)
    try:
        await load.build(
            journal,
            ready,
            MIGRATIONS,
            lambda connection: restoring.put_back(connection, fitting),
            store=store_name(MIGRATIONS),
        )
        await load.build(
            backup.state(),
            _state_ready(state),
            STATE_MIGRATIONS,
            lambda connection: state_backup.put_back(connection, decided.moved, since, now_ms),
            store=state_backup.STORE,
        )
    except OSError as error:
        raise StateError(
            f"Can't make the restored databases in {state}: {error.strerror or error}. Nothing "
            "was replaced."
        ) from error


def place_of(state: Path, matrix: MatrixSettings) -> str:
    """Which database the journal is in, as a marker keeps it."""
    return hashlib.sha256(_targets(state, matrix)[0].encode()).hexdigest()


async def finish(state: Path, matrix: MatrixSettings, decided: Marker) -> None:
    """Puts what lies ready into its place, as far as that was not done yet, and ends the restore.
    Raises StateError where a file can't be moved, or the settings name another database than when
    it was begun; called again, it goes on."""
    url, file, ready = _targets(state, matrix)
    if decided.place != place_of(state, matrix):
        raise StateError(
            f"The restore of {decided.backup} was begun with another [matrix] database than the "
            "settings name now. Set that one again, and restore: it goes on where it stopped."
        )
    try:
        if ready.exists():
            if file is not None:
                load.install(ready, file)
            else:
                await _into_postgres(url, ready)
                load.discard(ready)
        crash_point("restore.journal_placed")
        if _state_ready(state).exists():
            load.install(_state_ready(state), state_backup.state_file(state))
        crash_point("restore.state_placed")
    except OSError as error:
        raise StateError(
            f"Can't put the restored databases into {state}: {error.strerror or error}. Mend that "
            "and restore again: it goes on where it stopped."
        ) from error
    marker.remove(state)


async def _into_postgres(url: str, ready: Path) -> None:
    taken = await dump(f"sqlite:///{ready}", MIGRATIONS)
    assert taken is not None, "it lies ready, whole"
    await load.replace(
        taken,
        url,
        MIGRATIONS,
        restoring.epoch_of,
        lambda connection, epoch: restoring.raise_epoch(connection, epoch or 0),
        store=store_name(MIGRATIONS),
    )
