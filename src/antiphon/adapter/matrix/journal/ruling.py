"""What was last known of roles and settings, kept beside what is decided by it, so that a start at
which nobody can be asked goes on with it."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, insert, select, update

from antiphon.adapter.matrix.journal.schema import rules as table
from antiphon.core.chat_settings import Isolation
from antiphon.core.rules import Rules

NARROWNESS: dict[str, int] = {"room": 0, "thread": 1, "user": 2}
"""Of what a chat is, from the widest to the narrowest."""


class Known(msgspec.Struct, frozen=True):
    """The rules as last known. `known_ms`: when they were known to be the newest. `narrowest`: the
    narrowest isolation that was ever set, by room; under the empty name that of a wide scope."""

    rules: Rules
    known_ms: int
    narrowest: dict[str, Isolation] = {}


def kept(connection: Connection) -> Known | None:
    """What is kept; None where nothing was ever told."""
    row = connection.execute(select(table).where(table.c.id == 1)).first()
    if row is None:
        return None
    return Known(
        msgspec.json.decode(row.snapshot, type=Rules),
        row.known_ms,
        msgspec.json.decode(row.narrowest, type=dict[str, Isolation]),
    )


def keep(connection: Connection, rules: Rules, now_ms: int) -> Known:
    """Keeps newer rules, and what is known with them."""
    before = kept(connection)
    known_ms = now_ms if rules.fresh or before is None else before.known_ms
    known = Known(rules, known_ms, _narrowest(before.narrowest if before else {}, rules))
    values = {
        "snapshot": msgspec.json.encode(rules).decode(),
        "narrowest": msgspec.json.encode(known.narrowest).decode(),
        "known_ms": known.known_ms,
    }
    if before is None:
        connection.execute(insert(table).values(id=1, **values))
    else:
        connection.execute(update(table).where(table.c.id == 1).values(**values))
    return known


def narrower(*values: Isolation) -> Isolation:
    """The narrowest of them."""
    return max(values, key=NARROWNESS.__getitem__)


def _narrowest(before: dict[str, Isolation], rules: Rules) -> dict[str, Isolation]:
    found = dict(before)
    named = [("", rules.base.get("isolation"))] + [
        (one.scope.subject if one.scope.kind == "room" else "", one.value)
        for one in rules.settings
        if one.key == "isolation"
    ]
    for room_id, value in named:
        if value in NARROWNESS:
            found[room_id] = narrower(found.get(room_id, "room"), value)
    return {room_id: value for room_id, value in found.items() if value != "room"}
