"""What the databases raise, as our errors: one sentence that says what is wrong and what to do.
Pure; knows the codes of SQLite and PostgreSQL, and no store."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from antiphon.errors import EXIT_FAILED, EXIT_USAGE, DatabaseError

NOTHING = "Nothing was saved."

_SQLITE = {
    "SQLITE_FULL": "The disk is full. Make room on it, then go on.",
    "SQLITE_BUSY": "Another program holds the database locked. End that program.",
    "SQLITE_LOCKED": "Another program holds the database locked. End that program.",
    "SQLITE_READONLY": "The database can't be written. Make its file and its folder writable.",
    "SQLITE_CANTOPEN": (
        "The database file can't be opened. Its folder must be there and be writable."
    ),
    "SQLITE_IOERR": "The disk failed to read or write the database. See the system's log.",
    "SQLITE_CORRUPT": "The database file is damaged. Restore a backup of it.",
    "SQLITE_NOTADB": "The file is no database, or is damaged. Move it away, or restore a backup.",
    "SQLITE_PERM": "The database file may not be opened. Check who owns it.",
    "SQLITE_AUTH": "The database file may not be opened. Check who owns it.",
}

# By SQLSTATE, the longest beginning that fits (PostgreSQL manual, appendix A).
_POSTGRES = {
    "53100": "The disk of the database server is full. Make room on it.",
    "53": "The database server is short of resources.",
    "55P03": "Another program holds the database locked. End that program.",
    "25006": "The database server takes no writes (it is a standby, or read-only).",
    "42501": "The database user may not do this. Give it the rights on its database.",
    "XX": "The database is damaged. Restore a backup of it.",
    "57P": "The database server is stopping or starting.",
    "08": "The database server can't be reached.",
}

_REFUSED = ("does not exist", "authentication failed", "no pg_hba", "not permitted to log in")


def translated(error: SQLAlchemyError | sqlite3.Error) -> DatabaseError:
    """The error for a database that failed in the middle of its work (exit code 1)."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    what = _what(cause)
    detail = " ".join(str(cause).split())
    sentence = f"{what} ({detail}.)" if what else f"The database failed: {detail}."
    return DatabaseError(f"{sentence} {NOTHING}")


def at_start(error: SQLAlchemyError | sqlite3.Error, where: str) -> DatabaseError:
    """The same for a database that can't be opened: `where` is named, and the exit code is 2,
    except where a server can't be reached, which may be there in a moment."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    detail = " ".join(str(cause).split())
    what = _what(cause) or "The database can't be used."
    code = EXIT_USAGE
    if _is_postgres(cause) and not getattr(cause, "sqlstate", None):
        what, code = "The database server can't be reached. Is it running?", EXIT_FAILED
        if any(words in detail for words in _REFUSED):
            what, code = "The database server does not let us in.", EXIT_USAGE
    found = DatabaseError(f"{what} It is about {where} ({detail}).")
    found.exit_code = code
    return found


def _what(cause: BaseException | None) -> str:
    if isinstance(cause, sqlite3.Error):
        # Extended codes are named after the one that they extend: SQLITE_IOERR_WRITE.
        name = "_".join(getattr(cause, "sqlite_errorname", "").split("_")[:2])
        return _SQLITE.get(name, "")
    state = getattr(cause, "sqlstate", None) or ""
    fits = [code for code in _POSTGRES if state.startswith(code)]
    return _POSTGRES[max(fits, key=len)] if fits else ""


def _is_postgres(cause: BaseException | None) -> bool:
    return cause is not None and type(cause).__module__.startswith("psycopg")
