"""Whether a trial still moves, by a cheap look into its databases. It only decides how long to
wait: the verdict is the rooms' and the agent's record."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

OPEN = "('queued', 'running', 'waiting', 'answered')"
LOOKS = {
    "matrix.db": (
        f"SELECT count(*) FROM turn WHERE state IN {OPEN}",  # noqa: S608 - a constant
        "SELECT count(*) FROM turn",
        "SELECT count(*) FROM outbox",
        "SELECT count(*) FROM outbox WHERE state = 'pending'",
        "SELECT epoch FROM account",
    ),
    "agent.db": (
        "SELECT coalesce(sum(last_seq), 0) FROM threads",
        "SELECT coalesce(sum(attempt), 0) FROM runs",
    ),
}


class Progress(msgspec.Struct, frozen=True):
    """Counts that change when anything happens. `owes`: something is plainly not over yet."""

    owes: bool = True
    counts: tuple[int, ...] = ()


def read(state: Path) -> Progress:
    """How it stands now; what can't be read counts as nothing."""
    counts = [_count(state / name, query) for name, queries in LOOKS.items() for query in queries]
    return Progress(counts[0] != 0, tuple(counts))


def _count(database: Path, query: str) -> int:
    if not database.exists():
        return -1
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            row = connection.execute(query).fetchone()
    except sqlite3.Error:
        return -1
    return int(row[0]) if row else -1
