"""Encryption: whether it is there, this device is signed, and a recovery key and a key backup are
kept. Only looked at: no key is opened, and the homeserver is only asked for what it shows."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.ciphers import installed
from antiphon.adapter.matrix.doctor.finding import Finding, ok, warning
from antiphon.adapter.matrix.doctor.patient import Patient
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.db import database_url
from antiphon.db.peek import peek

INSTALL = (
    "Install antiphon[e2ee] (`make setup` does) and start the adapter again, or talk to the bot in "
    "rooms without encryption."
)
SWITCH_ON = "Set [matrix] encryption = true, or talk to the bot in rooms without encryption."
RESTORE = (
    "Stop the adapter and run `antiphon matrix recovery-key --restore` with the account's recovery "
    "key. If nobody has one and nobody else uses the account, reset its identity in another client "
    "of it, set recovery up there, and restore with that key."
)
UNSIGNED = (
    "Start the adapter, which signs its device, and look at its log: `identity_replaced` there "
    "says that somebody else has replaced the bot's identity."
)
OTHER_BACKUP = (
    "If nobody else uses the account, stop the adapter and run "
    "`antiphon matrix recovery-key --new`."
)
TIMEOUT_MS = 5_000


class Seen(msgspec.Struct, frozen=True):
    """What was seen. `identity`: the account has one; `ours`: its private keys are here; `signed`:
    it has signed this device; `backup`: None where there is none, else whether it is signed by
    that identity; `recovery`: a secret storage holds the identity."""

    identity: bool
    ours: bool
    signed: bool
    backup: bool | None
    recovery: bool


async def look(patient: Patient, client: MatrixClient, me: str, device_id: str) -> Seen | None:
    """Looks; None where this state has no keys yet, or encryption is not there. Raises what the
    homeserver's answers raise, and StateError for a key store that can't be read."""
    if not (installed() and patient.matrix.encryption):
        return None
    from antiphon.adapter.matrix.crypto import identity, keystore, secret_storage
    from antiphon.adapter.matrix.crypto.key_backup import judge_version
    from antiphon.adapter.matrix.crypto.store import secrets

    def held(connection: Connection) -> bool:
        return secrets.get(connection, secret_storage.MASTER) is not None

    url = database_url(patient.matrix.keys_database, patient.state, keystore.FILE)
    ours = await peek(url, keystore.MIGRATIONS, held)
    if ours is None:
        return None
    answer = await client.keys.query_keys([me], TIMEOUT_MS)
    found = identity.read_identity(
        me, answer["master_keys"].get(me), answer["self_signing_keys"].get(me)
    )
    device = answer["device_keys"].get(me, {}).get(device_id, {})
    version = await client.key_backup.version()
    trust = None
    if version is not None:
        trust = judge_version(
            {"algorithm": version.algorithm, "auth_data": version.auth_data},
            me,
            own_master=None if found is None else found.master,
        ).trusted
    key_id = secret_storage.default_key_id(
        await client.account_data(me, secret_storage.DEFAULT_KEY_TYPE)
    )
    kept = await client.account_data(me, secret_storage.MASTER) or {}
    encrypted = kept.get("encrypted")
    return Seen(
        identity=me in answer["master_keys"],
        ours=ours,
        signed=found is not None and identity.device_is_signed(found, device),
        backup=trust,
        recovery=isinstance(encrypted, dict) and key_id in encrypted,
    )


def finding(patient: Patient, seen: Seen | None, rooms: int) -> Finding:
    """How encryption stands; `rooms` are joined and encrypted."""
    many = {0: "no encrypted room", 1: "1 encrypted room"}.get(rooms, f"{rooms} encrypted rooms")
    for there, why, todo in (
        (installed(), "the extra e2ee is not installed", INSTALL),
        (patient.matrix.encryption, "encryption is switched off", SWITCH_ON),
    ):
        if not there:
            detail = f"{why}; {many}"
            if not rooms:
                return ok("encryption", detail)
            return warning("encryption", f"{detail}: what is said there is not answered", todo)
    if seen is None:
        return ok("encryption", f"{many}; no keys yet: the next start of the adapter makes them")
    if seen.identity and not seen.ours:
        detail = f"{many}; the account has an identity whose keys are not here"
        if not seen.signed:
            detail += ", and this device is not signed by it: some clients give it no keys"
        return warning("encryption", detail, RESTORE)
    if not seen.signed:
        detail = f"{many}; this device is not signed by the account's identity"
        return warning("encryption", f"{detail}: some clients give it no keys", UNSIGNED)
    detail = f"{many}; this device is signed"
    if seen.backup is False:
        return warning(
            "encryption", f"{detail}; the key backup is not signed by our identity", OTHER_BACKUP
        )
    detail += "; a key backup is there" if seen.backup else "; no key backup"
    if not seen.recovery:
        detail += "; no recovery key yet (`antiphon matrix recovery-key` makes one)"
    else:
        detail += "; recovery is set up"
    return ok("encryption", detail)
