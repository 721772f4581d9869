"""What the fake homeserver does with each request of the client-server API.

Knows rooms and users; nothing of connections and faults.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from aiohttp import web

from antiphon.testing.homeserver_refusal import RefusedError

if TYPE_CHECKING:
    from antiphon.testing.homeserver import FakeHomeserver

MAX_WAIT_S = 60.0


class File(msgspec.Struct, frozen=True):
    """An answer that is no JSON."""

    body: bytes
    mime: str


class Call:
    """One request, as a handler sees it."""

    def __init__(
        self,
        server: FakeHomeserver,
        request: web.Request,
        who: tuple[str, str],
        token: str,
        body: Any,
        raw: bytes = b"",
    ):
        self.server = server
        self.rooms = server.rooms
        self.user_id, self.device_id = who
        self.token = token
        self.path: dict[str, str] = dict(request.match_info)
        self.query = dict(request.query)
        self.body: dict[str, Any] = body if isinstance(body, dict) else {}
        self.raw = raw
        self.mime = (raw and request.content_type) or "application/octet-stream"
        self.room_id = self.path.get("room_id", "")

    def member(self) -> None:
        """Refuses who is not in the room."""
        if self.rooms.membership(self.room_id, self.user_id)[0] != "join":
            raise RefusedError(403, "M_FORBIDDEN")

    def position(self, name: str) -> int | None:
        """A token of the query as a position in the stream."""
        token = self.query.get(name)
        if token is None:
            return None
        return int(_places(token)[0])

    def mail_position(self, name: str) -> int | None:
        """Up to where a token says that to-device messages have come."""
        token = self.query.get(name)
        return None if token is None else int(_places(token)[-1])

    def page_size(self) -> int:
        """The limit that the query asks for."""
        return min(int(self.query.get("limit", "10")), 1000)


def _places(token: str) -> list[str]:
    """`s7`, or `s7_5` when of the to-device messages only those up to 5 have come."""
    places = token[1:].split("_")
    if not token.startswith("s") or len(places) > 2 or not all(p.isdecimal() for p in places):
        raise RefusedError(400, "M_INVALID_PARAM")
    return places


Handle = Callable[[Call], Awaitable[Any]]


async def _versions(call: Call) -> Any:
    return {"versions": ["v1.11", "v1.12"]}


async def _federation_version(call: Call) -> Any:
    return {"server": {"name": "Fake", "version": "1.0"}}


async def _synapse_version(call: Call) -> Any:
    raise RefusedError(404, "M_UNRECOGNIZED")


async def _login_flows(call: Call) -> Any:
    return {"flows": [{"type": "m.login.password"}]}


async def _hierarchy(call: Call) -> Any:
    call.member()
    return {"rooms": []}


async def _login(call: Call) -> Any:
    user = str(call.body.get("identifier", {}).get("user", ""))
    user_id = user if user.startswith("@") else f"@{user}:{call.server.name}"
    if call.server.passwords.get(user_id) != call.body.get("password"):
        raise RefusedError(403, "M_FORBIDDEN")
    device_id = call.body.get("device_id") or f"NEW{len(call.server.requests)}"
    is_new = device_id not in call.server.keys.devices.get(user_id, {})
    token = call.server.token(user_id, device_id)
    if is_new:
        call.server.keys.changed(user_id)
    device = call.server.keys.device(user_id, device_id)
    device.name = call.body.get("initial_device_display_name", device.name)
    return {"user_id": user_id, "device_id": device_id, "access_token": token.reveal()}


async def _logout(call: Call) -> Any:
    call.server.revoke(call.user_id, call.device_id)
    call.server.keys.delete_device(call.user_id, call.device_id)
    return {}


async def _whoami(call: Call) -> Any:
    return {"user_id": call.user_id, "device_id": call.device_id}


async def _sync(call: Call) -> Any:
    server, since, mail_since = call.server, call.position("since"), call.mail_position("since")
    limit = 10
    chosen = call.query.get("filter", "")
    if chosen.startswith("{"):
        room = json.loads(chosen).get("room", {})
        limit = int(room.get("timeline", {}).get("limit", limit))
    full = call.query.get("full_state") == "true"
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(int(call.query.get("timeout", "0")) / 1000, MAX_WAIT_S)
    while True:
        if call.token not in server.tokens:
            raise RefusedError(401, "M_UNKNOWN_TOKEN")
        body, news = server.sync_body(
            call.user_id, call.device_id, since, limit, full_state=full, mail_since=mail_since
        )
        remaining = deadline - loop.time()
        if news or since is None or remaining <= 0:
            return body
        try:
            async with asyncio.timeout(remaining):
                await server.changed()
        except TimeoutError:
            continue


async def _send(call: Call) -> Any:
    txn_id = call.path["txn_id"]
    key = (call.room_id, call.user_id, call.device_id, txn_id)
    if key not in call.server.sent:
        call.member()
        call.server.sent[key] = call.rooms.add(
            call.room_id,
            call.path["event_type"],
            call.user_id,
            call.body,
            device=(call.device_id, txn_id),
        )
    return {"event_id": call.server.sent[key]}


async def _redact(call: Call) -> Any:
    key = (call.room_id, call.user_id, call.device_id, call.path["txn_id"])
    if key not in call.server.sent:
        call.member()
        call.server.sent[key] = call.rooms.redact(
            call.room_id, call.path["event_id"], call.user_id, call.body.get("reason")
        )
    return {"event_id": call.server.sent[key]}


async def _nothing(call: Call) -> Any:
    call.member()
    return {}


async def _join(call: Call) -> Any:
    membership, _ = call.rooms.membership(call.room_id, call.user_id)
    rule = call.rooms.state(call.room_id).get(("m.room.join_rules", ""))
    public = rule is not None and rule.part("content") == {"join_rule": "public"}
    if membership not in ("invite", "join") and not public:
        raise RefusedError(403, "M_FORBIDDEN")
    if membership != "join":
        call.rooms.member(call.room_id, call.user_id, "join", by=call.user_id)
    return {"room_id": call.room_id}


async def _leave(call: Call) -> Any:
    membership, event = call.rooms.membership(call.room_id, call.user_id)
    if event is None or membership == "ban":
        raise RefusedError(403, "M_FORBIDDEN")
    if membership in ("join", "invite"):
        call.rooms.member(call.room_id, call.user_id, "leave", by=call.user_id)
    return {}


async def _forget(call: Call) -> Any:
    if call.rooms.membership(call.room_id, call.user_id)[0] in ("join", "invite"):
        raise RefusedError(400, "M_UNKNOWN")
    call.rooms.forgotten.add((call.user_id, call.room_id))
    return {}


async def _invite(call: Call) -> Any:
    call.member()
    call.rooms.member(call.room_id, str(call.body["user_id"]), "invite", by=call.user_id)
    return {}


async def _messages(call: Call) -> Any:
    call.member()
    events, more = call.rooms.page(
        call.room_id,
        call.position("from"),
        call.position("to"),
        call.query.get("dir", "b"),
        call.page_size(),
    )
    chunk = [call.rooms.as_seen(e, call.user_id, call.device_id) for e in events]
    return {"chunk": chunk, "start": call.query.get("from", "s0")} | ({"end": more} if more else {})


async def _create_room(call: Call) -> Any:
    state = [
        (str(e["type"]), str(e.get("state_key", "")), dict(e["content"]))
        for e in call.body.get("initial_state", [])
    ]
    if "name" in call.body:
        state.append(("m.room.name", "", {"name": call.body["name"]}))
    room_id = call.rooms.new_room(call.user_id, state)
    for user_id in call.body.get("invite", []):
        call.rooms.member(room_id, str(user_id), "invite", by=call.user_id)
    return {"room_id": room_id}


async def _joined_rooms(call: Call) -> Any:
    return {"joined_rooms": call.rooms.joined(call.user_id)}


async def _joined_members(call: Call) -> Any:
    call.member()
    members = [
        key for (kind, key), _ in call.rooms.state(call.room_id).items() if kind == "m.room.member"
    ]
    inside = [m for m in members if call.rooms.membership(call.room_id, m)[0] == "join"]
    return {"joined": {user_id: {} for user_id in inside}}


async def _directory(call: Call) -> Any:
    room_id = call.server.aliases.get(call.path["alias"])
    if room_id is None:
        raise RefusedError(404, "M_NOT_FOUND")
    return {"room_id": room_id, "servers": [call.rooms.server_name]}


async def _state(call: Call) -> Any:
    call.member()
    key = (call.path["event_type"], call.path["state_key"])
    event = call.rooms.state(call.room_id).get(key)
    if event is None:
        raise RefusedError(404, "M_NOT_FOUND")
    return event.raw["content"]


async def _set_state(call: Call) -> Any:
    call.member()
    kind, key = call.path["event_type"], call.path["state_key"]
    return {"event_id": call.rooms.add(call.room_id, kind, call.user_id, call.body, state_key=key)}


async def _event(call: Call) -> Any:
    call.member()
    event = call.rooms.find(call.room_id, call.path["event_id"])
    if event is None:
        raise RefusedError(404, "M_NOT_FOUND")
    return call.rooms.as_seen(event, call.user_id, call.device_id)


async def _relations(call: Call) -> Any:
    call.member()
    chunk = []
    for event in reversed(call.rooms.of_room(call.room_id)):
        relation = (event.part("content") or {}).get("m.relates_to")
        if isinstance(relation, dict) and (relation.get("event_id"), relation.get("rel_type")) == (
            call.path["event_id"],
            call.path["rel_type"],
        ):
            chunk.append(call.rooms.as_seen(event, call.user_id, call.device_id))
    return {"chunk": chunk[: call.page_size()]}


async def _displayname(call: Call) -> Any:
    name = call.server.displaynames.get(call.path["user_id"])
    if name is None:
        raise RefusedError(404, "M_NOT_FOUND")
    return {"displayname": name}


async def _set_displayname(call: Call) -> Any:
    call.server.displaynames[call.path["user_id"]] = str(call.body.get("displayname", ""))
    return {}


_V3, _ROOM = "/_matrix/client/v3", "/_matrix/client/v3/rooms/{room_id}"
_V1_ROOM = "/_matrix/client/v1/rooms/{room_id}"
ROUTES: list[tuple[str, str, str, Handle]] = [
    ("versions", "GET", "/_matrix/client/versions", _versions),
    ("federation_version", "GET", "/_matrix/federation/v1/version", _federation_version),
    ("synapse_version", "GET", "/_synapse/admin/v1/server_version", _synapse_version),
    ("login_flows", "GET", f"{_V3}/login", _login_flows),
    ("login", "POST", f"{_V3}/login", _login),
    ("logout", "POST", f"{_V3}/logout", _logout),
    ("whoami", "GET", f"{_V3}/account/whoami", _whoami),
    ("sync", "GET", f"{_V3}/sync", _sync),
    ("send", "PUT", _ROOM + "/send/{event_type}/{txn_id}", _send),
    ("redact", "PUT", _ROOM + "/redact/{event_id}/{txn_id}", _redact),
    ("typing", "PUT", _ROOM + "/typing/{user_id}", _nothing),
    ("receipt", "POST", _ROOM + "/receipt/{receipt_type}/{event_id}", _nothing),
    ("join", "POST", _V3 + "/join/{room_id}", _join),
    ("leave", "POST", _ROOM + "/leave", _leave),
    ("forget", "POST", _ROOM + "/forget", _forget),
    ("invite", "POST", _ROOM + "/invite", _invite),
    ("messages", "GET", _ROOM + "/messages", _messages),
    ("createRoom", "POST", f"{_V3}/createRoom", _create_room),
    ("joined_rooms", "GET", f"{_V3}/joined_rooms", _joined_rooms),
    ("joined_members", "GET", _ROOM + "/joined_members", _joined_members),
    ("directory", "GET", f"{_V3}/directory/room/{{alias}}", _directory),
    ("state", "GET", _ROOM + "/state/{event_type}/{state_key:.*}", _state),
    ("set_state", "PUT", _ROOM + "/state/{event_type}/{state_key:.*}", _set_state),
    ("event", "GET", _ROOM + "/event/{event_id}", _event),
    ("hierarchy", "GET", _V1_ROOM + "/hierarchy", _hierarchy),
    ("relations", "GET", _V1_ROOM + "/relations/{event_id}/{rel_type}", _relations),
    ("displayname", "GET", _V3 + "/profile/{user_id}/displayname", _displayname),
    ("set_displayname", "PUT", _V3 + "/profile/{user_id}/displayname", _set_displayname),
]
"""Operation, method, path and handler of all that the fake knows."""
