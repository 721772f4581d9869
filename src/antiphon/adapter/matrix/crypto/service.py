"""Encryption as the adapter uses it: the machine, and the requests that its answers need. It knows
no HTTP (`KeysApi`), no journal and no rooms: who is in one and how it is encrypted is passed in."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from antiphon.adapter.matrix.crypto.keys_api import KeysApi
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.own_keys import CURVE
from antiphon.adapter.matrix.crypto.settled import SettledRoom
from antiphon.adapter.matrix.crypto.sharing import CLAIM_AGAIN_MS
from antiphon.adapter.matrix.crypto.values import (
    Batch,
    Decrypted,
    Encrypted,
    Problem,
    Queried,
    Ready,
    Received,
    RoomSettings,
    Settled,
    Unreadable,
)
from antiphon.crash import crash_point
from antiphon.errors import EncryptionError, MatrixApiError

QUERIED_AT_ONCE = 250
CLAIMED_AT_ONCE = 500
TIMEOUT_MS = 10_000
"""How long our homeserver may wait for others' servers."""
UPLOADS = 5
"""Uploads in a row, at most: each takes the place of keys that the homeserver refused."""


class Crypto:
    """Encryption for one account and device. Safe to use from many tasks at once; after an
    exception, or a kill, any call can be made again."""

    def __init__(self, machine: CryptoMachine, api: KeysApi):
        self.machine = machine
        self._api = api
        self._uploading = asyncio.Lock()
        self._querying = asyncio.Lock()
        self._rooms: dict[str, asyncio.Lock] = {}

    async def received(
        self,
        to_device: Sequence[Any],
        changed: Collection[str],
        left: Collection[str],
        counts: Mapping[str, int],
        unused_fallback: Collection[str] | None,
    ) -> Received:
        """As `CryptoMachine.receive`; asks the homeserver nothing, so that sync goes on."""
        taken = await self.machine.receive(to_device, changed, left, counts, unused_fallback)
        crash_point("keys.received")
        return taken

    async def settle(self) -> Settled:
        """Does what is owed to the homeserver and to other devices: publishes our keys, asks for
        those of changed devices, gives broken Olm sessions new ones. To be called after `received`
        and at the start. Raises HomeserverError; what was done is done."""
        problems = await self._upload()
        queried = await self._query(None)
        problems += await self._unwedge()
        # Our own other devices are asked for with the next round: no start waits for them.
        await self.machine.track([self.machine.me.user_id])
        return Settled(queried.changed, (*queried.problems, *problems))

    async def ready(self, room_id: str, members: Collection[str], settings: RoomSettings) -> Ready:
        """Sees to it that every device that may read the next message of the room can: asks for
        outdated devices, replaces the session where that is due, claims keys and shares. `members`
        are all who may read it (joined, and invited where the room shows them its history).

        Raises HomeserverError where our own homeserver fails; others' can't stop it."""
        machine = self.machine
        readers = members if isinstance(members, frozenset) else frozenset(members)
        if found := machine.settled.of(room_id, readers, settings, machine.now_ms()):
            return Ready(found.session_id, missing=found.missing)
        async with self._room(room_id):
            if found := machine.settled.of(room_id, readers, settings, machine.now_ms()):
                return Ready(found.session_id, missing=found.missing)
            all_of_them = readers | {machine.me.user_id}
            people = sorted(all_of_them)
            await machine.track(people)
            queried = await self._query(people)
            settling, now_ms = machine.settled.begin(room_id, all_of_them), machine.now_ms()
            problems = list(queried.problems)
            rotated = ""
            claimed: set[str] = set()
            while True:
                plan = await machine.plan(room_id, people, settings)
                rotated = rotated or plan.rotated
                claim = {user: ids for user, ids in plan.claim.items() if user not in claimed}
                if claim:
                    claimed |= claim.keys()  # once each: a homeserver may answer anything
                    problems += await self._claim(room_id, claim)
                    continue
                if not (plan.share or plan.withhold):
                    break
                while batch := await machine.share(room_id, people, settings):
                    crash_point("share.before_send")
                    await self._send(batch)
                    crash_point("share.sent")
                    await machine.shared(batch)
            if not plan.ready:
                await machine.ready(room_id, plan.session_id)
                crash_point("share.ready")
            until = [plan.ends_ms]
            if (again_ms := await machine.next_query_ms(people)) is not None:
                until.append(again_ms)
            if any(problem.code == "m.no_olm" for problem in plan.missing):
                until.append(now_ms + CLAIM_AGAIN_MS)
            settled = SettledRoom(
                session_id=plan.session_id,
                asked=readers,
                members=all_of_them,
                settings=settings,
                missing=plan.missing,
                since_ms=now_ms,
                until_ms=min(until),
            )
            machine.settled.keep(room_id, settling, settled)
            return Ready(plan.session_id, rotated, plan.missing, queried.changed, tuple(problems))

    def is_ready(self, room_id: str, members: Collection[str], settings: RoomSettings) -> bool:
        """Whether `ready` has nothing to do for this room, as far as is known without looking."""
        settled = self.machine.settled.of(room_id, members, settings, self.machine.now_ms())
        return settled is not None

    async def encrypt(self, room_id: str, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """The content of an `m.room.encrypted` event, after `ready`; asks nobody and waits for no
        `ready`. Each call gives another, so each attempt to send one under the same transaction
        id encrypts anew.

        Raises EncryptionError (retryable) where the session was not given to everybody who may
        read now, or is to be replaced: call `ready`."""
        settled = self.machine.settled.last(room_id, self.machine.now_ms())
        encrypted: Encrypted | None = None
        if settled is not None:
            encrypted = await self.machine.encrypt(
                room_id, kind, content, settled.session_id, settled.settings
            )
        crash_point("seal.encrypted")
        if encrypted is None or encrypted.spent:
            self.machine.settled.forget(room_id)
        if encrypted is None:
            raise EncryptionError(
                "The key of this room was not given to its members yet.",
                code="session_not_shared",
                retryable=True,
            )
        return encrypted.content

    async def decrypt(self, room_id: str, event: Mapping[str, Any]) -> Decrypted | Unreadable:
        """Reads one `m.room.encrypted` event."""
        return (await self.machine.decrypt(room_id, [event]))[0]

    async def decrypt_all(
        self, room_id: str, events: Sequence[Mapping[str, Any]]
    ) -> list[Decrypted | Unreadable]:
        """Reads several at the cost of one."""
        return await self.machine.decrypt(room_id, events)

    async def look_up(self, user_id: str) -> None:
        """Sees to it that a user's devices are known from now on, as far as their homeserver
        answers, whether or not we share an encrypted room. Raises HomeserverError."""
        await self.machine.track([user_id])
        await self._query([user_id])

    async def ask_for_key(self, room_id: str, session_id: str) -> None:
        """Asks our own other devices for the key of a session."""
        content = await self.machine.ask_for(room_id, session_id)
        await self.send_clear("m.room_key_request", {self.machine.me.user_id: {"*": content}})

    async def send_sealed(
        self, kind: str, messages: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> tuple[Problem, ...]:
        """Sends messages (user → device → content) encrypted to known devices; says which did not
        get theirs. Raises HomeserverError; after that it may have been sent."""
        names = {user_id: list(ids) for user_id, ids in messages.items()}
        problems: list[Problem] = []
        lacking = await self.machine.without_session(names)
        if lacking:
            problems += await self._claim("", lacking)
        batch = await self.machine.sealed(kind, messages)
        served = set() if batch is None else {name[:2] for name in batch.names}
        if batch is not None:
            await self._send(batch)
        problems += [
            Problem("not_sent", "there is no session with this device", user_id, device_id)
            for user_id, ids in names.items()
            for device_id in ids
            if (user_id, device_id) not in served
        ]
        return tuple(problems)

    async def send_clear(
        self, kind: str, messages: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> None:
        """Sends messages to devices (`*`: all of the user's) as they are; the same again does
        nothing. Raises HomeserverError."""
        await self._api.send_to_device(kind, _txn_id(kind, messages), messages)

    def _room(self, room_id: str) -> asyncio.Lock:
        return self._rooms.setdefault(room_id, asyncio.Lock())

    async def _upload(self) -> list[Problem]:
        problems: list[Problem] = []
        async with self._uploading:
            for _ in range(UPLOADS):
                body = await self.machine.upload()
                if body is None:
                    break
                try:
                    counts = await self._api.upload_keys(body)
                except MatrixApiError as error:
                    if error.status != 400 or not (body.keys() & _REPLACEABLE):
                        raise
                    problems.append(Problem("keys_refused", error.message))
                    await self.machine.upload_refused()
                    continue
                crash_point("upload.sent")
                await self.machine.uploaded(body, counts)
        return problems

    async def _query(self, among: Collection[str] | None) -> Queried:
        answers: list[Queried] = []
        if await self.machine.outdated(among):
            async with self._querying:
                asked = await self.machine.outdated(among)
                names = sorted(asked)
                for start in range(0, len(names), QUERIED_AT_ONCE):
                    piece = names[start : start + QUERIED_AT_ONCE]
                    answer = await self._api.query_keys(piece, TIMEOUT_MS)
                    marks = {name: asked[name] for name in piece}
                    answers.append(await self.machine.queried(marks, answer))
        return Queried(
            *(
                tuple(item for answer in answers for item in getattr(answer, name))
                for name in Queried.__struct_fields__
            )
        )

    async def _claim(self, room_id: str, claim: Mapping[str, Sequence[str]]) -> list[Problem]:
        problems: list[Problem] = []
        names = [(user_id, device_id) for user_id, ids in claim.items() for device_id in ids]
        for start in range(0, len(names), CLAIMED_AT_ONCE):
            wanted: dict[str, dict[str, str]] = {}
            for user_id, device_id in names[start : start + CLAIMED_AT_ONCE]:
                wanted.setdefault(user_id, {})[device_id] = CURVE
            answer = await self._api.claim_keys(wanted, TIMEOUT_MS)
            crash_point("claim.answered")
            asked = {user_id: list(ids) for user_id, ids in wanted.items()}
            problems += await self.machine.claimed(room_id, asked, answer)
        return problems

    async def _unwedge(self) -> list[Problem]:
        devices = await self.machine.wedged()
        if not devices:
            return []
        problems = await self._claim("", devices)
        batch = await self.machine.dummies(devices)
        if batch is not None:
            await self._send(batch)
        crash_point("unwedge.sent")
        await self.machine.unwedged(devices)
        return problems

    async def _send(self, batch: Batch) -> None:
        txn_id = _txn_id(batch.type, batch.messages)
        await self._api.send_to_device(batch.type, txn_id, batch.messages)


_REPLACEABLE = {"one_time_keys", "fallback_keys"}


def _txn_id(event_type: str, messages: Mapping[str, Any]) -> str:
    """Of the content, so that a repeated request is the same one, and no other is."""
    text = json.dumps([event_type, messages], sort_keys=True)
    return "k" + hashlib.sha256(text.encode()).hexdigest()[:40]
