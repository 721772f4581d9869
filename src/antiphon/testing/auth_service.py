"""`DelegatedSynapse`: a real Synapse that leaves its accounts to Matrix Authentication Service, and
a stand-in for that service: who a token belongs to is what the test says.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.demo import synapse_config
from antiphon.errors import HomeserverUnreachableError

_SECRET = "of-the-two-alone"  # noqa: S105
_CLIENT = "urn:matrix:org.matrix.msc2967.client:api:*"
_DEVICE = "urn:matrix:org.matrix.msc2967.client:device:"
_ADMIN = "urn:synapse:admin:*"
_READY_S = 60.0


class DelegatedSynapse:
    """Use it as an async context manager, in a folder of its own; then `url` is the homeserver's
    address and `issuer` the service's."""

    def __init__(self, folder: Path):
        self.url = ""
        self.issuer = ""
        self._folder = folder
        self._tokens: dict[str, dict[str, Any]] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> DelegatedSynapse:
        async with AsyncExitStack() as stack:
            self.issuer = await stack.enter_async_context(self._service())
            self.url = await stack.enter_async_context(self._homeserver())
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def user_id(self, name: str) -> str:
        """The Matrix ID of the user with this localpart."""
        return f"@{name}:{synapse_config.SERVER_NAME}"

    async def issue(self, name: str, token: str, *, device: str = "", admin: bool = False) -> None:
        """What `mas-cli manage register-user` and `issue-compatibility-token` do."""
        scopes = [_CLIENT, *([_DEVICE + device] if device else []), *([_ADMIN] if admin else [])]
        self._tokens[token] = {
            "active": True,
            "scope": " ".join(scopes),
            "username": name,
            "device_id": device or None,
            "expires_in": 300,
        }
        headers = {"Authorization": f"Bearer {_SECRET}"}
        async with aiohttp.ClientSession(self.url, headers=headers, raise_for_status=True) as ask:
            await (await ask.post("/_synapse/mas/provision_user", json={"localpart": name})).read()
            if device:
                body = {"localpart": name, "device_id": device}
                await (await ask.post("/_synapse/mas/upsert_device", json=body)).read()

    @asynccontextmanager
    async def _service(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._metadata)
        app.router.add_post("/oauth2/introspect", self._introspect)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
        finally:
            await runner.cleanup()

    async def _metadata(self, _: web.Request) -> web.StreamResponse:
        at = self.issuer
        return web.json_response(
            {
                "issuer": at,
                "account_management_uri": at,
                "authorization_endpoint": f"{at}authorize",
                "token_endpoint": f"{at}token",
                "jwks_uri": f"{at}keys",
                "introspection_endpoint": f"{at}oauth2/introspect",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def _introspect(self, request: web.Request) -> web.StreamResponse:
        token = (await request.post())["token"]
        return web.json_response(self._tokens.get(str(token), {"active": False}))

    @asynccontextmanager
    async def _homeserver(self) -> AsyncIterator[str]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        port = synapse_config.choose_port(self._folder)
        synapse_config.prepare(self._folder, "default", port)
        file = self._folder / "homeserver.yaml"
        config = json.loads(file.read_text())
        config["matrix_authentication_service"] = {
            "enabled": True,
            "endpoint": self.issuer,
            "secret": _SECRET,
        }
        file.write_text(json.dumps(config))
        url = f"http://127.0.0.1:{port}"
        with (self._folder / "output.log").open("wb") as log:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "antiphon.demo.synapse_process", str(file)),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        try:
            await self._until_ready(url, child)
            yield url
        finally:
            if child.returncode is None:
                child.terminate()
            await child.wait()

    async def _until_ready(self, url: str, child: asyncio.subprocess.Process) -> None:
        async with asyncio.timeout(_READY_S), MatrixClient(url) as client:
            while True:
                try:
                    await client.versions()
                except HomeserverUnreachableError:
                    said = (self._folder / "output.log").read_text()[-2000:]
                    assert child.returncode is None, said
                    await asyncio.sleep(0.05)
                else:
                    return
