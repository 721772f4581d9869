"""The client-server API of Matrix, as far as Antiphon uses it, one typed method per request.

Each method makes one attempt: retries, budgets and waiting belong to the caller. Event content is
handed over as it was sent. Nothing here knows rooms, turns or the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import quote

from antiphon.adapter.matrix.transport.answers import count, misses, path, text, texts
from antiphon.adapter.matrix.transport.events import Event, parse_event, parse_events
from antiphon.adapter.matrix.transport.http import REQUEST_TIMEOUT_S, Http
from antiphon.adapter.matrix.transport.key_backup import KeyBackupApi
from antiphon.adapter.matrix.transport.keys import KeyApi
from antiphon.adapter.matrix.transport.media import MediaApi
from antiphon.adapter.matrix.transport.sync_response import SyncResponse, parse_sync
from antiphon.adapter.matrix.transport.values import Device, Login, MessagesPage, WhoAmI
from antiphon.errors import LoginError, MatrixApiError
from antiphon.settings import Secret

SYNC_MARGIN_S = 30.0
INITIAL_SYNC_MARGIN_S = 300.0
JOIN_TIMEOUT_S = 180.0


class MatrixClient:
    """One account's view of one homeserver; use it as an async context manager.

    `homeserver` is a base URL or a bare server name (then `.well-known` says where it is).

    Any method can raise HomeserverUnreachableError (no usable answer; the request may have been
    carried out), RateLimitedError (wait `retry_after_ms`, then repeat), TokenRevokedError (the
    token or account stopped working) and MatrixApiError (any other refusal); a docstring names
    only what goes beyond that. Raises SettingsError at once when `homeserver` is no address.
    No error and no repr ever holds a password or token.
    """

    def __init__(self, homeserver: str, *, access_token: Secret | None = None):
        self._http = Http(homeserver, access_token)

    def __repr__(self) -> str:
        return f"MatrixClient({self._http.homeserver!r})"

    async def __aenter__(self) -> MatrixClient:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    @property
    def homeserver(self) -> str:
        """The homeserver as it was given."""
        return self._http.homeserver

    @property
    def keys(self) -> KeyApi:
        """Requests about keys, signatures and to-device messages, by this client's login."""
        return KeyApi(self._http)

    @property
    def key_backup(self) -> KeyBackupApi:
        """The backup of room keys, by this client's login."""
        return KeyBackupApi(self._http)

    @property
    def media(self) -> MediaApi:
        """Files at the homeserver, by this client's login."""
        return MediaApi(self._http)

    def use_token(self, access_token: Secret | None) -> None:
        """Makes every further request with this token (or none)."""
        self._http.token = access_token

    # The server and the login

    async def versions(self) -> tuple[str, ...]:
        """The versions of the Matrix specification that the homeserver speaks; needs no login."""
        answer = await self._http.ask(
            "say which versions it speaks",
            "GET",
            "/_matrix/client/versions",
            timeout_s=10.0,
            authenticated=False,
        )
        return texts(answer.get("versions"))

    async def whoami(self) -> WhoAmI:
        """The account and device of the token in use."""
        answer = await self._http.ask("say whose login this is", "GET", path("account", "whoami"))
        device_id = answer.get("device_id")
        return WhoAmI(
            text(answer, "user_id", "account/whoami"),
            device_id if isinstance(device_id, str) else None,
        )

    async def login_password(
        self, user: str, password: Secret, *, device_id: str | None, device_name: str
    ) -> Login:
        """Logs in as `user` (user ID or localpart) and uses the new token from then on.

        Give the `device_id` of the last login to keep that device; None makes a new one, which is
        another namespace of transaction ids. Raises LoginError when user and password are not
        accepted, or when the homeserver takes no passwords."""
        body: dict[str, Any] = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password.reveal(),
            "initial_device_display_name": device_name,
        }
        if device_id is not None:
            body["device_id"] = device_id
        try:
            answer = await self._http.ask(
                "log in", "POST", path("login"), body=body, authenticated=False
            )
        except MatrixApiError as error:
            raise _login_error(user, error) from None
        login = Login(
            text(answer, "user_id", "login"),
            text(answer, "device_id", "login"),
            Secret(text(answer, "access_token", "login")),
        )
        self.use_token(login.access_token)
        return login

    async def logout(self) -> None:
        """Ends this login; the token and its device are gone."""
        await self._http.ask("log out", "POST", path("logout"), body={})

    # Receiving

    async def sync(
        self,
        since: str | None,
        *,
        filter: str,  # noqa: A002 - the API's own name for it
        timeout_ms: int,
        full_state: bool = False,
        set_presence: str | None = None,
    ) -> SyncResponse:
        """News since the cursor `since` (None: everything from the start), waiting up to
        `timeout_ms` for some. `filter` is a filter's id or the filter itself as JSON;
        `set_presence` what others see of us meanwhile (by default online).

        Asking again with the same `since` gives the same events. With a `since`, the homeserver
        deletes the to-device messages before it."""
        query = {"filter": filter, "timeout": str(timeout_ms)}
        if since is not None:
            query["since"] = since
        if full_state:
            query["full_state"] = "true"
        if set_presence is not None:
            query["set_presence"] = set_presence
        margin = SYNC_MARGIN_S if since is not None and not full_state else INITIAL_SYNC_MARGIN_S
        return parse_sync(
            await self._http.ask_raw(
                "sync", "GET", path("sync"), query=query, timeout_s=timeout_ms / 1000 + margin
            )
        )

    async def messages(
        self,
        room_id: str,
        *,
        from_token: str | None,
        to_token: str | None = None,
        direction: str = "b",
        limit: int = 100,
        filter: str | None = None,  # noqa: A002 - the API's own name for it
    ) -> MessagesPage:
        """A page of history: `b` newest first, `f` oldest first, from `from_token` (None: the
        room's end in that direction) up to `to_token`."""
        query = {"dir": direction, "limit": str(limit)}
        for name, value in (("from", from_token), ("to", to_token), ("filter", filter)):
            if value is not None:
                query[name] = value
        answer = await self._http.ask(
            "read a room's history", "GET", path("rooms", room_id, "messages"), query=query
        )
        return _page(answer, room_id, "end")

    async def relations(
        self,
        room_id: str,
        event_id: str,
        rel_type: str,
        *,
        from_token: str | None = None,
        limit: int = 100,
    ) -> MessagesPage:
        """A page of the events that relate to `event_id` by `rel_type` (`m.replace`, `m.thread`),
        newest first."""
        query = {"limit": str(limit)}
        if from_token is not None:
            query["from"] = from_token
        below = path("rooms", room_id, "relations", event_id, rel_type)
        answer = await self._http.ask(
            "read an event's relations", "GET", below.replace("/v3/", "/v1/", 1), query=query
        )
        return _page(answer, room_id, "next_batch")

    async def event(self, room_id: str, event_id: str) -> Event | None:
        """One event, or None when it is not there, not visible to us, or unreadable."""
        answer = await self._found("read an event", path("rooms", room_id, "event", event_id))
        parsed = parse_event(answer)
        return parsed if isinstance(parsed, Event) else None

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> dict[str, Any] | None:
        """The content of a piece of the room's state; None when the room has none such."""
        return await self._found(
            "read a room's state", path("rooms", room_id, "state", event_type, state_key)
        )

    # Sending

    async def send(
        self, room_id: str, event_type: str, txn_id: str, content: Mapping[str, Any]
    ) -> str:
        """Sends an event and gives its id.

        Idempotent on (room, user, device, `txn_id`) for about a day: repeating it gives the same
        event id, whatever type and content say then (measured on Synapse)."""
        answer = await self._http.ask(
            "send an event",
            "PUT",
            path("rooms", room_id, "send", event_type, txn_id),
            body=content,
        )
        return text(answer, "event_id", "send")

    async def send_state(
        self, room_id: str, event_type: str, content: Mapping[str, Any], state_key: str = ""
    ) -> str:
        """Sets a piece of the room's state and gives the event's id; setting what is already so
        makes no new event."""
        answer = await self._http.ask(
            "set a room's state",
            "PUT",
            path("rooms", room_id, "state", event_type, state_key),
            body=content,
        )
        return text(answer, "event_id", "state")

    async def redact(
        self, room_id: str, event_id: str, txn_id: str, reason: str | None = None
    ) -> str:
        """Redacts an event and gives the redaction's id; idempotent as `send` is."""
        answer = await self._http.ask(
            "redact an event",
            "PUT",
            path("rooms", room_id, "redact", event_id, txn_id),
            body={} if reason is None else {"reason": reason},
        )
        return text(answer, "event_id", "redact")

    async def typing(self, room_id: str, user_id: str, on: bool, timeout_ms: int) -> None:
        """Shows or hides our typing; the homeserver hides it by itself after `timeout_ms`."""
        body: dict[str, Any] = {"typing": True, "timeout": timeout_ms} if on else {"typing": False}
        await self._http.ask(
            "show typing", "PUT", path("rooms", room_id, "typing", user_id), body=body
        )

    async def receipt(self, room_id: str, event_id: str) -> None:
        """Marks the room as read up to `event_id` (public read receipt)."""
        await self._http.ask(
            "mark as read",
            "POST",
            path("rooms", room_id, "receipt", "m.read", event_id),
            body={},
        )

    # Rooms

    async def joined_rooms(self) -> tuple[str, ...]:
        """The rooms that we are in, as the homeserver has it now (no cache, unlike /sync)."""
        answer = await self._http.ask("list our rooms", "GET", path("joined_rooms"))
        rooms = answer.get("joined_rooms")
        if not isinstance(rooms, list):
            raise misses("joined_rooms", "joined_rooms")
        return texts(rooms)

    async def joined_members(self, room_id: str) -> tuple[str, ...]:
        """The user IDs of the room's joined members."""
        answer = await self._http.ask(
            "list a room's members", "GET", path("rooms", room_id, "joined_members")
        )
        members = answer.get("joined")
        if not isinstance(members, dict):
            raise misses("joined", "joined_members")
        return tuple(members)

    async def members(self, room_id: str, membership: str) -> tuple[str, ...]:
        """The user IDs of those with this membership in the room."""
        answer = await self._http.ask(
            "list a room's members",
            "GET",
            path("rooms", room_id, "members"),
            query={"membership": membership},
        )
        chunk = answer.get("chunk")
        if not isinstance(chunk, list):
            raise misses("chunk", "members")
        return texts([event.get("state_key") for event in chunk if isinstance(event, dict)])

    async def resolve_alias(self, alias: str) -> str | None:
        """The room that an alias stands for, None where it stands for none."""
        answer = await self._found("resolve a room's alias", path("directory", "room", alias))
        return None if answer is None else text(answer, "room_id", "directory")

    async def join(self, room_id: str, *, via: Sequence[str] = ()) -> str:
        """Joins a room (again: 200) and gives its id. `via`: servers that know the room.

        Takes up to three minutes over federation."""
        below = path("join", room_id)
        if via:
            below += "?" + "&".join(f"via={quote(server, safe='')}" for server in via)
        answer = await self._http.ask(
            "join a room", "POST", below, body={}, timeout_s=JOIN_TIMEOUT_S
        )
        return text(answer, "room_id", "join")

    async def leave(self, room_id: str, reason: str | None = None) -> None:
        """Leaves a room, or declines an invitation; repeating it is harmless."""
        await self._http.ask(
            "leave a room",
            "POST",
            path("rooms", room_id, "leave"),
            body={} if reason is None else {"reason": reason},
        )

    async def forget(self, room_id: str) -> None:
        """Forgets a room that we left: it is in no list of ours any more."""
        await self._http.ask("forget a room", "POST", path("rooms", room_id, "forget"), body={})

    async def create_room(self, body: Mapping[str, Any]) -> str:
        """Creates a room as `body` says (spec: POST /createRoom) and gives its id."""
        answer = await self._http.ask("create a room", "POST", path("createRoom"), body=body)
        return text(answer, "room_id", "createRoom")

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invites a user into a room."""
        await self._membership("invite someone", room_id, "invite", user_id)

    async def kick(self, room_id: str, user_id: str) -> None:
        """Removes a user from a room; they may be invited again."""
        await self._membership("remove someone", room_id, "kick", user_id)

    async def ban(self, room_id: str, user_id: str) -> None:
        """Bans a user from a room."""
        await self._membership("ban someone", room_id, "ban", user_id)

    async def unban(self, room_id: str, user_id: str) -> None:
        """Lifts a ban."""
        await self._membership("lift a ban", room_id, "unban", user_id)

    async def upgrade_room(self, room_id: str, new_version: str) -> str:
        """Replaces a room by one of another version and gives the new room's id."""
        answer = await self._http.ask(
            "upgrade a room",
            "POST",
            path("rooms", room_id, "upgrade"),
            body={"new_version": new_version},
            timeout_s=REQUEST_TIMEOUT_S * 2,
        )
        return text(answer, "replacement_room", "upgrade")

    # The account

    async def displayname(self, user_id: str) -> str | None:
        """A user's display name, if they have one."""
        answer = await self._found("read a display name", path("profile", user_id, "displayname"))
        name = answer.get("displayname") if answer is not None else None
        return name if isinstance(name, str) else None

    async def set_displayname(self, user_id: str, name: str) -> None:
        """Sets our own display name; it sends one event into every room that we are in."""
        await self._http.ask(
            "set the display name",
            "PUT",
            path("profile", user_id, "displayname"),
            body={"displayname": name},
        )

    async def account_data(self, user_id: str, event_type: str) -> dict[str, Any] | None:
        """A piece of our own account's data, such as `m.secret_storage.default_key`; None when
        there is none. `user_id` must be our own. Spec: "Client Config"."""
        return await self._found(
            "read account data", path("user", user_id, "account_data", event_type)
        )

    async def set_account_data(
        self, user_id: str, event_type: str, content: Mapping[str, Any]
    ) -> None:
        """Sets a piece of our own account's data, whole. It can't be deleted: an empty object
        is what stands for none. Spec: "Client Config"."""
        await self._http.ask(
            "set account data",
            "PUT",
            path("user", user_id, "account_data", event_type),
            body=content,
        )

    async def devices(self) -> tuple[Device, ...]:
        """The devices of our own account, whether they have keys or not. Spec: "Device
        Management"."""
        answer = await self._http.ask("list our devices", "GET", path("devices"))
        listed = answer.get("devices")
        if not isinstance(listed, list):
            raise misses("devices", "devices")
        return tuple(
            Device(
                item["device_id"],
                name if isinstance(name := item.get("display_name"), str) else None,
                count(item.get("last_seen_ts")),
            )
            for item in listed
            if isinstance(item, dict) and isinstance(item.get("device_id"), str)
        )

    async def _membership(self, what: str, room_id: str, verb: str, user_id: str) -> None:
        await self._http.ask(what, "POST", path("rooms", room_id, verb), body={"user_id": user_id})

    async def _found(self, what: str, below: str) -> dict[str, Any] | None:
        try:
            return await self._http.ask(what, "GET", below)
        except MatrixApiError as error:
            if error.status == 404 and error.errcode == "M_NOT_FOUND":
                return None
            raise


def _page(answer: Mapping[str, Any], room_id: str, next_name: str) -> MessagesPage:
    events, problems = parse_events(answer.get("chunk"), room_id, "chunk")
    following = answer.get(next_name)
    return MessagesPage(events, following if isinstance(following, str) else None, problems)


def _login_error(user: str, error: MatrixApiError) -> LoginError:
    if error.errcode == "M_FORBIDDEN":
        sentence = (
            f"The homeserver does not accept the password for {user!r}. "
            "Check [matrix] user and password."
        )
    elif error.errcode == "M_USER_DEACTIVATED":
        sentence = f"The account {user!r} was deactivated. Set [matrix] user to another one."
    elif error.errcode == "M_INVALID_USERNAME":
        sentence = f"{user!r} is no user of this homeserver. Check [matrix] user."
    else:
        sentence = (
            f"The homeserver refuses to log {user!r} in with a password ({error.errcode}, HTTP "
            f"{error.status}). Set [matrix] access_token instead if it takes no passwords."
        )
    return LoginError(sentence)
