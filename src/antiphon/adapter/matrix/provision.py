"""Provisioning: an account for the bot on a Synapse, with its rate limit lifted.

It asks the homeserver and decides; where the password is kept is the caller's (`Keeper`). The
password is kept before the account is made: cut off in between, a second run goes on with it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Literal, Protocol, TypeVar

import msgspec

from antiphon.adapter.matrix.transport.admin import SynapseAdmin
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.login import sign_in
from antiphon.clock import Chance
from antiphon.errors import (
    LoginError,
    MatrixApiError,
    SettingsError,
    TokenRevokedError,
)
from antiphon.settings import MatrixSettings, Secret

_USER_ID = re.compile(r"@([a-z0-9._=/+-]+):([A-Za-z0-9.:\[\]-]+)")
MOST_BYTES = 255

T = TypeVar("T")
Account = Literal["made", "there", "new_password"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """The account that there shall be. `admin_url` is where the admin API is reached; empty: at
    the homeserver's own address. `new_password`: an account whose password is not known gets
    another one."""

    homeserver: str
    user_id: str
    admin_url: str = ""
    display_name: str = ""
    new_password: bool = False
    admin_token: Secret | None = None
    shared_secret: Secret | None = None


class Keeper(Protocol):
    """Where the account's password is kept."""

    def known(self) -> MatrixSettings | None:
        """What is kept of this account already, with a password or a token; None: nothing."""
        ...

    def keep(self, user_id: str, password: Secret | None) -> None:
        """Writes what is not written yet, synced; what was there before stays as it is. With
        `password` None there is nothing to keep but what is known. Raises SettingsError."""
        ...

    def take_back(self) -> None:
        """Removes what `keep` has written in this run."""
        ...


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What was done. `account`: it was made, was there already, or was there and has a new
    password; `rate_limit`: lifted now, found lifted, or left (no administrator's token)."""

    user_id: str
    account: Account
    rate_limit: Literal["lifted", "was_lifted", "left"]
    warnings: tuple[str, ...] = ()


def check_user_id(user_id: str) -> None:
    """Raises SettingsError, with what to write instead, for what can't be a new account's ID."""
    if not _USER_ID.fullmatch(user_id):
        raise SettingsError(
            f"{user_id!r} can't be the ID of a new account. Write it whole, like "
            "@antiphon:example.org; the name in small letters, digits and ._=-/+ only."
        )
    if len(user_id.encode()) > MOST_BYTES:
        raise SettingsError(f"A user ID has at most {MOST_BYTES} bytes; this one is longer.")


async def provision(wanted: Wanted, keeper: Keeper, chance: Chance) -> Outcome:
    """Makes what is missing of the account, and nothing twice.

    Raises SettingsError and LoginError with what to do, and what the homeserver's answers make of
    it; after HomeserverUnreachableError and RateLimitedError the same call goes on."""
    check_user_id(wanted.user_id)
    async with (
        MatrixClient(wanted.homeserver) as client,
        SynapseAdmin(wanted.admin_url or wanted.homeserver, wanted.admin_token) as admin,
    ):
        await client.versions()
        await _check_server(wanted, admin)
        known = keeper.known()
        account: Account = "there"
        if known is None or not await _logs_in(client, wanted, known):
            account = await _Making(wanted, keeper, client, admin).make(
                known.password if known is not None else Secret(chance.token()),
                is_known=known is not None,
            )
        keeper.keep(wanted.user_id, None)
        if wanted.admin_token is None:
            return Outcome(user_id=wanted.user_id, account=account, rate_limit="left")
        return await _with_limit_lifted(wanted, admin, account)


async def _check_server(wanted: Wanted, admin: SynapseAdmin) -> None:
    """Whether the account is this homeserver's, as far as it says so before anything is made."""
    if wanted.admin_token is not None:
        async with MatrixClient(
            wanted.admin_url or wanted.homeserver, access_token=wanted.admin_token
        ) as as_admin:
            try:
                who = (await as_admin.whoami()).user_id
            except TokenRevokedError:
                raise LoginError(
                    "The homeserver does not accept the administrator's access token. "
                    "Give --admin-token-file a valid one."
                ) from None
        name: str | None = who.partition(":")[2]
    else:
        name = await admin.server_name()
    theirs = wanted.user_id.partition(":")[2]
    if name is not None and name != theirs:
        raise SettingsError(
            f"{wanted.user_id} is of {theirs}, and this homeserver is {name}. "
            f"Give --user {wanted.user_id.partition(':')[0]}:{name}, or another --homeserver."
        )


async def _logs_in(client: MatrixClient, wanted: Wanted, known: MatrixSettings) -> bool:
    """Whether what is known of the account logs in; the login of the trial is ended again.

    Raises LoginError where it is a token: that is nothing that we could make good."""
    trial = msgspec.structs.replace(known, homeserver=wanted.homeserver, user=wanted.user_id)
    try:
        await sign_in(client, trial, None)
    except LoginError:
        if known.access_token:
            raise
        return False
    if known.access_token:
        client.use_token(None)
    else:
        await client.logout()
        client.use_token(None)
    return True


async def _with_limit_lifted(wanted: Wanted, admin: SynapseAdmin, account: Account) -> Outcome:
    user = await _as_admin(admin.user(wanted.user_id))
    warnings = (
        (f"{wanted.user_id} is a server administrator; a bot should not be one.",)
        if user is not None and user.admin
        else ()
    )
    lifted = await admin.is_rate_limit_lifted(wanted.user_id)
    if not lifted:
        await admin.lift_rate_limit(wanted.user_id)
    return Outcome(
        user_id=wanted.user_id,
        account=account,
        rate_limit="was_lifted" if lifted else "lifted",
        warnings=warnings,
    )


def made_elsewhere(wanted: Wanted, issuer: str) -> SettingsError:
    """What to do where Synapse makes no accounts."""
    name = wanted.user_id[1:].partition(":")[0]
    return SettingsError(
        f"Accounts of this homeserver are made by its authentication service ({issuer}), not by "
        f"Synapse. Run `mas-cli manage register-user` there for the name {name}, then "
        f"`mas-cli manage issue-compatibility-token {name}`, keep the token that it prints in a "
        "file, and give this command --access-token-file FILE (with --admin-token-file, the rate "
        "limit is lifted too)."
    )


async def _as_admin(asking: Awaitable[T]) -> T:
    try:
        return await asking
    except MatrixApiError as error:
        if error.status == 403:
            raise LoginError(
                "The access token in --admin-token-file is no server administrator's. An account "
                "becomes one by Synapse's admin API, or with `register_new_matrix_user --admin`."
            ) from None
        raise


class _Making:
    """Making one account, by whichever means there is."""

    def __init__(self, wanted: Wanted, keeper: Keeper, client: MatrixClient, admin: SynapseAdmin):
        self._wanted = wanted
        self._keeper = keeper
        self._client = client
        self._admin = admin

    async def make(self, password: Secret, *, is_known: bool) -> Literal["made", "new_password"]:
        """Makes the account with this password (`is_known`: it was kept before this run), or
        gives it to the one that is there."""
        wanted, user_id = self._wanted, self._wanted.user_id
        issuer = await self._admin.auth_service()
        if issuer is not None:
            raise made_elsewhere(wanted, issuer)
        if wanted.admin_token is None and wanted.shared_secret is None:
            raise SettingsError(
                f"To make {user_id}, give --admin-token-file or --shared-secret-file"
                + (" (the password that is kept for it is not accepted)." if is_known else ".")
            )
        outcome: Literal["made", "new_password"] = "made"
        made = user_id
        try:
            if wanted.admin_token is not None:
                outcome = await self._by_token(password, is_known)
            else:
                made = await self._by_secret(password, is_known)
        except MatrixApiError as error:
            # A refusal: nothing was made, and asking again would not help.
            self._keeper.take_back()
            raise SettingsError(error.message) from error
        except (SettingsError, LoginError):
            self._keeper.take_back()
            raise
        if made != user_id:
            self._keeper.take_back()
            self._keeper.keep(made, password)
            raise SettingsError(
                f"This homeserver's name is {made.partition(':')[2]}: the account that was made is "
                f"{made}. Its password is kept; give --user {made} to go on with it."
            )
        if not await self._accepts(password):
            raise LoginError(
                f"{user_id} was made, and the homeserver does not let it log in with its password. "
                "If it takes no passwords, make an access token for the account by the "
                "homeserver's own means and set [matrix] access_token."
            )
        return outcome

    async def _by_token(self, password: Secret, is_known: bool) -> Literal["made", "new_password"]:
        user_id = self._wanted.user_id
        user = await _as_admin(self._admin.user(user_id))
        if user is None:
            self._keeper.keep(user_id, password)
            await self._admin.make_user(user_id, password, display_name=self._wanted.display_name)
            return "made"
        if user.deactivated:
            raise SettingsError(
                f"{user_id} was deactivated. Give another --user, or activate it again."
            )
        if not self._wanted.new_password:
            raise self._taken(
                is_known,
                "Give --new-password to set another one (its devices stay "
                "logged in), or another --user.",
            )
        self._keeper.keep(user_id, password)
        await self._admin.set_password(user_id, password)
        return "new_password"

    async def _by_secret(self, password: Secret, is_known: bool) -> str:
        """The Matrix ID of the account, which says what the homeserver is called."""
        wanted = self._wanted
        assert wanted.shared_secret is not None
        name = wanted.user_id[1:].partition(":")[0]
        self._keeper.keep(wanted.user_id, password)
        try:
            made = await self._admin.register(
                wanted.shared_secret, name, password, display_name=wanted.display_name
            )
        except MatrixApiError as error:
            if error.status == 403:
                raise LoginError(
                    "The homeserver does not accept the registration shared secret. It stands in "
                    "its configuration as registration_shared_secret (or in the file of "
                    "registration_shared_secret_path)."
                ) from None
            if "not enabled" in error.message:
                raise SettingsError(
                    "The homeserver has no registration shared secret. Set "
                    "registration_shared_secret in its configuration, or give --admin-token-file."
                ) from None
            raise
        # A proxy may have asked twice: then the account in use is the one just made.
        if made is None and not await self._accepts(password):
            raise self._taken(
                is_known,
                "Give --admin-token-file and --new-password to set another one, or another --user.",
            )
        return made or wanted.user_id

    async def _accepts(self, password: Secret) -> bool:
        trial = MatrixSettings(password=password)
        return await _logs_in(self._client, self._wanted, trial)

    def _taken(self, is_known: bool, advice: str) -> SettingsError:
        why = (
            "the password that is kept here is not its own"
            if is_known
            else ("its password is not known here")
        )
        return SettingsError(f"There is {self._wanted.user_id} already, and {why}. {advice}")
