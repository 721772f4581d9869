"""The life of the independent client of the tests: it keeps its device over a restart, ends with
whoever started it, and says what went wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.js_client import JsClient, another_device, js_client, js_log_in
from antiphon.testing.js_install import JsTools
from antiphon.testing.js_process import JsEndedError, JsError, JsProcess

pytestmark = pytest.mark.usefixtures("js")

STARTER = """
import asyncio, sys
from pathlib import Path
from antiphon.testing.js_install import JsTools
from antiphon.testing.js_process import JsProcess

async def main():
    process = JsProcess(JsTools(Path(sys.argv[1]), Path(sys.argv[2])), Path(sys.argv[3]), print)
    await process.start()
    print(process.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def together(ada: JsClient, bob: JsClient) -> str:
    room = await ada.room(bob.user_id)
    await bob.join(room)
    await ada.joined_by(room, bob.user_id)
    return room


async def test_a_device_goes_on_after_a_restart_and_reads_what_came_meanwhile(
    synapse: Synapse, tmp_path: Path
) -> None:
    kept = tmp_path / "state"
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await together(ada, bob)
        await ada.say(room, "One.")
        await bob.until(room, lambda shown: len(shown) == 1 and shown[0].readable)
        await bob.say(room, "Two.")
        await bob.export_state(kept)
        assert kept.stat().st_mode & 0o777 == 0o600
        await bob.stop()
        await ada.discard_session(room)
        await ada.say(room, "Three.")
        async with js_log_in(bob.homeserver, bob.user_id, bob.password, state=kept) as again:
            assert again.login == bob.login
            shown = await again.until(
                room, lambda shown: len(shown) == 3 and all(message.readable for message in shown)
            )
            assert [message.body for message in shown] == ["One.", "Two.", "Three."]
            await again.say(room, "Four.")
            shown = await ada.until(room, lambda shown: len(shown) == 4)
            assert shown[3].readable
            assert shown[3].shield == "none"
            assert (await again.own_trust()).cross_signing_ready


async def test_a_client_that_was_frozen_for_long_misses_nothing(synapse: Synapse) -> None:
    """More than one sync response holds: the SDK drops its timeline then and starts anew."""
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await together(ada, bob)
        first = await ada.say(room, "0")
        await bob.until(room, lambda shown: len(shown) == 1)
        bob.process.signal(signal.SIGSTOP)
        for number in range(1, 40):
            await ada.say(room, f"{number}")
        await ada.edit(room, first, "zero")
        bob.process.signal(signal.SIGCONT)
        shown = await bob.until(room, lambda shown: len(shown) == 40 and shown[0].body == "zero")
        assert [message.body for message in shown[1:]] == [str(number) for number in range(1, 40)]
        assert all(message.readable for message in shown)


async def test_a_second_device_is_trusted_once_its_owner_has_verified_it(synapse: Synapse) -> None:
    async with (
        js_client(synapse, "ada", cross_signed=False) as ada,
        js_client(synapse, "bob") as bob,
    ):
        await ada.set_up_recovery()
        room = await together(ada, bob)
        await bob.say(room, "Long ago.")
        await ada.until(room, lambda shown: len(shown) == 1 and shown[0].readable)
        async with another_device(ada) as second:
            hers = await second.verify(ada.user_id)
            old = await ada.asked()
            await old.accept()
            await hers.start()
            assert await hers.emoji() == await old.emoji()
            await old.confirm()
            await hers.confirm()
            assert (await hers.over()).phase == "done"
            assert (await old.over()).phase == "done"
            await bob.until_devices(
                ada.user_id,
                lambda devices: devices[second.device_id].signed_by_owner,
            )


async def test_a_changed_identity_of_a_verified_person_is_told(synapse: Synapse) -> None:
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await together(ada, bob)
        hers = await ada.verify(bob.user_id, room_id=room)
        his = await bob.asked()
        await his.accept()
        await hers.start()
        await asyncio.gather(hers.emoji(), his.emoji())
        await asyncio.gather(hers.confirm(), his.confirm())
        await ada.until_identity(bob.user_id, lambda one: one.verified)
        await bob.cross_sign(anew=True)
        changed = await ada.until_identity(bob.user_id, lambda one: not one.verified)
        assert changed.was_verified
        # The old session's key came from the identity that was verified.
        await bob.discard_session(room)
        await bob.say(room, "It is still me.")
        shown = await ada.until(room, lambda shown: len(shown) == 1 and shown[0].readable)
        assert shown[0].shield == "red"
        assert shown[0].shield_reason == "verification_violation"


async def test_room_keys_can_be_carried_by_hand(synapse: Synapse) -> None:
    async with (
        js_client(synapse, "ada") as ada,
        js_client(synapse, "bob") as bob,
    ):
        room = await together(ada, bob)
        await bob.say(room, "Long ago.")
        await ada.until(room, lambda shown: len(shown) == 1 and shown[0].readable)
        async with another_device(ada) as second:
            await second.until(room, lambda shown: len(shown) == 1 and not shown[0].readable)
            await second.import_keys(await ada.export_keys())
            await second.until(room, lambda shown: shown[0].readable)


async def test_refusals_name_the_code_of_the_homeserver(synapse: Synapse) -> None:
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await ada.room()
        with pytest.raises(JsError) as refused:
            await bob.join(room, invited=False)
        assert (refused.value.code, refused.value.status) == ("M_FORBIDDEN", 403)


async def test_a_wait_that_is_in_vain_ends_with_what_was_seen_last(synapse: Synapse) -> None:
    async with js_client(synapse, "ada") as ada:
        room = await ada.room()
        await ada.say(room, "Only this.")
        with pytest.raises(TimeoutError, match=r"ada-.*'Only this\.' \[encrypted"):
            await ada.until(room, lambda shown: len(shown) == 2, timeout_s=1)


async def test_a_killed_client_fails_what_waits_for_it(synapse: Synapse) -> None:
    async with js_client(synapse, "ada") as ada:
        room = await ada.room()
        waiting = asyncio.create_task(ada.until(room, lambda shown: bool(shown)))
        await ada.messages(room)
        await ada.kill()
        with pytest.raises(JsEndedError):
            await waiting


async def test_it_logs_out_and_ends(synapse: Synapse) -> None:
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        await together(ada, bob)
        await ada.logout()
        assert await bob.until_devices(ada.user_id, lambda devices: not devices) == {}
        with pytest.raises(JsEndedError):
            await ada.memory()


async def test_it_ends_at_sigterm_and_at_the_end_of_its_input(js: JsTools, tmp_path: Path) -> None:
    process = JsProcess(js, tmp_path / "log", lambda _: None)
    await process.start()
    process.signal(signal.SIGTERM)
    assert await process.wait() == 0
    assert await process.end() == 0
    process = JsProcess(js, tmp_path / "log", lambda _: None)
    await process.start()
    with pytest.raises(JsError, match="no command"):
        await process.ask("dance", 5)
    assert await process.end() == 0


async def test_it_does_not_outlive_a_starter_that_is_killed(js: JsTools, tmp_path: Path) -> None:
    starter = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", STARTER, str(js.node), str(js.main), str(tmp_path / "log")),
        stdout=asyncio.subprocess.PIPE,
    )
    assert starter.stdout is not None
    client = os.pidfd_open(int(await starter.stdout.readline()))
    try:
        starter.kill()
        await starter.wait()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(client, ended.set)
        async with asyncio.timeout(10):
            await ended.wait()
        asyncio.get_running_loop().remove_reader(client)
    finally:
        os.close(client)
