"""Statements of roles that were given while running: which pattern has which. What a role means is
`core`'s."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, update

from antiphon.core.ids import UserId
from antiphon.core.people import Role
from antiphon.records import audit
from antiphon.records.rows import check_version, insert_new, stale
from antiphon.records.rules import bump_rules
from antiphon.records.schema import roles, users
from antiphon.records.values import RoleRecord


def all_of(connection: Connection, surface: str) -> tuple[RoleRecord, ...]:
    """All that were given on a surface, by pattern."""
    rows = connection.execute(
        select(roles).where(roles.c.surface == surface).order_by(roles.c.pattern)
    )
    return tuple(RoleRecord(row.pattern, Role(row.role), row.version) for row in rows)


def of(
    connection: Connection, surface: str, pattern: str, *, lock: bool = False
) -> RoleRecord | None:
    """The role of this very pattern. `lock`: holds it for this transaction, after the person."""
    if lock:
        person = select(users.c.version).where(
            users.c.surface == surface, users.c.user_id == pattern
        )
        connection.execute(person.with_for_update())
    statement = select(roles).where(roles.c.surface == surface, roles.c.pattern == pattern)
    if lock:
        statement = statement.with_for_update()
    row = connection.execute(statement).one_or_none()
    return None if row is None else RoleRecord(row.pattern, Role(row.role), row.version)


def write(
    connection: Connection,
    surface: str,
    pattern: str,
    role: Role | None,
    *,
    by: str,
    now_ms: int,
    expected: int | None = None,
) -> RoleRecord | None:
    """Gives the pattern a role, or (None) takes it back. Raises PlatformError `stale`."""
    known = of(connection, surface, pattern, lock=True)
    check_version("This role", 0 if known is None else known.version, expected)
    if (None if known is None else known.role) == role:
        return known
    where = (roles.c.surface == surface, roles.c.pattern == pattern)
    if role is None:
        connection.execute(delete(roles).where(*where))
    elif known is None and insert_new(
        connection, roles, {"surface": surface, "pattern": pattern, "role": role.value}
    ):
        pass
    elif known is None and expected is not None:
        raise stale("This role")  # another process has given one in this moment
    else:
        connection.execute(
            update(roles).where(*where).values(role=role.value, version=roles.c.version + 1)
        )
    # A person shows their role: it is another version of them.
    connection.execute(
        update(users)
        .where(users.c.surface == surface, users.c.user_id == pattern)
        .values(version=users.c.version + 1)
    )
    bump_rules(connection, surface, now_ms)
    detail = {} if role is None else {"role": role.value}
    action = "role.taken" if role is None else "role.given"
    audit.note(connection, surface, by, action, pattern, now_ms, detail)
    return of(connection, surface, pattern)


def forget_user(connection: Connection, surface: str, user_id: UserId) -> None:
    """Takes back what was given to a person's very id; a block stays."""
    connection.execute(
        delete(roles).where(
            roles.c.surface == surface,
            roles.c.pattern == user_id,
            roles.c.role != Role.BLOCKED.value,
        )
    )
