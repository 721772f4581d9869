"""What is here before a restore: whose it is, how far its lease has come, and what it owes."""

from __future__ import annotations

from pathlib import Path

import msgspec

from antiphon.adapter.matrix.backup.file import BackupFile
from antiphon.adapter.matrix.journal import restoring
from antiphon.adapter.matrix.journal.journal import MIGRATIONS
from antiphon.adapter.matrix.journal.restoring import Known
from antiphon.adapter.matrix.service import JOURNAL
from antiphon.adapter.matrix.transport import login
from antiphon.core.ids import ThreadId
from antiphon.db import database_url
from antiphon.db.dump import Dump, dump
from antiphon.errors import DatabaseError, StateError
from antiphon.sdk import state_backup
from antiphon.settings import MatrixSettings


class Present(msgspec.Struct, frozen=True):
    """Journal and local state as they are, None where there is none. `problem`: a sentence, where
    one of them is damaged."""

    journal: Dump | None
    state: Dump | None
    has_login: bool
    problem: str = ""

    @property
    def known(self) -> Known | None:
        """What the journal says of itself."""
        return None if self.journal is None else restoring.known_of(self.journal)

    @property
    def retired(self) -> frozenset[ThreadId]:
        """Threads that were forgotten here, whether the agent has confirmed that or not."""
        found = set() if self.state is None else set(state_backup.retired_of(self.state))
        owed = self.known.debts if self.known else ()
        return frozenset(found | {debt.thread_id for debt in owed if debt.kind == "forget"})


async def look(matrix: MatrixSettings, state: Path, backup: BackupFile) -> Present:
    """Reads what is here, and raises StateError where the backup is of another account than the
    settings, the login or the journal here. Damaged databases are told of, not raised."""
    account = backup.manifest.account
    stored = login.load(state)
    if matrix.user and not login.is_same_user(matrix.user, account):
        raise _foreign(backup, matrix.user)
    if stored is not None and stored.user_id != account:
        raise _foreign(backup, stored.user_id)
    _check_own(backup)
    journal = local = None
    problem = ""
    try:
        journal = await dump(database_url(matrix.database, state, JOURNAL), MIGRATIONS)
        local = await state_backup.dump_state(state)
    except DatabaseError as error:
        problem = error.message
    present = Present(journal, local, stored is not None, problem)
    if present.known is not None and present.known.user_id != account:
        raise _foreign(backup, present.known.user_id)
    return present


def _check_own(backup: BackupFile) -> None:
    """Raises StateError where manifest and rows are of two accounts: somebody edited it."""
    known = restoring.known_of(backup.journal())
    if known is None or known.user_id != backup.manifest.account:
        raise StateError(
            f"{backup.path} contradicts itself: its rows are not of {backup.manifest.account}.",
            code="bad_backup",
        )


def _foreign(backup: BackupFile, ours: str) -> StateError:
    return StateError(
        f"{backup.path} is a backup of {backup.manifest.account}, and this is {ours}. "
        "Use another ANTIPHON_STATE_DIR and its settings for another account.",
        code="foreign_backup",
    )
