"""From a sync response to what the journal must keep: pure.

Where a room is new to us, only what was said since we were invited counts as addressed to us:
clients send a direct chat's first message right after the invite, before we can have joined.
Anything earlier is history and is never answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from antiphon.adapter.matrix.transport.events import Event, StrippedEvent
from antiphon.adapter.matrix.transport.sync_response import JoinedRoom, SyncResponse
from antiphon.core.ids import RoomId, UserId

LONGEST_ALIAS = 255


class RoomNews(msgspec.Struct, frozen=True):
    """What a batch says of a room that we are in. `arrival`: index of the first event in
    `events` since our latest invite or join, None where that is not in sight; `invited_before`:
    that is a join, and the invite that led to it stands further back; `successor`: the room that
    a tombstone names. `members`: who has joined it, `alias`: what it calls itself (which proves
    nothing), both None where nothing new is said."""

    room_id: RoomId
    events: tuple[Event, ...]
    limited: bool
    prev_batch: str | None
    encrypted: bool
    arrival: int | None
    invited_before: bool = False
    successor: RoomId | None = None
    upgraded_by: UserId | None = None
    members: int | None = None
    alias: str | None = None


class Invite(msgspec.Struct, frozen=True):
    """An invitation; `inviter` is None where the homeserver does not say who invited us; `alias` as
    in `RoomNews`."""

    room_id: RoomId
    inviter: UserId | None
    alias: str | None = None


class Batch(msgspec.Struct, frozen=True):
    """One sync response, ready for the journal. `since` is None for a first sync."""

    since: str | None
    next_batch: str
    rooms: tuple[RoomNews, ...]
    invites: tuple[Invite, ...]
    left: tuple[RoomId, ...]

    @property
    def empty(self) -> bool:
        """Whether only the cursor moved."""
        return not (self.rooms or self.invites or self.left)


def digest(response: SyncResponse, since: str | None, me: UserId) -> Batch:
    """What to journal of `response`, which answered a sync from `since`."""
    return Batch(
        since=since,
        next_batch=response.next_batch,
        rooms=tuple(_news(RoomId(r), room, me) for r, room in response.joined.items()),
        invites=tuple(
            Invite(RoomId(r), _inviter(s, me), _alias(s)) for r, s in response.invited.items()
        ),
        left=tuple(RoomId(room_id) for room_id in response.left),
    )


def unique(events: Iterable[Event]) -> tuple[Event, ...]:
    """The events without repetitions, each where it first stands (one event can be delivered
    twice, in one response too: measured)."""
    return tuple({event.event_id: event for event in events}.values())


def arrival_index(events: Sequence[Event], me: UserId) -> int | None:
    """Where in `events` (oldest first) our latest stay in the room begins: at our join, or at the
    invite that led to it; None where no join of ours is among them. Joins that follow one another
    (a new profile) are one stay."""
    join = None
    for index in range(len(events) - 1, -1, -1):
        member = _membership(events[index], me)
        if member == "join":
            if _previous(events[index]) != "join":
                join = index
        elif member is not None and join is not None:
            return index if member == "invite" else join
    return join


def invited_before(events: Sequence[Event], me: UserId) -> bool:
    """Whether `arrival_index` is a join that followed an invite which is not among the events:
    our stay begins further back then."""
    index = arrival_index(events, me)
    return (
        index is not None
        and _membership(events[index], me) == "join"
        and _previous(events[index]) == "invite"
    )


def stay_start(events: Sequence[Event], me: UserId) -> int | None:
    """As `arrival_index`, of events that were read back from a room in which we are after them:
    the join itself may come later, so an invite or the end of an earlier stay is enough. None,
    too, where the stay begins further back."""
    for index in range(len(events) - 1, -1, -1):
        member = _membership(events[index], me)
        if member is None:
            continue
        if member == "join":
            break
        return index if member == "invite" else index + 1
    return None if invited_before(events, me) else arrival_index(events, me)


def _news(room_id: RoomId, room: JoinedRoom, me: UserId) -> RoomNews:
    timeline = unique(room.timeline)
    everything = (*room.state, *timeline)
    successor, upgraded_by = _successor(everything)
    return RoomNews(
        room_id=room_id,
        events=timeline,
        limited=room.limited,
        prev_batch=room.prev_batch,
        encrypted=any(e.type == "m.room.encryption" and e.state_key == "" for e in everything),
        arrival=arrival_index(timeline, me),
        invited_before=invited_before(timeline, me),
        successor=successor,
        upgraded_by=upgraded_by,
        members=room.members,
        alias=_alias(everything),
    )


def _successor(events: Sequence[Event]) -> tuple[RoomId | None, UserId | None]:
    for event in reversed(events):
        if event.type == "m.room.tombstone" and event.state_key == "":
            replacement = event.content.get("replacement_room")
            if isinstance(replacement, str) and replacement.startswith("!"):
                return RoomId(replacement), UserId(event.sender)
    return None, None


def _alias(events: Iterable[Event | StrippedEvent]) -> str | None:
    """The canonical alias that state among the events gives; empty where it was taken away."""
    found: str | None = None
    for event in events:
        if event.type == "m.room.canonical_alias" and event.state_key == "":
            alias = event.content.get("alias")
            found = alias if isinstance(alias, str) and len(alias) <= LONGEST_ALIAS else ""
    return found


def _inviter(stripped: Sequence[StrippedEvent], me: UserId) -> UserId | None:
    for event in stripped:
        if event.type == "m.room.member" and event.state_key == me:
            return UserId(event.sender)
    return None


def _membership(event: Event, me: UserId) -> str | None:
    if event.type != "m.room.member" or event.state_key != me:
        return None
    value = event.content.get("membership")
    return value if isinstance(value, str) else None


def _previous(event: Event) -> str | None:
    previous = event.unsigned.get("prev_content")
    value = previous.get("membership") if isinstance(previous, dict) else None
    return value if isinstance(value, str) else None
