"""The rooms of the fake homeserver: one stream of events in memory, and what `/sync` and
`/messages` make of it for one user. No I/O, no clock, no chance: the same calls give the same ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

EMPTY_FILTER_LIMIT = 10


class StreamEvent:
    """An event at its place in the stream. `raw` is what clients are given: any JSON value."""

    __slots__ = ("device", "position", "raw", "room_id")

    def __init__(self, position: int, room_id: str, raw: Any, device: tuple[str, str] | None):
        self.position = position
        self.room_id = room_id
        self.raw = raw
        self.device = device  # (device_id, txn_id) of the sender

    def part(self, name: str) -> Any:
        """A field of the event; None where there is none."""
        return self.raw.get(name) if isinstance(self.raw, dict) else None


class Rooms:
    """All rooms and their one stream. A sync token `s7` stands behind the seventh event.

    `now_ms` is what new events are stamped with; it goes up by 1 with each."""

    def __init__(self, server_name: str):
        self.server_name = server_name
        self.now_ms = 1_700_000_000_000
        self.stream: list[StreamEvent] = []
        self.forgotten: set[tuple[str, str]] = set()
        self._count = 0

    @property
    def position(self) -> int:
        """How many events there are."""
        return len(self.stream)

    def room_ids(self) -> tuple[str, ...]:
        """Every room that there ever was, in order of creation."""
        return tuple(dict.fromkeys(event.room_id for event in self.stream if event.room_id))

    def new_room(self, creator: str, state: Iterable[tuple[str, str, dict[str, Any]]] = ()) -> str:
        """A new room with its creator in it, and then `state` (type, state key, content)."""
        self._count += 1
        room_id = f"!room{self._count}:{self.server_name}"
        self.add(room_id, "m.room.create", creator, {"room_version": "11"}, state_key="")
        self.member(room_id, creator, "join", by=creator)
        for kind, state_key, content in state:
            self.add(room_id, kind, creator, content, state_key=state_key)
        return room_id

    def add(
        self,
        room_id: str,
        kind: str,
        sender: str,
        content: dict[str, Any],
        *,
        state_key: str | None = None,
        device: tuple[str, str] | None = None,
    ) -> str:
        """Adds an event and gives its id."""
        self._count += 1
        self.now_ms += 1
        event_id = f"$event{self._count:04d}"
        raw: dict[str, Any] = {
            "event_id": event_id,
            "type": kind,
            "sender": sender,
            "content": content,
            "origin_server_ts": self.now_ms,
        }
        if state_key is not None:
            raw["state_key"] = state_key
        self.add_raw(room_id, raw, device=device)
        return event_id

    def add_raw(
        self, room_id: str, raw: Any, *, device: tuple[str, str] | None = None
    ) -> StreamEvent:
        """Adds any JSON value in the place of an event."""
        event = StreamEvent(len(self.stream) + 1, room_id, raw, device)
        self.stream.append(event)
        return event

    def member(self, room_id: str, user_id: str, membership: str, *, by: str) -> str:
        """Sets a user's membership: invite, join, leave, ban."""
        if membership in ("join", "invite"):
            self.forgotten.discard((user_id, room_id))
        content = {"membership": membership, "displayname": user_id[1:].partition(":")[0]}
        return self.add(room_id, "m.room.member", by, content, state_key=user_id)

    def redact(self, room_id: str, target: str, sender: str, reason: str | None) -> str:
        """Redacts an event: its content goes, and the redaction is an event itself."""
        content = {"redacts": target} | ({} if reason is None else {"reason": reason})
        event_id = self.add(room_id, "m.room.redaction", sender, content)
        redaction = self.find(room_id, event_id)
        for event in self.stream:
            if event.room_id == room_id and event.part("event_id") == target:
                event.raw = {
                    **event.raw,
                    "content": {},
                    "unsigned": {"redacted_because": redaction.raw if redaction else {}},
                }
        return event_id

    def find(self, room_id: str, event_id: str) -> StreamEvent | None:
        """The event with this id, if the room has it."""
        for event in self.stream:
            if event.room_id == room_id and event.part("event_id") == event_id:
                return event
        return None

    def of_room(self, room_id: str, after: int = 0, upto: int | None = None) -> list[StreamEvent]:
        """The room's events with `after` < position ≤ `upto`, oldest first."""
        last = self.position if upto is None else upto
        return [e for e in self.stream[after:last] if e.room_id == room_id]

    def state(self, room_id: str, upto: int | None = None) -> dict[tuple[str, str], StreamEvent]:
        """The room's state behind the position `upto`, by type and state key."""
        return {
            (event.raw["type"], event.raw["state_key"]): event
            for event in self.of_room(room_id, upto=upto)
            if isinstance(event.part("state_key"), str) and isinstance(event.part("type"), str)
        }

    def membership(self, room_id: str, user_id: str) -> tuple[str, StreamEvent | None]:
        """A user's membership now (`leave` without any), and the event that says so."""
        event = self.state(room_id).get(("m.room.member", user_id))
        if event is None:
            return "leave", None
        return str(event.raw["content"].get("membership", "leave")), event

    def members(self, room_id: str) -> list[str]:
        """Who has joined a room."""
        return [
            key
            for (kind, key), event in self.state(room_id).items()
            if kind == "m.room.member" and event.raw["content"].get("membership") == "join"
        ]

    def joined(self, user_id: str) -> list[str]:
        """The rooms that the user is in."""
        return [r for r in self.room_ids() if self.membership(r, user_id)[0] == "join"]

    # What clients are given

    def sync(
        self, user_id: str, device_id: str, since: int | None, limit: int, *, full_state: bool
    ) -> dict[str, Any]:
        """The body of `/sync` for this user and device, as it is now."""
        join: dict[str, Any] = {}
        invite: dict[str, Any] = {}
        leave: dict[str, Any] = {}
        for room_id in self.room_ids():
            membership, event = self.membership(room_id, user_id)
            if event is None or (user_id, room_id) in self.forgotten:
                continue
            news = since is None or event.position > since
            if membership == "join":
                room = self._joined(room_id, event, user_id, device_id, since, limit, full_state)
                if room is not None:
                    join[room_id] = room
            elif membership == "invite" and news:
                invite[room_id] = {"invite_state": {"events": self._stripped(room_id, event)}}
            elif membership in ("leave", "ban") and news and since is not None:
                events = self.of_room(room_id, since, event.position)
                leave[room_id] = {
                    "timeline": {"events": [e.raw for e in events[-limit:]], "limited": False},
                    "state": {"events": []},
                }
        return {
            "next_batch": f"s{self.position}",
            "rooms": {"join": join, "invite": invite, "leave": leave},
        }

    def _joined(
        self,
        room_id: str,
        join: StreamEvent,
        user_id: str,
        device_id: str,
        since: int | None,
        limit: int,
        full_state: bool,
    ) -> dict[str, Any] | None:
        newly = since is None or (
            join.position > since and not self._was_in(room_id, user_id, since)
        )
        after = 0 if newly or since is None else since
        fresh = self.of_room(room_id, after)
        if not fresh and not full_state:
            return None
        shown = fresh[-limit:] if limit else []
        limited = len(shown) < len(fresh)
        start = shown[0].position - 1 if shown else self.position
        if newly or full_state:
            state = list(self.state(room_id, start).values())
        else:
            state = list(self._changed_state(room_id, after, start))
        summary = {}
        if newly or full_state or any(e.part("type") == "m.room.member" for e in fresh):
            # As Synapse with lazily loaded members: where the membership of anybody has changed.
            summary["m.joined_member_count"] = len(self.members(room_id))
        return {
            "summary": summary,
            "timeline": {
                "events": [self.as_seen(e, user_id, device_id) for e in shown],
                "limited": limited,
                "prev_batch": f"s{start}",
            },
            "state": {"events": [e.raw for e in state]},
        }

    def _was_in(self, room_id: str, user_id: str, position: int) -> bool:
        event = self.state(room_id, position).get(("m.room.member", user_id))
        return event is not None and event.raw["content"].get("membership") == "join"

    def _changed_state(self, room_id: str, after: int, upto: int) -> Iterable[StreamEvent]:
        return (e for e in self.state(room_id, upto).values() if e.position > after)

    def _stripped(self, room_id: str, invitation: StreamEvent) -> list[dict[str, Any]]:
        kinds = ("create", "name", "encryption", "canonical_alias")
        wanted = {(f"m.room.{kind}", "") for kind in kinds}
        events = [e for key, e in self.state(room_id).items() if key in wanted]
        return [
            {name: e.raw[name] for name in ("type", "sender", "state_key", "content")}
            for e in (*events, invitation)
        ]

    def as_seen(self, event: StreamEvent, user_id: str, device_id: str) -> Any:
        """The event as this user's device sees it: its own have their transaction id."""
        if event.device is None or event.part("sender") != user_id or event.device[0] != device_id:
            return event.raw
        unsigned = {**event.raw.get("unsigned", {}), "transaction_id": event.device[1]}
        return {**event.raw, "unsigned": unsigned}

    def page(
        self, room_id: str, start: int | None, end: int | None, direction: str, limit: int
    ) -> tuple[list[StreamEvent], str | None]:
        """A page of history between two positions, and the token of the next one."""
        if direction == "b":
            upto = self.position if start is None else start
            events = self.of_room(room_id, 0 if end is None else end, upto)[::-1]
            page = events[:limit]
            more = f"s{page[-1].position - 1}" if page else None
        else:
            events = self.of_room(room_id, 0 if start is None else start, end)
            page = events[:limit]
            more = f"s{page[-1].position}" if page else None
        return page, more if len(page) < len(events) else None
