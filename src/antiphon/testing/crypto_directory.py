"""The homeservers of everybody as far as encryption needs them, in memory: keys, and messages to
devices. Tests take away, repeat and reorder what waits in a device's queue."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from antiphon.adapter.matrix.crypto.canonical import signed
from antiphon.errors import HomeserverUnreachableError, MatrixApiError

CURVE = "signed_curve25519"


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
