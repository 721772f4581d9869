"""Tries the homeserver and the bot's login before they are written into a settings file."""

from __future__ import annotations

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.login import sign_in
from antiphon.cli.answers import Complete
from antiphon.errors import HomeserverUnreachableError, LoginError, RateLimitedError
from antiphon.settings import MatrixSettings, Secret


async def check_login(answers: Complete) -> str:
    """Logs in as the bot (and out again, where it was by password) and says how it went.

    Raises LoginError when user, password or token are wrong or the homeserver can't be reached,
    with what to do."""
    matrix = MatrixSettings(
        homeserver=answers.homeserver,
        user=answers.user,
        password=answers.password or Secret(""),
        access_token=answers.access_token or Secret(""),
    )
    try:
        async with MatrixClient(answers.homeserver) as client:
            await client.versions()
            login = await sign_in(client, matrix, None)
            if answers.access_token is None:
                await client.logout()
    except HomeserverUnreachableError as error:
        raise LoginError(
            f"{error.message} Nothing was written; `--no-check` writes without trying."
        ) from error
    except RateLimitedError as error:
        raise LoginError(
            f"{error.message} Nothing was written; try later, or give `--no-check`."
        ) from error
    return f"The login as {login.user_id} works."
