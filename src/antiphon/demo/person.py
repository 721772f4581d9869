"""The person at the terminal, as a Matrix user: sends into rooms, hears what the bot says there.

Uses the same typed client as the adapter, as any user may; knows nothing of the terminal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import msgspec

from antiphon.adapter.matrix.beside import while_in
from antiphon.adapter.matrix.cipher import Cipher, sealed_at_once
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.events import Event
from antiphon.clock import Chance, Clock
from antiphon.core.ids import EventId, RoomId, TurnId, UserId, turn_id
from antiphon.demo.answers import Answer, Answers, remark
from antiphon.errors import HomeserverError, HomeserverUnreachableError, RateLimitedError

ENCRYPTION = {
    "type": "m.room.encryption",
    "state_key": "",
    "content": {"algorithm": "m.megolm.v1.aes-sha2"},
}
SYNC_WAIT_MS = 30_000
RETRY_S = 0.5
JOIN_LIMIT_S = 60.0

_FILTER = msgspec.json.encode(
    {
        "presence": {"types": []},
        "account_data": {"types": []},
        "room": {
            "timeline": {"limit": 200},
            "ephemeral": {"types": []},
            "account_data": {"types": []},
            "state": {"types": ["m.room.member", "m.room.encryption"]},
        },
    }
).decode()


class Person:
    """The user `me`, talking with `bot`; `client` is logged in. `listen` must run beside all
    that waits. Rooms are opened encrypted where `cipher` can."""

    def __init__(
        self,
        client: MatrixClient,
        me: str,
        bot: str,
        *,
        clock: Clock,
        chance: Chance,
        cipher: Cipher,
    ):
        self.me = me
        self.bot = bot
        self._client = client
        self._clock = clock
        self._chance = chance
        self._cipher = cipher
        self._encrypted: set[str] = set()
        self._answers = Answers(bot)
        self._bot_in: set[str] = set()
        self._remarks: list[str] = []
        self._next_batch: str | None = None
        self._news = asyncio.Condition()

    async def begin(self) -> None:
        """Finds the point from which `listen` goes on: what was said before is passed over, who is
        in which room is not."""
        answer = await self._client.sync(None, filter=_FILTER, timeout_ms=0)
        await self._cipher.received(answer)
        self._next_batch = answer.next_batch
        for room_id, room in answer.joined.items():
            self._note((*room.state, *room.timeline), room_id)
            if self.bot in await self._client.joined_members(room_id):
                self._bot_in.add(room_id)

    async def listen(self) -> None:
        """Reads what comes, for ever. Short outages of the homeserver are waited out."""
        async with while_in(self._cipher.run()):
            await self._listen()

    async def _listen(self) -> None:
        while True:
            try:
                answer = await self._client.sync(
                    self._next_batch, filter=_FILTER, timeout_ms=SYNC_WAIT_MS
                )
            except (HomeserverUnreachableError, RateLimitedError):
                await self._clock.sleep(RETRY_S)
                continue
            await self._cipher.received(answer)
            self._next_batch = answer.next_batch
            heard = {
                room_id: await self._cipher.readable(RoomId(room_id), (*room.state, *room.timeline))
                for room_id, room in answer.joined.items()
            }
            async with self._news:
                for room_id, events in heard.items():
                    self._note(events, room_id)
                    for event in events:
                        if event.type == "m.room.member" and event.state_key == self.bot:
                            joined = event.content.get("membership") == "join"
                            (self._bot_in.add if joined else self._bot_in.discard)(room_id)
                        self._answers.feed(event)
                        if (text := remark(event, self.bot)) is not None:
                            self._remarks.append(text)
                self._news.notify_all()

    def _note(self, events: Sequence[Event], room_id: str) -> None:
        if any(event.type == "m.room.encryption" for event in events):
            self._encrypted.add(room_id)

    def with_bot(self, room_id: str) -> bool:
        """Whether we and the bot are in this room."""
        return room_id in self._bot_in

    async def open_room(self, name: str) -> str:
        """Opens a private room with the bot, and returns its id when the bot has joined.

        Raises HomeserverError when it does not come."""
        room_id = await self._client.create_room(
            {
                "name": name,
                "preset": "trusted_private_chat",
                "is_direct": True,
                "invite": [self.bot],
                "initial_state": [ENCRYPTION] if self._cipher.enabled else [],
            }
        )
        if self._cipher.enabled:
            self._encrypted.add(room_id)
        try:
            async with asyncio.timeout(JOIN_LIMIT_S), self._news:
                await self._news.wait_for(lambda: self.with_bot(room_id))
        except TimeoutError:
            raise HomeserverError(
                f"{self.bot} did not join the room within {JOIN_LIMIT_S:.0f} s."
            ) from None
        return room_id

    async def ask(self, room_id: str, text: str) -> TurnId:
        """Sends a message; gives the turn that it opens at the bot. Waits out outages and limits:
        repeating a send is harmless."""
        txn_id = self._chance.token()
        content = {"msgtype": "m.text", "body": text}
        while True:
            try:
                event_id = await self._send(room_id, txn_id, content)
            except RateLimitedError as error:
                await self._clock.sleep(error.retry_after_ms / 1000)
            except HomeserverUnreachableError:
                await self._clock.sleep(RETRY_S)
            else:
                return turn_id(UserId(self.bot), RoomId(room_id), EventId(event_id))

    async def _send(self, room_id: str, txn_id: str, content: dict[str, Any]) -> str:
        kind = "m.room.message"
        if room_id in self._encrypted:
            sealed = await sealed_at_once(self._cipher, RoomId(room_id), kind, content)
            return await self._client.send(room_id, sealed.type, txn_id, sealed.content)
        return await self._client.send(room_id, kind, txn_id, content)

    async def answer(
        self, turn: TurnId, *, patience_s: float, stops: Sequence[TurnId] = ()
    ) -> AsyncGenerator[Answer, None]:
        """The answer of a turn as it grows; ends after the whole one, or without a word where one
        of `stops` (turns of !stop, read anew each time) is answered before it has begun.

        Raises HomeserverError when nothing new of it has come for `patience_s`."""
        seen: Answer | None = None

        def stopped() -> bool:
            ends = (self._answers.of(stop) for stop in stops)
            return seen is None and any(end is not None and end.whole for end in ends)

        while seen is None or not seen.whole:
            try:
                async with asyncio.timeout(patience_s), self._news:
                    while (now := self._answers.of(turn)) == seen and not stopped():
                        await self._news.wait()
            except TimeoutError:
                so_far = "" if seen is None else " after a part of it"
                raise HomeserverError(f"No answer came for {patience_s:.0f} s{so_far}.") from None
            if now is None:
                return
            seen = now
            yield seen

    def take_remarks(self) -> list[str]:
        """What the bot said that answers nothing, since the last time."""
        taken, self._remarks = self._remarks, []
        return taken
