"""The databases: there, ours, whole, of a schema that we know; and whether an adapter runs on them.
Only reads."""

from __future__ import annotations

from pathlib import Path

from antiphon.adapter.matrix.app import SURFACE, known_account
from antiphon.adapter.matrix.doctor.finding import Finding, failed, failure, ok, warning
from antiphon.adapter.matrix.doctor.patient import Patient
from antiphon.adapter.matrix.journal.journal import MIGRATIONS as JOURNAL_MIGRATIONS
from antiphon.db.checkup import Checkup, checkup
from antiphon.db.lock import holder
from antiphon.errors import (
    DatabaseError,
    ForeignDatabaseError,
    MasterUnreachableError,
    MissingExtraError,
    PlatformError,
    SchemaTooNewError,
    SettingsError,
    StateError,
)
from antiphon.sdk.prototype_state import MIGRATIONS as CHATS_MIGRATIONS
from antiphon.sdk.remote_look import answers
from antiphon.sdk.remote_state import STORE

RESTORE = (
    "Stop the adapter and run `antiphon matrix restore FILE` with a backup. Without one, move the "
    "file away: the next start makes a new one and keeps the rooms, without their memory."
)


async def journal(patient: Patient) -> Finding:
    """The adapter's own memory: of the account that the settings name."""
    found = await _database("journal", patient.journal_url, JOURNAL_MIGRATIONS)
    if found.level != "ok":
        return found
    try:
        await known_account(patient.matrix, patient.state)
    except StateError as error:
        return failed(
            "journal",
            error,
            "Set [matrix] user back to that account, or state_dir (ANTIPHON_STATE_DIR) to a new "
            "folder for this one.",
        )
    return found


async def chats(patient: Patient) -> Finding:
    """The sdk's memory: which chat has which thread at the agent; and the control plane, where one
    keeps that."""
    master = patient.master
    if not master.url:
        return await _database("chats", patient.chats_url, CHATS_MIGRATIONS)
    found = await _database("chats", patient.chats_url, CHATS_MIGRATIONS, STORE)
    if found.level != "ok":
        return found
    try:
        said = await answers(master, SURFACE)
    except MasterUnreachableError as error:
        todo = "Start it, or correct [master] url; what is known goes on meanwhile."
        return warning("chats", error.message, todo)
    except PlatformError as error:
        return failed("chats", error, "Make a token (`antiphon master token`), set [master] token.")
    except SettingsError as error:
        return failed("chats", error, "Correct [master] url and token.")
    return ok("chats", f"{said} What is known here: {found.detail}")


def running(patient: Patient) -> tuple[Finding, int | None]:
    """Whether an adapter runs on this state now, and its process. Raises StateError."""
    pid = holder(patient.state, SURFACE)
    if pid is None:
        return ok("running", "none runs on this state now"), None
    return ok("running", f"runs on this state (process {pid or 'unknown'})"), pid


async def _database(id_: str, url: str, migrations: Path, store: str = "") -> Finding:
    try:
        return judged(id_, await checkup(url, migrations, store=store))
    except SchemaTooNewError as error:
        todo = "Install the newer version again: `pip install --upgrade antiphon`."
        return failed(id_, error, todo)
    except ForeignDatabaseError as error:
        setting = "[matrix] database" if id_ == "journal" else "state_dir"
        return failed(id_, error, f"Set {setting} to where Antiphon's own database is.")
    except MissingExtraError as error:
        return failed(id_, error, 'Run `pip install "antiphon[postgres]"`.')
    except SettingsError as error:
        return failed(id_, error, "Correct [matrix] database, or remove it for the default.")
    except DatabaseError as error:
        is_server = "database server" in error.message
        todo = "Start it, and check [matrix] database." if is_server else RESTORE
        return failed(id_, error, todo)
    except StateError as error:
        return failed(id_, error, "Give the file to the user who runs `antiphon` (`chown`).")


def judged(id_: str, found: Checkup) -> Finding:
    """What a look at a database means."""
    if found.problems:
        return failure(id_, f"{found.where} is damaged ({'; '.join(found.problems)})", RESTORE)
    if found.revision is None:
        return ok(id_, f"not there yet, the first start makes it: {found.where}")
    if found.revision < found.known:
        return ok(
            id_,
            f"whole, schema {found.revision}, which the next start brings to {found.known}: "
            f"{found.where}",
        )
    return ok(id_, f"whole, schema {found.revision}: {found.where}")
