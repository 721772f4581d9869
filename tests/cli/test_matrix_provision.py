"""`antiphon matrix provision`: what it makes, what it leaves alone, and what it says otherwise."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from antiphon.cli.app import invoke
from antiphon.testing.admin_api import FakeSynapseAdmin

BOT = "@bot:fake.localhost"
ADMIN = "@admin:fake.localhost"
ADMIN_TOKEN = "admin-token-0123456789"
SHARED = "of-the-server-0123456789"


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.err.splitlines()[-1]


class Operator:
    """Somebody at a shell in a folder, with files of the two secrets."""

    def __init__(self, folder: Path, server: FakeSynapseAdmin, patch: pytest.MonkeyPatch):
        self.patch = patch
        self.folder = folder
        self.server = server
        self.write("admin.token", ADMIN_TOKEN)
        self.write("shared.secret", SHARED)
        self.by_token = ("--admin-token-file", "admin.token")
        self.by_secret = ("--shared-secret-file", "shared.secret")

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.folder / name
        path.write_text(text + "\n")
        path.chmod(mode)
        return path

    def settings(self, name: str = "antiphon.toml") -> dict[str, Any]:
        return tomllib.loads((self.folder / name).read_text())

    async def start(self, *args: str, user: str = BOT) -> asyncio.subprocess.Process:
        """The command as a process, to be killed."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "antiphon", "matrix", "provision"),
            *("--homeserver", self.server.url, "--user", user, *args),
            cwd=self.folder,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *args: str, user: str = BOT, stdin: str = "") -> Result:
        """The command, in a thread of this process, in which it has a loop of its own."""
        words = ("matrix", "provision", "--homeserver", self.server.url, "--user", user, *args)
        out, err = io.StringIO(), io.StringIO()
        self.patch.setattr(sys, "stdin", io.StringIO(stdin))
        with redirect_stdout(out), redirect_stderr(err):
            code = await asyncio.to_thread(invoke, words)
        result = Result(code, out.getvalue(), err.getvalue())
        for secret in (ADMIN_TOKEN, SHARED, *self.server.passwords.values()):
            assert secret not in result.out + result.err
        return result


@pytest.fixture
async def server() -> AsyncIterator[FakeSynapseAdmin]:
    async with FakeSynapseAdmin() as fake:
        fake.shared_secret = SHARED
        fake.passwords[ADMIN] = "the admin's own"
        fake.admins.add(ADMIN)
        fake.tokens[ADMIN_TOKEN] = ADMIN
        yield fake


@pytest.fixture
def operator(server: FakeSynapseAdmin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    for name in [name for name in os.environ if name.startswith("ANTIPHON_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Operator(tmp_path, server, monkeypatch)


async def test_by_token_account_settings_and_lifted_limit(operator: Operator) -> None:
    done = await operator.run(*operator.by_token, "--allow", "@*:fake.localhost")
    assert done.code == 0, done.err
    assert done.err == ""
    written = operator.settings()["matrix"]
    assert operator.server.passwords[BOT] == written["password"]
    assert len(written["password"]) >= 32
    assert (written["user"], written["homeserver"]) == (BOT, operator.server.url)
    assert written["allow"] == ["@*:fake.localhost"]
    assert (operator.folder / "antiphon.toml").stat().st_mode & 0o777 == 0o600
    assert operator.server.limits[BOT] == {"messages_per_second": 0, "burst_count": 0}
    assert set(operator.server.tokens) == {ADMIN_TOKEN}, "the trial of the login is logged out"


async def test_run_again_it_changes_nothing_and_says_so(operator: Operator) -> None:
    await operator.run(*operator.by_token)
    before = (operator.folder / "antiphon.toml").read_bytes()
    operator.server.requests.clear()
    again = await operator.run(*operator.by_token, "--json")
    assert again.code == 0
    assert json.loads(again.out) == {
        "user_id": BOT,
        "account": "there",
        "rate_limit": "was_lifted",
        "settings": "antiphon.toml",
        "settings_written": False,
        "changed": False,
        "warnings": [],
    }
    assert operator.server.changes() == []
    assert (operator.folder / "antiphon.toml").read_bytes() == before
    assert "Nothing had to be changed." in (await operator.run(*operator.by_token)).out


async def test_by_secret_the_limit_stays_and_it_says_how_to_lift_it(operator: Operator) -> None:
    done = await operator.run("--shared-secret-file", "-", stdin=f"{SHARED}\n")
    assert done.code == 0, done.err
    assert operator.server.passwords[BOT] == operator.settings()["matrix"]["password"]
    assert BOT not in operator.server.limits
    assert "--admin-token-file" in done.out
    assert "Nobody may talk to it yet" in done.out
    lifted = await operator.run("--admin-token-file", "-", stdin=f"{ADMIN_TOKEN}\n")
    assert lifted.code == 0
    assert "Lifted its rate limit." in lifted.out
    assert "stays as it is" in lifted.out
    assert operator.server.limits[BOT]["burst_count"] == 0


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("means", ["token", "secret"])
async def test_killed_at_the_making_a_second_run_goes_on(
    operator: Operator, when: str, means: str
) -> None:
    """The password is kept before the account is made, so none is ever lost."""
    key = f"PUT {BOT}" if means == "token" else "POST register"
    flags = operator.by_token if means == "token" else operator.by_secret
    child: list[asyncio.subprocess.Process] = []
    hooks = operator.server.before if when == "before" else operator.server.after
    hooks[key] = lambda: child[0].kill()
    child.append(await operator.start(*flags))
    await child[0].communicate()
    assert child[0].returncode == -9
    hooks.clear()
    kept = operator.settings()["matrix"]["password"]
    again = await operator.run(*flags)
    assert again.code == 0, again.err
    assert operator.server.passwords[BOT] == kept == operator.settings()["matrix"]["password"]
    third = await operator.run(*flags, "--json")
    assert json.loads(third.out)["changed"] is False


@pytest.mark.parametrize("means", ["token", "secret"])
async def test_an_account_of_somebody_else_is_left_alone(operator: Operator, means: str) -> None:
    operator.server.passwords[BOT] = "somebody's own"
    flags = operator.by_token if means == "token" else operator.by_secret
    done = await operator.run(*flags)
    assert done.code == 2
    assert "There is @bot:fake.localhost already" in done.said
    assert "--new-password" in done.said
    assert operator.server.passwords[BOT] == "somebody's own"
    assert not (operator.folder / "antiphon.toml").exists()


async def test_new_password_takes_the_account_over(operator: Operator) -> None:
    """Its devices stay logged in: the fake homeserver insists on being told so."""
    operator.server.passwords[BOT] = "lost"
    done = await operator.run(*operator.by_token, "--new-password")
    assert done.code == 0, done.err
    assert operator.server.passwords[BOT] == operator.settings()["matrix"]["password"] != "lost"
    operator.server.passwords[BOT] = "changed behind our back"
    refused = await operator.run(*operator.by_token)
    assert refused.code == 2
    assert "the password that is kept here is not its own" in refused.said
    mended = await operator.run(*operator.by_token, "--new-password")
    assert mended.code == 0
    assert operator.server.passwords[BOT] == operator.settings()["matrix"]["password"]


async def test_a_password_file_keeps_the_password_out_of_the_settings(operator: Operator) -> None:
    done = await operator.run(*operator.by_token, "--password-file", "bot.password")
    assert done.code == 0, done.err
    kept = operator.folder / "bot.password"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert operator.server.passwords[BOT] == kept.read_text().strip()
    assert "password" not in operator.settings()["matrix"]
    assert "ANTIPHON_MATRIX__PASSWORD_FILE=bot.password antiphon run" in done.out
    again = await operator.run(*operator.by_token, "--password-file", "bot.password", "--json")
    assert json.loads(again.out)["changed"] is False
    without = await operator.run(*operator.by_token)
    assert without.code == 2
    assert "--password-file" in without.said


async def test_where_mas_makes_the_accounts_it_says_what_to_do(operator: Operator) -> None:
    operator.server.issuer = "https://account.fake.localhost/"
    done = await operator.run(*operator.by_token)
    assert done.code == 2
    for word in ("mas-cli manage register-user", "issue-compatibility-token bot", "--access-token"):
        assert word in done.said
    assert operator.server.changes() == []
    assert not (operator.folder / "antiphon.toml").exists()

    operator.server.passwords[BOT] = "nobody's"
    operator.server.tokens["compatibility"] = BOT
    operator.write("bot.token", "compatibility")
    told = await operator.run(*operator.by_token, "--access-token-file", "bot.token")
    assert told.code == 0, told.err
    assert operator.settings()["matrix"]["access_token"] == "compatibility"
    assert operator.server.limits[BOT]["burst_count"] == 0
    assert "compatibility" in operator.server.tokens, "a given token is never logged out"


async def test_a_proxy_that_keeps_the_admin_api_back(operator: Operator) -> None:
    """Which is what Synapse advises; the API is then asked at Synapse's own address."""
    async with FakeSynapseAdmin() as outside:
        outside.hidden_by_proxy = True
        outside.tokens = operator.server.tokens
        outside.passwords = operator.server.passwords
        inside, operator.server = operator.server, outside
        refused = await operator.run(*operator.by_token)
        assert refused.code == 2
        assert "--admin-url" in refused.said
        assert not (operator.folder / "antiphon.toml").exists()
        done = await operator.run(*operator.by_token, "--admin-url", inside.url)
        assert done.code == 0, done.err
        assert operator.settings()["matrix"]["homeserver"] == outside.url
        assert inside.limits[BOT]["burst_count"] == 0


async def test_another_homeserver_software_is_named(operator: Operator) -> None:
    operator.server.software = "Dendrite"
    done = await operator.run(*operator.by_token)
    assert done.code == 2
    assert "is Dendrite" in done.said
    assert "antiphon init" in done.said


@pytest.mark.parametrize(
    ("user", "word"),
    [
        ("bot", "Write it whole"),
        ("@Bot:fake.localhost", "small letters"),
        ("@b ot:fake.localhost", "Write it whole"),
        (f"@{'b' * 250}:fake.localhost", "255 bytes"),
        ("@bot:other.org", "this homeserver is fake.localhost"),
    ],
)
async def test_a_user_that_cannot_be(operator: Operator, user: str, word: str) -> None:
    for flags in (operator.by_token, operator.by_secret):
        done = await operator.run(*flags, user=user)
        assert done.code == 2
        assert word in done.said
    assert operator.server.changes() == []
    assert not (operator.folder / "antiphon.toml").exists()


async def test_a_homeserver_that_tells_its_name_only_with_the_account(operator: Operator) -> None:
    """Then the account that was made is kept, and its name said."""
    operator.server.says_name = False
    done = await operator.run(*operator.by_secret, user="@bot:other.org")
    assert done.code == 2
    assert BOT in done.said
    assert operator.settings()["matrix"]["user"] == BOT
    assert (await operator.run(*operator.by_secret)).code == 0
    assert operator.server.passwords[BOT] == operator.settings()["matrix"]["password"]


async def test_secrets_that_are_wrong(operator: Operator) -> None:
    operator.write("wrong", "wrong")
    operator.server.tokens["a user's"] = "@me:fake.localhost"
    operator.write("users", "a user's")
    for flags, word in (
        (("--admin-token-file", "wrong"), "does not accept the administrator's access token"),
        (("--admin-token-file", "users"), "no server administrator's"),
        (("--shared-secret-file", "wrong"), "does not accept the registration shared secret"),
        (("--admin-token-file", "gone"), "Can't read gone"),
        ((*operator.by_token, *operator.by_secret), "not both"),
        ((), "give --admin-token-file or --shared-secret-file"),
    ):
        done = await operator.run(*flags)
        assert done.code == 2, flags
        assert word in done.said
    operator.server.shared_secret = None
    assert "no registration shared secret" in (await operator.run(*operator.by_secret)).said
    assert BOT not in operator.server.passwords
    assert not (operator.folder / "antiphon.toml").exists()


async def test_a_refusal_that_repeats_the_password_is_not_passed_on(operator: Operator) -> None:
    operator.server.echo_passwords = True
    for flags in (operator.by_token, operator.by_secret):
        done = await operator.run(*flags)
        assert done.code == 2
        assert "*** is too weak" in done.said
    assert not (operator.folder / "antiphon.toml").exists()


async def test_settings_of_another_account_are_never_overwritten(operator: Operator) -> None:
    text = f'[matrix]\nhomeserver = "{operator.server.url}"\nuser = "@x:fake.localhost"\n'
    path = operator.write("antiphon.toml", text)
    for changed in (text, text.replace("@x", "@bot").replace("http://", "https://"), "", "["):
        path.write_text(changed)
        done = await operator.run(*operator.by_token, "--new-password")
        assert done.code == 2
        assert "antiphon.toml is" in done.said
        assert path.read_text() == changed
    assert operator.server.changes() == []


async def test_an_unreachable_homeserver_is_tried_again_later(operator: Operator) -> None:
    operator.server.url, url = "http://127.0.0.1:9", operator.server.url
    done = await operator.run(*operator.by_token)
    assert done.code == 1
    assert "can't be reached" in done.said
    assert not (operator.folder / "antiphon.toml").exists()
    operator.server.url = url
    assert (await operator.run(*operator.by_token)).code == 0


async def test_a_file_that_others_can_read_is_a_warning(operator: Operator) -> None:
    (operator.folder / "admin.token").chmod(0o644)
    done = await operator.run(*operator.by_token)
    assert done.code == 0
    assert "others can read admin.token" in done.err
    listed = json.loads((await operator.run(*operator.by_token, "--json")).out)
    assert listed["warnings"] == ["others can read admin.token. Run `chmod 600 admin.token`."]


async def test_a_bot_that_is_an_administrator_is_a_warning(operator: Operator) -> None:
    operator.server.passwords[BOT] = "pw"
    operator.server.admins.add(BOT)
    operator.write("bot.password", "pw")
    done = await operator.run(*operator.by_token, "--password-file", "bot.password")
    assert done.code == 0
    assert "a bot should not be one" in done.err


async def test_a_deactivated_account_is_not_woken(operator: Operator) -> None:
    operator.server.passwords[BOT] = "pw"
    operator.server.deactivated.add(BOT)
    done = await operator.run(*operator.by_token, "--new-password")
    assert done.code == 2
    assert "was deactivated" in done.said
    assert operator.server.changes() == []


async def test_where_the_password_cannot_be_kept_no_account_is_made(operator: Operator) -> None:
    for more in (
        ("--config-out", "admin.token/antiphon.toml"),
        ("--password-file", "admin.token/bot.password"),
    ):
        for flags in (operator.by_token, operator.by_secret):
            done = await operator.run(*flags, *more)
            assert done.code == 2
            assert "Can't write admin.token/" in done.said
    assert operator.server.changes() == []
    assert not (operator.folder / "antiphon.toml").exists()
