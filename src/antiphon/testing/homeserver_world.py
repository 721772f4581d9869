"""A homeserver of either kind, the real or the fake one, for tests that must hold on both: users
who log in, and the real keys of their devices and identities. Needs the extra `e2ee`.
"""

from __future__ import annotations

import json
import secrets
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import vodozemac

from antiphon.adapter.matrix.transport.sync_response import SyncResponse
from antiphon.errors import MatrixApiError
from antiphon.settings import Secret
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.live import LiveUser, log_in

if TYPE_CHECKING:
    from antiphon.demo.synapse import Synapse

OLM, SIGNED_CURVE25519 = "m.olm.v1.curve25519-aes-sha2", "signed_curve25519"
WAIT_MS = 5_000


class World:
    """A homeserver of either kind, with users who log in."""

    def __init__(self, server: FakeHomeserver | Synapse, stack: AsyncExitStack):
        self.server, self.stack = server, stack

    async def user(self, name: str) -> LiveUser:
        """A new user with one device."""
        localpart, password = f"{name}-{secrets.token_hex(4)}", Secret(secrets.token_hex(8))
        if isinstance(self.server, FakeHomeserver):
            user_id = self.server.account(localpart, password.reveal())
        else:
            user_id = await self.server.register_user(localpart, password)
        return await self.stack.enter_async_context(log_in(self.server.url, user_id, password))

    async def another_device(self, user: LiveUser) -> LiveUser:
        """The same user, logged in once more."""
        return await self.stack.enter_async_context(
            log_in(self.server.url, user.user_id, user.password)
        )

    async def together(self, *users: LiveUser, encrypted: bool = True) -> str:
        """A room that all of them are in."""
        state = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.x"}}
        first, *others = users
        room_id = await first.room(
            *(user.user_id for user in others), initial_state=[state] if encrypted else []
        )
        for user in others:
            await user.client.join(room_id)
        return room_id


def canonical(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def signed(
    thing: dict[str, Any], user_id: str, key_id: str, account: vodozemac.Account
) -> dict[str, Any]:
    """The thing with one more signature."""
    bare = {k: v for k, v in thing.items() if k not in ("signatures", "unsigned")}
    made = {k: dict(v) for k, v in thing.get("signatures", {}).items()}
    made.setdefault(user_id, {})[f"ed25519:{key_id}"] = account.sign(canonical(bare)).to_base64()
    return {**bare, "signatures": made}


class DeviceKeys:
    """The real keys of a device."""

    def __init__(self, user: LiveUser):
        self.user, self.account = user, vodozemac.Account()
        user_id, device_id = user.user_id, user.device_id
        self.device_keys = self.sign(
            {
                "user_id": user_id,
                "device_id": device_id,
                "algorithms": [OLM, "m.megolm.v1.aes-sha2"],
                "keys": {
                    f"curve25519:{device_id}": self.account.curve25519_key.to_base64(),
                    f"ed25519:{device_id}": self.account.ed25519_key.to_base64(),
                },
            }
        )

    def sign(self, thing: dict[str, Any]) -> dict[str, Any]:
        return signed(thing, self.user.user_id, self.user.device_id, self.account)

    def one_time_keys(self, number: int) -> dict[str, Any]:
        self.account.generate_one_time_keys(number)
        keys = self.account.one_time_keys
        self.account.mark_keys_as_published()
        return {
            f"{SIGNED_CURVE25519}:{key_id}": self.sign({"key": key.to_base64()})
            for key_id, key in keys.items()
        }

    def fallback_key(self) -> dict[str, Any]:
        key = next(iter(self.one_time_keys(1).items()))
        return {key[0]: self.sign({"key": key[1]["key"], "fallback": True})}


class SigningKeys:
    """The real cross-signing keys of a user."""

    def __init__(self, user: LiveUser):
        self.user = user
        self.accounts = {
            usage: vodozemac.Account() for usage in ("master", "self_signing", "user_signing")
        }
        self.body: dict[str, Any] = {}
        for usage, account in self.accounts.items():
            public = account.ed25519_key.to_base64()
            key = {
                "user_id": user.user_id,
                "usage": [usage],
                "keys": {f"ed25519:{public}": public},
            }
            self.body[f"{usage}_key"] = key if usage == "master" else self.sign(key, "master")

    def public(self, usage: str) -> str:
        return self.accounts[usage].ed25519_key.to_base64()

    def sign(self, thing: dict[str, Any], usage: str) -> dict[str, Any]:
        return signed(thing, self.user.user_id, self.public(usage), self.accounts[usage])


async def sync(user: LiveUser, since: str | None = None, wait_ms: int = 0) -> SyncResponse:
    return await user.client.sync(since, filter="{}", timeout_ms=wait_ms)


async def uncached(user: LiveUser, since: str | None = None) -> SyncResponse:
    """As `sync`, past Synapse's cache: it answers the same request for two minutes with the same
    response, to-device messages that are gone and key counts of then included."""
    other = json.dumps({"room": {"timeline": {"limit": 10 + secrets.randbelow(10**6)}}})
    return await user.client.sync(since, filter=other, timeout_ms=0)


async def caught_up(user: LiveUser) -> str:
    """The token of a sync behind which nothing waits."""
    since = (await sync(user)).next_batch
    while not (response := await sync(user, since)).empty or response.device_lists_changed:
        since = response.next_batch
    return response.next_batch


async def told(user: LiveUser, since: str, whose: str) -> SyncResponse:
    """The first answer that says that somebody's device list changed."""
    for _ in range(10):
        response = await sync(user, since, WAIT_MS)
        if whose in response.device_lists_changed:
            return response
        since = response.next_batch
    raise AssertionError(f"nobody said that the keys of {whose} changed")


def refused(error: MatrixApiError) -> tuple[int, str]:
    """Status and errcode."""
    return error.status, error.errcode
