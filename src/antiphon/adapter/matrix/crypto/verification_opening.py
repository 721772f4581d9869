"""How a verification begins: our request, or theirs (specification, "Key verification framework").
Pure.
"""

from __future__ import annotations

import hashlib
from typing import Any

from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto import verification_sas as steps
from antiphon.adapter.matrix.crypto.canonical import NotCanonicalError, canonical
from antiphon.adapter.matrix.crypto.sas import KeyAgreement
from antiphon.adapter.matrix.crypto.verification import sound_keys
from antiphon.adapter.matrix.crypto.verification_messages import (
    Flow,
    Keys,
    Message,
    from_device,
    transaction_of,
)
from antiphon.adapter.matrix.crypto.verification_moves import send
from antiphon.adapter.matrix.crypto.verification_state import (
    Asked,
    Ignored,
    Limits,
    Phase,
    Received,
    Step,
    Verification,
)

_MOST_ID = 255


def request_to_devices(
    us: Keys, their_user: str, device_ids: tuple[str, ...], transaction_id: str, now_ms: int
) -> Step:
    """Our request to devices of `their_user`: our own other devices, in the first place.
    `transaction_id`: new, random text."""
    state = Verification(
        flow=Flow(transaction_id),
        us=us,
        their_user=their_user,
        phase=Phase.REQUEST_SENT,
        began_ms=now_ms,
        last_ms=now_ms,
        asked_devices=device_ids,
    )
    content = {"from_device": us.device_id, "methods": [messages.SAS], "timestamp": now_ms}
    return Step(state, (send(state, messages.REQUEST, content),))


def room_request_content(us: Keys, their_user: str) -> dict[str, Any]:
    """Content of the `m.room.message` that asks another person in a room. Its event id opens the
    verification (`request_in_room`)."""
    return {
        "msgtype": messages.REQUEST,
        "body": f"{us.user_id} asks to verify keys with you, which this client does not know how"
        " to do.",
        "from_device": us.device_id,
        "methods": [messages.SAS],
        "to": their_user,
    }


def request_in_room(
    us: Keys, their_user: str, room_id: str, event_id: str, now_ms: int
) -> Verification:
    """The state after our request was sent into `room_id` as `event_id`."""
    return Verification(
        flow=Flow(event_id, room_id),
        us=us,
        their_user=their_user,
        phase=Phase.REQUEST_SENT,
        began_ms=now_ms,
        last_ms=now_ms,
    )


def open_request(
    us: Keys,
    given: Received,
    now_ms: int,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Step | Ignored:
    """Their request, with their device's keys: a state whose outcome `Asked` needs a decision, or
    why there is none. A repetition of a known transaction is the caller's to tell."""
    message = given.message
    content, transaction = message.content, transaction_of(message)
    if message.room_id is None:
        sent_ms: object = content.get("timestamp")
        fits = message.type == messages.REQUEST
    else:
        sent_ms = message.sent_ms
        fits = message.type == messages.ROOM_MESSAGE and content.get("msgtype") == messages.REQUEST
        if content.get("to") != us.user_id or message.sender == us.user_id:
            return Ignored("a request to somebody else")
    device_id, methods = from_device(message), content.get("methods")
    if not fits or transaction is None or device_id is None or not isinstance(methods, list):
        return Ignored("a malformed request")
    if type(sent_ms) is not int or not -limits.future_ms < now_ms - sent_ms < limits.total_ms:
        return Ignored("a request of another time")
    refused = _refused(us, given, transaction, device_id)
    if refused is not None:
        return Ignored(refused)
    supported = messages.SAS in methods
    state = Verification(
        flow=Flow(transaction, message.room_id),
        us=us,
        their_user=message.sender,
        phase=Phase.REQUEST_RECEIVED,
        began_ms=min(sent_ms, now_ms),
        last_ms=now_ms,
        supported=supported,
        them=given.keys,
        seen=_seen(message),
    )
    return Step(state, (), Asked(supported))


def open_start(us: Keys, given: Received, ephemeral: KeyAgreement, now_ms: int) -> Step | Ignored:
    """Their start without a request (deprecated), by to-device message: a state whose outcome
    `Asked` needs a decision, or that is cancelled already, or why there is none."""
    message = given.message
    transaction, device_id = transaction_of(message), from_device(message)
    if message.room_id is not None or message.type != messages.START:
        return Ignored("no start between devices")
    if transaction is None or device_id is None:
        return Ignored("a malformed start")
    refused = _refused(us, given, transaction, device_id)
    if refused is not None:
        return Ignored(refused)
    state = Verification(
        flow=Flow(transaction),
        us=us,
        their_user=message.sender,
        phase=Phase.READY,
        began_ms=now_ms,
        last_ms=now_ms,
        requested=False,
        them=given.keys,
        seen=_seen(message),
    )
    step = steps.on_start(state, message, ephemeral)
    return step if step.state.over else Step(step.state, (), Asked(supported=True))


def _refused(us: Keys, given: Received, transaction: str, device_id: str) -> str | None:
    """Why nothing is begun with this device; None if it may be."""
    message = given.message
    if len(transaction) > _MOST_ID:
        return "a transaction id that is too long"
    if message.sender_device not in (None, device_id):
        return "the sender's device is another than the message says"
    if (message.sender, device_id) == (us.user_id, us.device_id):
        return "a message of our own device"
    if not sound_keys(given.keys, message.sender, device_id):
        return "a device whose keys are not known"
    return None if _seen(message) else "a message without canonical form"


def _seen(message: Message) -> frozenset[bytes]:
    try:
        digest = hashlib.sha256(canonical([message.type, message.content])).digest()
    except NotCanonicalError:
        return frozenset()
    return frozenset({digest})
