"""Making, listing and revoking tokens, for the commands: on the database of the control plane,
which may be serving meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from antiphon import records
from antiphon.clock import Chance, Clock
from antiphon.db import Database, StateLock, database_url
from antiphon.db.checkup import checkup
from antiphon.errors import SettingsError, StateError, StateInUseError
from antiphon.master.auth import digest
from antiphon.master.scopes import checked, checked_surface
from antiphon.records import tokens as rows
from antiphon.records.tokens import TokenRow
from antiphon.settings import General, MasterSettings

MIGRATIONS = Path(records.__file__).parent / "migrations"
STORE = "master"
"""The name that the database carries: a surface's `state.db` is no control plane's."""

PREFIX = "antiphon-"
"""Begins every token, so that one is known as such where it was left lying about."""
MAX_NOTE = 200


def url_of(general: General, settings: MasterSettings) -> str:
    """The URL of the control plane's database."""
    return database_url(settings.database, general.state_path(), "master.db")


@asynccontextmanager
async def open_database(general: General, settings: MasterSettings) -> AsyncIterator[Database]:
    """The control plane's database, for a short work beside a control plane that may be serving.

    One that serves is not upgraded under its feet: raises StateError where it has an older schema,
    else what `Database.open` raises."""
    state = general.state_path()
    url = url_of(general, settings)
    try:
        lock = StateLock.acquire(state, "master", what="A control plane", passing=True)
    except StateInUseError as error:
        if error.passing:
            raise
        found = await checkup(url, MIGRATIONS, store=STORE)
        if found.revision != found.known:
            raise StateError(
                "The control plane that is serving is of an older version. Start it again, then "
                "do this."
            ) from error
        lock = None
    try:
        database = await Database.open(url, MIGRATIONS, store=STORE)
        try:
            yield database
        finally:
            await database.close()
    finally:
        if lock is not None:
            lock.release()


async def make(
    database: Database,
    *,
    surface: str,
    scopes: tuple[str, ...],
    note: str,
    clock: Clock,
    chance: Chance,
) -> tuple[TokenRow, str]:
    """Makes a token and keeps its hash; gives the token, which nobody can tell again.

    Raises SettingsError for a surface, a scope or a note that is none."""
    if len(note) > MAX_NOTE or not note.isprintable():
        raise SettingsError(f"A note is one line of up to {MAX_NOTE} characters.")
    token = PREFIX + chance.token()
    row = TokenRow(
        token_id="k" + digest(chance.token())[:12],
        surface=checked_surface(surface),
        scopes=checked(scopes),
        note=note,
        created_ms=clock.now_ms(),
    )
    await database.write(lambda connection: rows.add(connection, row, digest(token)))
    return row, token


async def revoke(database: Database, token_id: str, *, clock: Clock) -> TokenRow:
    """Makes a token worth nothing. Idempotent. Raises SettingsError where there is none."""
    now = clock.now_ms()
    row = await database.write(lambda connection: rows.revoke(connection, token_id, now))
    if row is None:
        raise SettingsError(
            f"There is no token {token_id!r}. `antiphon master token list` names those there are."
        )
    return row
