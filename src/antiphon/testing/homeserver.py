"""`FakeHomeserver`: a Matrix homeserver in this process, for tests that must delay, cut, repeat or
reorder. A real HTTP server on port 0 with just enough of the client-server API; for everything
else there is the real Synapse.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any

from aiohttp import web

from antiphon.settings import Secret
from antiphon.testing import homeserver_routes
from antiphon.testing.homeserver_backup import Backups
from antiphon.testing.homeserver_faults import Fault, FaultQueue, Op
from antiphon.testing.homeserver_handlers import File
from antiphon.testing.homeserver_keys import Keys
from antiphon.testing.homeserver_rooms import Rooms
from antiphon.testing.homeserver_routes import Request


class FakeHomeserver:
    """Use it as an async context manager; then `url` is where it listens.

    Tests make users and rooms and say things directly; clients see them by `/sync`. Everything is
    in memory and deterministic: ids count up, time goes on by a millisecond an event."""

    def __init__(self, name: str = "fake.localhost"):
        self.name = name
        self.rooms = Rooms(name)
        self.faults = FaultQueue()
        self.requests: list[Request] = []
        self.timeline_limit: int | None = None
        """Overrides the filter's timeline limit, to make gaps."""
        self.passwords: dict[str, str] = {}
        self.tokens: dict[str, tuple[str, str]] = {}
        self.sent: dict[tuple[str, str, str, str], str] = {}
        """Event ids by (room, user, device, transaction id)."""
        self.displaynames: dict[str, str] = {}
        self.keys = Keys(lambda: self.rooms)
        self.backups: dict[str, Backups] = {}
        """Key backups by user."""
        self.account_data: dict[tuple[str, str], dict[str, Any]] = {}
        """By user and type."""
        self.files: dict[str, File] = {}
        """By mxc address."""
        self.aliases: dict[str, str] = {}
        """Rooms by alias, as the directory has them."""
        self.auth_sessions = 0
        self.url = ""
        self._stale: dict[str, list[bytes]] = {}
        self._last_sync: dict[str, bytes] = {}
        self._wakers: set[asyncio.Future[None]] = set()
        self._runner: web.AppRunner | None = None
        self._tokens_made = 0

    async def __aenter__(self) -> FakeHomeserver:
        app = web.Application(client_max_size=4_000_000)
        homeserver_routes.add_to(app, self)
        # A request goes on when its client has gone, as on a real server.
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    # What a test does to it

    def account(self, name: str, password: str = "password") -> str:  # noqa: S107
        """Makes a user and gives its Matrix ID."""
        user_id = f"@{name}:{self.name}"
        self.passwords[user_id] = password
        return user_id

    @property
    def to_device(self) -> dict[str, list[tuple[int, str | None, dict[str, Any]]]]:
        """The to-device messages that wait, by user."""
        return self.keys.mail

    def token(self, user_id: str, device_id: str = "DEVICE") -> Secret:
        """A new access token for a user's device; older ones of that device end."""
        self.revoke(user_id, device_id)
        self._tokens_made += 1
        token = f"token-{self._tokens_made}-{device_id}"
        self.tokens[token] = (user_id, device_id)
        self.keys.device(user_id, device_id)
        return Secret(token)

    def revoke(self, user_id: str, device_id: str | None = None) -> None:
        """Ends a user's tokens (of one device, or all); sync calls that wait now see it too."""
        self.tokens = {
            token: (user, device)
            for token, (user, device) in self.tokens.items()
            if user != user_id or (device_id is not None and device != device_id)
        }
        self.wake()

    def room(self, *members: str, name: str | None = None) -> str:
        """A new room with these members (the first makes it)."""
        state = [] if name is None else [("m.room.name", "", {"name": name})]
        room_id = self.rooms.new_room(members[0], state)
        for member in members[1:]:
            self.rooms.member(room_id, member, "join", by=member)
        self.wake()
        return room_id

    def say(self, room_id: str, sender: str, text: str, **more: Any) -> str:
        """Somebody's text message; `more` goes into its content. Gives the event's id."""
        content = {"msgtype": "m.text", "body": text, **more}
        return self.event(room_id, "m.room.message", sender, content)

    def event(
        self,
        room_id: str,
        kind: str,
        sender: str,
        content: dict[str, Any],
        *,
        state_key: str | None = None,
    ) -> str:
        """Any event of anybody's. Gives its id."""
        event_id = self.rooms.add(room_id, kind, sender, content, state_key=state_key)
        self.wake()
        return event_id

    def edit(self, room_id: str, sender: str, event_id: str, text: str) -> str:
        """An edit of a message. Gives the edit's id."""
        return self.say(
            room_id,
            sender,
            f"* {text}",
            **{
                "m.new_content": {"msgtype": "m.text", "body": text},
                "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
            },
        )

    def redact(self, room_id: str, sender: str, event_id: str) -> str:
        """Redacts an event. Gives the redaction's id."""
        redaction = self.rooms.redact(room_id, event_id, sender, None)
        self.wake()
        return redaction

    def membership(self, room_id: str, user_id: str, membership: str, *, by: str) -> str:
        """Invites, joins, removes or bans somebody (`invite`, `join`, `leave`, `ban`)."""
        event_id = self.rooms.member(room_id, user_id, membership, by=by)
        self.wake()
        return event_id

    def raw_event(self, room_id: str, raw: Any) -> None:
        """Puts any JSON value where an event should be."""
        self.rooms.add_raw(room_id, raw)
        self.wake()

    def repeat_event(self, room_id: str, event_id: str) -> None:
        """Delivers an event a second time, at the end of the stream."""
        event = self.rooms.find(room_id, event_id)
        assert event is not None, f"{event_id} is not in {room_id}"
        self.rooms.add_raw(room_id, event.raw, device=event.device)
        self.wake()

    def send_to_device(self, user_id: str, message: dict[str, Any]) -> None:
        """A to-device message for each of the user's devices: in every sync of the device until
        one with a later `since` asks."""
        self.keys.post_to_any(user_id, message)
        self.wake()

    def repeat_sync(self, user_id: str, times: int = 1) -> None:
        """The user's next `times` sync answers are the last one again, as from a cache."""
        assert user_id in self._last_sync, "no sync of this user was answered yet"
        self._stale.setdefault(user_id, []).extend([self._last_sync[user_id]] * times)
        self.wake()

    def fail(self, op: Op, fault: Fault, times: int = 1) -> None:
        """The next `times` requests of this kind meet `fault`; further calls queue behind."""
        self.faults.add(op, fault, times)

    # What a test looks at

    def room_events(self, room_id: str) -> list[dict[str, Any]]:
        """The room's events as they are now (redacted ones without content), oldest first."""
        return [e.raw for e in self.rooms.of_room(room_id) if isinstance(e.raw, dict)]

    def messages(self, room_id: str, sender: str | None = None) -> list[dict[str, Any]]:
        """The room's message events, edits included, of one sender or all, oldest first."""
        return [
            event
            for event in self.room_events(room_id)
            if event.get("type") == "m.room.message"
            and (sender is None or event.get("sender") == sender)
        ]

    def asked(self, op: Op) -> list[Request]:
        """The requests of one kind, in the order in which they came."""
        return [request for request in self.requests if request.op == op]

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Returns when `condition` holds; it is looked at whenever anything happened here.

        Raises TimeoutError after `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await self.changed()

    # What the routes need

    async def changed(self) -> None:
        """Returns when anything happened."""
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wakers.add(waker)
        try:
            await waker
        finally:
            self._wakers.discard(waker)

    def wake(self) -> None:
        """Lets everyone who waits look again."""
        for waker in self._wakers:
            if not waker.done():
                waker.set_result(None)

    def sync_body(
        self,
        user_id: str,
        device_id: str,
        since: int | None,
        limit: int,
        *,
        full_state: bool,
        mail_since: int | None,
    ) -> tuple[bytes, bool]:
        """The body of a sync answer as it is now, and whether it has any news."""
        if self._stale.get(user_id):
            return self._stale[user_id].pop(0), True
        if self.timeline_limit is not None:
            limit = self.timeline_limit
        body = self.rooms.sync(user_id, device_id, since, limit, full_state=full_state)
        mail, end = self.keys.collect(user_id, device_id, mail_since)
        if end is not None:
            body["next_batch"] += f"_{end}"
        if mail:
            body["to_device"] = {"events": mail}
        lists = {} if since is None else self.keys.lists(user_id, since)
        if lists:
            body["device_lists"] = lists
        device = self.keys.device(user_id, device_id)
        body["device_one_time_keys_count"] = device.counts()
        body["device_unused_fallback_key_types"] = device.unused_fallback_types()
        news = bool(mail or lists) or any(body["rooms"].values())
        # json, not msgspec: tests put lone surrogates and other oddities into events.
        self._last_sync[user_id] = json.dumps(body).encode()
        return self._last_sync[user_id], news
