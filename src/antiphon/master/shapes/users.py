"""People, their roles, their erasure and their export as the HTTP API takes and gives them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from antiphon.core.people import Role
from antiphon.master.calls import Asked
from antiphon.master.shapes.common import Given, Id, Taken
from antiphon.records.values import RoleRecord, UserRecord

Name = Annotated[str, Field(max_length=200, pattern=r"^[^\u0000-\u001F\u007F]*$")]
RoleName = Annotated[Role, Field(strict=False)]


class PutUser(Taken):
    """All of a person."""

    name: Name = Field("", examples=["Ada"])
    role: RoleName | None = Field(None, description="What was given to this very id; null: none.")


class PatchUser(Taken):
    """What changes; what is left out stays."""

    name: Name | None = None
    role: RoleName | None = None


class UserGiven(Given):
    """A person on a surface."""

    user_id: str = Field(examples=["@ada:example.org"])
    surface: str = Field(examples=["matrix"])
    name: str = Field(examples=["Ada"])
    role: Role | None = Field(examples=["user"])
    first_seen_ms: int = Field(examples=[1_795_000_000_000])
    version: int = Field(examples=[1])


class Owed(Given):
    """What the agent erases: a whole thread, or (`author`) what a person said in it."""

    thread_id: str
    author: bool = Field(description="True: what the person said in it; false: all of it.")


class Erased(Given):
    """What was erased of a person, and how far the agent is with what they said: it has confirmed
    it, or still owes it, which is tried again until it is done."""

    chats: int
    settings: int
    usage: int
    threads: list[str] = Field(description="Of chats that were the person's alone: erased whole.")
    shared: list[str] = Field(description="In which they may have spoken: rid of what they said.")
    confirmed: list[Owed]
    owed: list[Owed]


class Exported(Given):
    """All that is kept of a person here; what they said is at the agent."""

    surface: str
    user_id: str
    first_seen_ms: int | None
    name: str
    role: Role | None
    erased_ms: int | None
    settings: dict[str, Any]
    chats: list[dict[str, Any]]
    usage: list[dict[str, Any]]
    audit: list[dict[str, Any]]


class PutRole(Taken):
    """The role of a pattern, and who gives it."""

    role: RoleName
    by: Id


class RoleAsked(Asked):
    """Whose role: a whole id, or a glob of one."""

    pattern: Id = Field(examples=["@*:example.org"])


class RoleTaken(RoleAsked):
    """The same, and who takes it back."""

    by: Id | None = None


class RoleGiven(Given):
    """A role; null: none (any more)."""

    pattern: str
    role: Role | None
    version: int


class Roles(Given):
    """All roles that were given while running."""

    items: list[RoleGiven]


def user(record: UserRecord) -> UserGiven:
    """A person as they go out."""
    return UserGiven(
        user_id=record.user_id,
        surface=record.surface,
        name=record.name,
        role=record.role,
        first_seen_ms=record.first_seen_ms,
        version=record.version,
    )


def role(pattern: str, record: RoleRecord | None) -> RoleGiven:
    """A role as it goes out."""
    if record is None:
        return RoleGiven(pattern=pattern, role=None, version=0)
    return RoleGiven(pattern=pattern, role=record.role, version=record.version)
