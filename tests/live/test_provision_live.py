"""`antiphon matrix provision` on a real Synapse, both ways, and the bot that starts with it."""

from __future__ import annotations

import json
import secrets
import tomllib
from pathlib import Path
from typing import Any

import pytest

from antiphon.adapter.matrix.transport.admin import SynapseAdmin
from antiphon.demo.synapse import Synapse
from antiphon.settings import Secret
from antiphon.testing.live import live_user, log_in
from antiphon.testing.processes import Ended, Process


@pytest.fixture
async def flags(synapse_limited: Synapse, tmp_path: Path) -> dict[str, tuple[str, str]]:
    """The options that name the two secrets of this homeserver."""
    kept = json.loads((synapse_limited.folder / "secrets.json").read_text())
    found = {
        "admin-token": (await synapse_limited.admin_token()).reveal(),
        "shared-secret": kept["registration"],
    }
    for name, text in found.items():
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o600)
    return {name: (f"--{name}-file", str(tmp_path / name)) for name in found}


class Provision:
    """The command for one account; its settings file is `folder/antiphon.toml`."""

    def __init__(self, synapse: Synapse, user: str, folder: Path):
        self.settings = folder / "antiphon.toml"
        self.words = (
            *("matrix", "provision", "--homeserver", synapse.url, "--user", user, "--json"),
            *("--config-out", str(self.settings), "--allow", "@*:antiphon.localhost"),
        )
        self.process = Process("provision", self.words, {"XDG_CONFIG_HOME": str(folder)}, folder)

    async def run(self, *more: str) -> Ended:
        return await self.process.once(*self.words, *more)

    async def done(self, *more: str) -> dict[str, Any]:
        ended = await self.run(*more)
        assert ended.code == 0, ended.err
        return dict(json.loads(ended.out))


@pytest.mark.parametrize(
    "means", ["admin-token", pytest.param("shared-secret", marks=pytest.mark.slow)]
)
async def test_made_once_logged_in_with_and_started_with(
    synapse_limited: Synapse, flags: dict[str, tuple[str, str]], tmp_path: Path, means: str
) -> None:
    synapse = synapse_limited
    user = synapse.user_id(f"made-{secrets.token_hex(4)}")
    provision = Provision(synapse, user, tmp_path)
    first = await provision.done(*flags[means], "--display-name", "Helper")
    assert (first["account"], first["changed"]) == ("made", True)
    assert first["rate_limit"] == ("lifted" if means == "admin-token" else "left")
    text = provision.settings.read_text()
    again = await provision.done(*flags[means])
    assert (again["account"], again["changed"]) == ("there", False)
    assert provision.settings.read_text() == text

    async with SynapseAdmin(synapse.url, await synapse.admin_token()) as admin:
        assert await admin.is_rate_limit_lifted(user) == (means == "admin-token")
        made = await admin.user(user)
        assert made is not None
        assert not made.admin

    password = Secret(tomllib.loads(text)["matrix"]["password"])
    async with log_in(synapse.url, user, password) as bot:
        assert await bot.client.displayname(user) == "Helper"
        await bot.client.logout()

    config = ("--config", str(provision.settings))
    env = {"ANTIPHON_STATE_DIR": str(tmp_path / "state"), "ANTIPHON_AGENT__TOKEN": "t" * 32}
    agent = Process(
        "agent", (*config, "agent", "serve"), env | {"ANTIPHON_AGENT__PORT": "0"}, tmp_path
    )
    adapter = Process("adapter", (*config, "matrix", "run"), env, tmp_path)
    async with live_user(synapse, "ada", lift=True) as ada:
        adapter.set(ANTIPHON_AGENT__URL=await agent.start())
        try:
            await adapter.start()
            room = await ada.room(user)
            await ada.joined_by(room, user)
            await ada.say(room, "What is 6 times 7?")
            await ada.until(room, lambda shown: any("42" in m.body for m in shown))
            await adapter.stop()
        finally:
            await agent.stop()


async def test_a_lost_password_is_set_anew_and_devices_stay(
    synapse_limited: Synapse, flags: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    async with live_user(synapse_limited, "bot") as bot:
        provision = Provision(synapse_limited, bot.user_id, tmp_path)
        for means in ("admin-token", "shared-secret"):
            refused = await provision.run(*flags[means])
            assert refused.code == 2
            assert "its password is not known here" in refused.said
            assert not provision.settings.exists()
        done = await provision.done(*flags["admin-token"], "--new-password")
        assert done["account"] == "new_password"
        assert (await bot.client.whoami()).device_id == bot.device_id
