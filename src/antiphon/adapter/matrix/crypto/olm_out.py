"""Olm out: new sessions with devices, and messages to them. Functions over a Connection; a ratchet
that moved is in the running transaction, so the caller commits before anything leaves."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import pickles
from antiphon.adapter.matrix.crypto.store import account, devices, olm_sessions
from antiphon.adapter.matrix.crypto.store.devices import Device
from antiphon.adapter.matrix.crypto.store.olm_sessions import OlmRow
from antiphon.adapter.matrix.crypto.values import OLM, Me, Problem
from antiphon.adapter.matrix.crypto.vault import Vault


def begin(
    connection: Connection, vault: Vault, claimed: Sequence[tuple[Device, str]]
) -> list[Problem]:
    """Makes an outbound session with each device, of its claimed one-time key."""
    if not claimed:
        return []
    opened = pickles.open_account(connection, vault)
    rank = account.next_rank(connection)
    rows: list[OlmRow] = []
    problems: list[Problem] = []
    for device, key in claimed:
        try:
            session = opened.create_outbound_session(
                vodozemac.Curve25519PublicKey.from_base64(device.curve25519),
                vodozemac.Curve25519PublicKey.from_base64(key),
            )
        except ValueError as error:
            problems.append(
                Problem("bad_one_time_key", str(error), device.user_id, device.device_id)
            )
            continue
        pickle = session.pickle(vault.pickle_key)
        rows.append(OlmRow(device.curve25519, session.session_id, pickle, rank))
    olm_sessions.save(connection, rows)
    for row in rows:
        olm_sessions.prune(connection, row.curve25519)
    return problems


def encrypt(
    connection: Connection,
    vault: Vault,
    me: Me,
    messages: Sequence[tuple[Device, str, Mapping[str, Any]]],
) -> list[tuple[Device, dict[str, Any]]]:
    """Encrypts a message (type, content) for each device that there is a session with; the moved
    ratchets are in the transaction, so the caller must commit before anything leaves."""
    sessions = olm_sessions.newest(connection, [device.curve25519 for device, _, _ in messages])
    own_keys = _own_device_keys(connection, me)
    moved: list[OlmRow] = []
    done: list[tuple[Device, dict[str, Any]]] = []
    for device, kind, content in messages:
        row = sessions.get(device.curve25519)
        if row is None:
            continue
        payload = {
            "type": kind,
            "content": content,
            "sender": me.user_id,
            "sender_device": me.device_id,
            "recipient": device.user_id,
            "recipient_keys": {"ed25519": device.ed25519},
            "keys": {"ed25519": me.ed25519},
            **own_keys,
        }
        session = pickles.open_session(vault, row.pickle)
        text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
        number, body = session.encrypt(text.encode()).to_parts()
        moved.append(msgspec.structs.replace(row, pickle=session.pickle(vault.pickle_key)))
        sessions[device.curve25519] = moved[-1]
        ciphertext = {"type": number, "body": base64.b64encode(body).decode().rstrip("=")}
        done.append(
            (
                device,
                {
                    "algorithm": OLM,
                    "sender_key": me.curve25519,
                    "ciphertext": {device.curve25519: ciphertext},
                },
            )
        )
    olm_sessions.save(connection, list({row.curve25519: row for row in moved}.values()))
    return done


def _own_device_keys(connection: Connection, me: Me) -> dict[str, Any]:
    """Our device keys with the signature of our identity, where /keys/query has shown it: a reader
    who has not asked for our keys yet knows us by them (MSC4147)."""
    raw = devices.raw(connection, me.user_id, me.device_id)
    return {} if raw is None else {"sender_device_keys": json.loads(raw)}
