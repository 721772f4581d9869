"""Making, listing and revoking tokens, for the commands: on the database of the control plane,
which may be serving meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import Connection

from antiphon.clock import Chance, Clock
from antiphon.db import Database, StateLock, database_url
from antiphon.db.checkup import checkup
from antiphon.errors import PlatformError, SettingsError, StateError, StateInUseError
from antiphon.master.scopes import checked, checked_surface
from antiphon.records import audit
from antiphon.records import tokens as rows
from antiphon.records.pages import MAX_LIMIT, Cut
from antiphon.records.records import MIGRATIONS
from antiphon.records.tokens import TokenRecord
from antiphon.settings import General, MasterSettings

STORE = "master"
"""The name that the database carries: a surface's `state.db` is no control plane's."""

PREFIX = "antiphon-"
"""Begins every token, so that one is known as such where it was left lying about."""
MAX_NOTE = 200
BY = "command"
"""Who did it, in the audit log."""


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
) -> tuple[TokenRecord, str]:
    """Makes a token and keeps its hash; gives the token, which nobody can tell again.

    Raises SettingsError for a surface, a scope or a note that is none."""
    if len(note) > MAX_NOTE or not note.isprintable():
        raise SettingsError(f"A note is one line of up to {MAX_NOTE} characters.")
    token = PREFIX + chance.token()
    checked_surface(surface)
    named, now = checked(scopes), clock.now_ms()
    token_id = "k" + rows.digest_of(chance.token())[:12]

    def keep(connection: Connection) -> TokenRecord:
        made = rows.make(
            connection, token_id, token, surface=surface, scopes=named, note=note, now_ms=now
        )
        audit.note(connection, surface, BY, "token.made", token_id, now, {"scopes": list(named)})
        return made

    return await database.write(keep), token


async def all_of(database: Database) -> tuple[TokenRecord, ...]:
    """All tokens, revoked ones too, the oldest first."""
    found: list[TokenRecord] = []
    cut = Cut(None, MAX_LIMIT)
    while True:
        page = await database.read(partial(rows.page, cut=cut))
        found += page.items
        if page.cursor is None:
            return tuple(found)
        cut = Cut(page.cursor, MAX_LIMIT)


async def revoke(database: Database, token_id: str, *, clock: Clock) -> TokenRecord:
    """Makes a token worth nothing. Idempotent. Raises SettingsError where there is none."""
    now = clock.now_ms()

    def end(connection: Connection) -> TokenRecord:
        row = rows.revoke(connection, token_id, now)
        audit.note(connection, row.surface, BY, "token.revoked", token_id, now)
        return row

    try:
        return await database.write(end)
    except PlatformError as error:
        raise SettingsError(
            f"There is no token {token_id!r}. `antiphon master token list` names those there are."
        ) from error
