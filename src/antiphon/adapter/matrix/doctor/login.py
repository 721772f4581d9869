"""The login: whether there is one that works, of which account and device. Makes none, and no
device."""

from __future__ import annotations

import msgspec

from antiphon.adapter.matrix.app import known_account
from antiphon.adapter.matrix.doctor.finding import Finding, failure, ok, warning
from antiphon.adapter.matrix.doctor.patient import Patient
from antiphon.adapter.matrix.journal.journal import Account, foreign_account
from antiphon.adapter.matrix.transport import login
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.http import Http
from antiphon.adapter.matrix.transport.login import StoredLogin
from antiphon.errors import HomeserverError, LoginError, StateError

FLOWS = "/_matrix/client/v3/login"
PASSWORD_FLOW = "m.login.password"  # noqa: S105 - the name of a way to log in

NEW_START = "Start the adapter again: it signs in anew with the password, on the same device."
ANOTHER = (
    "Set [matrix] access_token to the token of a new login, or set [matrix] password, and start "
    "the adapter again."
)


class Looked(msgspec.Struct, frozen=True):
    """The finding, and the login to look further with, where one works. `expected`: there is
    none yet, and that is as it should be."""

    finding: Finding
    found: StoredLogin | None = None
    expected: bool = False


async def look(patient: Patient, client: MatrixClient) -> Looked:
    """Tries the login that there is; `client` is signed in with it where it works.

    Raises what the homeserver's answers raise."""
    matrix = patient.matrix
    try:
        stored = login.load(patient.state)
    except StateError as error:
        todo = f"Delete {patient.state / login.FILE_NAME}; the adapter then signs in again."
        return Looked(failure("login", error.message, todo))
    try:
        found = await login.resume(client, matrix, stored)
    except LoginError as error:
        return Looked(failure("login", error.message, ANOTHER))
    if found is None:
        return await _without(patient, stored, client)
    return Looked(_judged(found, await _account(patient)), found)


async def _account(patient: Patient) -> Account | None:
    """The journal's account; None too where the journal can't be read, which its own check
    says."""
    try:
        return await known_account(msgspec.structs.replace(patient.matrix, user=""), patient.state)
    except StateError:
        return None


def _judged(found: StoredLogin, account: Account | None) -> Finding:
    detail = f"{found.user_id} on device {found.device_id}"
    if account is None or (account.user_id, account.device_id) == (found.user_id, found.device_id):
        return ok("login", f"{detail} works")
    if account.user_id != found.user_id:
        error = foreign_account(account.user_id, found.user_id)
        return failure(
            "login",
            error.message,
            f"Set [matrix] user to {account.user_id}, or state_dir to a new folder.",
        )
    return warning(
        "login",
        f"{detail} works, and is another device than the journal's ({account.device_id}): the "
        "homeserver does not know the transaction ids of what was sent from that one",
        "Go on if that is meant: the next start looks into the rooms before it sends anything. "
        "Otherwise set [matrix] access_token back to the token of that device.",
    )


async def _without(patient: Patient, stored: StoredLogin | None, client: MatrixClient) -> Looked:
    """No login works: is that because none was made yet?"""
    matrix = patient.matrix
    has_password = bool(matrix.password)
    if stored is None or not login.is_same_user(matrix.user, stored.user_id):
        if not has_password:
            detail = f"there is no login for {matrix.user}, and no password is set"
            todo = "Set [matrix] password or [matrix] access_token."
            return Looked(failure("login", detail, todo))
        if not await _takes_passwords(client):
            return Looked(
                failure(
                    "login",
                    "the homeserver takes no passwords",
                    "Set [matrix] access_token instead of the password.",
                )
            )
        detail = (
            f"not signed in yet: the first start signs {matrix.user} in and makes its device; "
            "whether the password is right shows then"
        )
        return Looked(ok("login", detail), expected=True)
    if stored.homeserver != client.homeserver:
        detail = f"the login in {patient.state} is for {stored.homeserver or 'another address'}"
        todo = (
            f"Set [matrix] homeserver back to it if it is the same one. Otherwise: {NEW_START}"
            if has_password
            else "Set [matrix] homeserver back to it, or set [matrix] password."
        )
        return Looked(warning("login", detail, todo))
    return Looked(
        failure(
            "login",
            f"the homeserver does not accept the stored login of {stored.user_id} any more: it "
            "was logged out, or its device was deleted",
            NEW_START if has_password else ANOTHER,
        )
    )


async def _takes_passwords(client: MatrixClient) -> bool:
    """Whether it may take a password; True too where it does not say."""
    async with Http(client.homeserver, None) as http:
        try:
            answer = await http.ask("say how to log in", "GET", FLOWS, authenticated=False)
        except HomeserverError:
            return True
    flows = answer.get("flows")
    if not isinstance(flows, list):
        return True
    return any(isinstance(flow, dict) and flow.get("type") == PASSWORD_FLOW for flow in flows)
