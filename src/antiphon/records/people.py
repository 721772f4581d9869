"""Statements of people: who was seen on a surface, under which name, with which role."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, bindparam, delete, select, update

from antiphon.core.ids import UserId
from antiphon.core.people import Role
from antiphon.errors import PlatformError
from antiphon.records import audit
from antiphon.records import roles as grants
from antiphon.records.pages import Cut, Page, read_page
from antiphon.records.rows import check_version, insert_new, stale
from antiphon.records.schema import roles, users
from antiphon.records.values import UserRecord

MAX_NAME = 200


def is_known(connection: Connection, surface: str, user_id: UserId) -> bool:
    """Whether the person was seen on this surface."""
    key = {"at": surface, "who": user_id}
    return connection.execute(_seen(), key).first() is not None


@cache
def _seen() -> Select[Any]:
    """The statement of each question, which costs more to build than to run."""
    return select(users.c.version).where(
        users.c.surface == bindparam("at"), users.c.user_id == bindparam("who")
    )


def note(connection: Connection, surface: str, user_id: UserId, now_ms: int) -> None:
    """Remembers that the person was seen, and when first."""
    row = {"surface": surface, "user_id": user_id, "first_seen_ms": now_ms}
    insert_new(connection, users, row)


def one(connection: Connection, surface: str, user_id: UserId) -> UserRecord:
    """A person of the surface. Raises PlatformError `unknown_user`."""
    row = connection.execute(_with_role(surface).where(users.c.user_id == user_id)).one_or_none()
    if row is None:
        raise PlatformError("There is no such user.", code="unknown_user")
    return _record(row)


def page(connection: Connection, surface: str, cut: Cut) -> Page[UserRecord]:
    """The people of a surface, by id."""
    return read_page(connection, _with_role(surface), [users.c.user_id], cut, _record)


def put(
    connection: Connection,
    surface: str,
    user_id: UserId,
    *,
    name: str,
    role: Role | None,
    by: str,
    now_ms: int,
    expected: int | None,
) -> tuple[UserRecord, bool]:
    """Makes a person known, or (`expected`: of that version) changes all of them; says whether they
    are new. Raises PlatformError `bad_value`, `stale`: also where they are there and nothing is
    expected, or the other way round."""
    name = checked_name(name)
    row = {"surface": surface, "user_id": user_id, "first_seen_ms": now_ms, "name": name}
    if expected is not None:
        return (
            change(
                connection,
                surface,
                user_id,
                name=name,
                role=role,
                keep_role=False,
                by=by,
                now_ms=now_ms,
                expected=expected,
            ),
            False,
        )
    if not insert_new(connection, users, row):
        raise stale("The user")
    audit.note(connection, surface, by, "user.made", user_id, now_ms)
    grants.write(connection, surface, user_id, role, by=by, now_ms=now_ms)
    return one(connection, surface, user_id), True


def change(
    connection: Connection,
    surface: str,
    user_id: UserId,
    *,
    name: str | None = None,
    role: Role | None = None,
    keep_role: bool = True,
    by: str,
    now_ms: int,
    expected: int | None = None,
) -> UserRecord:
    """Changes the name (None: not) and the role (`keep_role`: not). Raises PlatformError
    `unknown_user`, `bad_value`, `stale`."""
    connection.execute(
        select(users.c.user_id)
        .where(users.c.surface == surface, users.c.user_id == user_id)
        .with_for_update()
    )
    found = one(connection, surface, user_id)
    check_version("The user", found.version, expected)
    if name is not None and checked_name(name) != found.name:
        connection.execute(
            update(users)
            .where(users.c.surface == surface, users.c.user_id == user_id)
            .values(name=checked_name(name), version=users.c.version + 1)
        )
        audit.note(connection, surface, by, "user.named", user_id, now_ms)
    if not keep_role:
        grants.write(connection, surface, user_id, role, by=by, now_ms=now_ms)
    return one(connection, surface, user_id)


def checked_name(name: str) -> str:
    """The name as it is kept. Raises PlatformError `bad_value`."""
    name = " ".join(name.split())
    if len(name) > MAX_NAME or not name.isprintable():
        raise PlatformError(
            f"A name has at most {MAX_NAME} characters, all of them printable.", code="bad_value"
        )
    return name


def forget(connection: Connection, surface: str, user_id: UserId) -> None:
    """Removes the row of a person."""
    connection.execute(delete(users).where(users.c.surface == surface, users.c.user_id == user_id))


def _with_role(surface: str) -> Select[Any]:
    theirs = and_(roles.c.surface == users.c.surface, roles.c.pattern == users.c.user_id)
    return select(users, roles.c.role).outerjoin(roles, theirs).where(users.c.surface == surface)


def _record(row: Row[Any]) -> UserRecord:
    return UserRecord(
        surface=row.surface,
        user_id=UserId(row.user_id),
        first_seen_ms=row.first_seen_ms,
        name=row.name,
        role=None if row.role is None else Role(row.role),
        version=row.version,
    )
