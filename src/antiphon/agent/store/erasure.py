"""Erasing what one person asked in a thread: which runs that is, and all of them in one
transaction."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select

from antiphon.agent.model import Frame, ThreadId
from antiphon.agent.store import lifecycle, schema, threads
from antiphon.agent.store.threads import of
from antiphon.agent_api.messages import InputPart

_inputs = msgspec.json.Decoder(tuple[InputPart, ...])


class Erased(msgspec.Struct, frozen=True):
    """The runs that were erased, oldest first, and the events that ended those that were open."""

    runs: tuple[str, ...]
    frames: list[Frame]


def runs_by(connection: Connection, thread: ThreadId, author: str) -> tuple[str, ...]:
    """The runs whose question has a message by `author`, oldest first. (One that was erased has no
    question any more.)"""
    row = schema.runs.c
    rows = connection.execute(
        select(row.run_id, row.input).where(of(schema.runs, thread)).order_by(row.ordinal)
    )
    return tuple(
        one.run_id
        for one in rows
        if any(part.author == author for part in _inputs.decode(one.input))
    )


def erase_author(connection: Connection, thread: ThreadId, author: str, now_ms: int) -> Erased:
    """Withdraws all of them. Raises AgentProtocolError `thread_gone`."""
    threads.lock(connection, thread)
    lifecycle.refuse_gone(connection, thread)
    found = runs_by(connection, thread, author)
    return Erased(found, lifecycle.erase(connection, thread, found, now_ms))
