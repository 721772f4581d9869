"""Keeping the device lists of the people in encrypted rooms: who is outdated, what an answer about
them changes. Functions over a Connection."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto import device_keys
from antiphon.adapter.matrix.crypto.identity import device_is_signed, read_identity
from antiphon.adapter.matrix.crypto.store import devices, users
from antiphon.adapter.matrix.crypto.store.users import User
from antiphon.adapter.matrix.crypto.values import ChangedIdentity, Me, Problem, Queried

FIRST_RETRY_MS = 60_000
LAST_RETRY_MS = 3_600_000


def untracked(connection: Connection, wanted: Iterable[str]) -> dict[str, User | None]:
    """Those of `wanted` that are not tracked yet, with what is known of them."""
    wanted = set(wanted)
    known = users.of(connection, wanted)
    return {
        name: known.get(name) for name in wanted if name not in known or not known[name].tracked
    }


def changed(connection: Connection, changed: Iterable[str], left: Iterable[str]) -> None:
    """What /sync says of device lists."""
    users.stale(connection, changed)
    users.untrack(connection, left)


def outdated(connection: Connection, now_ms: int, among: Collection[str] | None) -> dict[str, int]:
    """Whom to ask for now (of `among`, None: of all), each with the state of the list that the
    answer will be about. One whose homeserver failed waits a while."""
    return {
        user.user_id: user.stale
        for user in users.outdated(connection)
        if (among is None or user.user_id in among)
        and not now_ms < user.retry_ms <= now_ms + LAST_RETRY_MS
    }


def next_query_ms(connection: Connection, now_ms: int, among: Collection[str]) -> int | None:
    """When somebody of `among` is to be asked for again, at the earliest; None: never."""
    times = [
        user.retry_ms if now_ms < user.retry_ms <= now_ms + LAST_RETRY_MS else now_ms
        for user in users.outdated(connection)
        if user.user_id in among
    ]
    return min(times, default=None)


def queried(
    connection: Connection,
    me: Me,
    asked: Mapping[str, int],
    answer: Mapping[str, Any],
    now_ms: int,
) -> Queried:
    """Takes in the answer of `/keys/query` about `asked` (from `outdated`). Users of a failing
    homeserver stay outdated and are asked for later; nobody else is touched by that."""
    failing = _section(answer, "failures")
    answered = _section(answer, "device_keys")
    known = users.of(connection, asked)
    before: dict[str, list[devices.Device]] = {user_id: [] for user_id in asked}
    for device in devices.of(connection, asked, deleted=True):
        before[device.user_id].append(device)
    added: list[tuple[str, str]] = []
    deleted: list[tuple[str, str]] = []
    problems: list[Problem] = []
    saved: list[User] = []
    rows: list[tuple[devices.Device, str]] = []
    for user_id, stale in asked.items():
        user = known.get(user_id) or User(user_id=user_id)
        theirs = answered.get(user_id)
        if not isinstance(theirs, dict) and user_id.partition(":")[2] in failing:
            saved.append(_failed(user, now_ms))
            continue
        identities, bad = device_keys.read_identities(user_id, answer)
        problems += bad
        answered_user = _answered(user, identities, stale)
        now, gone, bad = device_keys.read_devices(
            me,
            user_id,
            theirs if isinstance(theirs, dict) else {},
            before[user_id],
            # An identity that is not the known one vouches for no device.
            None if answered_user.changed else identities.identity,
        )
        problems += bad
        rows += now
        devices.delete(connection, user_id, gone)
        deleted += [(user_id, device_id) for device_id in gone]
        living = {device.device_id for device in before[user_id] if not device.deleted}
        added += [(user_id, row.device_id) for row, _ in now if row.device_id not in living]
        saved.append(answered_user)
    devices.save(connection, rows)
    users.save(connection, saved)
    news = tuple(
        ChangedIdentity(user.user_id, user.pinned or "", user.master or "")
        for user in saved
        if user.changed and (known.get(user.user_id) or user).master != user.master
    )
    return Queried(tuple(added), tuple(deleted), news, tuple(problems))


def changed_identities(connection: Connection) -> list[ChangedIdentity]:
    """Identities that are not those that people know."""
    return [
        ChangedIdentity(user.user_id, user.pinned or "", user.master or "")
        for user in users.changed(connection)
    ]


def accept(connection: Connection, user_id: str, master: str) -> None:
    """A person here has compared: this is the user's identity, and it alone vouches for devices."""
    users.pin(connection, user_id, master)
    user = users.of(connection, [user_id]).get(user_id)
    if user is None:
        return
    raw = json.loads(user.raw)
    known = read_identity(user_id, *(raw.get(u) for u in ("master", "self_signing")))
    signed = [
        device_id
        for device_id, keys in devices.raws(connection, user_id).items()
        if known is not None and not user.changed and device_is_signed(known, json.loads(keys))
    ]
    devices.set_cross_signed(connection, user_id, signed)


def _answered(user: User, identities: device_keys.Identities, stale: int) -> User:
    identity = identities.identity
    return msgspec.structs.replace(
        user,
        fresh=max(user.fresh, stale),
        failures=0,
        retry_ms=0,
        master=None if identity is None else identity.master,
        self_signing=None if identity is None else identity.self_signing,
        user_signing=None if identity is None else identity.user_signing,
        pinned=user.pinned or (None if identity is None else identity.master),
        raw=identities.raw,
    )


def _failed(user: User, now_ms: int) -> User:
    wait = min(FIRST_RETRY_MS << min(user.failures, 10), LAST_RETRY_MS)
    return msgspec.structs.replace(user, failures=user.failures + 1, retry_ms=now_ms + wait)


def _section(answer: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = answer.get(name)
    return section if isinstance(section, dict) else {}
