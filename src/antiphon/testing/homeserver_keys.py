"""The devices of the fake homeserver's users: their keys, their to-device messages, and whose
device lists changed for whom. No I/O; in the places where clients see it, it does as Synapse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from antiphon.testing.homeserver_refusal import RefusedError
from antiphon.testing.homeserver_rooms import Rooms, StreamEvent
from antiphon.testing.homeserver_signing import Signing

MOST_TO_DEVICE_BYTES = 65_536
MOST_MESSAGES = 100
"""To-device messages in one answer of /sync."""
_NEAR = frozenset({"join", "invite", "knock"})


class Device:
    """A login of a user, with the keys that it published."""

    def __init__(self, name: str | None = None):
        self.name = name
        self.keys: dict[str, Any] | None = None
        self.one_time: dict[str, Any] = {}
        """One-time keys by key ID (`signed_curve25519:AAAA`), oldest first."""
        self.fallback: dict[str, tuple[str, Any]] = {}
        """Key ID and key by algorithm."""
        self.used_fallback: set[str] = set()

    def counts(self) -> dict[str, int]:
        """How many one-time keys there are, by algorithm."""
        counts = {"signed_curve25519": 0}
        for key_id in self.one_time:
            algorithm = key_id.partition(":")[0]
            counts[algorithm] = counts.get(algorithm, 0) + 1
        return counts

    def unused_fallback_types(self) -> list[str]:
        """The algorithms whose fallback key nobody has claimed."""
        return [algorithm for algorithm in self.fallback if algorithm not in self.used_fallback]

    def take(self, algorithm: str) -> dict[str, Any]:
        """A key for somebody who begins a session: by key ID, or nothing when there is none."""
        for key_id in self.one_time:
            if key_id.partition(":")[0] == algorithm:
                return {key_id: self.one_time.pop(key_id)}
        if algorithm in self.fallback:
            self.used_fallback.add(algorithm)
            key_id, key = self.fallback[algorithm]
            return {key_id: key}
        return {}


class Keys:
    """All users' devices. Changes take a place in the one stream of the rooms, so that sync tokens
    stand before or behind them. `rooms` gives the server's rooms as they are now: a test may put
    others in their place."""

    def __init__(self, rooms: Callable[[], Rooms]):
        self._now = rooms
        self.devices: dict[str, dict[str, Device]] = {}
        self.signing = Signing()
        self.mail: dict[str, list[tuple[int, str | None, dict[str, Any]]]] = {}
        """To-device messages by user: place in the stream, device (None: any), message."""
        self.sent: set[tuple[str, str, str]] = set()
        """Transactions of to-device messages: user, device, transaction id."""
        self._changes: list[tuple[int, str, str | None]] = []
        """Place in the stream, whose keys, and who is told (None: everyone in a room with them)."""

    @property
    def _rooms(self) -> Rooms:
        return self._now()

    def device(self, user_id: str, device_id: str) -> Device:
        """The device of a login; it is made with the first look."""
        return self.devices.setdefault(user_id, {}).setdefault(device_id, Device())

    def delete_device(self, user_id: str, device_id: str) -> None:
        """Ends a device with its keys and its messages, as a logout does."""
        device = self.devices.get(user_id, {}).pop(device_id, None)
        self.mail[user_id] = [m for m in self.mail.get(user_id, []) if m[1] != device_id]
        if device is not None:
            self.changed(user_id)

    def changed(self, user_id: str, *, told: str | None = None) -> None:
        """A user's device list is another from now on, for everyone or only for `told`."""
        self._changes.append((self._rooms.add_raw("", None).position, user_id, told))

    # Keys

    def upload(self, user_id: str, device_id: str, body: dict[str, Any]) -> dict[str, int]:
        """POST /keys/upload; gives the counts of one-time keys."""
        device, published = self.device(user_id, device_id), body.get("device_keys")
        if published is not None:
            if not isinstance(published, dict) or (user_id, device_id) != (
                published.get("user_id"),
                published.get("device_id"),
            ):
                raise RefusedError(400, "M_BAD_JSON")
            if device.keys != published:
                device.keys = published
                self.signing.forget(user_id, device_id)
                self.changed(user_id)
        one_time = body.get("one_time_keys") or {}
        for key_id, key in one_time.items():
            known = device.one_time.get(key_id, key)
            if _unsigned(known) != _unsigned(key):
                raise RefusedError(400, "M_UNKNOWN")
        for key_id, key in one_time.items():
            device.one_time.setdefault(key_id, key)
        for key_id, key in (body.get("fallback_keys") or {}).items():
            algorithm = key_id.partition(":")[0]
            if device.fallback.get(algorithm) != (key_id, key):
                device.used_fallback.discard(algorithm)
            device.fallback[algorithm] = (key_id, key)
        return device.counts()

    def query(self, asker: str, user_ids: Iterable[str]) -> dict[str, Any]:
        """POST /keys/query."""
        asked = list(user_ids)
        answer: dict[str, Any] = {
            "device_keys": {},
            "failures": {},
            "master_keys": {},
            "self_signing_keys": {},
            "user_signing_keys": {},
        }
        for user_id in asked:
            if user_id.partition(":")[2] != self._rooms.server_name:
                server = user_id.partition(":")[2]
                answer["failures"][server] = _denied(server)
                continue
            answer["device_keys"][user_id] = {
                device_id: self._shown(user_id, device_id, device)
                for device_id, device in self.devices.get(user_id, {}).items()
                if device.keys is not None
            }
            for usage, key in self.signing.seen_by(asker, user_id).items():
                answer[f"{usage}_keys"][user_id] = key
        return answer

    def claim(self, wanted: dict[str, dict[str, str]]) -> dict[str, Any]:
        """POST /keys/claim."""
        taken: dict[str, Any] = {}
        failures: dict[str, Any] = {}
        for user_id, devices in wanted.items():
            server = user_id.partition(":")[2]
            if server != self._rooms.server_name:
                failures[server] = _denied(server)
            for device_id, algorithm in devices.items():
                device = self.devices.get(user_id, {}).get(device_id)
                if device is not None and (keys := device.take(algorithm)):
                    taken.setdefault(user_id, {})[device_id] = keys
        return {"one_time_keys": taken, "failures": failures}

    def _shown(self, user_id: str, device_id: str, device: Device) -> dict[str, Any]:
        keys = dict(device.keys or {})
        keys["signatures"] = self.signing.merged(user_id, device_id, keys, (user_id,))
        named = {} if device.name is None else {"device_display_name": device.name}
        return {**keys, "unsigned": named}

    # To-device messages

    def post(self, user_id: str, device_id: str, message: dict[str, Any]) -> None:
        """Puts a message into a device's queue; `*` is every device of the user's."""
        known = list(self.devices.get(user_id, {}))
        # It takes a place in the stream, so that there is a later `since`.
        place = self._rooms.add_raw("", None).position
        for target in known if device_id == "*" else [d for d in known if d == device_id]:
            self.mail.setdefault(user_id, []).append((place, target, message))

    def post_to_any(self, user_id: str, message: dict[str, Any]) -> None:
        """A message for every device of the user's, or for the first to come where there is none
        yet."""
        if self.devices.get(user_id):
            self.post(user_id, "*", message)
        else:
            place = self._rooms.add_raw("", None).position
            self.mail.setdefault(user_id, []).append((place, None, message))

    def collect(
        self, user_id: str, device_id: str, since: int | None
    ) -> tuple[list[dict[str, Any]], int | None]:
        """The first messages for a device, and where they end if there are more. Those up to
        `since` have come there, and are gone."""
        mine = [m for m in self.mail.get(user_id, []) if m[1] in (None, device_id)]
        gone = [m for m in mine if since is not None and m[0] <= since]
        self.mail[user_id] = [m for m in self.mail.get(user_id, []) if m not in gone]
        rest = [m for m in mine if m not in gone]
        shown = rest[:MOST_MESSAGES]
        end = shown[-1][0] if len(shown) < len(rest) else None
        return [message for _, _, message in shown], end

    # Device lists

    def lists(self, user_id: str, since: int) -> dict[str, list[str]]:
        """Who changed and who left after a place in the stream, as this user is told."""
        changes = [change for change in self._changes if change[0] > since]
        moves = [
            event
            for event in self._rooms.stream[since:]
            if event.room_id
            and event.part("type") == "m.room.member"
            and isinstance(event.part("state_key"), str)
        ]
        if not changes and not moves:
            return {}
        near = self._in_room_with(user_id)
        changed = {who for _, who, told in changes if told == user_id or (not told and who in near)}
        left: set[str] = set()
        for event in moves:
            room_id, whose = event.room_id, event.part("state_key")
            before, after = self._memberships(room_id, whose, since)
            if whose == user_id and after == "join" != before:
                changed |= self._inside(room_id)
            elif whose == user_id and before == "join" != after:
                left |= self._inside(room_id)
            elif self._rooms.membership(room_id, user_id)[0] != "join":
                continue
            elif after in _NEAR and before not in _NEAR:
                changed.add(whose)
            elif before in _NEAR and after not in _NEAR:
                left.add(whose)
        left -= near
        return {name: sorted(who) for name, who in (("changed", changed), ("left", left)) if who}

    def _memberships(self, room_id: str, user_id: str, since: int) -> tuple[str, str]:
        event = self._rooms.state(room_id, since).get(("m.room.member", user_id))
        return _membership(event), self._rooms.membership(room_id, user_id)[0]

    def _inside(self, room_id: str) -> set[str]:
        state = self._rooms.state(room_id)
        return {
            key
            for (kind, key), event in state.items()
            if kind == "m.room.member" and _membership(event) == "join"
        }

    def _in_room_with(self, user_id: str) -> set[str]:
        rooms = self._rooms.joined(user_id)
        return {user_id}.union(*(self._inside(room_id) for room_id in rooms))


def _membership(event: StreamEvent | None) -> str:
    content = event.part("content") if event is not None else None
    return str(content.get("membership", "leave")) if isinstance(content, dict) else "leave"


def _denied(server: str) -> dict[str, Any]:
    """Why there is nothing of another server: we federate with none."""
    message = f"403: Federation denied with {server}."
    return {"status": 403, "errcode": "M_FORBIDDEN", "message": message}


def _unsigned(key: Any) -> Any:
    if not isinstance(key, dict):
        return key
    return {name: value for name, value in key.items() if name != "signatures"}
