"""Who asks: bearer tokens, the surface and the scopes that each stands for. Tokens are kept by
their SHA-256 alone; a token has at least 144 random bits, so that its hash needs no salt."""

from __future__ import annotations

import hmac
from typing import Final

import msgspec

from antiphon import telemetry
from antiphon.clock import Clock
from antiphon.db import Database
from antiphon.master.problems import Problem
from antiphon.master.scopes import EVERY_SURFACE, OF_A_SURFACE
from antiphon.records import tokens as rows
from antiphon.settings import Secret

GIVEN_SURFACE: Final = "matrix"
"""The surface of a token that the settings give."""
GIVEN_ID: Final = "settings"

KNOWN_FOR_S: Final = 1.0
"""Seconds for which a token is known without asking the database again: a revoked one works that
much longer, at most."""
MOST_KNOWN: Final = 1024
TOLD_EVERY_S: Final = 10.0
"""Seconds between two lines in the log about refused tokens."""


class Principal(msgspec.Struct, frozen=True):
    """Whoever sent a token. `surface` is `*` for an operator."""

    token_id: str
    surface: str
    scopes: frozenset[str]

    def require(self, scope: str) -> None:
        """Raises Problem (403) where the token lacks the scope."""
        if scope not in self.scopes:
            raise Problem(403, "forbidden", f"The token lacks the scope `{scope}`.")

    def surface_of(self, named: str | None) -> str:
        """The surface that a request is about: the token's own, or the one that an operator names.
        Raises Problem: 403 for another one's, 422 where an operator names none."""
        if self.surface == EVERY_SURFACE:
            if named is None:
                raise Problem(422, "surface_needed", "An operator names the surface: `?surface=`.")
            return named
        if named is not None and named != self.surface:
            raise Problem(403, "forbidden", "The token is of another surface.")
        return self.surface


class Gatekeeper:
    """Knows tokens from the database, and the one that the settings may give."""

    def __init__(self, database: Database, given: Secret, clock: Clock):
        self._database = database
        self._given = rows.digest_of(given.reveal()) if given else ""
        self._clock = clock
        self._known: dict[str, tuple[float, Principal]] = {}
        self._refused = 0
        self._told_at: float | None = None

    async def who(self, authorization: str | None, peer: str) -> Principal | None:
        """Whom an Authorization header stands for; None for nobody, which is counted and logged
        with `peer` (the address that asked) and never with the token. Raises DatabaseError."""
        scheme, _, token = (authorization or "").strip().partition(" ")
        token = token.strip()
        found = None
        if scheme.lower() == "bearer" and token:
            found = await self._find(token)
        if found is None:
            self._count(peer)
        return found

    async def _find(self, token: str) -> Principal | None:
        key, now = rows.digest_of(token), self._clock.monotonic()
        known = self._known.get(key)
        if known is not None and now - known[0] < KNOWN_FOR_S:
            return known[1]
        self._known.pop(key, None)
        row = await self._database.read(lambda connection: rows.known(connection, token))
        if row is None:
            # In the same time for every wrong token: hashes are compared, as a whole.
            if not hmac.compare_digest(self._given, key):
                return None
            found = Principal(GIVEN_ID, GIVEN_SURFACE, frozenset((*OF_A_SURFACE, "platform")))
        elif row.revoked_ms is not None:
            return None
        else:
            found = Principal(row.token_id, row.surface, frozenset(row.scopes))
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[key] = (now, found)
        return found

    def _count(self, peer: str) -> None:
        self._refused += 1
        now = self._clock.monotonic()
        if self._told_at is None or now - self._told_at >= TOLD_EVERY_S:
            telemetry.logger("master.auth").warning(
                "token refused", peer=peer, since_last_told=self._refused
            )
            self._told_at, self._refused = now, 0
