"""Devices that talk to each other in encryption, without a homeserver: an in-memory directory of
keys and to-device messages, which tests lose, repeat and reorder, and devices that can be killed
between any two steps and opened again on the same store."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto.canonical import signed
from antiphon.adapter.matrix.crypto.keystore import KeyStore
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.service import Crypto, Ready
from antiphon.adapter.matrix.crypto.store_key import StoreKey
from antiphon.adapter.matrix.crypto.values import (
    Decrypted,
    Received,
    RoomSettings,
    Unreadable,
)
from antiphon.errors import HomeserverUnreachableError, MatrixApiError
from antiphon.settings import Secret
from antiphon.testing.clock import FakeClock

KEY = StoreKey(Secret(base64.b64encode(bytes(32)).decode()), "file")
CURVE = "signed_curve25519"


T = TypeVar("T")


class KilledError(Exception):
    """The process is dead from here on."""


class Steps:
    """Counts the steps of a device (commits and requests), and ends its life at one of them."""

    def __init__(self) -> None:
        self.taken = 0
        self.kill_at: int | None = None

    def step(self) -> None:
        """One more; raises KilledError at the one that was named, and at every one after it."""
        self.taken += 1
        if self.kill_at is not None and self.taken >= self.kill_at:
            raise KilledError(f"at step {self.taken}")


class SteppedStore(KeyStore):
    """A key store whose commits are steps: killed before one it is not there, after it it is."""

    steps: Steps

    async def write(self, function: Callable[[Connection], T]) -> T:
        self.steps.step()
        done = await super().write(function)
        self.steps.step()
        return done


class Registered(msgspec.Struct):
    """What the directory has of one device."""

    keys: dict[str, Any] = {}
    one_time: dict[str, Any] = {}
    fallback: dict[str, Any] = {}
    fallback_used: bool = False
    queue: list[dict[str, Any]] = []
    changed: set[str] = set()
    txns: set[str] = set()


class Directory:
    """The homeservers of everybody, as far as encryption needs them. `failing` are servers that do
    not answer; `lose_answers` makes every request of a device succeed and look lost; `sent` is all
    that was sent to devices."""

    def __init__(self) -> None:
        self.devices: dict[tuple[str, str], Registered] = {}
        self.identities: dict[str, dict[str, Any]] = {}
        self.failing: set[str] = set()
        self.lose_answers: set[str] = set()
        self.sent: list[tuple[str, str, str, dict[str, Any]]] = []
        self.requests: list[str] = []

    def of(self, user_id: str, device_id: str) -> Registered:
        """A device's place, made where there is none."""
        return self.devices.setdefault((user_id, device_id), Registered())

    def log_out(self, user_id: str, device_id: str) -> None:
        """The device is gone; everybody is told."""
        del self.devices[user_id, device_id]
        self.tell(user_id)

    def tell(self, user_id: str) -> None:
        """Everybody is told that the user's keys changed."""
        for device in self.devices.values():
            device.changed.add(user_id)

    def cross_sign(self, user_id: str, seed: bytes = b"i" * 32) -> None:
        """Gives the user an identity and signs all devices that there are with it."""
        master, self_signing = (
            Ed25519PrivateKey.from_private_bytes(seed[:-1] + number) for number in (b"1", b"2")
        )
        top = _identity_key(user_id, "master", master)
        second = _identity_key(user_id, "self_signing", self_signing)
        second = signed(second, user_id, f"ed25519:{public(master)}", _signer(master))
        self.identities[user_id] = {"master": top, "self_signing": second}
        for (owner, _), device in self.devices.items():
            if owner == user_id and device.keys:
                name = f"ed25519:{public(self_signing)}"
                device.keys = signed(device.keys, user_id, name, _signer(self_signing))
        self.tell(user_id)


def public(key: Ed25519PrivateKey) -> str:
    """The public part, unpadded base64."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode().rstrip("=")


def _signer(key: Ed25519PrivateKey) -> Callable[[bytes], str]:
    return lambda body: base64.b64encode(key.sign(body)).decode().rstrip("=")


def _identity_key(user_id: str, usage: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    name = public(key)
    return {"user_id": user_id, "usage": [usage], "keys": {f"ed25519:{name}": name}}


class DirectoryApi:
    """Implements `antiphon.adapter.matrix.crypto.service.KeysApi` for one device."""

    def __init__(self, directory: Directory, user_id: str, device_id: str, steps: Steps):
        self._directory = directory
        self._user_id = user_id
        self._device_id = device_id
        self._steps = steps

    def _begin(self, what: str) -> None:
        self._steps.step()
        self._directory.requests.append(what)

    def _end(self) -> None:
        self._steps.step()
        if self._user_id in self._directory.lose_answers:
            raise HomeserverUnreachableError("the answer was lost")

    async def upload_keys(self, body: Mapping[str, Any]) -> Mapping[str, int]:
        self._begin("upload")
        mine = self._directory.of(self._user_id, self._device_id)
        if "device_keys" in body:
            mine.keys = dict(body["device_keys"])
            self._directory.tell(self._user_id)
        for name, key in body.get("one_time_keys", {}).items():
            if mine.one_time.get(name, key) != key:
                raise MatrixApiError(f"One time key {name} already exists.", 400, "M_UNKNOWN")
        mine.one_time |= body.get("one_time_keys", {})
        if body.get("fallback_keys"):
            mine.fallback, mine.fallback_used = dict(body["fallback_keys"]), False
        self._end()
        return {CURVE: len(mine.one_time)}

    async def query_keys(self, user_ids: Sequence[str], timeout_ms: int) -> Mapping[str, Any]:
        self._begin("query")
        known = self._directory.devices
        answer: dict[str, Any] = {
            "device_keys": {},
            "master_keys": {},
            "self_signing_keys": {},
            "failures": {server: {} for server in self._directory.failing},
        }
        for user_id in user_ids:
            if user_id.partition(":")[2] in self._directory.failing:
                continue
            answer["device_keys"][user_id] = {
                device_id: device.keys
                for (owner, device_id), device in known.items()
                if owner == user_id and device.keys
            }
            for usage, key in self._directory.identities.get(user_id, {}).items():
                answer[f"{usage}_keys"][user_id] = key
        self._end()
        return answer

    async def claim_keys(
        self, wanted: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> Mapping[str, Any]:
        self._begin("claim")
        found: dict[str, dict[str, Any]] = {}
        for user_id, devices in wanted.items():
            for device_id in devices:
                device = self._directory.devices.get((user_id, device_id))
                if device is None or user_id.partition(":")[2] in self._directory.failing:
                    continue
                keys = found.setdefault(user_id, {})
                if device.one_time:
                    name = next(iter(device.one_time))
                    keys[device_id] = {name: device.one_time.pop(name)}
                elif device.fallback:
                    device.fallback_used = True
                    keys[device_id] = dict(device.fallback)
        self._end()
        return {"one_time_keys": found, "failures": {}}

    async def send_to_device(
        self,
        event_type: str,
        txn_id: str,
        messages: Mapping[str, Mapping[str, Mapping[str, Any]]],
    ) -> None:
        self._begin("send")
        mine = self._directory.of(self._user_id, self._device_id)
        if txn_id not in mine.txns:
            mine.txns.add(txn_id)
            for user_id, devices in messages.items():
                for device_id, content in devices.items():
                    self._deliver(event_type, user_id, device_id, dict(content))
        self._end()

    def _deliver(self, kind: str, user_id: str, device_id: str, content: dict[str, Any]) -> None:
        for (owner, name), device in self._directory.devices.items():
            if (
                owner == user_id
                and device_id in (name, "*")
                and ((owner, name) != (self._user_id, self._device_id))
            ):
                device.queue.append({"type": kind, "sender": self._user_id, "content": content})
                self._directory.sent.append((kind, owner, name, content))


class Someone:
    """One device with its key store, which can be killed and opened again. Made by `World.join`."""

    store: SteppedStore
    machine: CryptoMachine
    crypto: Crypto

    def __init__(self, world: World, url: str, user_id: str, device_id: str):
        self.world = world
        self.url = url
        self.user_id = user_id
        self.device_id = device_id
        self.steps = Steps()

    async def open(self) -> None:
        """Opens the store anew, as a new process does; one that was open is given up as a killed
        process gives it up."""
        if hasattr(self, "store"):
            await self.store.close()
        self.steps = Steps()
        opened = await SteppedStore.open(self.url, self.user_id, self.device_id, KEY)
        assert isinstance(opened, SteppedStore)
        self.store = opened
        self.store.steps = self.steps
        self.machine = await CryptoMachine.open(self.store, self.world.clock)
        api = DirectoryApi(self.world.directory, self.user_id, self.device_id, self.steps)
        self.crypto = Crypto(self.machine, api)

    @property
    def mine(self) -> Registered:
        """What the directory has of it."""
        return self.world.directory.of(self.user_id, self.device_id)

    async def sync(self, *, keep: bool = False, settle: bool = True) -> Received:
        """One sync: takes in what waits for it. `keep`: the homeserver forgets nothing, as when
        the process is killed before the cursor is committed."""
        mine = self.mine
        fallback = () if mine.fallback_used or not mine.fallback else (CURVE,)
        counts = {CURVE: len(mine.one_time)}
        queue, changed = list(mine.queue), sorted(mine.changed)
        found = await self.crypto.received(queue, changed, (), counts, fallback)
        if not keep:
            del mine.queue[: len(queue)]
            mine.changed.difference_update(changed)
        if settle:
            await self.crypto.settle()
        return found

    async def write(
        self, room_id: str, text: str, members: Sequence[str], settings: RoomSettings | None = None
    ) -> dict[str, Any]:
        """Shares the room's key and gives the event of a message."""
        await self.ready(room_id, members, settings)
        return await self.encrypted(room_id, text)

    async def ready(
        self, room_id: str, members: Sequence[str], settings: RoomSettings | None = None
    ) -> Ready:
        """Shares the room's key."""
        return await self.crypto.ready(room_id, members, settings or RoomSettings())

    async def encrypted(self, room_id: str, text: str) -> dict[str, Any]:
        """The event of a message."""
        content = await self.crypto.encrypt(
            room_id, "m.room.message", {"msgtype": "m.text", "body": text}
        )
        return self.world.event(self.user_id, content)

    async def read(self, room_id: str, event: Mapping[str, Any]) -> str:
        """The text of a message; raises AssertionError where it can't be read."""
        found = await self.crypto.decrypt(room_id, event)
        assert isinstance(found, Decrypted), found
        return str(found.content["body"])

    async def unreadable(self, room_id: str, event: Mapping[str, Any]) -> Unreadable:
        """Why it can't be read."""
        found = await self.crypto.decrypt(room_id, event)
        assert isinstance(found, Unreadable), found
        return found


class World:
    """A directory, a clock, and devices whose stores are in `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.directory = Directory()
        self.clock = FakeClock()
        self.people: list[Someone] = []
        self._events = 0

    def event(self, sender: str, content: dict[str, Any]) -> dict[str, Any]:
        """An encrypted event of a room with an id of its own."""
        self._events += 1
        return {
            "type": "m.room.encrypted",
            "event_id": f"$event{self._events}",
            "sender": sender,
            "origin_server_ts": self.clock.now_ms(),
            "content": content,
        }

    async def join(self, user_id: str, device_id: str, url: str = "") -> Someone:
        """A new device, its keys published."""
        name = f"{user_id}-{device_id}".replace("/", "_")
        made = Someone(self, url or f"sqlite:///{self.folder / name}.db", user_id, device_id)
        self.directory.of(user_id, device_id)
        self.people.append(made)
        await made.open()
        await made.crypto.settle()
        return made

    async def __aenter__(self) -> World:
        return self

    async def __aexit__(self, *_: object) -> None:
        for someone in self.people:
            await someone.store.close()
