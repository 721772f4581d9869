"""Statements of settings: what is set in which scope, and what a change of isolation means for the
chats that it concerns. Values are JSON text here; what may be set is `core.chat_settings`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, and_, bindparam, delete, or_, select, tuple_, update

from antiphon.core.chat_settings import LIMITS, SETTINGS, check, check_scope, merge
from antiphon.core.ids import UserId
from antiphon.core.scopes import Scope
from antiphon.records import audit
from antiphon.records.chats import renew_rooms
from antiphon.records.rows import check_version, insert_new, stale
from antiphon.records.rules import bump_rules
from antiphon.records.schema import chats, settings
from antiphon.records.values import SettingRecord

_FILE = "file"
"""Where the last word of a surface's settings file on isolation is kept; no scope of anybody's."""

Base = Mapping[str, Any]
"""What the settings file of a surface says: the widest layer of all."""


def read(connection: Connection, scopes: Iterable[Scope]) -> list[tuple[Scope, str, Any]]:
    """What is set in these scopes: scope, key, value as JSON gives it."""
    keys = [(scope.kind, scope.surface, scope.subject) for scope in scopes]
    rows = connection.execute(
        select(settings).where(
            tuple_(settings.c.scope, settings.c.surface, settings.c.subject).in_(keys)
        )
    )
    return [
        (Scope(row.scope, row.surface, row.subject), row.key, msgspec.json.decode(row.value))
        for row in rows
    ]


def applying(
    connection: Connection, surface: str, room: str, user_id: str
) -> list[tuple[Scope, str, Any]]:
    """What is set in all scopes that apply to what this person asks in this room."""
    rows = connection.execute(_applying(), {"at": surface, "where": room, "who": user_id})
    return [
        (Scope(row.scope, row.surface, row.subject), row.key, msgspec.json.decode(row.value))
        for row in rows
    ]


@cache
def _applying() -> Select[Any]:
    """The statement of each question, which costs more to build than to run."""
    at: Any = bindparam("at")
    places: tuple[tuple[str, Any, Any], ...] = (
        ("platform", "", ""),
        ("surface", at, ""),
        ("room", at, bindparam("where")),
        ("user", at, bindparam("who")),
    )
    named = (
        and_(settings.c.scope == kind, settings.c.surface == surface, settings.c.subject == subject)
        for kind, surface, subject in places
    )
    return select(settings).where(or_(*named))


def records_of(connection: Connection, scope: Scope) -> tuple[SettingRecord, ...]:
    """What is set in this scope alone, with versions, by key."""
    rows = connection.execute(select(settings).where(_in(scope)).order_by(settings.c.key))
    return tuple(
        SettingRecord(scope, row.key, msgspec.json.decode(row.value), row.version) for row in rows
    )


def write(
    connection: Connection,
    scope: Scope,
    key: str,
    value: Any,
    *,
    by: str,
    now_ms: int,
    base: Base,
    expected: int | None = None,
) -> SettingRecord | None:
    """Sets one value, or (None) removes it; gives what is set now. Raises SettingsError
    (`unknown_setting`, `bad_value`, `bad_scope`) and PlatformError `stale` (`expected` is not the
    version that is there; 0: none is)."""
    check_scope(key, scope.kind)
    text = None if value is None else msgspec.json.encode(check(key, value)).decode()
    where = and_(_in(scope), settings.c.key == key)
    known = connection.execute(_locked(), {**_columns(scope), "key": key}).one_or_none()
    before = _isolations(connection, scope, base) if key == "isolation" else {}
    check_version("This setting", 0 if known is None else known.version, expected)
    if (None if known is None else known.value) == text:
        return _record(scope, key, known)
    version = 0
    if text is None:
        connection.execute(delete(settings).where(where))
    elif known is None and insert_new(
        connection, settings, {**_columns(scope), "key": key, "value": text}
    ):
        version = 1
    elif known is None and expected is not None:
        raise stale("This setting")  # another process has set it in this moment
    else:
        version = connection.execute(
            update(settings)
            .where(where)
            .values(value=text, version=settings.c.version + 1)
            .returning(settings.c.version)
        ).scalar_one()
    if key == "isolation":
        _renew(connection, before, _isolations(connection, scope, base))
    if scope.kind != "user" or key in LIMITS:
        bump_rules(connection, scope.surface, now_ms)
    _note(connection, scope, key, value, by, now_ms)
    return None if text is None else SettingRecord(scope, key, msgspec.json.decode(text), version)


@cache
def _locked() -> Select[Any]:
    """The statement of each change, which costs more to build than to run."""
    names = ("scope", "surface", "subject", "key")
    return (
        select(settings.c.value, settings.c.version)
        .where(*(settings.c[name] == bindparam(name) for name in names))
        .with_for_update()
    )


def one(connection: Connection, scope: Scope, key: str) -> SettingRecord | None:
    """One setting in one scope; None: it is not set there."""
    where = and_(_in(scope), settings.c.key == key)
    found = connection.execute(select(settings.c.value, settings.c.version).where(where))
    return _record(scope, key, found.one_or_none())


def forget_user(connection: Connection, surface: str, user_id: UserId) -> int:
    """Removes what a person set for themselves; what only admins may set for them (their limits)
    stays, as a block does. Gives how many those were."""
    theirs = [key for key, setting in SETTINGS.items() if setting.changer == "admin"]
    gone = connection.execute(
        delete(settings)
        .where(_in(Scope("user", surface, user_id)), settings.c.key.not_in(theirs))
        .returning(settings.c.key)
    )
    return len(gone.all())


def move_room(connection: Connection, surface: str, old: str, new: str, now_ms: int) -> None:
    """What was set for the room `old` is set for `new` from now on, where nothing is set for it."""
    if old == new or records_of(connection, Scope("room", surface, new)):
        return
    moved = connection.execute(
        update(settings)
        .where(_in(Scope("room", surface, old)))
        .values(subject=new, version=settings.c.version + 1)
        .returning(settings.c.key)
    ).all()
    if moved:
        bump_rules(connection, surface, now_ms)


def note_file(connection: Connection, surface: str, base: Base) -> None:
    """The settings file of the surface says this now: where it isolates otherwise than the last
    time, every chat that this concerns begins another session."""
    said = Scope(_FILE, surface)  # type: ignore[arg-type]
    known = one(connection, said, "isolation")
    new = merge((), base).isolation
    if known is not None and known.value == new:
        return
    text = msgspec.json.encode(new).decode()
    row = {**_columns(said), "key": "isolation", "value": text}
    if known is None:
        insert_new(connection, settings, row)
        return
    where = and_(_in(said), settings.c.key == "isolation")
    connection.execute(update(settings).where(where).values(value=text))
    scope = Scope("surface", surface)
    before = _isolations(connection, scope, {"isolation": known.value})
    _renew(connection, before, _isolations(connection, scope, base))


def isolation_of(connection: Connection, surface: str, room: str, base: Base) -> str:
    """The isolation that holds in a room."""
    scopes = (Scope("platform"), Scope("surface", surface), Scope("room", surface, room))
    return merge(read(connection, scopes), base).isolation


# --- inside -----------------------------------------------------------------------------------


def _in(scope: Scope) -> Any:
    return and_(*(settings.c[name] == value for name, value in _columns(scope).items()))


def _columns(scope: Scope) -> dict[str, str]:
    return {"scope": scope.kind, "surface": scope.surface, "subject": scope.subject}


def _record(scope: Scope, key: str, row: Any) -> SettingRecord | None:
    if row is None:
        return None
    return SettingRecord(scope, key, msgspec.json.decode(row.value), row.version)


def _note(connection: Connection, scope: Scope, key: str, value: Any, by: str, now_ms: int) -> None:
    detail: dict[str, Any] = {"scope": scope.kind, "key": key}
    if value is not None and SETTINGS[key].kind != "text":
        detail["value"] = value
    action = "setting.unset" if value is None else "setting.set"
    audit.note(connection, scope.surface, by, action, scope.subject, now_ms, detail)


def _isolations(connection: Connection, scope: Scope, base: Base) -> dict[tuple[str, str], str]:
    """The isolation that holds in each room (surface, room) with chats which `scope` concerns."""
    rooms = select(chats.c.surface, chats.c.room).distinct()
    if scope.surface:
        rooms = rooms.where(chats.c.surface == scope.surface)
    if scope.kind == "room":
        rooms = rooms.where(chats.c.room == scope.subject)
    set_here = connection.execute(
        select(settings).where(settings.c.key == "isolation", settings.c.scope != "user")
    ).all()
    values = {
        (row.scope, row.surface, row.subject): msgspec.json.decode(row.value) for row in set_here
    }
    found: dict[tuple[str, str], str] = {}
    for surface, room in connection.execute(rooms):
        scopes = (Scope("platform"), Scope("surface", surface), Scope("room", surface, room))
        layers = [
            (one, "isolation", values[one.kind, one.surface, one.subject])
            for one in scopes
            if (one.kind, one.surface, one.subject) in values
        ]
        found[surface, room] = merge(layers, base).isolation
    return found


def _renew(
    connection: Connection,
    before: Mapping[tuple[str, str], str],
    after: Mapping[tuple[str, str], str],
) -> None:
    for (surface, room), isolation in after.items():
        if before.get((surface, room)) != isolation:
            renew_rooms(connection, surface, chats.c.room == room)


__all__ = [
    "Base",
    "forget_user",
    "isolation_of",
    "move_room",
    "note_file",
    "one",
    "read",
    "records_of",
    "write",
]
