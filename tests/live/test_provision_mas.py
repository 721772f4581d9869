"""`antiphon matrix provision` where Matrix Authentication Service makes the accounts: a real
Synapse in that mode, with a stand-in for the service."""

from __future__ import annotations

import json
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antiphon.adapter.matrix.transport.admin import SynapseAdmin
from antiphon.settings import Secret
from antiphon.testing.auth_service import DelegatedSynapse
from antiphon.testing.processes import Process

pytestmark = pytest.mark.live


@pytest.fixture
async def delegated(tmp_path: Path) -> AsyncIterator[DelegatedSynapse]:
    async with DelegatedSynapse(tmp_path / "homeserver") as server:
        yield server


async def test_it_says_what_to_do_and_takes_the_token_that_comes_of_it(
    delegated: DelegatedSynapse, tmp_path: Path
) -> None:
    await delegated.issue("boss", "admin-token", admin=True)
    for name in ("admin-token", "bot-token", "any-secret"):
        (tmp_path / name).write_text(f"{name}\n")
        (tmp_path / name).chmod(0o600)
    settings, user = tmp_path / "antiphon.toml", delegated.user_id("bot")
    words = (
        *("matrix", "provision", "--homeserver", delegated.url, "--user", user),
        *("--config-out", str(settings), "--json"),
    )
    process = Process("provision", words, {"XDG_CONFIG_HOME": str(tmp_path)}, tmp_path)
    by_token = ("--admin-token-file", str(tmp_path / "admin-token"))
    by_secret = ("--shared-secret-file", str(tmp_path / "any-secret"))

    async def says_what_to_do(*more: str) -> None:
        refused = await process.once(*words, *more)
        assert refused.code == 2
        assert delegated.issuer in refused.said
        assert "mas-cli manage issue-compatibility-token bot" in refused.said
        assert "--access-token-file" in refused.said
        assert not settings.exists()

    await says_what_to_do(*by_token)
    await says_what_to_do(*by_secret)
    await delegated.issue("bot", "bot-token", device="BOTDEVICE")
    await says_what_to_do(*by_token, "--new-password")

    own = ("--access-token-file", str(tmp_path / "bot-token"))
    done = await process.once(*words, *by_token, *own)
    assert done.code == 0, done.err
    assert json.loads(done.out)["rate_limit"] == "lifted"
    assert tomllib.loads(settings.read_text())["matrix"]["access_token"] == "bot-token"
    async with SynapseAdmin(delegated.url, Secret("admin-token")) as admin:
        assert await admin.is_rate_limit_lifted(user)
    again = await process.once(*words, *by_token)
    assert json.loads(again.out)["changed"] is False
