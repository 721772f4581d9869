"""What a short authentication string is made of: key agreement, commitment, MACs and what people
compare (specification, "Short Authentication String (SAS) verification"). No I/O.

Of the MAC methods we offer `hkdf-hmac-sha256.v2` only: every client that lives has it, and the old
method keeps about 64 bits of a MAC by a mistake in its base64. In a start by somebody else the old
one is still taken where no v2 is offered. The accept's choice is protected by the MACs themselves:
two sides that were told different methods don't agree.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Protocol

import msgspec
import vodozemac

from antiphon.adapter.matrix.crypto import unpadded
from antiphon.adapter.matrix.crypto.sas_emoji import EMOJI
from antiphon.errors import EncryptionError

KEY_AGREEMENT = "curve25519-hkdf-sha256"
HASH = "sha256"
MAC_V2 = "hkdf-hmac-sha256.v2"
MAC_V1 = "hkdf-hmac-sha256"
DECIMAL = "decimal"
EMOJI_STRING = "emoji"
STRINGS = (DECIMAL, EMOJI_STRING)
KEY_IDS = "KEY_IDS"


class ShortAuth(msgspec.Struct, frozen=True):
    """What both people see: seven emoji (symbol, English description) and three numbers."""

    emoji: tuple[tuple[str, str], ...]
    decimals: tuple[int, int, int]


class Shared(Protocol):
    """A secret that two devices share; which device the other is, the people must say."""

    def short_auth(self, info: str) -> ShortAuth:
        """What people compare."""
        ...

    def mac(self, method: str, text: str, info: str) -> str:
        """The MAC of `text`, in the base64 of `method`."""
        ...


class KeyAgreement(Protocol):
    """One side's ephemeral key pair, for one verification only."""

    @property
    def public(self) -> str:
        """The public key, in unpadded base64."""
        ...

    @property
    def shared(self) -> Shared | None:
        """The secret, once `agree` was called."""
        ...

    def agree(self, their_public: str) -> Shared:
        """The secret with `their_public`. Once. Raises EncryptionError for a key that can't be
        used, and for a second call."""
        ...


class Ephemeral:
    """`KeyAgreement` by vodozemac. Lives in memory alone: a verification does not outlive its
    process."""

    def __init__(self) -> None:
        self._sas = vodozemac.Sas()
        self.public = self._sas.public_key.to_base64()
        self.shared: Shared | None = None

    def agree(self, their_public: str) -> Shared:
        if self.shared is not None or their_public == self.public:
            raise EncryptionError("An ephemeral key is good for one other key.")
        try:
            key = vodozemac.Curve25519PublicKey.from_base64(their_public)
            self.shared = _Established(self._sas.diffie_hellman(key))
        except ValueError as error:  # KeyException, SasException
            raise EncryptionError(f"The other side's ephemeral key is no key: {error}.") from error
        return self.shared


class _Established:
    def __init__(self, established: vodozemac.EstablishedSas):
        self._established = established

    def short_auth(self, info: str) -> ShortAuth:
        given = self._established.bytes(info)
        first, second, third = given.decimals
        return ShortAuth(emoji_of(bytes(given.emoji_indices)), (first, second, third))

    def mac(self, method: str, text: str, info: str) -> str:
        if method == MAC_V1:
            return self._established.calculate_mac_invalid_base64(text, info)
        return self._established.calculate_mac(text, info)


class Side(msgspec.Struct, frozen=True):
    """One of two devices in the texts that secrets are bound to."""

    user_id: str
    device_id: str


class Agreed(msgspec.Struct, frozen=True):
    """What two devices agreed on: the MAC method, and the strings that both can show."""

    mac: str
    strings: tuple[str, ...]


def offers() -> dict[str, Any]:
    """What our start offers."""
    return {
        "key_agreement_protocols": [KEY_AGREEMENT],
        "hashes": [HASH],
        "message_authentication_codes": [MAC_V2],
        "short_authentication_string": list(STRINGS),
    }


def choose(start: Mapping[str, Any]) -> Agreed | None:
    """What we take of the offers in a start; None where nothing fits (or it is malformed)."""
    if KEY_AGREEMENT not in _texts(start.get("key_agreement_protocols")):
        return None
    if HASH not in _texts(start.get("hashes")):
        return None
    macs = _texts(start.get("message_authentication_codes"))
    mac = next((method for method in (MAC_V2, MAC_V1) if method in macs), None)
    offered = _texts(start.get("short_authentication_string"))
    strings = tuple(string for string in STRINGS if string in offered)
    return Agreed(mac, strings) if mac is not None and strings else None


def accepted(accept: Mapping[str, Any]) -> Agreed | None:
    """What an accept of our start chose; None where that is nothing that we offered."""
    ours = accept.get("key_agreement_protocol"), accept.get("hash")
    if ours != (KEY_AGREEMENT, HASH) or accept.get("message_authentication_code") != MAC_V2:
        return None
    chosen = _texts(accept.get("short_authentication_string"))
    strings = tuple(string for string in STRINGS if string in chosen)
    return Agreed(MAC_V2, strings) if strings and len(strings) == len(chosen) else None


def commitment(public: str, start: bytes) -> str:
    """What the accepting side is held to: its key and the start (canonical JSON of its content)."""
    return unpadded.encode(hashlib.sha256(public.encode() + start).digest())


def same_text(ours: str, theirs: object) -> bool:
    """Whether base64 of theirs, padded or not, is ours. Takes as long whatever differs."""
    if not isinstance(theirs, str) or not theirs.isascii():
        return False
    return hmac.compare_digest(ours.encode(), theirs.rstrip("=").encode())


def short_auth_info(
    starter: tuple[Side, str], accepter: tuple[Side, str], transaction_id: str
) -> str:
    """What the short string is bound to ("SAS HKDF calculation"): each side with its ephemeral
    public key, first the one whose start counts."""
    parts = ["MATRIX_KEY_VERIFICATION_SAS"]
    for side, public in (starter, accepter):
        parts += [side.user_id, side.device_id, public]
    return "|".join((*parts, transaction_id))


def mac_info(sender: Side, receiver: Side, transaction_id: str, key_id: str) -> str:
    """What a MAC is bound to ("MAC calculation"); `key_id` is `KEY_IDS` for the list of ids."""
    return (
        f"MATRIX_KEY_VERIFICATION_MAC{sender.user_id}{sender.device_id}"
        f"{receiver.user_id}{receiver.device_id}{transaction_id}{key_id}"
    )


def emoji_of(indices: bytes) -> tuple[tuple[str, str], ...]:
    """The emoji of seven numbers below 64."""
    return tuple(EMOJI[index] for index in indices)


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
