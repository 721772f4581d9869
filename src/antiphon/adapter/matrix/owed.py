"""What is owed, as the journal has it: to rooms, to the homeserver and to the agent. Read in one
transaction, so that it is one moment's truth."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.journal import debts, inbound, outbox, rooms, turns
from antiphon.adapter.matrix.journal.turns import IMMEDIATE, QUESTION
from antiphon.core.ids import RoomId
from antiphon.core.model import TurnState

AFTER_ALL = 2**63 - 1
"""A position behind every turn's."""


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """Open work. The first four count turns by state; `unconfirmed_sends` and `redactions` what the
    homeserver has not confirmed; `debts` what the agent has not.

    `invites` wait for a decision, `joining` for the homeserver to show our join, `gaps` to be read
    back, `upgrades` to be looked at; `uninvited` are upgrades whose new room does not let us in
    (nothing can be done until somebody invites us)."""

    queued: int = 0
    running: int = 0
    waiting: int = 0
    answered: int = 0
    unconfirmed_sends: int = 0
    redactions: int = 0
    debts: int = 0
    invites: tuple[RoomId, ...] = ()
    joining: tuple[RoomId, ...] = ()
    gaps: tuple[RoomId, ...] = ()
    upgrades: tuple[RoomId, ...] = ()
    uninvited: tuple[RoomId, ...] = ()
    turns_for_agent: int = 0
    """Turns that only the agent can bring on: it is asked, or is next to be asked, in their
    chat."""

    @property
    def turns(self) -> int:
        """All open turns."""
        return self.queued + self.running + self.waiting + self.answered

    @property
    def for_agent(self) -> bool:
        """Whether anything waits for the agent."""
        return bool(self.turns_for_agent or self.debts)

    @property
    def for_others(self) -> bool:
        """Whether anything can be done without the agent."""
        return bool(
            self.turns > self.turns_for_agent
            or self.unconfirmed_sends
            or self.redactions
            or self.invites
            or self.joining
            or self.gaps
            or self.upgrades
        )

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to do (but to wait for an invite)."""
        return not (self.for_agent or self.for_others)

    def lines(self) -> list[str]:
        """For people: a line for each thing."""
        counts = {
            "questions to be asked": self.queued,
            "questions that the agent was asked": self.running,
            "questions that wait for an approval": self.waiting,
            "answers to be delivered": self.answered,
            "sends that were not confirmed": self.unconfirmed_sends,
            "redactions that were not confirmed": self.redactions,
            "debts to the agent": self.debts,
        }
        places = {
            "invites to be decided": self.invites,
            "rooms to be joined": self.joining,
            "rooms with missed messages to be read back": self.gaps,
            "upgraded rooms to be followed": self.upgrades,
            "upgraded rooms whose successor needs an invite": self.uninvited,
        }
        return [f"{text}: {number}" for text, number in counts.items() if number] + [
            f"{text}: {', '.join(found)}" for text, found in places.items() if found
        ]


def owed(connection: Connection) -> Owed:
    """All that is owed now."""
    states = turns.count_by_state(connection)
    upgrades = rooms.open_upgrades(connection)
    redactions = len(outbox.owed_redactions(connection))
    return Owed(
        queued=states.get(TurnState.QUEUED, 0),
        running=states.get(TurnState.RUNNING, 0),
        waiting=states.get(TurnState.WAITING, 0),
        answered=states.get(TurnState.ANSWERED, 0),
        unconfirmed_sends=outbox.backlog(connection)[0] - redactions,
        redactions=redactions,
        debts=len(debts.pending(connection)),
        invites=_with(connection, "invite"),
        joining=_with(connection, "joining"),
        gaps=tuple(dict.fromkeys(gap.room_id for gap in inbound.open_gaps(connection))),
        upgrades=tuple(u.room_id for u in upgrades if u.followed == "owed"),
        uninvited=tuple(u.room_id for u in upgrades if u.followed != "owed"),
        turns_for_agent=_for_agent(connection),
    )


def _with(connection: Connection, membership: str) -> tuple[RoomId, ...]:
    return tuple(room_id for room_id, _ in rooms.with_membership(connection, membership))


def _for_agent(connection: Connection) -> int:
    """Turns of chats in which the agent is asked, or would be next."""
    count = 0
    for lane in turns.open_lanes(connection):
        head = turns.next_open(connection, lane)
        if head is not None and head.kind == QUESTION and head.state is not TurnState.ANSWERED:
            waiting = turns.open_in_lane(connection, lane, AFTER_ALL)
            count += sum(turn.kind != IMMEDIATE for turn in waiting)
    return count
