"""Devices that talk to each other in encryption, without a homeserver: an in-memory directory of
keys and to-device messages, which tests lose, repeat and reorder, and devices that can be killed
between any two steps and opened again on the same store."""

from __future__ import annotations

import base64
import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine

from antiphon.adapter.matrix.crypto.keystore import MIGRATIONS, KeyStore
from antiphon.adapter.matrix.crypto.machine import CryptoMachine
from antiphon.adapter.matrix.crypto.service import Crypto
from antiphon.adapter.matrix.crypto.store_key import StoreKey
from antiphon.adapter.matrix.crypto.values import (
    Decrypted,
    Ready,
    Received,
    RoomSettings,
    Unreadable,
)
from antiphon.db import migrate
from antiphon.db.database import store_name
from antiphon.errors import EncryptionError
from antiphon.settings import Secret
from antiphon.testing.clock import FakeClock
from antiphon.testing.crypto_directory import (
    CURVE,
    Directory,
    DirectoryApi,
    Registered,
    Steps,
)

KEY = StoreKey(Secret(base64.b64encode(bytes(32)).decode()), "file")


T = TypeVar("T")


class SteppedStore(KeyStore):
    """A key store whose commits are steps: killed before one it is not there, after it it is."""

    steps: Steps

    async def write(self, function: Callable[[Connection], T]) -> T:
        self.steps.step()
        done = await super().write(function)
        self.steps.step()
        return done


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
        """Shares the room's key and gives the event of a message, as `RoomCipher` does."""
        while True:
            await self.ready(room_id, members, settings)
            try:
                return await self.encrypted(room_id, text)
            except EncryptionError as error:
                if error.code != "session_not_shared":  # else others have used it up
                    raise

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


@functools.cache
def empty_store() -> bytes:
    """The file of a migrated key store that nobody has opened: making one takes a while."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        engine = create_engine(f"sqlite:///{path}")
        migrate.upgrade(engine, MIGRATIONS, store=store_name(MIGRATIONS), where=str(path))
        engine.dispose()
        return path.read_bytes()


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
        if not url:
            path = self.folder / f"{name}.db"
            path.write_bytes(empty_store())
            path.chmod(0o600)
            url = f"sqlite:///{path}"
        made = Someone(self, url, user_id, device_id)
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
