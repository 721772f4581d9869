"""Trust as the independent client of the tests has it: devices, identities, recovery, backup and
verification by emoji. The half of `JsClient` that a person sees under "security"."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from antiphon.testing.js_process import JsEndedError, Note
from antiphon.testing.js_values import (
    JsDevice,
    JsEmoji,
    JsIdentity,
    JsOwnTrust,
    JsRestored,
    JsVerification,
)

T = TypeVar("T")
STEP_S = 20.0
SLOW_S = 60.0


class JsTrust(ABC):
    """What `JsClient` does with keys, and how it waits."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._verifications: dict[str, JsVerification] = {}
        self._given: set[str] = set()
        self._gone = False

    @abstractmethod
    async def _ask(self, do: str, timeout_s: float = STEP_S, **args: Any) -> Any:
        """The result of a command of the client."""

    # --- devices and identities --------------------------------------------------------------

    async def devices(self, user_id: str) -> dict[str, JsDevice]:
        """A user's devices by id, asked of the homeserver anew."""
        found = msgspec.convert(await self._ask("devices", user=user_id), tuple[JsDevice, ...])
        return {device.device_id: device for device in found}

    async def until_devices(
        self,
        user_id: str,
        condition: Callable[[dict[str, JsDevice]], bool],
        timeout_s: float = STEP_S,
    ) -> dict[str, JsDevice]:
        """Waits until `condition` holds for a user's devices, and gives them."""

        async def look() -> dict[str, JsDevice]:
            return await self.devices(user_id)

        return await self._until(look, condition, timeout_s, str)

    async def identity(self, user_id: str) -> JsIdentity:
        """A user's cross-signing identity as this client sees it."""
        return msgspec.convert(await self._ask("identity", user=user_id), JsIdentity)

    async def until_identity(
        self, user_id: str, condition: Callable[[JsIdentity], bool], timeout_s: float = STEP_S
    ) -> JsIdentity:
        """Waits until `condition` holds for a user's identity, and gives it."""

        async def look() -> JsIdentity:
            return await self.identity(user_id)

        return await self._until(look, condition, timeout_s, str)

    async def approve_identity(self, user_id: str) -> None:
        """Accepts a user's changed identity as it is now."""
        await self._ask("approve_identity", user=user_id)

    async def only_signed_devices(self, on: bool = True) -> None:
        """The mode that trusts only cross-signed devices: keys are withheld from all others, and
        what those send is not shown."""
        await self._ask("only_signed_devices", on=on)

    async def only_verified_devices(self, on: bool = True) -> None:
        """Keys go only to devices that this client has verified."""
        await self._ask("only_verified_devices", on=on)

    # --- recovery ----------------------------------------------------------------------------

    async def cross_sign(self, *, anew: bool = False) -> None:
        """Makes this user's cross-signing keys and signs this device; `anew` replaces an identity
        that exists."""
        await self._ask("cross_sign", SLOW_S, anew=anew)

    async def set_up_recovery(self) -> str:
        """Cross-signing, secret storage and key backup; the recovery key."""
        return str(await self._ask("set_up_recovery", SLOW_S))

    async def recover(self, recovery_key: str) -> JsRestored:
        """On a new device: takes the account's keys, signs this device and reads the backup.
        JsError where the key is wrong."""
        restored = await self._ask("recover", SLOW_S, recovery_key=recovery_key)
        return msgspec.convert(restored, JsRestored)

    async def backed_up(self) -> None:
        """Waits until every room key of this device is in the backup."""
        await self._ask("backed_up", SLOW_S)

    async def own_trust(self) -> JsOwnTrust:
        """How this device's own encryption stands."""
        return msgspec.convert(await self._ask("own_trust"), JsOwnTrust)

    # --- verification ------------------------------------------------------------------------

    async def verify(
        self, user_id: str, *, room_id: str | None = None, device_id: str | None = None
    ) -> Verifying:
        """Asks for a verification: in a room, or of one device by to-device messages, or, with
        neither, of the user's own other devices."""
        asked = await self._ask("verify", user=user_id, room=room_id, device=device_id)
        self._given.add(asked)
        return Verifying(self, asked)

    async def asked(self, timeout_s: float = STEP_S) -> Verifying:
        """Waits for the next request of somebody else."""

        async def look() -> list[str]:
            return [
                id_
                for id_, state in self._verifications.items()
                if not state.by_me and id_ not in self._given
            ]

        found = await self._until(look, bool, timeout_s, lambda _: "no request")
        self._given.add(found[0])
        return Verifying(self, found[0])

    # --- waiting -----------------------------------------------------------------------------

    def _note(self, note: Note) -> None:
        """Takes an event of the client and wakes whoever waits."""
        if note["event"] == "verification":
            state = msgspec.convert({k: v for k, v in note.items() if k != "event"}, JsVerification)
            self._verifications[state.id] = state
        elif note["event"] == "ended":
            self._gone = True
        self._changed.set()
        self._changed = asyncio.Event()

    async def _until(
        self,
        look: Callable[[], Awaitable[T]],
        condition: Callable[[T], bool],
        timeout_s: float,
        describe: Callable[[T], str],
    ) -> T:
        seen = "nothing yet"
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    changed = self._changed
                    found = await look()
                    seen = describe(found)
                    if condition(found):
                        return found
                    if self._gone:
                        raise JsEndedError(f"The client has ended. Last there was:\n{seen}")
                    await changed.wait()
        except TimeoutError as error:
            raise TimeoutError(f"After {timeout_s:.0f} s there was:\n{seen}\n{error}") from None


class Verifying:
    """One verification, from this client's side."""

    def __init__(self, client: JsTrust, id_: str):
        self.id = id_
        self._client = client

    @property
    def state(self) -> JsVerification:
        """How it stands now."""
        return self._client._verifications[self.id]

    async def until(
        self, condition: Callable[[JsVerification], bool], timeout_s: float = STEP_S
    ) -> JsVerification:
        """Waits until `condition` holds, or it is over (then look at what was given)."""

        async def look() -> JsVerification:
            return self.state

        return await self._client._until(
            look, lambda state: state.over or condition(state), timeout_s, str
        )

    async def accept(self) -> None:
        """Says that this side is ready."""
        await self._client._ask("verification_accept", id=self.id)

    async def start(self) -> None:
        """Waits until both are ready, then chooses emoji."""
        await self.until(lambda state: state.phase == "ready")
        await self._client._ask("verification_start", id=self.id)

    async def emoji(self) -> tuple[JsEmoji, ...]:
        """Waits for the emoji; none when it was cancelled before."""
        return (await self.until(lambda state: bool(state.emoji))).emoji

    async def confirm(self) -> None:
        """Says that the emoji are the same."""
        await self._client._ask("verification_confirm", id=self.id)

    async def mismatch(self) -> None:
        """Says that they are not."""
        await self._client._ask("verification_mismatch", id=self.id)

    async def cancel(self) -> None:
        await self._client._ask("verification_cancel", id=self.id)

    async def over(self, timeout_s: float = STEP_S) -> JsVerification:
        """Waits until it is done or cancelled."""
        return await self.until(lambda _: False, timeout_s)
