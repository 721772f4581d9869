"""Looking, changing nothing: what the homeserver, the journal and the sdk hold.

Of the homeserver only what has no effect is asked: a /sync with a `since` would delete to-device
messages (measured), so the one that is made has none.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from antiphon.adapter.matrix.beside import each
from antiphon.adapter.matrix.reset.plan import RoomSight
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.events import Event, StrippedEvent
from antiphon.clock import Clock
from antiphon.core.ids import RoomId
from antiphon.errors import MatrixApiError, RateLimitedError

AT_A_TIME = 8
NAMES_ALONE = msgspec.json.encode(
    {
        "presence": {"types": []},
        "account_data": {"types": []},
        "room": {
            "ephemeral": {"types": []},
            "account_data": {"types": []},
            "state": {"types": ["m.room.name", "m.room.canonical_alias"]},
            "timeline": {"types": [], "limit": 1},
        },
    }
).decode()


async def rooms_of(client: MatrixClient, clock: Clock) -> tuple[RoomSight, ...]:
    """The rooms that we are in or invited to, by the homeserver itself, in order of their ids.

    Raises HomeserverUnreachableError, TokenRevokedError, MatrixApiError."""
    joined = await client.joined_rooms()
    # An initial sync never waits; another time-out makes it another request to Synapse, which
    # would answer the same one from its cache for two minutes (measured).
    response = await client.sync(
        None, filter=NAMES_ALONE, timeout_ms=clock.now_ms() % 30_000, set_presence="offline"
    )

    async def one(room_id: str) -> RoomSight:
        members = await _members(client, clock, room_id)
        known = response.joined.get(room_id)
        name = _name((*known.state, *known.timeline) if known else ())
        return RoomSight(RoomId(room_id), name, tuple(sorted(members)))

    sights = await each(one, sorted(joined), AT_A_TIME)
    sights += [
        RoomSight(RoomId(room_id), _name(state), _inviters(state), invited=True)
        for room_id, state in response.invited.items()
        if room_id not in joined
    ]
    return tuple(sorted(sights, key=lambda sight: sight.room_id))


async def _members(client: MatrixClient, clock: Clock, room_id: str) -> tuple[str, ...]:
    while True:
        try:
            return await client.joined_members(room_id)
        except RateLimitedError as error:
            await clock.sleep(error.retry_after_ms / 1000)
        except MatrixApiError:
            return ()  # left or gone meanwhile, or refused to us: a plan does without the names


def _name(state: Iterable[Event | StrippedEvent]) -> str | None:
    found: dict[str, str] = {}
    for event in state:
        for kind, key in (("m.room.name", "name"), ("m.room.canonical_alias", "alias")):
            value = event.content.get(key)
            if event.type == kind and isinstance(value, str) and value.strip():
                found[kind] = value
    return found.get("m.room.name") or found.get("m.room.canonical_alias")


def _inviters(state: Iterable[StrippedEvent]) -> tuple[str, ...]:
    return tuple(
        sorted(
            {
                event.sender
                for event in state
                if event.type == "m.room.member" and event.content.get("membership") == "invite"
            }
        )
    )
