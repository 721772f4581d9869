"""Sealed ratchets out of the store and back. What the store's own key does not open is damage."""

from __future__ import annotations

from typing import Protocol, cast

import vodozemac
from sqlalchemy import Connection

from antiphon.adapter.matrix.crypto.store import account
from antiphon.adapter.matrix.crypto.vault import Vault, damaged


class _Fallback(Protocol):
    """What vodozemac has and its stubs leave out."""

    @property
    def fallback_key(self) -> dict[str, vodozemac.Curve25519PublicKey]: ...

    def generate_fallback_key(self) -> None: ...


def with_fallback(opened: vodozemac.Account) -> _Fallback:
    """The account, as far as its fallback key goes. `fallback_key` is the unpublished one."""
    return cast("_Fallback", opened)


def open_account(connection: Connection, vault: Vault) -> vodozemac.Account:
    """The Olm account. Raises DatabaseError."""
    try:
        return vodozemac.Account.from_pickle(account.pickle(connection), vault.pickle_key)
    except ValueError as error:
        raise damaged("the account") from error


def save_account(connection: Connection, vault: Vault, opened: vodozemac.Account) -> None:
    """Keeps the Olm account as it is now."""
    account.save_pickle(connection, opened.pickle(vault.pickle_key))


def open_session(vault: Vault, pickle: str) -> vodozemac.Session:
    """An Olm session. Raises DatabaseError."""
    try:
        return vodozemac.Session.from_pickle(pickle, vault.pickle_key)
    except ValueError as error:
        raise damaged("an Olm session") from error


def open_inbound(vault: Vault, pickle: str) -> vodozemac.InboundGroupSession:
    """A Megolm session for reading. Raises DatabaseError."""
    try:
        return vodozemac.InboundGroupSession.from_pickle(pickle, vault.pickle_key)
    except ValueError as error:
        raise damaged("a room's session") from error


def open_outbound(vault: Vault, pickle: str) -> vodozemac.GroupSession:
    """A Megolm session for writing. Raises DatabaseError."""
    try:
        return vodozemac.GroupSession.from_pickle(pickle, vault.pickle_key)
    except ValueError as error:
        raise damaged("a room's own session") from error
