"""Rooms: what the homeserver says against what the journal holds. As the dry run of `reconcile`
does, it joins, leaves and acknowledges nothing."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.digest import digest
from antiphon.adapter.matrix.doctor.finding import Finding, ok, warning
from antiphon.adapter.matrix.doctor.patient import Patient
from antiphon.adapter.matrix.journal import rooms, ruling
from antiphon.adapter.matrix.journal.journal import MIGRATIONS
from antiphon.adapter.matrix.journal.ruling import Known
from antiphon.adapter.matrix.policy import access_of
from antiphon.adapter.matrix.preview import INVITES_ALONE, may_lead
from antiphon.adapter.matrix.reconcile import differences
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.core.ids import RoomId, UserId
from antiphon.db.peek import peek

RECONCILE = (
    "Start the adapter, which does this at every start, or run `antiphon matrix reconcile`; "
    "`antiphon matrix reconcile --dry-run` names the rooms."
)


class Drift(msgspec.Struct, frozen=True):
    """Rooms of homeserver and journal side by side. `adopt` and `close` are None where there is no
    journal yet; `invites` says of each whether policy lets us accept it."""

    joined: int
    adopt: int | None
    close: int | None
    invites: tuple[bool, ...]
    encrypted: int


async def look(patient: Patient, client: MatrixClient, me: UserId) -> Drift:
    """Compares. Raises StateError, and what the homeserver's answers raise."""
    joined = frozenset(RoomId(room_id) for room_id in await client.joined_rooms())
    # As in `preview`: another time-out makes it another request to Synapse, which would answer the
    # same one from its cache.
    response = await client.sync(
        None,
        filter=INVITES_ALONE,
        timeout_ms=patient.clock.now_ms() % 30_000,
        set_presence="offline",
    )
    access = access_of(patient.matrix)

    def compare(connection: Connection) -> tuple[int, int, int, Known | None]:
        adopt, close = differences(connection, joined)
        encrypted = len(rooms.encrypted(connection) & joined)
        return len(adopt), len(close), encrypted, ruling.kept(connection)

    held = await peek(patient.journal_url, MIGRATIONS, compare)
    adopt, close, encrypted, known = held or (None, None, 0, None)
    if known is not None:
        access = access.with_grants(known.rules.grants, fresh=known.rules.fresh)
    return Drift(
        joined=len(joined),
        adopt=adopt,
        close=close,
        invites=tuple(may_lead(access, invite) for invite in digest(response, None, me).invites),
        encrypted=encrypted,
    )


def drift(found: Drift, adapter: int | None) -> Finding:
    """Whether the journal has the rooms that the homeserver has. A running adapter (its process
    in `adapter`) follows changes by itself."""
    said = [f"{found.joined} joined"]
    if found.adopt is None:
        said.append("no journal yet: the first start adopts them without answering their history")
        return ok("rooms", "; ".join(said))
    yes, no = found.invites.count(True), found.invites.count(False)
    for number, what in (
        (found.adopt, "that the journal does not know (to adopt)"),
        (found.close, "in the journal that the account is not in any more (to close)"),
        (yes, "pending invites to accept"),
        (no, "pending invites to decline"),
    ):
        if number:
            said.append(f"{number} {what}")
    detail = "; ".join(said)
    if len(said) == 1:
        return ok("rooms", f"{detail}, as the journal has them")
    if adapter is not None:
        todo = (
            "The running adapter follows this by itself: run this again in a minute. If it stays, "
            "look at the adapter's log and start it again."
        )
        return warning("rooms", detail, todo)
    return warning("rooms", detail, RECONCILE)
