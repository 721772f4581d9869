"""The people whose devices we must know: whether their list is fresh, and their identity keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from sqlalchemy import Connection, select, update

from antiphon.adapter.matrix.crypto.store.rows import pieces, put
from antiphon.adapter.matrix.crypto.store.schema import person


class User(msgspec.Struct, frozen=True, kw_only=True):
    """`stale` greater than `fresh`: the list of devices must be asked for. The keys are base64;
    `pinned` is the master key that we saw first, or that a person here compared last; `verified`
    the latter alone; `told` a changed one of which was spoken in a room."""

    user_id: str
    tracked: bool = False
    stale: int = 1
    fresh: int = 0
    failures: int = 0
    retry_ms: int = 0
    master: str | None = None
    self_signing: str | None = None
    user_signing: str | None = None
    pinned: str | None = None
    raw: str = "{}"
    verified: str | None = None
    told: str | None = None

    @property
    def outdated(self) -> bool:
        """Whether the list must be asked for."""
        return self.stale > self.fresh

    @property
    def changed(self) -> bool:
        """Whether the identity is another than the pinned one."""
        return None not in (self.pinned, self.master) and self.pinned != self.master


_COLUMNS = [person.c[name] for name in User.__struct_fields__]


def of(connection: Connection, users: Iterable[str]) -> dict[str, User]:
    """Those of these users that we know."""
    found: dict[str, User] = {}
    for piece in pieces(set(users)):
        statement = select(*_COLUMNS).where(person.c.user_id.in_(piece))
        found.update((row.user_id, User(**row._mapping)) for row in connection.execute(statement))
    return found


def is_fresh(connection: Connection, user_id: str) -> bool:
    """Whether the list of this user's devices is the one of now, as far as we were told."""
    found = of(connection, [user_id]).get(user_id)
    return found is not None and found.tracked and not found.outdated


def outdated(connection: Connection) -> list[User]:
    """Those whom we track and whose list must be asked for."""
    statement = (
        select(*_COLUMNS)
        .where(person.c.tracked, person.c.stale > person.c.fresh)
        .order_by(person.c.user_id)
    )
    return [User(**row._mapping) for row in connection.execute(statement)]


def changed(connection: Connection) -> list[User]:
    """Those whose identity is another than the pinned one."""
    statement = (
        select(*_COLUMNS)
        .where(person.c.pinned.is_not(None), person.c.master != person.c.pinned)
        .order_by(person.c.user_id)
    )
    return [User(**row._mapping) for row in connection.execute(statement)]


def save(connection: Connection, users: Iterable[User]) -> None:
    """Keeps users, each in the place of the one before."""
    put(connection, person, [msgspec.structs.asdict(user) for user in users])


def track(connection: Connection, users: Mapping[str, User | None]) -> None:
    """Begins to track users; whoever was not tracked is outdated."""
    rows = []
    for user_id, known in users.items():
        user = known or User(user_id=user_id)
        rows.append(msgspec.structs.replace(user, tracked=True, stale=user.stale + 1, retry_ms=0))
    save(connection, rows)


def untrack(connection: Connection, users: Iterable[str]) -> None:
    """Ends that; what was known of them is kept."""
    for piece in pieces(users):
        connection.execute(update(person).where(person.c.user_id.in_(piece)).values(tracked=False))


def stale(connection: Connection, users: Iterable[str] | None) -> None:
    """The lists of these users (None: of all) may have changed."""
    values = {"stale": person.c.stale + 1, "retry_ms": 0, "failures": 0}
    if users is None:
        connection.execute(update(person).values(**values))
        return
    for piece in pieces(users):
        connection.execute(update(person).where(person.c.user_id.in_(piece)).values(**values))


def verified(connection: Connection) -> list[User]:
    """Those whose identity is the one that a person here has compared."""
    statement = (
        select(*_COLUMNS).where(person.c.verified == person.c.master).order_by(person.c.user_id)
    )
    return [User(**row._mapping) for row in connection.execute(statement)]


def pin(connection: Connection, user_id: str, master: str) -> None:
    """A person here has compared: this is the user's identity from now on."""
    values = {"pinned": master, "verified": master, "told": None}
    connection.execute(update(person).where(person.c.user_id == user_id).values(**values))


def set_told(connection: Connection, user_id: str, master: str) -> None:
    """People were told that the user's identity has changed to this."""
    connection.execute(update(person).where(person.c.user_id == user_id).values(told=master))
