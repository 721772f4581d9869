"""Reading what `/keys/query` says of a user: devices and identity keys, each checked alone. Pure.

A device's keys must be signed by the device, name their owner and themselves, and be the same for
ever; identity keys must be what they say and be signed by the master key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from antiphon.adapter.matrix.crypto.canonical import is_signed
from antiphon.adapter.matrix.crypto.identity import (
    Identity,
    device_is_signed,
    read_identity,
)
from antiphon.adapter.matrix.crypto.names import is_curve25519, is_ed25519, is_name
from antiphon.adapter.matrix.crypto.store.devices import Device
from antiphon.adapter.matrix.crypto.values import MEGOLM, OLM, Me, Problem


class Identities(msgspec.Struct, frozen=True):
    """A user's identity (None: none that is valid), and its keys as they are signed, JSON."""

    identity: Identity | None
    raw: str


def read_identities(user_id: str, answer: Mapping[str, Any]) -> tuple[Identities, list[Problem]]:
    """The identity keys of `user_id` in the answer, and which of them were refused."""
    given: dict[str, Any] = {}
    for usage in ("master", "self_signing", "user_signing"):
        section = answer.get(f"{usage}_keys")
        keys = section.get(user_id) if isinstance(section, dict) else None
        if keys is not None:
            given[usage] = keys
    found = read_identity(
        user_id, *(given.get(u) for u in ("master", "self_signing", "user_signing"))
    )
    raw = {usage: keys for usage, keys in given.items() if getattr(found, usage, None)}
    problems = [
        Problem("bad_identity", f"its {usage} key is malformed or not signed", user_id)
        for usage in given
        if usage not in raw
    ]
    text = json.dumps(raw, separators=(",", ":"), sort_keys=True)
    return Identities(found, text), problems


def read_devices(
    me: Me,
    user_id: str,
    answered: Mapping[str, Any],
    known: Iterable[Device],
    identity: Identity | None,
) -> tuple[list[tuple[Device, str]], list[str], list[Problem]]:
    """The devices of `user_id` as they are now (with their keys as signed, JSON), those of the
    `known` ones that are gone, and what was refused: a refused device stays as it was known."""
    before = {device.device_id: device for device in known}
    alive = {d.curve25519: d.device_id for d in before.values() if not d.deleted}
    now: list[tuple[Device, str]] = []
    problems: list[Problem] = []
    for device_id, keys in answered.items():
        if not is_name(device_id):
            problems.append(Problem("bad_device_keys", "its name can't be stored", user_id))
            continue
        device, why = _device(user_id, device_id, keys, identity)
        if device is None:
            problems.append(Problem("bad_device_keys", why, user_id, device_id))
            continue
        why = _refused(me, device, before.get(device_id), alive)
        if why:
            problems.append(Problem("device_keys_changed", why, user_id, device_id))
            continue
        alive[device.curve25519] = device_id
        now.append((device, json.dumps(keys, separators=(",", ":"), sort_keys=True)))
    gone = [name for name, old in before.items() if not old.deleted and name not in answered]
    return now, gone, problems


def _device(
    user_id: str, device_id: str, keys: Any, identity: Identity | None
) -> tuple[Device | None, str]:
    if not isinstance(keys, dict) or not isinstance(keys.get("keys"), dict):
        return None, "its keys are malformed"
    if keys.get("user_id") != user_id or keys.get("device_id") != device_id:
        return None, "its keys name another user or device"
    ed25519 = keys["keys"].get(f"ed25519:{device_id}")
    curve25519 = keys["keys"].get(f"curve25519:{device_id}")
    if not (is_ed25519(ed25519) and is_curve25519(curve25519)):
        return None, "it has no usable identity keys"
    if not is_signed(keys, user_id, f"ed25519:{device_id}", ed25519):
        return None, "its keys are not signed by itself"
    algorithms = keys.get("algorithms")
    reads = isinstance(algorithms, list) and OLM in algorithms and MEGOLM in algorithms
    cross_signed = identity is not None and device_is_signed(identity, keys)
    return (
        Device(
            user_id=user_id,
            device_id=device_id,
            ed25519=ed25519,
            curve25519=curve25519,
            megolm=reads,
            cross_signed=cross_signed,
            deleted=False,
        ),
        "",
    )


def _refused(me: Me, device: Device, old: Device | None, alive: Mapping[str, str]) -> str:
    """Why these keys are not believed; empty where they are."""
    ours = (me.ed25519, me.curve25519)
    if device.user_id == me.user_id and device.device_id == me.device_id:
        return "" if (device.ed25519, device.curve25519) == ours else "they are not our own"
    if device.curve25519 == me.curve25519 or device.ed25519 == me.ed25519:
        return "they are those of this bot"
    if old is not None and not old.deleted:
        same = (old.ed25519, old.curve25519) == (device.ed25519, device.curve25519)
        if not same:
            return "its identity keys changed, which they never do"
    if alive.get(device.curve25519, device.device_id) != device.device_id:
        return "another device of the user has the same identity key"
    return ""


def signed_by_itself(keys: Any, user_id: str) -> Device | None:
    """The device that these keys describe, if it signed them and names this user; else None."""
    if not isinstance(keys, dict) or not is_name(keys.get("device_id")):
        return None
    return _device(user_id, keys["device_id"], keys, None)[0]
