"""Verification messages and notices on their way: repeated as the same one, and never in the clear
where they are text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from antiphon.adapter.matrix.cipher import Sealed
from antiphon.adapter.matrix.crypto.verification_messages import Outgoing
from antiphon.adapter.matrix.crypto.verifier_mail import PAUSES_S, Mail
from antiphon.adapter.matrix.crypto.verifier_notices import EncryptedNotices
from antiphon.errors import (
    HomeserverError,
    HomeserverUnreachableError,
    MatrixApiError,
    RateLimitedError,
    TokenRevokedError,
)

CONTENT = {"transaction_id": "t", "key": "k"}
TO_DEVICES = Outgoing("m.key.verification.key", CONTENT, "@ben:x", ("B", "C"))
IN_ROOM = Outgoing("m.key.verification.key", CONTENT, "@ben:x", (), "!room:x")
AWAY = HomeserverUnreachableError("away")
GONE = TokenRevokedError("gone")


class Homeserver:
    """Fails with these, in order, then takes everything."""

    def __init__(self, *fails: HomeserverError, encrypted: bool = True):
        self.fails = list(fails)
        self.encrypted = encrypted
        self.tried: list[str] = []
        self.taken: list[tuple[str, Any]] = []
        self.slept: list[float] = []

    async def send_to_device(self, event_type: str, txn_id: str, messages: Any) -> None:
        self._take(txn_id, event_type, messages)

    async def send(
        self, room_id: str, event_type: str, txn_id: str, content: Mapping[str, Any]
    ) -> str:
        self._take(txn_id, event_type, {room_id: content})
        return "$event"

    async def state_event(
        self, room_id: str, event_type: str, state_key: str = ""
    ) -> dict[str, Any] | None:
        assert event_type == "m.room.encryption"
        return {} if self.encrypted else None

    async def prepare(self, room_id: str) -> None:
        """Everybody has the key."""

    async def seal(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> Sealed:
        return Sealed("m.room.encrypted", {"ciphertext": content["body"]})

    def _take(self, txn_id: str, event_type: str, content: Any) -> None:
        self.tried.append(txn_id)
        if self.fails:
            raise self.fails.pop(0)
        self.taken.append((event_type, content))

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def mail(homeserver: Any) -> Mail:
    return Mail(homeserver, homeserver, homeserver)


@pytest.mark.parametrize("outgoing", [TO_DEVICES, IN_ROOM], ids=["to-device", "in a room"])
async def test_an_outage_and_a_limit_are_waited_out(outgoing: Outgoing) -> None:
    """Under one transaction id, so that a lost answer doubles nothing."""
    homeserver = Homeserver(AWAY, RateLimitedError("slowly", 2_500), AWAY)
    assert await mail(homeserver).send(outgoing)
    assert len(homeserver.tried) == 4
    assert len(set(homeserver.tried)) == 1
    assert homeserver.slept == [0.5, 2.5, 2.0]
    [(kind, content)] = homeserver.taken
    assert kind == outgoing.type
    to_devices: Any = {"@ben:x": {"B": CONTENT, "C": CONTENT}}
    assert content == (to_devices if outgoing is TO_DEVICES else {"!room:x": CONTENT})


async def test_it_is_not_tried_for_ever() -> None:
    homeserver = Homeserver(*[AWAY] * 50)
    assert not await mail(homeserver).send(IN_ROOM)
    assert len(homeserver.tried) == len(PAUSES_S)


async def test_a_refusal_is_final() -> None:
    homeserver = Homeserver(MatrixApiError("no", 403, "M_FORBIDDEN"))
    assert not await mail(homeserver).send(IN_ROOM)
    assert homeserver.slept == []


async def test_a_revoked_login_ends_more_than_a_verification() -> None:
    with pytest.raises(TokenRevokedError):
        await mail(Homeserver(GONE)).send(IN_ROOM)
    with pytest.raises(TokenRevokedError):
        await notices(Homeserver(GONE))("!room:x", "text")


async def test_two_messages_are_never_taken_for_one() -> None:
    homeserver = Homeserver()
    await mail(homeserver).send(TO_DEVICES)
    await mail(homeserver).send(IN_ROOM)
    await mail(homeserver).request("!room:x", CONTENT)
    await mail(homeserver).request("!room:x", CONTENT)
    assert len(set(homeserver.tried)) == 4


def notices(homeserver: Any) -> EncryptedNotices:
    return EncryptedNotices(homeserver, homeserver)


async def test_a_notice_is_sealed() -> None:
    homeserver = Homeserver()
    await notices(homeserver)("!room:x", "I see a dog")
    assert homeserver.taken == [("m.room.encrypted", {"!room:x": {"ciphertext": "I see a dog"}})]


async def test_where_it_can_not_be_sealed_nothing_is_said() -> None:
    homeserver = Homeserver(encrypted=False)
    await notices(homeserver)("!room:x", "I see a dog")
    assert homeserver.tried == []


async def test_a_notice_that_fails_stops_nothing() -> None:
    homeserver = Homeserver(AWAY)
    await notices(homeserver)("!room:x", "I see a dog")
    assert homeserver.taken == []
