"""Erasing a person from the journal: what they said goes, with all that they asked and that is not
over. Ids that keep anything from being answered twice stay, without their name.

What the agent remembers, and what whoever keeps users and chats has, is erased there."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select, update

from antiphon.adapter.matrix.journal import changes, debts, outbox, unreadable
from antiphon.adapter.matrix.journal.debts import Debt
from antiphon.adapter.matrix.journal.schema import asking, inbound, quiet, usage_owed
from antiphon.adapter.matrix.journal.schema import turn as turns
from antiphon.adapter.matrix.journal.schema import unreadable as unread
from antiphon.adapter.matrix.journal.taking import Taken
from antiphon.adapter.matrix.journal.turns import OPEN, QUESTION, Turn, as_turn
from antiphon.core.ids import RunId, TurnId, UserId
from antiphon.core.people import Forgotten
from antiphon.core.turns import QuestionRedacted

NOBODY = UserId("")
"""In the place of a sender who was erased."""


def erase(
    connection: Connection,
    user_id: UserId,
    until_ms: int,
    device_id: str,
    now_ms: int,
    *,
    but: TurnId | None = None,
) -> Taken:
    """Takes out what this person said until `until_ms`, but for the turn `but` (the command that
    asked for it, which its ending erases by `forget_turn`). Their open questions are withdrawn, as
    if they had redacted them. Again: changes nothing."""
    result = Taken()
    theirs = [turns.c.sender == user_id, turns.c.created_ms <= until_ms]
    if but is not None:
        theirs.append(turns.c.turn_id != but)
    for row in connection.execute(
        select(turns).where(*theirs, turns.c.state.in_(OPEN), turns.c.kind == QUESTION)
    ).all():
        _withdraw(connection, as_turn(row), device_id, now_ms, result)
    connection.execute(
        update(turns)
        .where(*theirs, turns.c.state.not_in(OPEN))
        .values(sender=NOBODY, place_user="", text="", run=None, thread_id=None)
    )
    _drop_unread(connection, user_id, until_ms)
    connection.execute(delete(asking).where(asking.c.sender == user_id, asking.c.at_ms <= until_ms))
    connection.execute(delete(usage_owed).where(usage_owed.c.user_id == user_id))
    connection.execute(delete(quiet).where(quiet.c.place_user == user_id))
    return result


def follow(
    connection: Connection, done: Debt, forgotten: Forgotten, device_id: str, now_ms: int
) -> Taken:
    """Whoever keeps users has erased a person, as `done` asked: the agent is owed the rest, and the
    journal forgets them too."""
    user_id = UserId(done.run_id)
    for thread_id in forgotten.threads:
        debts.add(connection, Debt("forget", thread_id, RunId("")), now_ms)
    for thread_id in forgotten.shared:
        debts.add(connection, Debt("erase", thread_id, RunId(user_id)), now_ms)
    debts.paid(connection, done)
    result = erase(connection, user_id, now_ms, device_id, now_ms, but=TurnId(done.thread_id))
    result.debts = True
    return result


def forget_turn(connection: Connection, turn: Turn) -> None:
    """The command by which somebody was erased names them no more; its reply is still owed."""
    connection.execute(
        update(turns)
        .where(turns.c.turn_id == turn.turn_id)
        .values(sender=NOBODY, text="", place_user="")
    )


def _withdraw(
    connection: Connection, turn: Turn, device_id: str, now_ms: int, result: Taken
) -> None:
    change = changes.happen(connection, turn, QuestionRedacted(), device_id, now_ms)
    if change is not None:
        if change.interrupt:
            result.interrupted.append(turn)
        result.redactions |= change.redact
        result.debts |= change.owed is not None
        outbox.void(connection, turn.turn_id)


def _drop_unread(connection: Connection, user_id: UserId, until_ms: int) -> None:
    """Messages that wait for a gap or for their key."""
    waiting = connection.execute(
        select(inbound.c.event_id, inbound.c.event).where(
            inbound.c.state == "pending", inbound.c.at_ms <= until_ms
        )
    ).all()
    for event_id, event in waiting:
        if _sender(event) == user_id:
            connection.execute(
                update(inbound)
                .where(inbound.c.event_id == event_id)
                .values(state="ignored", event="")
            )
    for event_id, event in connection.execute(
        select(unread.c.event_id, unread.c.event).where(unread.c.since_ms <= until_ms)
    ).all():
        if _sender(event) == user_id:
            unreadable.settled(connection, event_id, "ignored")


def _sender(event: str) -> str:
    sender: Any = msgspec.json.decode(event, type=dict[str, Any]).get("sender")
    return str(sender)
