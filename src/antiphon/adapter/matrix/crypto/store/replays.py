"""Which event used which message of which session: one message is one event, for ever."""

from __future__ import annotations

import hashlib

from sqlalchemy import Connection, insert, select

from antiphon.adapter.matrix.crypto.store.inbound_groups import GroupName
from antiphon.adapter.matrix.crypto.store.schema import replay


def used_by(connection: Connection, name: GroupName, index: int, event_id: str) -> str:
    """The event that used message `index` of a session: the first that asked, which may be this."""
    session = hashlib.sha256(
        "\x00".join((name.room_id, name.session_id, name.sender_key)).encode()
    ).hexdigest()[:32]
    statement = select(replay.c.event_id).where(
        replay.c.session == session, replay.c.message_index == index
    )
    found = connection.execute(statement).scalar_one_or_none()
    if found is not None:
        return str(found)
    connection.execute(
        insert(replay).values(session=session, message_index=index, event_id=event_id)
    )
    return event_id
