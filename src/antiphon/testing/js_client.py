"""A person in encrypted rooms, for tests: one device of matrix-js-sdk with its Rust crypto, which
shares no code with ours, as a process of its own.

    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await ada.room(bob.user_id)
        await bob.join(room)
        await ada.say(room, "Hello.")
        await bob.until(room, lambda shown: shown[-1].body == "Hello.")

Everything waits for events of the client, never for time. Why it is there: docs/decisions/0025.
"""

from __future__ import annotations

import base64
import secrets
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from antiphon.settings import Secret
from antiphon.testing.js_install import install
from antiphon.testing.js_process import JsProcess, Note
from antiphon.testing.js_trust import JsTrust
from antiphon.testing.js_values import JsEvent, JsLogin, JsMessage, JsRead

if TYPE_CHECKING:
    from antiphon.demo.synapse import Synapse

ASK_S = 30.0

History = Literal["shared", "invited", "joined", "world_readable"]


class JsClient(JsTrust):
    """A logged-in device that syncs. All methods raise JsError when the SDK or the homeserver
    refuses, JsEndedError when the process is gone, TimeoutError with the last state."""

    login: JsLogin

    def __init__(self, homeserver: str, password: Secret, log: Path):
        super().__init__()
        self.homeserver = homeserver
        self.password = password
        self.faults: list[str] = []
        """Errors of the SDK's own background work."""
        self.process = JsProcess(install(), log, self._heard)

    # --- who ---------------------------------------------------------------------------------

    @property
    def user_id(self) -> str:
        return self.login.user_id

    @property
    def device_id(self) -> str:
        return self.login.device_id

    @property
    def name(self) -> str:
        """The localpart."""
        return self.user_id[1:].partition(":")[0]

    async def memory(self) -> int:
        """The process's resident memory, in bytes."""
        return int((await self._ask("memory"))["rss"])

    # --- rooms -------------------------------------------------------------------------------

    async def room(
        self,
        *invite: str,
        name: str = "Room",
        encrypted: bool = True,
        history: History | None = None,
        direct: bool = False,
        rotation_ms: int | None = None,
        rotation_messages: int | None = None,
        **more: Any,
    ) -> str:
        """Makes a private room and gives its id; `more` goes into the body of /createRoom.
        `history`: who may read what was before them (default: all members everything, and then
        this client also hands the old keys to whom it invites later)."""
        made = await self._ask(
            "create_room",
            name=name,
            invite=list(invite),
            is_encrypted=encrypted,
            history=history,
            direct=direct,
            rotation_ms=rotation_ms,
            rotation_messages=rotation_messages,
            more=more,
        )
        return str(made)

    async def encrypt(
        self, room_id: str, *, rotation_ms: int | None = None, rotation_messages: int | None = None
    ) -> None:
        """Switches encryption on, or changes its settings, and waits until this client knows."""
        await self._ask(
            "enable_encryption",
            room=room_id,
            rotation_ms=rotation_ms,
            rotation_messages=rotation_messages,
        )

    async def is_encrypted(self, room_id: str) -> bool:
        return bool(await self._ask("is_encrypted", room=room_id))

    async def invite(self, room_id: str, user_id: str) -> None:
        await self._ask("invite", room=room_id, user=user_id)

    async def kick(self, room_id: str, user_id: str, reason: str | None = None) -> None:
        await self._ask("kick", room=room_id, user=user_id, reason=reason)

    async def join(self, room_id: str, *, invited: bool = True) -> None:
        """Joins, after the invitation has come (`invited`), and waits until this client is in."""
        if invited:
            await self._ask("invited", room=room_id)
        await self._ask("join", room=room_id)

    async def leave(self, room_id: str) -> None:
        await self._ask("leave", room=room_id)

    async def members(self, room_id: str) -> dict[str, str]:
        """Everybody's membership: `join`, `invite`, `leave`, `ban`."""
        found = await self._ask("members", room=room_id)
        return {member["user_id"]: member["membership"] for member in found}

    async def joined_by(self, room_id: str, user_id: str, timeout_s: float = 20.0) -> None:
        """Waits until this client sees this user in the room."""

        async def look() -> dict[str, str]:
            return await self.members(room_id)

        await self._until(look, lambda members: members.get(user_id) == "join", timeout_s, str)

    # --- messages ----------------------------------------------------------------------------

    async def send(self, room_id: str, type_: str, content: dict[str, Any]) -> str:
        """Sends any event (encrypted where the room is) and gives its id."""
        return str(await self._ask("send", room=room_id, type=type_, content=content))

    async def say(self, room_id: str, text: str, **more: Any) -> str:
        """Says something and gives the event's id; `more` goes into the content."""
        content = {"msgtype": "m.text", "body": text, **more}
        return await self.send(room_id, "m.room.message", content)

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
        return str(await self._ask("redact", room=room_id, event=event_id))

    async def discard_session(self, room_id: str) -> None:
        """The next message starts a new Megolm session."""
        await self._ask("discard_session", room=room_id)

    async def messages(self, room_id: str) -> tuple[JsMessage, ...]:
        """The room's whole history as it is shown now, edits applied, oldest first."""
        found = await self._ask("messages", room=room_id)
        return msgspec.convert(found, tuple[JsMessage, ...])

    async def events(self, room_id: str) -> tuple[JsEvent, ...]:
        """Every event of the room, edits and state included, oldest first."""
        found = await self._ask("events", room=room_id)
        return msgspec.convert(found, tuple[JsEvent, ...])

    async def undecrypted(self, room_id: str) -> tuple[JsEvent, ...]:
        """The events that this device can't read."""
        return tuple(e for e in await self.events(room_id) if e.failure is not None)

    async def decrypt(
        self, room_id: str, events: Sequence[dict[str, Any]]
    ) -> tuple[JsRead | None, ...]:
        """What this device reads in encrypted events of a room, given as the homeserver has them;
        None for each that it has no key for."""
        found = await self._ask("decrypt", room=room_id, events=list(events))
        return msgspec.convert(found, tuple[JsRead | None, ...])

    async def until(
        self,
        room_id: str,
        condition: Callable[[tuple[JsMessage, ...]], bool],
        timeout_s: float = 20.0,
    ) -> tuple[JsMessage, ...]:
        """Waits until `condition` holds for what the room shows (it may be nothing yet), and gives
        that. Raises TimeoutError with what was shown last."""

        async def look() -> tuple[JsMessage, ...]:
            return await self.messages(room_id)

        return await self._until(look, condition, timeout_s, _lines)

    async def until_event(
        self, room_id: str, condition: Callable[[JsEvent], bool], timeout_s: float = 20.0
    ) -> JsEvent:
        """Waits for the first event that `condition` holds for, state and edits included."""

        async def look() -> tuple[JsEvent, ...]:
            return tuple(event for event in await self.events(room_id) if condition(event))

        return (await self._until(look, bool, timeout_s, lambda _: "no such event"))[0]

    # --- files -------------------------------------------------------------------------------

    async def send_file(
        self,
        room_id: str,
        name: str,
        data: bytes,
        mimetype: str = "application/octet-stream",
        msgtype: str = "m.file",
    ) -> str:
        """Sends a file, encrypted where the room is; the event's id."""
        sent = await self._ask(
            "send_file",
            room=room_id,
            name=name,
            mimetype=mimetype,
            msgtype=msgtype,
            data=base64.b64encode(data).decode(),
        )
        return str(sent)

    async def download(self, content: dict[str, Any]) -> bytes:
        """The file of a message's content, decrypted; JsError where its hash is wrong."""
        return base64.b64decode(await self._ask("download", content=content))

    # --- its life ----------------------------------------------------------------------------

    async def export_state(self, file: Path) -> None:
        """Writes login and key store into a file, for a next life of this device (`js_log_in`)."""
        await self._ask("export_state", path=str(file))

    async def export_keys(self) -> str:
        """All room keys that it has, as JSON in the specification's form, not encrypted."""
        return str(await self._ask("export_keys"))

    async def import_keys(self, keys: str) -> None:
        await self._ask("import_keys", keys=keys)

    async def logout(self) -> None:
        """Logs the device out and ends the process."""
        await self._ask("logout")
        await self.process.wait()

    async def stop(self) -> int:
        """Ends the process as at the end of a day; the device stays. Its exit code."""
        return await self.process.end()

    async def kill(self) -> None:
        """kill -9."""
        self.process.signal(signal.SIGKILL)
        await self.process.wait()

    async def _ask(self, do: str, timeout_s: float = ASK_S, **args: Any) -> Any:
        return await self.process.ask(do, timeout_s, **args)

    def _heard(self, note: Note) -> None:
        if note["event"] == "fault":
            self.faults.append(note["error"]["message"])
        self._note(note)


def _lines(shown: tuple[JsMessage, ...]) -> str:
    return "\n".join(f"  {message}" for message in shown) or "  nothing"


@asynccontextmanager
async def js_client(
    synapse: Synapse, name: str, *, cross_signed: bool = True
) -> AsyncIterator[JsClient]:
    """A new user of this Synapse (something is added to the name) with one device, signed by its
    owner's own cross-signing keys unless told otherwise, as clients of people are today."""
    password = Secret(secrets.token_urlsafe(12))
    user_id = await synapse.register_user(f"{name}-{secrets.token_hex(4)}", password)
    async with js_log_in(synapse.url, user_id, password) as client:
        if cross_signed:
            await client.cross_sign()
        yield client


@asynccontextmanager
async def js_log_in(
    homeserver: str,
    user_id: str,
    password: Secret,
    *,
    device_id: str | None = None,
    state: Path | None = None,
) -> AsyncIterator[JsClient]:
    """An existing user, on a new device (or that of `device_id`, with new keys), or, with `state`
    (from `export_state`), as the device that wrote it. An older state than its last rewinds its
    ratchets, which only a test of that may want."""
    with tempfile.TemporaryDirectory(prefix="antiphon-js-") as folder:
        client = JsClient(homeserver, password, Path(folder) / "log")
        try:
            await client.process.start()
            login = await client.process.ask(
                "login",
                ASK_S,
                homeserver=homeserver,
                user=user_id,
                password=password.reveal(),
                device_id=device_id,
                state=None if state is None else str(state),
            )
            client.login = msgspec.convert(login, JsLogin)
            await client.process.ask("start", ASK_S)
            yield client
        finally:
            await client.process.end()


def another_device(of: JsClient) -> AbstractAsyncContextManager[JsClient]:
    """The same user on a new device, not yet signed: `recover` or `verify` it."""
    return js_log_in(of.homeserver, of.user_id, of.password)
