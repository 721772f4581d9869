"""Synapse's admin API, as far as Antiphon uses it: make an account, lift its rate limit.

It is Synapse's own and no part of the Matrix specification. One attempt per request; who may ask
is shown by an administrator's access token, or for `register` by the registration shared secret.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

from antiphon.adapter.matrix.transport.http import Http
from antiphon.adapter.matrix.transport.values import AdminUser
from antiphon.errors import (
    HomeserverError,
    HomeserverUnreachableError,
    MatrixApiError,
    SettingsError,
)
from antiphon.settings import Secret

_V1 = "/_synapse/admin/v1"
_V2 = "/_synapse/admin/v2"
_AUTH_METADATA = (
    "/_matrix/client/v1/auth_metadata",
    "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata",
)


class SynapseAdmin:
    """One homeserver's administration; use it as an async context manager.

    `homeserver` is where its admin API is reached, which a proxy in front often keeps to itself.
    Any method can raise HomeserverUnreachableError, RateLimitedError, TokenRevokedError (the
    administrator's token does not work) and MatrixApiError; those of the admin API SettingsError
    where there is none. No error holds a password, a token or the shared secret."""

    def __init__(self, homeserver: str, token: Secret | None = None):
        self._http = Http(homeserver, token)

    async def __aenter__(self) -> SynapseAdmin:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, error, trace)

    # What the homeserver says of itself; needs no token

    async def auth_service(self) -> str | None:
        """The issuer of the service that makes the accounts in the homeserver's place (Matrix
        Authentication Service); None where the homeserver makes them itself. Source: MSC2965,
        client-server API "OAuth 2.0 server metadata discovery"."""
        for path in _AUTH_METADATA:
            answer = await self._unless_absent("name its authentication service", path)
            if answer is not None:
                issuer = answer.get("issuer")
                return issuer if isinstance(issuer, str) else "an authentication service"
        return None

    async def server_name(self) -> str | None:
        """The name in its users' IDs, where its address serves federation too; else None."""
        answer = await self._hint("say its name", "/_matrix/key/v2/server")
        name = answer.get("server_name") if answer is not None else None
        return name if isinstance(name, str) else None

    async def software(self) -> str | None:
        """What it is (`Synapse`), where its address serves federation too; else None."""
        answer = await self._hint("say what it is", "/_matrix/federation/v1/version")
        server = answer.get("server") if answer is not None else None
        name = server.get("name") if isinstance(server, dict) else None
        return name if isinstance(name, str) else None

    # By the shared secret

    async def register(
        self,
        shared_secret: Secret,
        name: str,
        password: Secret,
        *,
        admin: bool = False,
        display_name: str = "",
    ) -> str | None:
        """Makes the user `name` (a localpart) and gives its Matrix ID; no device is made.

        None when there is such a user already: it stays as it is, its password too. Raises
        MatrixApiError with status 403 for a wrong shared secret."""
        path = f"{_V1}/register"
        answer = await self._ask("give a registration nonce", "GET", path, authenticated=False)
        nonce = str(answer.get("nonce", ""))
        parts = (nonce, name, password.reveal(), "admin" if admin else "notadmin")
        mac = hmac.new(shared_secret.reveal().encode(), "\x00".join(parts).encode(), hashlib.sha1)
        body = {
            "nonce": nonce,
            "username": name,
            "password": password.reveal(),
            "admin": admin,
            "inhibit_login": True,
            "mac": mac.hexdigest(),
            **({"displayname": display_name} if display_name else {}),
        }
        try:
            made = await self._ask(
                "register a user", "POST", path, body, hidden=password, authenticated=False
            )
        except MatrixApiError as error:
            if error.errcode == "M_USER_IN_USE":
                return None
            raise
        return str(made.get("user_id", ""))

    # By an administrator's token

    async def user(self, user_id: str) -> AdminUser | None:
        """An account of this homeserver; None when there is none. Raises MatrixApiError with
        status 403 where the token is no administrator's."""
        try:
            answer = await self._ask("look up an account", "GET", _user(user_id))
        except MatrixApiError as error:
            if error.errcode == "M_NOT_FOUND":
                return None
            raise
        return AdminUser(
            admin=bool(answer.get("admin")), deactivated=bool(answer.get("deactivated"))
        )

    async def make_user(self, user_id: str, password: Secret, *, display_name: str = "") -> None:
        """Makes an account that is no administrator; where there is one, it gets this password,
        and its devices stay logged in."""
        name = {"displayname": display_name} if display_name else {}
        body = {"password": password.reveal(), "logout_devices": False, "admin": False, **name}
        await self._ask("make an account", "PUT", _user(user_id), body, hidden=password)

    async def set_password(self, user_id: str, password: Secret) -> None:
        """Gives an account another password; its devices stay logged in."""
        body = {"password": password.reveal(), "logout_devices": False}
        await self._ask("set a password", "PUT", _user(user_id), body, hidden=password)

    async def is_rate_limit_lifted(self, user_id: str) -> bool:
        """Whether this account's messages, joins and edits are not limited."""
        answer = await self._ask("read a rate limit", "GET", _rate_limit(user_id))
        return answer.get("messages_per_second") == 0 and answer.get("burst_count") == 0

    async def lift_rate_limit(self, user_id: str) -> None:
        """From now on this account's messages, joins and edits are not limited."""
        body = {"messages_per_second": 0, "burst_count": 0}
        await self._ask("lift a rate limit", "POST", _rate_limit(user_id), body)

    async def _ask(
        self,
        what: str,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        hidden: Secret | None = None,
        authenticated: bool = True,
    ) -> dict[str, Any]:
        try:
            return await self._http.ask(what, method, path, body=body, authenticated=authenticated)
        except (MatrixApiError, HomeserverUnreachableError) as error:
            if _is_absent(error):
                raise await self._no_admin_api() from None
            raise _without(error, hidden) from None

    async def _unless_absent(self, what: str, path: str) -> dict[str, Any] | None:
        try:
            return await self._http.ask(what, "GET", path, authenticated=False)
        except MatrixApiError:
            return None
        except HomeserverUnreachableError as error:
            if error.status is not None and error.status < 500:
                return None
            raise

    async def _hint(self, what: str, path: str) -> dict[str, Any] | None:
        try:
            return await self._unless_absent(what, path)
        except HomeserverUnreachableError as error:
            if error.status is not None:
                return None  # a proxy that has nobody behind this path
            raise

    async def _no_admin_api(self) -> SettingsError:
        software = await self.software()
        at = self._http.homeserver
        if software not in (None, "Synapse"):
            return SettingsError(
                f"The homeserver at {at} is {software} and has not Synapse's admin API. Make the "
                "account by its own means, then write the settings with `antiphon init`."
            )
        return SettingsError(
            f"There is no admin API of Synapse at {at}. Either a proxy keeps it back: give the "
            "address that Synapse itself listens on, such as --admin-url http://127.0.0.1:8008. "
            "Or the homeserver is no Synapse: make the account by its own means, then write the "
            "settings with `antiphon init`."
        )


def _user(user_id: str) -> str:
    return f"{_V2}/users/{quote(user_id, safe='')}"


def _rate_limit(user_id: str) -> str:
    return f"{_V1}/users/{quote(user_id, safe='')}/override_ratelimit"


def _is_absent(error: HomeserverError) -> bool:
    """Whether the answer means that there is nothing at this path: Matrix's own word, or a web
    page (of a proxy, of a client that is served there) in its place."""
    if isinstance(error, MatrixApiError):
        return error.errcode == "M_UNRECOGNIZED"
    status = error.status if isinstance(error, HomeserverUnreachableError) else None
    return status is not None and (status == 200 or 400 <= status < 500) and status != 408


def _without(error: HomeserverError, hidden: Secret | None) -> HomeserverError:
    """The error without the secret, should the homeserver have repeated it."""
    if hidden is not None and hidden.reveal() in error.message:
        error.message = error.message.replace(hidden.reveal(), "***")
        error.args = (error.message,)
    return error
