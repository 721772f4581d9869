"""One request at work: who asks for which surface, and the one transaction in which its change, its
line in the audit log and its answer come to be, or nothing of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Header, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from antiphon.clock import Chance, Clock
from antiphon.crash import crash_point
from antiphon.db import Database
from antiphon.master.auth import Principal
from antiphon.master.problems import JSON, Problem
from antiphon.records import answers

T = TypeVar("T")

INT32 = (1 << 31) - 1

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7E]{1,128}$",
        description="A name for this change: asked for again under it, nothing is changed again "
        "and the answer is the same. Another change under it is refused (409).",
        examples=["t5bsqw3c7n2x.1"],
    ),
]
IfMatch = Annotated[
    str | None,
    Header(
        alias="If-Match",
        pattern=r'^(\*|"?[0-9]{1,10}"?)$',
        description="The ETag of the version that is to be changed; `*` for any.",
        examples=['"3"'],
    ),
]


class Changes:
    """Tells those who wait that the rules may be others now."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def told(self) -> asyncio.Event:
        """An event that is set at the next change."""
        return self._event

    def tell(self) -> None:
        """Something changed."""
        self._event.set()
        self._event = asyncio.Event()


class Parts(msgspec.Struct, frozen=True):
    """What the routes work with; made once, by the composition root. `debts`: the agent may owe
    something new; `paid`: it owes less now; `has_agent`: there is one that can be asked."""

    database: Database
    clock: Clock
    chance: Chance
    changes: Changes
    debts: asyncio.Event
    paid: Changes
    has_agent: bool
    stopping: asyncio.Event


class Reply(msgspec.Struct, frozen=True):
    """An answer: status, body as JSON text, version for its ETag. `rules` may have changed, and
    something may be owed to the agent (`debts`): whoever waits for that is told after the commit.
    `about`: a person whom it concerns and who is not named in it; where they are erased, the kept
    answer goes, too."""

    status: int
    body: str
    etag: int | None = None
    rules: bool = False
    debts: bool = False
    about: str = ""

    def response(self) -> Response:
        """As it goes out."""
        headers = {} if self.etag is None else {"ETag": f'"{self.etag}"'}
        if not self.body:
            return Response(None, self.status, headers)
        return Response(self.body, self.status, headers, media_type=JSON)


def reply(
    model: BaseModel, *, status: int = 200, etag: int | None = None, rules: bool = False
) -> Reply:
    """The answer that says `model`."""
    return Reply(status, model.model_dump_json(), etag, rules)


class Tx(msgspec.Struct, frozen=True):
    """One transaction of a request."""

    connection: Connection
    surface: str
    actor: str
    now_ms: int
    mint: Callable[[], str]


class Call:
    """One request, whose token has the scope that it needs."""

    def __init__(self, parts: Parts, principal: Principal, surface: str):
        self.parts = parts
        self.principal = principal
        self.surface = surface

    @property
    def actor(self) -> str:
        """Who changes something, where the request names nobody."""
        return f"token:{self.principal.token_id}"

    def _tx(self, connection: Connection, by: str | None = None) -> Tx:
        parts = self.parts
        now, actor = parts.clock.now_ms(), by or self.actor
        return Tx(connection, self.surface, actor, now, parts.chance.token)

    async def read(self, function: Callable[[Tx], T]) -> T:
        """Looks; changes nothing."""
        return await self.parts.database.read(lambda connection: function(self._tx(connection)))

    async def write(
        self,
        function: Callable[[Tx], Reply],
        *,
        name: str = "",
        key: str | None = None,
        content: object = None,
        by: str | None = None,
    ) -> Response:
        """Changes by `function`, in one transaction with what it leaves in the logs.

        `name` and `content` say what is asked for (with `key`: the name of the request). Raises
        what `function` raises, and PlatformError `conflict`; then nothing was changed."""
        digest = _digest(name, content) if key else ""

        def transaction(connection: Connection) -> Reply:
            tx = self._tx(connection, by)
            if key:
                kept = answers.claim(connection, self.surface, key, digest, tx.now_ms)
                if kept is not None:
                    return msgspec.json.decode(kept, type=Reply)
            made = function(tx)
            if key:
                text = msgspec.json.encode(made).decode()
                answers.keep(connection, self.surface, key, text)
            crash_point("master.before_commit")
            return made

        made = await self.parts.database.write(transaction)
        crash_point("master.committed")
        if made.rules:
            self.parts.changes.tell()
        if made.debts:
            self.parts.debts.set()
        return made.response()


def _digest(name: str, content: object) -> str:
    def plain(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value.model_dump()
        raise TypeError(type(value).__name__)

    text = msgspec.json.encode([name, content], enc_hook=plain, order="deterministic")
    return hashlib.sha256(text).hexdigest()


class Asked(BaseModel, extra="forbid"):
    """What every query may say."""

    surface: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="The surface that an operator's token means; others have their own.",
        examples=["matrix"],
    )


def call_of(request: Request, scope: str, surface: str | None) -> Call:
    """The request as a call. Raises Problem where its token lacks `scope`, or is of another
    surface."""
    principal: Principal = request.state.principal
    principal.require(scope)
    parts: Parts = request.app.state.parts
    return Call(parts, principal, principal.surface_of(surface))


def expect(if_match: str | None, version: int, *, needed: bool = True) -> None:
    """Lets a change of something at `version` through. Raises Problem: 428 where `If-Match` is
    needed and missing, 412 where it names another version."""
    if if_match is None:
        if needed:
            raise Problem(
                428, "version_needed", "Send `If-Match` with the ETag of what you want to change."
            )
        return
    if if_match != "*" and if_match.strip('"') != str(version):
        raise Problem(
            412,
            "stale",
            "It was changed meanwhile. Read it again, then change that.",
            details={"version": version},
        )


def version_of(if_match: str | None) -> int | None:
    """The version that an `If-Match` names; None for any."""
    return None if if_match in (None, "*") else int(str(if_match).strip('"'))
