"""The moves that every part of a verification makes: send, cancel, ignore. Pure."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto.verification_messages import CancelCode, Outgoing
from antiphon.adapter.matrix.crypto.verification_state import (
    Cancelled,
    Ignored,
    Phase,
    Step,
    Verification,
)

_REASONS = {
    CancelCode.USER: "The verification was cancelled.",
    CancelCode.TIMEOUT: "The verification took too long.",
    CancelCode.UNKNOWN_TRANSACTION: "This verification is not known here.",
    CancelCode.UNKNOWN_METHOD: "No way of verifying is known to both sides.",
    CancelCode.UNEXPECTED_MESSAGE: "A message came that does not belong here.",
    CancelCode.KEY_MISMATCH: "The keys are not the ones that are known of this device.",
    CancelCode.INVALID_MESSAGE: "A message was malformed.",
    CancelCode.ACCEPTED: "The verification goes on on another device.",
    CancelCode.MISMATCHED_COMMITMENT: "The other side changed its key.",
    CancelCode.MISMATCHED_SAS: "The two sides saw different things.",
}


def send(
    state: Verification, kind: str, content: dict[str, Any], device_ids: tuple[str, ...] = ()
) -> Outgoing:
    """A message of this verification, to `device_ids`, or else to whom it is with."""
    fixed = (state.them.device_id,) if state.them is not None else state.asked_devices
    in_room = state.flow.room_id is not None
    return Outgoing(
        type=kind,
        content=state.flow.mark(content),
        user_id=state.their_user,
        device_ids=() if in_room else device_ids or fixed,
        room_id=state.flow.room_id,
    )


def cancel_message(
    state: Verification, code: CancelCode, device_ids: tuple[str, ...] = ()
) -> Outgoing:
    """The cancel that tells the other side."""
    content = {"code": code.value, "reason": _REASONS[code]}
    return send(state, messages.CANCEL, content, device_ids)


def cancel(state: Verification, code: CancelCode, *, tell: bool = True) -> Step:
    """Ends it from our side; `tell` says so to the other."""
    return Step(
        replace(state, phase=Phase.CANCELLED),
        (cancel_message(state, code),) if tell else (),
        Cancelled(code.value, _REASONS[code], by_us=True),
    )


def ignored(state: Verification, reason: str) -> Step:
    """Nothing happens."""
    return Step(state, (), Ignored(reason))
