"""People in rooms, for tests: they log in, make rooms, say things and read what is shown there.

Built on the adapter's own transport; works on the real Synapse and on the fake homeserver.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.events import Event
from antiphon.settings import Secret
from antiphon.testing.history import Shown, fold

if TYPE_CHECKING:
    from antiphon.demo.synapse import Synapse

_FILTER = (
    '{"room":{"timeline":{"limit":1},"state":{"lazy_load_members":true}},"presence":{"types":[]}}'
)
_WAIT_MS = 10_000


class LiveUser:
    """A person (or a test's own bot) with an open, signed-in client."""

    def __init__(self, client: MatrixClient, user_id: str, password: Secret, device_id: str):
        self.client = client
        self.user_id = user_id
        self.password = password
        self.device_id = device_id
        self._since: str | None = None

    @property
    def name(self) -> str:
        """The localpart."""
        return self.user_id[1:].partition(":")[0]

    async def room(self, *invite: str, name: str = "Room", **more: Any) -> str:
        """Makes a private room, invites these users, and gives its id; `more` goes into the
        body of /createRoom."""
        body = {"preset": "private_chat", "name": name, "invite": list(invite), **more}
        return await self.client.create_room(body)

    async def say(self, room_id: str, text: str, **more: Any) -> str:
        """Says something and gives the event's id; `more` goes into the content."""
        content = {"msgtype": "m.text", "body": text, **more}
        return await self.client.send(
            room_id, "m.room.message", f"say-{secrets.token_hex(8)}", content
        )

    async def edit(self, room_id: str, event_id: str, text: str) -> str:
        """Edits an own message and gives the edit's id."""
        return await self.say(
            room_id,
            f"* {text}",
            **{
                "m.new_content": {"msgtype": "m.text", "body": text},
                "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
            },
        )

    async def redact(self, room_id: str, event_id: str) -> str:
        """Redacts a message and gives the redaction's id."""
        return await self.client.redact(room_id, event_id, f"redact-{secrets.token_hex(8)}")

    async def history(self, room_id: str) -> tuple[Event, ...]:
        """The room's whole readable history, oldest first."""
        events: list[Event] = []
        token: str | None = None
        while True:
            page = await self.client.messages(room_id, from_token=token, direction="b", limit=100)
            events.extend(page.events)
            token = page.end
            if token is None:
                return tuple(reversed(events))

    async def shown(self, room_id: str) -> tuple[Shown, ...]:
        """The room's messages with edits applied, oldest first."""
        return fold(await self.history(room_id))

    async def until(
        self,
        room_id: str,
        condition: Callable[[tuple[Shown, ...]], bool],
        timeout_s: float = 20.0,
    ) -> tuple[Shown, ...]:
        """Waits until `condition` holds for what the room shows, and gives that.

        Raises TimeoutError with what was shown last."""
        shown: tuple[Shown, ...] = ()
        try:
            async with asyncio.timeout(timeout_s):
                if self._since is None:
                    await self._sync(0)
                while True:
                    shown = await self.shown(room_id)
                    if condition(shown):
                        return shown
                    await self._sync(_WAIT_MS)
        except TimeoutError:
            lines = "\n".join(f"  {m.sender}: {m.body[:200]!r}" for m in shown) or "  nothing"
            raise TimeoutError(f"After {timeout_s:.0f} s the room showed:\n{lines}") from None

    async def invited_to(self, room_id: str, timeout_s: float = 20.0) -> None:
        """Waits until an invitation to this room has come."""
        async with asyncio.timeout(timeout_s):
            since = None
            while True:
                response = await self.client.sync(
                    since, filter=_FILTER, timeout_ms=0 if since is None else _WAIT_MS
                )
                if room_id in response.invited:
                    return
                since = response.next_batch

    async def joined_by(self, room_id: str, user_id: str, timeout_s: float = 20.0) -> None:
        """Waits until this user is in the room."""
        async with asyncio.timeout(timeout_s):
            if self._since is None:
                await self._sync(0)
            while user_id not in await self.client.joined_members(room_id):
                await self._sync(_WAIT_MS)

    async def _sync(self, timeout_ms: int) -> None:
        response = await self.client.sync(self._since, filter=_FILTER, timeout_ms=timeout_ms)
        self._since = response.next_batch


@asynccontextmanager
async def live_user(
    synapse: Synapse, name: str, *, unique: bool = True, lift: bool = False
) -> AsyncIterator[LiveUser]:
    """A user of this Synapse, registered and logged in. `unique` adds to the name, so that tests
    on one homeserver never meet each other's users; `lift` takes its rate limit away."""
    localpart = f"{name}-{secrets.token_hex(4)}" if unique else name
    password = Secret(secrets.token_urlsafe(12))
    user_id = await synapse.register_user(localpart, password)
    if lift:
        await synapse.lift_rate_limit(user_id)
    async with log_in(synapse.url, user_id, password) as user:
        yield user


@asynccontextmanager
async def log_in(
    homeserver: str, user_id: str, password: Secret, *, device_id: str | None = None
) -> AsyncIterator[LiveUser]:
    """An existing user of any homeserver, logged in."""
    async with MatrixClient(homeserver) as client:
        login = await client.login_password(
            user_id, password, device_id=device_id, device_name="Test"
        )
        yield LiveUser(client, login.user_id, password, login.device_id)
