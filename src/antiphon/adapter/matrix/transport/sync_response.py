"""The answer of `/sync` as values. Whatever is malformed in it is left out and reported as a
Problem, so that no event, room or section can stop the sync of the others. No I/O.
"""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.adapter.matrix.transport import json_body
from antiphon.adapter.matrix.transport.events import (
    Event,
    Problem,
    StrippedEvent,
    located,
    parse_events,
    parse_stripped,
)
from antiphon.errors import HomeserverUnreachableError


class JoinedRoom(msgspec.Struct, frozen=True):
    """News of a room that we are in: `timeline` oldest first; `limited` says that events between
    `prev_batch` and the last sync are missing; `state` is what changed before the timeline."""

    timeline: tuple[Event, ...]
    limited: bool
    prev_batch: str | None
    state: tuple[Event, ...]
    members: int | None = None
    """How many have joined it, we too; None where this answer does not say."""


class LeftRoom(msgspec.Struct, frozen=True):
    """The last news of a room that we left, were kicked from or banned in."""

    timeline: tuple[Event, ...]
    state: tuple[Event, ...]


class SyncResponse(msgspec.Struct, frozen=True):
    """One answer of `/sync`. `next_batch` is the cursor to store with what is in here.
    `to_device` holds the first messages that wait (Synapse: 100), oldest first.

    An invited room whose state can't be read is still there, with what could be read of it.

    Of encryption (spec: "Extensions to /sync" of end-to-end encryption): `device_lists_changed`
    are users whose keys must be asked for again, `device_lists_left` those who share no room with
    us any more (both never in the answer to a first sync; Synapse tells of rooms without
    encryption too, of ourselves, and of logins and logouts); `one_time_key_counts` is what is left
    of our own keys by algorithm, in every answer of Synapse; `unused_fallback_key_types` are the
    algorithms whose fallback key nobody has used, None where the homeserver did not say. A count
    that is missing is no zero: no answer about an algorithm says nothing about it. Synapse answers
    the same request for two minutes with the same response: messages that are gone since, and
    counts of then, included."""

    next_batch: str
    joined: dict[str, JoinedRoom]
    invited: dict[str, tuple[StrippedEvent, ...]]
    left: dict[str, LeftRoom]
    to_device: tuple[dict[str, Any], ...]
    problems: tuple[Problem, ...]
    device_lists_changed: tuple[str, ...] = ()
    device_lists_left: tuple[str, ...] = ()
    one_time_key_counts: dict[str, int] = {}
    unused_fallback_key_types: tuple[str, ...] | None = None

    @property
    def empty(self) -> bool:
        """Whether it brings no event, no room, no to-device message and nothing to skip: then
        there is nothing more to read. Device lists and key counts are no such news; they come
        whole with every answer, or again with the next change."""
        return not (self.joined or self.invited or self.left or self.to_device or self.problems)


def parse_sync(body: bytes) -> SyncResponse:
    """Reads the body of a `/sync` answer.

    Raises HomeserverUnreachableError only when it is no JSON object with a text `next_batch`:
    then there is nothing to go on from, and the same sync must be asked again."""
    try:
        raw = json_body.decode(body)
    except json_body.NotJsonError:
        raw = None
    next_batch = raw.get("next_batch") if isinstance(raw, dict) else None
    if not isinstance(raw, dict) or not isinstance(next_batch, str) or not next_batch:
        raise HomeserverUnreachableError(
            "The homeserver's answer to /sync can't be read: no JSON object with next_batch."
        )
    reader = _Reader()
    rooms = reader.section(raw, "rooms", None)
    joined = reader.rooms(rooms, "join")
    invited = reader.rooms(rooms, "invite")
    left = reader.rooms(rooms, "leave")
    lists = reader.section(raw, "device_lists", None)
    return SyncResponse(
        next_batch=next_batch,
        joined={room_id: reader.joined(room_id, room) for room_id, room in joined.items()},
        invited={room_id: reader.invited(room_id, room) for room_id, room in invited.items()},
        left={room_id: reader.left(room_id, room) for room_id, room in left.items()},
        to_device=reader.to_device(raw),
        device_lists_changed=reader.names(lists, "changed", "device_lists.changed"),
        device_lists_left=reader.names(lists, "left", "device_lists.left"),
        one_time_key_counts=reader.key_counts(raw),
        unused_fallback_key_types=reader.fallback_key_types(raw),
        problems=tuple(reader.problems),
    )


class _Reader:
    """Walks any JSON value and gathers what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def section(self, parent: dict[str, Any], name: str, room_id: str | None) -> dict[str, Any]:
        """An object in `parent`; absent and null are an empty one, anything else a problem."""
        value = parent.get(name)
        if value is None:
            return {}
        if isinstance(value, dict):
            return value
        self.problems.append(Problem(f"{name} is no object", room_id))
        return {}

    def rooms(self, rooms: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
        good = {}
        for room_id, room in self.section(rooms, name, None).items():
            if isinstance(room, dict):
                good[room_id] = room
            else:
                self.problems.append(Problem(f"the room in {name} is no object", room_id))
        return good

    def joined(self, room_id: str, room: dict[str, Any]) -> JoinedRoom:
        timeline = self.section(room, "timeline", room_id)
        limited = timeline.get("limited", False)
        if not isinstance(limited, bool):
            # Reading a gap back that is none costs a request; missing one costs a message.
            self.problems.append(Problem("limited is no boolean; taken as true", room_id))
            limited = True
        prev_batch = timeline.get("prev_batch")
        return JoinedRoom(
            timeline=self._events(timeline, room_id, "timeline"),
            limited=limited,
            prev_batch=prev_batch if isinstance(prev_batch, str) else None,
            state=self._events(self.section(room, "state", room_id), room_id, "state"),
            members=self._members(self.section(room, "summary", room_id), room_id),
        )

    def _members(self, summary: dict[str, Any], room_id: str) -> int | None:
        count = summary.get("m.joined_member_count")
        if count is None:
            return None
        if isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 2**31:
            return count
        self.problems.append(Problem("m.joined_member_count is no count", room_id))
        return None

    def left(self, room_id: str, room: dict[str, Any]) -> LeftRoom:
        return LeftRoom(
            timeline=self._events(self.section(room, "timeline", room_id), room_id, "timeline"),
            state=self._events(self.section(room, "state", room_id), room_id, "state"),
        )

    def invited(self, room_id: str, room: dict[str, Any]) -> tuple[StrippedEvent, ...]:
        events = self.section(room, "invite_state", room_id).get("events")
        if events is None:
            return ()
        if not isinstance(events, list):
            self.problems.append(Problem("invite_state.events is no list", room_id))
            return ()
        parsed = [parse_stripped(item) for item in events]
        self.problems.extend(located(parsed, room_id))
        return tuple(item for item in parsed if isinstance(item, StrippedEvent))

    def to_device(self, raw: dict[str, Any]) -> tuple[dict[str, Any], ...]:
        events = self.section(raw, "to_device", None).get("events")
        if events is None:
            return ()
        if not isinstance(events, list):
            self.problems.append(Problem("to_device.events is no list"))
            return ()
        good = tuple(item for item in events if isinstance(item, dict))
        self.problems.extend(
            Problem("the to-device message is no object") for _ in range(len(events) - len(good))
        )
        return good

    def names(self, parent: dict[str, Any], name: str, section: str) -> tuple[str, ...]:
        """The texts of a list in `parent`, each once, in order; no list is an empty one."""
        values = parent.get(name)
        if values is None:
            return ()
        if not isinstance(values, list):
            self.problems.append(Problem(f"{section} is no list"))
            return ()
        good = [value for value in values if isinstance(value, str)]
        self.problems.extend(
            Problem(f"an entry of {section} is no text") for _ in range(len(values) - len(good))
        )
        return tuple(dict.fromkeys(good))

    def key_counts(self, raw: dict[str, Any]) -> dict[str, int]:
        good = {}
        for algorithm, count in self.section(raw, "device_one_time_keys_count", None).items():
            if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
                good[algorithm] = count
            else:
                self.problems.append(Problem("a count of one-time keys is no number"))
        return good

    def fallback_key_types(self, raw: dict[str, Any]) -> tuple[str, ...] | None:
        name = "device_unused_fallback_key_types"
        types = self.names(raw, name, name)
        # A broken list is no word of the homeserver's: as "none is unused" it would make new keys.
        return types if isinstance(raw.get(name), list) else None

    def _events(self, section: dict[str, Any], room_id: str, name: str) -> tuple[Event, ...]:
        events, problems = parse_events(section.get("events"), room_id, f"{name}.events")
        self.problems.extend(problems)
        return events
