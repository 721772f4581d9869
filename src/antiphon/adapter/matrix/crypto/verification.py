"""Interactive verification of a device and its user, both ways, by to-device messages between the
devices of one account and in a room between two people (specification, "Key verification
framework"). Pure: a state and an input give the next state, the messages to send, and an outcome.

What is not expected never leads to a verified state. A message of another person, device or
verification is ignored, and so is an exact repetition (/sync may give it twice) and anything after
the end; every other unexpected, forged or malformed one cancels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto import verification_sas as steps
from antiphon.adapter.matrix.crypto.canonical import NotCanonicalError, canonical
from antiphon.adapter.matrix.crypto.sas import KeyAgreement
from antiphon.adapter.matrix.crypto.verification_messages import (
    CancelCode,
    Flow,
    Keys,
    Message,
    Outgoing,
    from_device,
    transaction_of,
)
from antiphon.adapter.matrix.crypto.verification_moves import (
    cancel,
    cancel_message,
    ignored,
    send,
)
from antiphon.adapter.matrix.crypto.verification_state import (
    Cancelled,
    Decision,
    Input,
    Limits,
    Phase,
    ReadyToStart,
    Received,
    Step,
    Tick,
    Verification,
)

_MOST_REASON = 200


def advance(
    state: Verification,
    given: Input,
    ephemeral: KeyAgreement,
    now_ms: int,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Step:
    """One step of a verification.

    Args:
        state: where it stands.
        given: a message, a decision, or that time went on.
        ephemeral: the key pair made for this verification, the same at every step.
        now_ms: wall clock.
        limits: how long it may take.
    """
    if state.over:
        return ignored(state, "the verification is over")
    if now_ms >= deadline_ms(state, limits):
        # A prompt that nobody answered just goes away.
        return cancel(state, CancelCode.TIMEOUT, tell=state.phase is not Phase.REQUEST_RECEIVED)
    if isinstance(given, Tick):
        return Step(state)
    if isinstance(given, Decision):
        return _decide(replace(state, last_ms=now_ms), given, ephemeral)
    return _receive(state, given, ephemeral, now_ms)


def deadline_ms(state: Verification, limits: Limits = Limits()) -> int:  # noqa: B008 - frozen
    """When a `Tick` is due at the latest, if nothing happens before (wall clock)."""
    whole = state.began_ms + limits.total_ms
    if state.phase is Phase.REQUEST_SENT:  # the other person may not have seen it yet
        return whole
    return min(whole, state.last_ms + limits.idle_ms)


def unknown_transaction(message: Message) -> Outgoing | None:
    """The answer to a message of a verification that is not known here (of before a restart, say);
    None where there is none to give."""
    device_id = message.sender_device or from_device(message)
    transaction = transaction_of(message)
    if message.room_id is not None or device_id is None or transaction is None:
        return None
    if message.type not in (messages.READY, messages.ACCEPT, messages.KEY, messages.MAC):
        return None
    code = CancelCode.UNKNOWN_TRANSACTION
    content: dict[str, Any] = {"code": code.value, "reason": "This verification is not known here."}
    return Outgoing(messages.CANCEL, Flow(transaction).mark(content), message.sender, (device_id,))


def rivals(others: Iterable[Verification], opened: Verification) -> tuple[Verification, ...]:
    """Which of `others` the device of `opened` began as well and are not over: where there is one,
    the specification asks to cancel all of them, `opened` too."""
    return tuple(
        other
        for other in others
        if not other.over
        and other.flow != opened.flow
        and other.them is not None
        and opened.them is not None
        and other.them.side == opened.them.side
    )


def _decide(state: Verification, decision: Decision, ephemeral: KeyAgreement) -> Step:
    match state.phase, decision:
        case _, Decision.CANCEL:
            return cancel(state, CancelCode.USER)
        case Phase.REQUEST_RECEIVED, Decision.ACCEPT if state.supported:
            return _ready(state)
        case Phase.START_RECEIVED, Decision.ACCEPT:
            return steps.accept_start(state, ephemeral)
        case Phase.READY, Decision.START:
            return steps.begin(state)
        case Phase.COMPARING, Decision.MATCH:
            return steps.confirm(state, ephemeral)
        case Phase.COMPARING, Decision.MISMATCH:
            return cancel(state, CancelCode.MISMATCHED_SAS)
    return ignored(state, f"nothing to {decision.value} in the phase {state.phase.value}")


def _receive(state: Verification, given: Received, ephemeral: KeyAgreement, now_ms: int) -> Step:
    message = given.message
    if message.room_id != state.flow.room_id:
        return ignored(state, "another room's message")
    if transaction_of(message) != state.flow.transaction_id:
        return ignored(state, "another verification's message")
    if state.flow.room_id is not None and message.sender == state.us.user_id:
        return _of_own_account(state, message)
    if message.sender != state.their_user:
        return ignored(state, "another person's message")
    device_id = message.sender_device
    named = from_device(message) or device_id
    if device_id is not None and named != device_id:
        return ignored(state, "the sender's device is another than the message says")
    if state.them is not None and named is not None and named != state.them.device_id:
        return ignored(state, "another device's message")
    try:
        digest = hashlib.sha256(canonical([message.type, message.content])).digest()
    except NotCanonicalError:
        return cancel(state, CancelCode.INVALID_MESSAGE)
    if digest in state.seen:
        return ignored(state, "a repeated message")
    if message.type == messages.READY and state.phase is Phase.REQUEST_SENT:
        reason = _not_ready(state, message, given.keys)
        if reason is not None:  # not marked as seen: it may come again when its keys are known
            return ignored(state, reason)
    known = replace(state, seen=state.seen | {digest}, last_ms=max(state.last_ms, now_ms))
    return _take(known, message, given.keys, ephemeral)


def _take(
    state: Verification, message: Message, keys: Keys | None, ephemeral: KeyAgreement
) -> Step:
    """What a message does that belongs here, is of the right device and came for the first time."""
    match message.type, state.phase:
        case messages.CANCEL, _:
            return _on_cancel(state, message)
        case messages.READY, Phase.REQUEST_SENT:
            assert keys is not None
            return _on_ready(state, message, keys)
        case ((messages.READY | messages.START), _) if from_device(message) is None:
            return cancel(state, CancelCode.INVALID_MESSAGE)
        case messages.START, Phase.READY:
            return steps.on_start(state, message, ephemeral)
        case messages.START, _ if state.we_started:
            return steps.on_rival_start(state, message, ephemeral)
        case messages.ACCEPT, Phase.START_SENT:
            return steps.on_accept(state, message, ephemeral)
        case messages.KEY, Phase.KEY_SENT | Phase.ACCEPT_SENT:
            return steps.on_key(state, message, ephemeral)
        case messages.MAC, Phase.COMPARING | Phase.CONFIRMED:
            return steps.on_mac(state, message, ephemeral)
        case messages.DONE, Phase.WAITING_DONE:
            return steps.on_done(state)
    return cancel(state, CancelCode.UNEXPECTED_MESSAGE)


def _ready(state: Verification) -> Step:
    content = {"from_device": state.us.device_id, "methods": [messages.SAS]}
    message = send(state, messages.READY, content)
    return Step(replace(state, phase=Phase.READY), (message,), ReadyToStart())


def _not_ready(state: Verification, message: Message, keys: Keys | None) -> str | None:
    """Why a ready can't be taken; None if it can."""
    device_id = from_device(message)
    if device_id is None:
        return "a ready that names no device"
    if state.flow.room_id is None and device_id not in state.asked_devices:
        return "a ready of a device that was not asked"
    if not sound_keys(keys, message.sender, device_id):
        return "a ready of a device whose keys are not known"
    return None


def _on_ready(state: Verification, message: Message, keys: Keys) -> Step:
    """Fixes whom we verify; other devices that were asked are told."""
    others = tuple(name for name in state.asked_devices if name != keys.device_id)
    state = replace(state, them=keys)
    told = (cancel_message(state, CancelCode.ACCEPTED, others),) if others else ()
    methods = message.content.get("methods")
    if not isinstance(methods, list) or messages.SAS not in methods:
        step = cancel(state, CancelCode.UNKNOWN_METHOD)
        return replace(step, outgoing=step.outgoing + told)
    return Step(replace(state, phase=Phase.READY), told, ReadyToStart())


def _on_cancel(state: Verification, message: Message) -> Step:
    """They end it. Our request to several devices ends at all of them."""
    code, reason = message.content.get("code"), message.content.get("reason")
    outcome = Cancelled(
        code[:_MOST_REASON] if isinstance(code, str) else "",
        reason[:_MOST_REASON] if isinstance(reason, str) else "",
        by_us=False,
    )
    told: tuple[Outgoing, ...] = ()
    if state.phase is Phase.REQUEST_SENT and len(state.asked_devices) > 1:
        told = (cancel_message(state, CancelCode.USER),)
    return Step(replace(state, phase=Phase.CANCELLED), told, outcome)


def _of_own_account(state: Verification, message: Message) -> Step:
    """In a room our own messages come back, and those of our account's other devices: one of them
    may have taken the request, or have refused it."""
    other = from_device(message) not in (None, state.us.device_id)
    taken = message.type == messages.READY and other
    refused = message.type == messages.CANCEL
    if state.phase is not Phase.REQUEST_RECEIVED or not (taken or refused):
        return ignored(state, "a message of our own account")
    return cancel(state, CancelCode.ACCEPTED if taken else CancelCode.USER, tell=False)


def sound_keys(keys: Keys | None, user_id: str, device_id: str) -> bool:
    """Whether `keys` are that device's, and no key goes by another's name."""
    if keys is None or (keys.user_id, keys.device_id) != (user_id, device_id):
        return False
    return keys.device_id != keys.master_key and keys.device_key != keys.master_key
