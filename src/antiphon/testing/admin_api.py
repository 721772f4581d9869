"""`FakeSynapseAdmin`: what `provision` asks of a Synapse, with the odd answers that a real one
gives only in odd places: behind a proxy, with Matrix Authentication Service, or being no Synapse.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PAGE = "<html>Welcome</html>"


class FakeSynapseAdmin:
    """Use it as an async context manager; then `url` is where it listens. Tests set the fields."""

    def __init__(self, name: str = "fake.localhost"):
        self.name = name
        self.url = ""
        self.passwords: dict[str, str] = {}
        self.limits: dict[str, dict[str, int]] = {}
        self.deactivated: set[str] = set()
        self.admins: set[str] = set()
        self.tokens: dict[str, str] = {}
        """Access tokens, and whose they are."""
        self.shared_secret: str | None = None
        self.issuer: str | None = None
        """Set: Matrix Authentication Service makes the accounts."""
        self.hidden_by_proxy = False
        """A web page stands where the admin API was."""
        self.software = "Synapse"
        self.says_name = True
        self.echo_passwords = False
        """Refuses an account with a sentence that repeats the password."""
        self.before: dict[str, Callable[[], None]] = {}
        """Called when a request to this path's end comes, before it is carried out."""
        self.after: dict[str, Callable[[], None]] = {}
        """Called when it was carried out, before it is answered."""
        self.requests: list[str] = []
        self._nonces: set[str] = set()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeSynapseAdmin:
        app = web.Application()
        for method, path, handler in (
            ("GET", "/_matrix/client/versions", self._versions),
            ("GET", "/_matrix/client/v1/auth_metadata", self._auth_metadata),
            ("GET", "/_matrix/key/v2/server", self._key),
            ("GET", "/_matrix/federation/v1/version", self._version),
            ("POST", "/_matrix/client/v3/login", self._login),
            ("POST", "/_matrix/client/v3/logout", self._logout),
            ("GET", "/_matrix/client/v3/account/whoami", self._whoami),
            ("GET", "/_synapse/admin/v1/register", self._nonce),
            ("POST", "/_synapse/admin/v1/register", self._register),
            ("GET", "/_synapse/admin/v2/users/{user}", self._user),
            ("PUT", "/_synapse/admin/v2/users/{user}", self._put_user),
            ("GET", "/_synapse/admin/v1/users/{user}/override_ratelimit", self._limit),
            ("POST", "/_synapse/admin/v1/users/{user}/override_ratelimit", self._lift),
        ):
            app.router.add_route(method, path, self._watched(handler))
        app.router.add_route("*", "/{rest:.*}", self._watched(self._unknown))
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def changes(self) -> list[str]:
        """The requests that could have changed something, logins apart."""
        reading = ("GET ", "POST /_matrix/client/v3/login", "POST /_matrix/client/v3/logout")
        return [request for request in self.requests if not request.startswith(reading)]

    def _watched(self, handler: Handler) -> Handler:
        async def respond(request: web.Request) -> web.StreamResponse:
            self.requests.append(f"{request.method} {request.path}")
            admin_api = request.path.startswith("/_synapse/admin")
            if admin_api and self.hidden_by_proxy:
                return web.Response(text=PAGE, content_type="text/html")
            if admin_api and self.software != "Synapse":
                return _refusal(404, "M_UNRECOGNIZED")
            key = f"{request.method} {request.path.rpartition('/')[2]}"
            if key in self.before:
                self.before[key]()
            answer = await handler(request)
            if key in self.after:
                self.after[key]()
            return answer

        return respond

    def _who(self, request: web.Request) -> str | None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return self.tokens.get(token)

    def _denied(self, request: web.Request) -> web.Response | None:
        who = self._who(request)
        if who is None:
            return _refusal(401, "M_UNKNOWN_TOKEN")
        return None if who in self.admins else _refusal(403, "M_FORBIDDEN")

    async def _unknown(self, _: web.Request) -> web.StreamResponse:
        return _refusal(404, "M_UNRECOGNIZED")

    async def _versions(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"versions": ["v1.11"]})

    async def _auth_metadata(self, request: web.Request) -> web.StreamResponse:
        if self.issuer is None:
            return await self._unknown(request)
        return web.json_response({"issuer": self.issuer})

    async def _key(self, request: web.Request) -> web.StreamResponse:
        if not self.says_name:
            return await self._unknown(request)
        return web.json_response({"server_name": self.name})

    async def _version(self, _: web.Request) -> web.StreamResponse:
        return web.json_response({"server": {"name": self.software, "version": "1"}})

    async def _login(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        user = body["identifier"]["user"]
        if user in self.deactivated or self.passwords.get(user) != body["password"]:
            return _refusal(403, "M_FORBIDDEN")
        token = secrets.token_hex(8)
        self.tokens[token] = user
        return web.json_response({"user_id": user, "device_id": "D", "access_token": token})

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        self.tokens.pop(request.headers["Authorization"].removeprefix("Bearer "), None)
        return web.json_response({})

    async def _whoami(self, request: web.Request) -> web.StreamResponse:
        who = self._who(request)
        if who is None:
            return _refusal(401, "M_UNKNOWN_TOKEN")
        return web.json_response({"user_id": who, "device_id": "D"})

    async def _nonce(self, _: web.Request) -> web.StreamResponse:
        nonce = secrets.token_hex(8)
        self._nonces.add(nonce)
        return web.json_response({"nonce": nonce})

    async def _register(self, request: web.Request) -> web.StreamResponse:
        if self.shared_secret is None:
            return _refusal(400, "M_UNKNOWN", "Shared secret registration is not enabled")
        body: dict[str, Any] = await request.json()
        self._nonces.remove(body["nonce"])
        parts = (body["nonce"], body["username"], body["password"], "notadmin")
        wanted = hmac.new(self.shared_secret.encode(), "\0".join(parts).encode(), hashlib.sha1)
        if self.echo_passwords:
            return _refusal(400, "M_UNKNOWN", f"{body['password']} is too weak")
        if body["mac"] != wanted.hexdigest():
            return _refusal(403, "M_UNKNOWN", "HMAC incorrect")
        user = f"@{body['username']}:{self.name}"
        if user in self.passwords:
            return _refusal(400, "M_USER_IN_USE")
        self.passwords[user] = body["password"]
        return web.json_response({"user_id": user, "home_server": self.name})

    async def _user(self, request: web.Request) -> web.StreamResponse:
        user = request.match_info["user"]
        if (denied := self._denied(request)) is not None:
            return denied
        if user not in self.passwords:
            return _refusal(404, "M_NOT_FOUND")
        return web.json_response(
            {"name": user, "admin": user in self.admins, "deactivated": user in self.deactivated}
        )

    async def _put_user(self, request: web.Request) -> web.StreamResponse:
        body: dict[str, Any] = await request.json()
        if (denied := self._denied(request)) is not None:
            return denied
        if self.echo_passwords:
            return _refusal(400, "M_UNKNOWN", f"{body['password']} is too weak")
        assert body["logout_devices"] is False
        self.passwords[request.match_info["user"]] = body["password"]
        return web.json_response({})

    async def _limit(self, request: web.Request) -> web.StreamResponse:
        if (denied := self._denied(request)) is not None:
            return denied
        return web.json_response(self.limits.get(request.match_info["user"], {}))

    async def _lift(self, request: web.Request) -> web.StreamResponse:
        if (denied := self._denied(request)) is not None:
            return denied
        self.limits[request.match_info["user"]] = await request.json()
        return web.json_response({})


def _refusal(status: int, errcode: str, sentence: str = "No") -> web.Response:
    return web.json_response({"errcode": errcode, "error": sentence}, status=status)
