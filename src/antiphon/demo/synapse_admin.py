"""What only the owner of a Synapse may do: make users and lift their rate limits.

Knows Synapse's admin API (its own, no part of the Matrix specification) and nothing of processes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from antiphon.adapter.matrix.transport.http import Http
from antiphon.errors import MatrixApiError
from antiphon.settings import Secret

_REGISTER = "/_synapse/admin/v1/register"


async def register(
    base_url: str, shared_secret: str, name: str, password: Secret, *, admin: bool
) -> bool:
    """Makes the user `name` (a localpart) by the shared secret; needs no login.

    False when there is such a user already: it stays as it is, its password too."""
    async with Http(base_url, None) as http:
        answer = await http.ask("give a registration nonce", "GET", _REGISTER, authenticated=False)
        nonce = str(answer.get("nonce", ""))
        parts = (nonce, name, password.reveal(), "admin" if admin else "notadmin")
        mac = hmac.new(shared_secret.encode(), "\x00".join(parts).encode(), hashlib.sha1)
        body = {
            "nonce": nonce,
            "username": name,
            "password": password.reveal(),
            "admin": admin,
            "inhibit_login": True,
            "mac": mac.hexdigest(),
        }
        try:
            await http.ask("register a user", "POST", _REGISTER, body=body, authenticated=False)
        except MatrixApiError as error:
            if error.errcode == "M_USER_IN_USE":
                return False
            raise
    return True


async def lift_rate_limit(base_url: str, admin_token: Secret, user_id: str) -> None:
    """From now on this user's messages, joins and edits are not limited."""
    await ask(
        base_url,
        admin_token,
        "POST",
        f"/_synapse/admin/v1/users/{quote(user_id, safe='')}/override_ratelimit",
        {"messages_per_second": 0, "burst_count": 0},
    )


async def ask(
    base_url: str,
    admin_token: Secret,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Any request to the admin API; `path` from `/_synapse` on, already quoted."""
    async with Http(base_url, admin_token) as http:
        return await http.ask("administer it", method, path, body=body)
