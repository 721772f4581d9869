"""The embedded homeserver: it starts, stays the same, and leaves no process behind."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.demo import synapse_config
from antiphon.demo.synapse import Synapse
from antiphon.demo.synapse_config import SERVER_NAME
from antiphon.errors import HomeserverError, MissingExtraError, StateError, StateInUseError
from antiphon.settings import Secret

pytestmark = pytest.mark.live


async def ended(pid: int, timeout_s: float = 10.0) -> None:
    """Returns when the process has ended (a zombie has: only its parent's look is missing)."""
    stat = Path(f"/proc/{pid}/stat")
    async with asyncio.timeout(timeout_s):
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            await asyncio.sleep(0.02)


def running(synapse: Synapse) -> int:
    """Its process id."""
    assert synapse.pid is not None
    return synapse.pid


@pytest.mark.slow
async def test_a_second_start_has_the_same_port_users_and_rooms(tmp_path: Path) -> None:
    async with Synapse(tmp_path) as synapse:
        url, pid = synapse.url, running(synapse)
        await synapse.start()
        assert running(synapse) == pid
        user_id = await synapse.register_user("ada", Secret("pw"))
        assert user_id == f"@ada:{SERVER_NAME}"
        async with MatrixClient(url) as client:
            await client.login_password("ada", Secret("pw"), device_id="D", device_name="T")
            room = await client.create_room({})
            await synapse.restart()
            assert synapse.url == url
            assert await client.joined_rooms() == (room,)
        await ended(pid)
        assert await synapse.register_user("ada", Secret("another")) == user_id
        async with MatrixClient(url) as client:
            login = await client.login_password("ada", Secret("pw"), device_id="D", device_name="T")
        assert login.user_id == user_id
        assert await synapse.admin_token() == await synapse.admin_token()
    assert synapse.pid is None
    await synapse.stop()


@pytest.mark.slow
async def test_another_homeserver_on_the_port_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port was free when we looked and is not when Synapse listens."""
    async with Synapse(tmp_path / "other") as other:
        ports = iter([other.port])
        real = synapse_config.choose_port

        def choose(folder: Path, *, unlike: int | None = None) -> int:
            return next(ports, 0) or real(folder, unlike=unlike)

        monkeypatch.setattr(synapse_config, "choose_port", choose)
        async with Synapse(tmp_path / "ours") as ours:
            assert ours.port != other.port
            assert running(ours) != running(other)


async def test_a_taken_port_is_replaced_and_the_address_follows(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        (tmp_path / "port.json").write_text(str(taken))
        async with Synapse(tmp_path) as synapse:
            assert synapse.port != taken
            settings = (tmp_path / "homeserver.yaml").read_text()
            assert f'"public_baseurl":"{synapse.url}/"' in settings


async def test_only_one_runs_in_a_folder(tmp_path: Path) -> None:
    async with Synapse(tmp_path) as first:
        with pytest.raises(StateInUseError, match="already runs"):
            await Synapse(tmp_path).start()
        assert first.pid is not None


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
async def test_it_dies_with_its_parent_and_the_folder_is_free_again(
    tmp_path: Path, with_signal: signal.Signals
) -> None:
    program = (
        "import asyncio, pathlib, signal, sys\n"
        "from antiphon.demo.synapse import Synapse\n"
        # A job in a shell's background is started with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "async def main():\n"
        "    async with Synapse(pathlib.Path(sys.argv[1])) as synapse:\n"
        "        print(synapse.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.send_signal(with_signal)
    await parent.wait()
    async with Synapse(tmp_path) as synapse:
        assert synapse.pid != pid
    await ended(pid)


async def test_a_frozen_homeserver_can_still_be_ended(tmp_path: Path) -> None:
    synapse = Synapse(tmp_path)
    await synapse.start()
    pid = running(synapse)
    synapse.freeze()
    await synapse.kill()
    assert synapse.pid is None
    await ended(pid)


async def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "homeserver.db").write_bytes(b"no database at all" * 100)
    synapse = Synapse(tmp_path)
    with pytest.raises(HomeserverError, match="exit code"):
        await synapse.start()
    assert synapse.pid is None


async def test_cancelling_a_start_leaves_nothing(tmp_path: Path) -> None:
    synapse = Synapse(tmp_path)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await synapse.start()
    assert synapse.pid is None
    async with synapse:
        assert synapse.pid is not None


async def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r'pip install "antiphon\[demo\]"'):
        await Synapse(tmp_path / "homeserver").start()
    assert not (tmp_path / "homeserver").exists()


async def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(StateError, match="Can't write"):
        await Synapse(blocked / "homeserver").start()
