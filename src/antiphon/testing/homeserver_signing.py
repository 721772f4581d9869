"""Cross-signing at the fake homeserver: users' signing keys, and the signatures that it merges into
what others are given. Signatures are checked as Synapse does. No I/O.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from antiphon.testing.homeserver_refusal import RefusedError

USAGES = ("master", "self_signing", "user_signing")


class Signing:
    """All users' cross-signing keys, and all signatures that were uploaded."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, dict[str, Any]]] = {}
        """By user and usage."""
        self._signatures: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
        """By (user, device or master key) that was signed, then signer, then key ID."""

    def differs(self, user_id: str, body: dict[str, Any]) -> bool:
        """Whether an upload has anything that is not there already."""
        known = self.keys.get(user_id, {})
        return any(body.get(f"{usage}_key") not in (None, known.get(usage)) for usage in USAGES)

    def upload(self, user_id: str, body: dict[str, Any]) -> None:
        """POST /keys/device_signing/upload, when it is known who asks."""
        offered = {u: body[f"{u}_key"] for u in USAGES if body.get(f"{u}_key") is not None}
        master = offered.get("master") or self.keys.get(user_id, {}).get("master")
        if master is None:
            raise RefusedError(400, "M_MISSING_PARAM")
        for usage, key in offered.items():
            if (
                key.get("user_id") != user_id
                or usage not in key.get("usage", [])
                or len(key.get("keys", {})) != 1
            ):
                raise RefusedError(400, "M_INVALID_PARAM")
            if usage != "master" and not is_signed(key, user_id, _key_id(master), _public(master)):
                raise RefusedError(400, "M_INVALID_SIGNATURE")
        self.keys.setdefault(user_id, {}).update(offered)

    def sign(
        self, signer: str, devices: dict[str, dict[str, Any]], body: dict[str, Any]
    ) -> tuple[dict[str, Any], set[str]]:
        """POST /keys/signatures/upload: the failures, and the users of whom something new was
        signed. `devices`: the signer's own device keys by device ID."""
        failures: dict[str, Any] = {}
        signed: set[str] = set()
        for user_id, targets in body.items():
            for target, thing in targets.items():
                try:
                    made = self._checked(signer, user_id, target, thing, devices)
                except RefusedError as refused:
                    failures.setdefault(user_id, {})[target] = {
                        "status": refused.status,
                        "errcode": refused.body["errcode"],
                        "message": refused.body["error"],
                    }
                    continue
                place = self._signatures.setdefault((user_id, target), {})
                if not made.items() <= place.get(signer, {}).items():
                    place.setdefault(signer, {}).update(made)
                    signed.add(user_id)
        return failures, signed

    def _checked(
        self,
        signer: str,
        user_id: str,
        target: str,
        thing: dict[str, Any],
        devices: dict[str, dict[str, Any]],
    ) -> dict[str, str]:
        """The signatures in `thing` that count; refuses where they do not."""
        mine = self.keys.get(signer, {})
        master = self.keys.get(user_id, {}).get("master")
        if user_id == signer and (master is None or "self_signing" not in mine or not devices):
            raise RefusedError(404, "M_NOT_FOUND")
        signatures = thing.get("signatures", {}).get(signer, {})
        if user_id == signer and master is not None and target != _public(master):
            return self._by_key(mine["self_signing"], signer, thing, devices.get(target))
        if user_id != signer:
            if "user_signing" not in mine or master is None or target != _public(master):
                raise RefusedError(404, "M_NOT_FOUND")
            return self._by_key(mine["user_signing"], signer, thing, master)
        # Our own master key, signed by our own devices.
        if not signatures:
            raise RefusedError(400, "M_INVALID_SIGNATURE")
        for key_id in signatures:
            public = devices.get(key_id.partition(":")[2], {}).get("keys", {}).get(key_id)
            if public is None or not is_signed(thing, signer, key_id, public):
                raise RefusedError(400, "M_INVALID_SIGNATURE")
        return dict(signatures)

    def _by_key(
        self,
        key: dict[str, Any],
        signer: str,
        thing: dict[str, Any],
        stored: dict[str, Any] | None,
    ) -> dict[str, str]:
        key_id = _key_id(key)
        if key_id not in thing.get("signatures", {}).get(signer, {}):
            raise RefusedError(400, "M_INVALID_SIGNATURE")
        if stored is None:
            raise RefusedError(404, "M_NOT_FOUND")
        if _bare(stored) != _bare(thing):
            raise RefusedError(400, "M_UNKNOWN")
        if not is_signed(thing, signer, key_id, _public(key)):
            raise RefusedError(400, "M_INVALID_SIGNATURE")
        return {key_id: str(thing["signatures"][signer][key_id])}

    def forget(self, user_id: str, target: str) -> None:
        """Drops the signatures of something that was replaced."""
        self._signatures.pop((user_id, target), None)

    def seen_by(self, asker: str, user_id: str) -> dict[str, dict[str, Any]]:
        """A user's signing keys by usage, as `asker` is given them: the user-signing key only the
        user, of what was signed later only the signatures of `asker`."""
        shown = {}
        for usage, key in self.keys.get(user_id, {}).items():
            if usage == "user_signing" and asker != user_id:
                continue
            shown[usage] = dict(key)
            if usage == "master":
                merged = self.merged(user_id, _public(key), key, (asker,))
                shown[usage] |= {"signatures": merged} if merged else {}
        return shown

    def merged(
        self, user_id: str, target: str, thing: dict[str, Any], signers: Iterable[str]
    ) -> dict[str, dict[str, str]]:
        """The signatures of a thing: its own, and what these users uploaded."""
        merged = {signer: dict(made) for signer, made in thing.get("signatures", {}).items()}
        for signer, made in self._signatures.get((user_id, target), {}).items():
            if signer in signers:
                merged.setdefault(signer, {}).update(made)
        return merged


def is_signed(thing: dict[str, Any], user_id: str, key_id: str, public: str) -> bool:
    """Whether `thing` has a good Ed25519 signature of this key (spec: "Signing JSON")."""
    # Here, and not above: only who signs needs the library, which is in an extra.
    import vodozemac

    signature = thing.get("signatures", {}).get(user_id, {}).get(key_id)
    canonical = json.dumps(
        _bare(thing), ensure_ascii=False, sort_keys=True, separators=(",", ":")
    ).encode()
    try:
        vodozemac.Ed25519PublicKey.from_base64(public).verify_signature(
            canonical, vodozemac.Ed25519Signature.from_base64(str(signature))
        )
    except (vodozemac.KeyException, vodozemac.SignatureException):
        return False
    return True


def _bare(thing: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in thing.items() if k not in ("signatures", "unsigned")}


def _key_id(key: dict[str, Any]) -> str:
    return str(next(iter(key["keys"])))


def _public(key: dict[str, Any]) -> str:
    return str(key["keys"][_key_id(key)])
