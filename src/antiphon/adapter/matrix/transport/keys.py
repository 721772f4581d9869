"""The client-server API of end-to-end encryption: keys, signatures, to-device messages.

One attempt per request, as in `client`; nothing here checks a signature or keeps a key. Answers
come back in the specification's own form with what is malformed left out, and never with anything
that was not asked for. Section names in docstrings are those of the client-server API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from antiphon.adapter.matrix.transport.answers import count, misses, objects, of_users, path, texts
from antiphon.adapter.matrix.transport.http import Http
from antiphon.adapter.matrix.transport.refusals import UserAuthNeededError
from antiphon.adapter.matrix.transport.values import DeviceLists, PasswordAuth, UserAuth
from antiphon.errors import HomeserverError

MOST_BYTES = 32 * 1024 * 1024
"""The largest answer about keys that is read: about 20,000 devices."""
MOST_TO_DEVICE_BYTES = 65_536
"""One to-device message's content may have this size as canonical JSON (Synapse 1.163 refuses a
larger one with 413 M_TOO_LARGE, and with it the whole request)."""
MARGIN_S = 30.0


class KeyApi:
    """Requests about keys; a `MatrixClient` hands it out as `keys`.

    Any method can raise what `MatrixClient`'s can."""

    def __init__(self, http: Http):
        self._http = http

    async def upload_keys(self, body: Mapping[str, Any]) -> dict[str, int]:
        """Publishes `device_keys`, `one_time_keys` and `fallback_keys` of this device, and gives
        how many one-time keys the homeserver now has, by algorithm. Spec: "Uploading keys",
        POST /keys/upload.

        Uploading the same again changes nothing. A one-time key of a known id with another value
        is refused (Synapse: 400 M_UNKNOWN); then no one-time and no fallback key of the request is
        kept, but its device keys are."""
        answer = await self._http.ask(
            "publish our keys", "POST", path("keys", "upload"), body=body, most_bytes=MOST_BYTES
        )
        counts = answer.get("one_time_key_counts")
        if not isinstance(counts, dict):
            raise misses("one_time_key_counts", "keys/upload")
        found = {algorithm: count(number) for algorithm, number in counts.items()}
        return {algorithm: number for algorithm, number in found.items() if number is not None}

    async def query_keys(self, user_ids: Sequence[str], timeout_ms: int) -> dict[str, Any]:
        """The device keys and cross-signing keys of these users, from their homeservers within
        `timeout_ms`. Spec: "Key management API", POST /keys/query.

        Gives `device_keys` (user → device → keys), `master_keys`, `self_signing_keys`,
        `user_signing_keys` (user → key; the last only of our own account) and `failures` (server →
        why), all five always there. Nothing is proven by it: signatures, user and device IDs inside
        of the keys are for the caller to check. A user of a server under `failures` is missing for
        now; a user missing otherwise has no devices, or does not exist."""
        answer = await self._http.ask(
            "give others' keys",
            "POST",
            path("keys", "query"),
            body={"device_keys": {user_id: [] for user_id in user_ids}, "timeout": timeout_ms},
            timeout_s=timeout_ms / 1000 + MARGIN_S,
            most_bytes=MOST_BYTES,
        )
        devices = of_users(answer.get("device_keys"), user_ids)
        return {
            "device_keys": {user_id: objects(keys) for user_id, keys in devices.items()},
            **{
                name: of_users(answer.get(name), user_ids)
                for name in ("master_keys", "self_signing_keys", "user_signing_keys")
            },
            "failures": objects(answer.get("failures")),
        }

    async def claim_keys(
        self, wanted: Mapping[str, Mapping[str, str]], timeout_ms: int
    ) -> dict[str, Any]:
        """Takes a one-time key (or the fallback key) of each device in `wanted` (user → device →
        algorithm). Spec: "Claiming one-time keys", POST /keys/claim.

        Gives `one_time_keys` (user → device → key ID → key) and `failures` (server → why). A device
        without keys is left out. What was claimed is gone also if the answer was lost."""
        answer = await self._http.ask(
            "give one-time keys",
            "POST",
            path("keys", "claim"),
            body={"one_time_keys": wanted, "timeout": timeout_ms},
            timeout_s=timeout_ms / 1000 + MARGIN_S,
            most_bytes=MOST_BYTES,
        )
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for user_id, devices in of_users(answer.get("one_time_keys"), wanted).items():
            claimed = {
                device_id: objects(keys)
                for device_id, keys in of_users(devices, wanted[user_id]).items()
            }
            found[user_id] = {device_id: keys for device_id, keys in claimed.items() if keys}
        return {
            "one_time_keys": {user_id: keys for user_id, keys in found.items() if keys},
            "failures": objects(answer.get("failures")),
        }

    async def send_to_device(
        self,
        event_type: str,
        txn_id: str,
        messages: Mapping[str, Mapping[str, Mapping[str, Any]]],
    ) -> None:
        """Sends to devices: user → device, or `*` for all of the user's → content. Spec:
        "Send-to-Device messaging", PUT /sendToDevice.

        Idempotent on (device, `txn_id`) for about a day, whatever the messages say then. One
        content of more than `MOST_TO_DEVICE_BYTES` fails the whole request."""
        await self._http.ask(
            "send to devices",
            "PUT",
            path("sendToDevice", event_type, txn_id),
            body={"messages": messages},
        )

    async def keys_changes(self, from_token: str, to_token: str) -> DeviceLists:
        """Whose device lists changed between two sync tokens, for when a `since` could not be
        used. Spec: "Key management API", GET /keys/changes. Synapse ignores `to_token` (measured):
        later changes are named too, and then again by the sync that brings them."""
        answer = await self._http.ask(
            "say whose keys changed",
            "GET",
            path("keys", "changes"),
            query={"from": from_token, "to": to_token},
            most_bytes=MOST_BYTES,
        )
        return DeviceLists(texts(answer.get("changed")), texts(answer.get("left")))

    async def upload_signing_keys(
        self, keys: Mapping[str, Any], auth: PasswordAuth | None = None
    ) -> UserAuth | None:
        """Publishes our own `master_key`, `self_signing_key` and `user_signing_key`; None when it
        is done. Spec: "Cross-signing", POST /keys/device_signing/upload.

        The first keys of an account, and the same keys again, need nothing more (MSC3967). To
        replace keys the homeserver wants to know who asks: then nothing was changed, and the
        answer says how; ask again with the password as `auth`, in the session of that answer. An
        answer that is `refused` means a wrong password."""
        body = dict(keys)
        if auth is not None:
            body["auth"] = {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": auth.user_id},
                "password": auth.password.reveal(),
                **({} if auth.session is None else {"session": auth.session}),
            }
        try:
            await self._http.ask(
                "publish our signing keys",
                "POST",
                path("keys", "device_signing", "upload"),
                body=body,
            )
        except UserAuthNeededError as error:
            return error.auth
        except HomeserverError as error:
            secret = auth.password.reveal() if auth is not None else ""
            if secret and secret in error.message:
                error.message = error.message.replace(secret, "***")
                error.args = (error.message,)
            raise
        return None

    async def upload_signatures(
        self, signatures: Mapping[str, Mapping[str, Mapping[str, Any]]]
    ) -> dict[str, dict[str, Any]]:
        """Publishes signatures: user → device ID, or public key of a master key → the signed
        object with our signature. Spec: "Cross-signing", POST /keys/signatures/upload.

        What a device signed of its user's master key is shown to that user alone, and what we sign
        of others to us alone (measured).

        Gives what was not taken, as user → device or key → why; empty when all was."""
        answer = await self._http.ask(
            "publish signatures", "POST", path("keys", "signatures", "upload"), body=signatures
        )
        failures = of_users(answer.get("failures"), signatures)
        return {user_id: failed for user_id, failed in failures.items() if failed}
