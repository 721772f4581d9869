"""The agent's own record of its runs, read from its database as a stranger would: plain SQL, read
only, without the agent's code."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

TAG = re.compile(r"\bQ-[a-z0-9]+-\d+\b")
"""How questions of campaigns are named: `Q-CANARY-NUMBER`; the canary is the chat's own word."""


class RunRecord(msgspec.Struct, frozen=True):
    """A run as the agent recorded it. `text`: what the steps said, joined by blank lines;
    `steps`: how many were recorded, one that was cut off included."""

    thread_id: str
    run_id: str
    tag: str
    status: str
    text: str
    steps: int
    attempts: int
    error_code: str = ""
    error_message: str = ""


def read_runs(database: Path) -> tuple[RunRecord, ...]:
    """Every run in the agent's database, oldest first; none where there is no database."""
    if not database.exists():
        return ()
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        tables = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name IN ('runs', 'steps')"
        )
        if tables.fetchone()[0] < 2:
            return ()  # its first start has not come that far
        steps: dict[tuple[str, str], list[str]] = {}
        for row in connection.execute("SELECT thread_id, run_id, text FROM steps ORDER BY step"):
            steps.setdefault((row["thread_id"], row["run_id"]), []).append(row["text"])
        return tuple(
            _record(row, steps.get((row["thread_id"], row["run_id"]), []))
            for row in connection.execute("SELECT * FROM runs ORDER BY created_ms, ordinal")
        )


def _record(row: sqlite3.Row, texts: list[str]) -> RunRecord:
    asked = " ".join(str(part.get("text", "")) for part in json.loads(row["input"]))
    found = TAG.search(asked)
    error = json.loads(row["error"]) if row["error"] else {}
    return RunRecord(
        thread_id=row["thread_id"],
        run_id=row["run_id"],
        tag=found.group() if found else "",
        status=row["status"],
        text="\n\n".join(text for text in texts if text.strip()),
        steps=len(texts),
        attempts=row["attempt"],
        error_code=str(error.get("code", "")),
        error_message=str(error.get("message", "")),
    )
