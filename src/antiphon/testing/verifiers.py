"""Devices of a `crypto_world` that verify each other by real verifiers, and a room between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antiphon.adapter.matrix.crypto.verification_messages import Message
from antiphon.adapter.matrix.crypto.verification_state import Verified
from antiphon.adapter.matrix.crypto.verifications import Live
from antiphon.adapter.matrix.crypto.verifier import Verifier
from antiphon.adapter.matrix.crypto.verifier_mail import Mail
from antiphon.errors import MatrixApiError
from antiphon.testing.crypto_directory import DirectoryApi
from antiphon.testing.crypto_world import Someone

ROOM = "!verify:x"
MOST_ROUNDS = 40


class Timeline:
    """The events of one room. `refuses`: nobody may write."""

    def __init__(self) -> None:
        self.events: list[Message] = []
        self.refuses = False
        self._sent: dict[tuple[str, str], str] = {}

    def send(self, sender: str, kind: str, txn_id: str, content: Any, now_ms: int) -> str:
        if self.refuses:
            raise MatrixApiError("You are not in the room.", 403, "M_FORBIDDEN")
        known = self._sent.get((sender, txn_id))
        if known is not None:
            return known
        event_id = self._sent[sender, txn_id] = f"$event{len(self.events)}"
        self.events.append(
            Message(kind, sender, dict(content), ROOM, event_id, sent_ms=now_ms),
        )
        return event_id


class Side:
    """A device with its verifier. `shown` is what was said in the room, `vouched` what a person's
    word made trusted."""

    verifier: Verifier

    def __init__(self, someone: Someone, timeline: Timeline, *allowed: str):
        self.someone = someone
        self.timeline = timeline
        self.allowed = set(allowed)
        self.shown: list[str] = []
        self.vouched: list[Verified] = []
        self.asked: dict[str, Live] = {}
        self.master: str | None = None
        self._read = 0
        self.start()

    @property
    def user_id(self) -> str:
        return self.someone.user_id

    def start(self) -> None:
        """A new verifier over the device, as a new process has it."""
        clock = self.someone.world.clock
        someone = self.someone
        api = DirectoryApi(
            someone.world.directory, someone.user_id, someone.device_id, someone.steps
        )
        self.verifier = Verifier(
            someone.crypto,
            Mail(api, self, clock),
            self._show,
            self,
            self.allowed.__contains__,
            clock,
        )

    async def restart(self) -> None:
        """Killed, and back."""
        await self.someone.open()
        self.start()
        await self.verifier.begin()

    async def send(
        self, room_id: str, event_type: str, txn_id: str, content: Mapping[str, Any]
    ) -> str:
        """As `RoomsApi.send`."""
        assert room_id == ROOM
        now_ms = self.someone.world.clock.now_ms()
        return self.timeline.send(self.user_id, event_type, txn_id, content, now_ms)

    async def ask(self, user_id: str, room_id: str | None = None) -> None:
        """As `Verifier.ask`."""
        self.asked[user_id] = await self.verifier.ask(user_id, room_id)

    async def word(self, user_id: str, *, same: bool) -> bool:
        """As `Verifier.word`, of the last one with this user."""
        return await self.verifier.word(self.asked[user_id], same=same)

    async def own_master(self) -> str | None:
        return self.master

    async def vouch(self, verified: Verified) -> None:
        self.vouched.append(verified)

    async def sync(self) -> None:
        """Takes in what there is for it."""
        self.verifier.to_device((await self.someone.sync()).messages)
        for event in self.timeline.events[self._read :]:
            self.verifier.in_room(event)
        self._read = len(self.timeline.events)
        await self.verifier.work()

    @property
    def news(self) -> bool:
        """Whether something waits for it."""
        return bool(self.someone.mine.queue) or self._read < len(self.timeline.events)

    async def _show(self, room_id: str, text: str) -> None:
        assert room_id == ROOM
        self.shown.append(text)


async def exchange(*sides: Side) -> None:
    """Everybody syncs until nobody has anything to say."""
    for _ in range(MOST_ROUNDS):
        if not any(side.news for side in sides):
            return
        for side in sides:
            await side.sync()
    raise AssertionError("They never come to an end.")


def cancels(side: Side) -> list[tuple[str, str]]:
    """To whom `side`'s world sent a cancel, and why, by devices and in the room."""
    kind = "m.key.verification.cancel"
    sent = [
        (owner, content["code"])
        for what, owner, _, content in side.someone.world.directory.sent
        if what == kind
    ]
    return sent + [
        ("room", event.content["code"]) for event in side.timeline.events if event.type == kind
    ]
