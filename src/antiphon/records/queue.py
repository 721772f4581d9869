"""Statements of what a surface keeps of its control plane besides the records: changes that it has
not been told, what it did not take, chats that go by another id there, and single facts."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from antiphon.core.ids import ChatId
from antiphon.records.rows import insert_new
from antiphon.records.schema import aliases, conflicts, marks, queue

MOST_CONFLICTS = 50
EVERYTHING = 1 << 31
"""A limit that none meets."""


class Queued(msgspec.Struct, frozen=True):
    """One change that waits. `change` as it was given, JSON."""

    seq: int
    request_id: str
    change: str
    at_ms: int


def add(connection: Connection, request_id: str, change: str, now_ms: int) -> bool:
    """Puts a change at the end; False where one waits under this name already."""
    return insert_new(
        connection, queue, {"request_id": request_id, "change": change, "at_ms": now_ms}
    )


def first(connection: Connection, limit: int) -> tuple[Queued, ...]:
    """The oldest changes that wait, in order."""
    rows = connection.execute(select(queue).order_by(queue.c.seq).limit(limit))
    return tuple(Queued(row.seq, row.request_id, row.change, row.at_ms) for row in rows)


def drop(connection: Connection, seqs: Iterable[int]) -> None:
    """These changes wait no more."""
    connection.execute(delete(queue).where(queue.c.seq.in_(tuple(seqs))))


def count(connection: Connection) -> int:
    """How many wait."""
    return int(connection.execute(select(func.count()).select_from(queue)).scalar_one())


def note_conflict(connection: Connection, sentence: str, now_ms: int) -> None:
    """Keeps the sentence; only the newest of them are kept."""
    connection.execute(insert(conflicts).values(sentence=sentence, at_ms=now_ms))
    newest = select(conflicts.c.seq).order_by(conflicts.c.seq.desc()).limit(MOST_CONFLICTS)
    kept = [row.seq for row in connection.execute(newest)]
    connection.execute(delete(conflicts).where(conflicts.c.seq < min(kept)))


def all_conflicts(connection: Connection) -> tuple[str, ...]:
    """The sentences, newest last."""
    rows = connection.execute(select(conflicts.c.sentence).order_by(conflicts.c.seq))
    return tuple(row.sentence for row in rows)


def set_alias(connection: Connection, chat_id: ChatId, kept_id: ChatId) -> None:
    """The chat that was made here as `chat_id` is `kept_id` there; what stood for it follows."""
    row = {"chat_id": chat_id, "kept_id": kept_id}
    if not insert_new(connection, aliases, row):
        connection.execute(
            update(aliases).where(aliases.c.chat_id == chat_id).values(kept_id=kept_id)
        )
    connection.execute(update(aliases).where(aliases.c.kept_id == chat_id).values(kept_id=kept_id))


def all_aliases(connection: Connection) -> dict[ChatId, ChatId]:
    """Every chat that goes by another id there."""
    return {ChatId(row.chat_id): ChatId(row.kept_id) for row in connection.execute(select(aliases))}


def set_mark(connection: Connection, name: str, value: str) -> None:
    """Keeps a fact, JSON, over what it was."""
    if not insert_new(connection, marks, {"name": name, "value": value}):
        connection.execute(update(marks).where(marks.c.name == name).values(value=value))


def mark(connection: Connection, name: str) -> str | None:
    """A fact; None where it was never known."""
    found = connection.execute(select(marks.c.value).where(marks.c.name == name))
    value = found.scalar_one_or_none()
    return None if value is None else str(value)
