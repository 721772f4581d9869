"""`antiphon master token …` and `import` as real commands."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from antiphon.clock import SystemChance, SystemClock
from antiphon.core.ids import RoomId, UserId
from antiphon.core.model import Place
from antiphon.core.scopes import Scope
from antiphon.db import StateLock
from antiphon.sdk.prototype_state import LocalState
from antiphon.testing.master import running_master
from antiphon.testing.processes import Process

ADA, BOT = UserId("@ada:x"), UserId("@bot:x")


@pytest.fixture
def master(tmp_path: Path) -> Process:
    """Not started: `once` runs its commands."""
    env = {"ANTIPHON_STATE_DIR": str(tmp_path / "master"), "ANTIPHON_MASTER__PORT": "0"}
    return Process("master", ("master", "serve"), env, tmp_path)


async def test_a_token_is_shown_once_on_a_terminal_or_written_for_its_owner_alone(
    master: Process, tmp_path: Path
) -> None:
    """And never kept, printed elsewhere or shown again."""
    make = ("master", "token", "make", "--surface", "matrix")
    piped = await master.once(*make)
    assert piped.code == 2
    assert "terminal only" in piped.said
    shown = await master.on_terminal(*make, "--note", "the bot")
    token = next(word for word in shown.out.split() if word.startswith("antiphon-"))
    file = tmp_path / "secret" / "token"
    written = await master.once(*make, "--file", str(file), "--scopes", "usage,chats")
    assert written.code == 0, written.err
    assert file.read_text().strip() not in written.out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    listed = await master.once("master", "token", "list", "--json")
    rows = json.loads(listed.out)
    assert [row["scopes"] for row in rows][1] == ["chats", "usage"]
    assert rows[0]["note"] == "the bot"
    held = b"".join(path.read_bytes() for path in (tmp_path / "master").iterdir())
    for secret in (token, file.read_text().strip()):
        assert secret not in listed.out
        assert secret.encode() not in held


async def test_a_token_that_was_revoked_is_listed_so(master: Process) -> None:
    made = await master.once("master", "token", "make", "--surface", "*", "--json")
    token_id = json.loads(made.out)["token_id"]
    assert (await master.once("master", "token", "revoke", token_id)).code == 0
    listed = await master.once("master", "token", "list")
    assert token_id in listed.out
    assert "revoked" in listed.out
    nothing = await master.once("master", "token", "revoke", "nobody")
    assert (nothing.code, "nobody" in nothing.said) == (2, True)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--surface", "two words", "--json"), "surface is named"),
        (("--surface", "matrix", "--scopes", "everything", "--json"), "There are: chats"),
        (("--surface", "matrix", "--note", "two\nlines", "--json"), "one line"),
    ],
)
async def test_a_token_that_makes_no_sense_is_told_what_does(
    master: Process, args: tuple[str, ...], says: str
) -> None:
    ended = await master.once("master", "token", "make", *args)
    assert (ended.code, says in ended.said) == (2, True), ended.err


async def test_without_any_token_it_does_not_start(master: Process) -> None:
    ended = await master.once()
    assert (ended.code, "master token make" in ended.said) == (2, True)


async def test_local_state_is_moved_in_beside_a_control_plane_that_serves(
    master: Process, tmp_path: Path
) -> None:
    """Read only; the same again changes nothing; not while the surface is at work on it."""
    folder = tmp_path / "surface"
    folder.mkdir()
    state = await LocalState.open(
        f"sqlite:///{folder / 'state.db'}",
        surface="matrix",
        clock=SystemClock(),
        chance=SystemChance(),
    )
    chat = await state.chat(Place("matrix", BOT, RoomId("!r:x")))
    await state.set_setting(
        Scope("room", "matrix", "!r:x"), "language", "Latin", by=ADA, request_id="r1"
    )
    await state.close()
    command = ("master", "import", str(folder / "state.db"))
    with StateLock.acquire(folder, "matrix", what="The Matrix adapter"):
        refused = await master.once(*command)
        assert (refused.code, "Stop it first" in refused.said) == (2, True)
    async with running_master(tmp_path / "master") as running:
        first = await master.once(*command)
        assert first.code == 0, first.err
        assert "1 chats" in first.out
        again = await master.once(*command, "--json")
        assert not any(json.loads(again.out)["taken"].values())
        client = await running.client()
        moved = (await client("GET", "/chats")).json["items"]
        assert [one["session"]["thread_id"] for one in moved] == [chat.session.thread_id]
        items = (await client("GET", "/settings?scope=room&subject=!r:x")).json["items"]
        assert [item["value"] for item in items] == ["Latin"]
    missing = await master.once("master", "import", str(folder / "nothing.db"))
    assert (missing.code, "There is no file" in missing.said) == (2, True)
