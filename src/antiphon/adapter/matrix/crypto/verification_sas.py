"""The steps of `m.sas.v1` in a verification, each from a state to the next (specification, "Short
Authentication String (SAS) verification"). Pure but for the ephemeral key that is passed in.

A verification counts as done when both MACs were good *and* the other side's `done` has come: a
cancel in its place says that our keys are not what they know. Where the other side began without a
request (deprecated), no `done` is owed, so the MACs decide.
"""

from __future__ import annotations

from msgspec.structs import replace

from antiphon.adapter.matrix.crypto import sas, unpadded
from antiphon.adapter.matrix.crypto import verification_messages as messages
from antiphon.adapter.matrix.crypto.canonical import canonical
from antiphon.adapter.matrix.crypto.identity import key_id
from antiphon.adapter.matrix.crypto.sas import KeyAgreement, Shared, Side
from antiphon.adapter.matrix.crypto.verification_messages import CancelCode, Keys, Message
from antiphon.adapter.matrix.crypto.verification_moves import cancel, ignored, send
from antiphon.adapter.matrix.crypto.verification_state import (
    Compare,
    Phase,
    Step,
    Verification,
    Verified,
)
from antiphon.errors import EncryptionError

MOST_KEYS = 64
"""MACs in one message that are looked at; two are usual."""


def begin(state: Verification) -> Step:
    """We start: the other side will commit itself to its key first."""
    offer = {"from_device": state.us.device_id, "method": messages.SAS} | sas.offers()
    message = send(state, messages.START, offer)
    start = canonical(message.content)
    return Step(replace(state, phase=Phase.START_SENT, we_started=True, start=start), (message,))


def on_start(state: Verification, message: Message, ephemeral: KeyAgreement) -> Step:
    """They start. Only after a request did a person say yes already."""
    content = message.content
    if content.get("method") != messages.SAS:
        code = CancelCode.UNKNOWN_METHOD
        return cancel(state, code if isinstance(content.get("method"), str) else _INVALID)
    agreed = sas.choose(content)
    if agreed is None:
        return cancel(state, CancelCode.UNKNOWN_METHOD)
    state = replace(state, start=canonical(content), agreed=agreed, we_started=False)
    if not state.requested:
        return Step(replace(state, phase=Phase.START_RECEIVED))
    return accept_start(state, ephemeral)


def on_rival_start(state: Verification, message: Message, ephemeral: KeyAgreement) -> Step:
    """Both started: the start of the lesser user id counts, of one user's devices that of the
    lesser device id."""
    assert state.them is not None
    if message.content.get("method") != messages.SAS:
        return cancel(state, CancelCode.UNEXPECTED_MESSAGE)
    ours, theirs = state.us.side, state.them.side
    if (ours.user_id, ours.device_id) < (theirs.user_id, theirs.device_id):
        return ignored(state, "our own start counts")
    if state.phase is not Phase.START_SENT:
        return cancel(state, CancelCode.UNEXPECTED_MESSAGE)
    return on_start(state, message, ephemeral)


def accept_start(state: Verification, ephemeral: KeyAgreement) -> Step:
    """Says yes to their start, bound to our key without showing it."""
    assert state.agreed is not None
    accept = {
        "method": messages.SAS,
        "key_agreement_protocol": sas.KEY_AGREEMENT,
        "hash": sas.HASH,
        "message_authentication_code": state.agreed.mac,
        "short_authentication_string": list(state.agreed.strings),
        "commitment": sas.commitment(ephemeral.public, state.start),
    }
    next_state = replace(state, phase=Phase.ACCEPT_SENT)
    return Step(next_state, (send(state, messages.ACCEPT, accept),))


def on_accept(state: Verification, message: Message, ephemeral: KeyAgreement) -> Step:
    """They said yes to our start: now we show our key."""
    agreed, commitment = sas.accepted(message.content), message.content.get("commitment")
    if agreed is None:
        return cancel(state, CancelCode.UNKNOWN_METHOD)
    if not isinstance(commitment, str):
        return cancel(state, _INVALID)
    next_state = replace(state, phase=Phase.KEY_SENT, agreed=agreed, commitment=commitment)
    return Step(next_state, (send(state, messages.KEY, {"key": ephemeral.public}),))


def on_key(state: Verification, message: Message, ephemeral: KeyAgreement) -> Step:
    """Their key: checked against what they committed to, if we started."""
    theirs = message.content.get("key")
    data = unpadded.decode(theirs, 32)
    if data is None or theirs != unpadded.encode(data):  # one key has one form
        return cancel(state, _INVALID)
    if state.we_started and not sas.same_text(
        sas.commitment(theirs, state.start), state.commitment
    ):
        return cancel(state, CancelCode.MISMATCHED_COMMITMENT)
    try:
        shared = ephemeral.agree(theirs)
    except EncryptionError:
        return cancel(state, _INVALID)
    assert state.them is not None
    assert state.agreed is not None
    ours, other = (state.us.side, ephemeral.public), (state.them.side, theirs)
    starter, accepter = (ours, other) if state.we_started else (other, ours)
    info = sas.short_auth_info(starter, accepter, state.flow.transaction_id)
    reply = () if state.we_started else (send(state, messages.KEY, {"key": ephemeral.public}),)
    compare = Compare(shared.short_auth(info), state.agreed.strings)
    return Step(replace(state, phase=Phase.COMPARING), reply, compare)


def confirm(state: Verification, ephemeral: KeyAgreement) -> Step:
    """Our person saw the same: our keys go out, proved by the shared secret."""
    assert state.them is not None
    assert state.agreed is not None
    shared, method = _shared(ephemeral), state.agreed.mac
    keys = _named(state.us)
    macs = {
        name: shared.mac(method, key, _info(state, state.us.side, state.them.side, name))
        for name, key in keys.items()
    }
    ids = ",".join(sorted(macs))
    all_ids = shared.mac(method, ids, _info(state, state.us.side, state.them.side, sas.KEY_IDS))
    message = send(state, messages.MAC, {"mac": macs, "keys": all_ids})
    if state.checked is None:
        return Step(replace(state, phase=Phase.CONFIRMED), (message,))
    step = _proved(state)
    return replace(step, outgoing=(message, *step.outgoing))


def on_mac(state: Verification, message: Message, ephemeral: KeyAgreement) -> Step:
    """Their keys: each must be the one that we know, and none added or taken away."""
    if state.checked is not None:
        return cancel(state, CancelCode.UNEXPECTED_MESSAGE)
    macs, ids = message.content.get("mac"), message.content.get("keys")
    if not isinstance(macs, dict) or not isinstance(ids, str) or len(macs) > MOST_KEYS:
        return cancel(state, _INVALID)
    checked = _check(state, macs, ids, _shared(ephemeral))
    if checked is None:
        return cancel(state, CancelCode.KEY_MISMATCH)
    state = replace(state, checked=checked)
    return _proved(state) if state.phase is Phase.CONFIRMED else Step(state)


def on_done(state: Verification) -> Step:
    """They have it too."""
    assert state.checked is not None
    return Step(replace(state, phase=Phase.DONE), (), state.checked)


def _proved(state: Verification) -> Step:
    """Our person agreed, and their MACs are good."""
    done = send(state, messages.DONE, {})
    if state.requested:
        return Step(replace(state, phase=Phase.WAITING_DONE), (done,))
    return replace(on_done(state), outgoing=(done,))


def _check(
    state: Verification, macs: dict[str, object], ids: str, shared: Shared
) -> Verified | None:
    """What their MACs prove; None where one is wrong, or nothing that we know is among them.

    A key that we don't know (a master key that is new to us) proves nothing and spoils nothing."""
    assert state.them is not None
    assert state.agreed is not None
    method, them, us = state.agreed.mac, state.them.side, state.us.side
    names = ",".join(sorted(macs))
    if not sas.same_text(shared.mac(method, names, _info(state, them, us, sas.KEY_IDS)), ids):
        return None
    proved: set[str] = set()
    for name, key in _named(state.them).items():
        if name not in macs:
            continue
        if not sas.same_text(shared.mac(method, key, _info(state, them, us, name)), macs[name]):
            return None
        proved.add(key)
    if not proved:
        return None
    device, master = state.them.device_key, state.them.master_key
    return Verified(
        user_id=state.them.user_id,
        device_id=state.them.device_id,
        device_key=device if device in proved else None,
        master_key=master if master in proved else None,
    )


def _named(keys: Keys) -> dict[str, str]:
    """Key id → key, of what is verified of a side."""
    named = {key_id(keys.device_id): keys.device_key}
    if keys.master_key is not None:
        named[key_id(keys.master_key)] = keys.master_key
    return named


def _info(state: Verification, sender: Side, receiver: Side, name: str) -> str:
    return sas.mac_info(sender, receiver, state.flow.transaction_id, name)


def _shared(ephemeral: KeyAgreement) -> Shared:
    shared = ephemeral.shared
    assert shared is not None  # the ephemeral key belongs to this state, which is past `agree`
    return shared


_INVALID = CancelCode.INVALID_MESSAGE
