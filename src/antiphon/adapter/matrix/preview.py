"""`antiphon matrix reconcile --dry-run`: what a run would find, changing nothing.

It takes no lock and no lease, migrates nothing, makes no device, joins nothing and acknowledges
nothing: the journal is only read, and of the homeserver only what has no effect is asked. Any /sync
with a `since` would delete to-device messages (measured), so the one that is made has none.
"""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection

from antiphon.adapter.matrix.app import known_account
from antiphon.adapter.matrix.digest import Invite as Invited
from antiphon.adapter.matrix.digest import digest
from antiphon.adapter.matrix.journal import ruling
from antiphon.adapter.matrix.journal.journal import (
    MIGRATIONS,
    Account,
    account_of,
    foreign_account,
)
from antiphon.adapter.matrix.journal.ruling import Known
from antiphon.adapter.matrix.owed import Owed, owed
from antiphon.adapter.matrix.policy import access_of
from antiphon.adapter.matrix.reconcile import differences
from antiphon.adapter.matrix.report import Invite, Report
from antiphon.adapter.matrix.service import JOURNAL
from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.clock import Clock
from antiphon.core.ids import RoomId, UserId
from antiphon.core.roles import Access
from antiphon.db import database_url
from antiphon.db.peek import peek
from antiphon.errors import SettingsError
from antiphon.settings import General, MatrixSettings

INVITES_ALONE = msgspec.json.encode(
    {
        "presence": {"types": []},
        "account_data": {"types": []},
        "room": {
            "ephemeral": {"types": []},
            "account_data": {"types": []},
            "state": {"types": []},
            "timeline": {"types": [], "limit": 1},
        },
    }
).decode()
"""The filter of the one sync: rooms without their news. Invites are in it whatever it says."""


class _Held(msgspec.Struct, frozen=True):
    """What the journal holds."""

    account: Account | None
    owed: Owed
    adopt: list[RoomId]
    close: list[RoomId]
    known: Known | None


async def preview(general: General, matrix: MatrixSettings, clock: Clock) -> Report:
    """What a real run would find. Raises SettingsError where there is no login to look with,
    StateError, LoginError and what the homeserver's answers raise."""
    state = general.state_path()
    await known_account(matrix, state)
    access = access_of(matrix)
    async with MatrixClient(matrix.homeserver) as client:
        found = await login.resume(client, matrix, login.load(state))
        if found is None:
            raise SettingsError(
                f"There is no login in {state} that can be used for {matrix.user}, and a dry run "
                "does not make one. Start the adapter once, or set [matrix] access_token."
            )
        me = UserId(found.user_id)
        joined = frozenset(RoomId(room_id) for room_id in await client.joined_rooms())
        # An initial sync never waits; another time-out makes it another request to Synapse, which
        # would answer the same one from its cache for two minutes (measured).
        response = await client.sync(
            None,
            filter=INVITES_ALONE,
            timeout_ms=clock.now_ms() % 30_000,
            set_presence="offline",
        )
    report = Report(user_id=me, device_id=found.device_id, dry_run=True)

    def look(connection: Connection) -> _Held:
        adopt, close = differences(connection, joined)
        known = ruling.kept(connection)
        return _Held(account_of(connection), owed(connection), adopt, close, known)

    held = await peek(database_url(matrix.database, state, JOURNAL), MIGRATIONS, look)
    if held is not None and held.known is not None:
        access = access.with_grants(held.known.rules.grants, fresh=held.known.rules.fresh)
    report.invites = [
        Invite(i.room_id, i.inviter, may_lead(access, i))
        for i in digest(response, None, me).invites
    ]
    if held is None or held.account is None:
        report.first_start = True
        report.adopted = sorted(joined)
        return report
    if held.account.user_id != me:
        raise foreign_account(held.account.user_id, me)
    report.device_changed = held.account.device_id != found.device_id
    report.cursor_lost = held.account.cursor_lost
    report.adopted, report.closed, report.owed = held.adopt, held.close, held.owed
    return report


def may_lead(access: Access, invite: Invited) -> bool:
    """Whether an invitation would be taken, if the room has the alias that it says it has."""
    aliases = (invite.alias,) if invite.alias else ()
    return (
        invite.inviter is not None
        and access.may_invite(invite.inviter)
        and access.may_enter(invite.room_id, aliases)
    )
