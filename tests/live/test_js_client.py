"""The independent client of the tests does what people's clients do: two of them, and nothing of
ours between them but the homeserver, in encrypted rooms."""

from __future__ import annotations

import asyncio

import pytest

from antiphon.demo.synapse import Synapse
from antiphon.testing.js_client import JsClient, another_device, js_client
from antiphon.testing.js_process import JsError
from antiphon.testing.js_values import JsMessage

pytestmark = pytest.mark.usefixtures("js")

NO_KEY = "MEGOLM_UNKNOWN_INBOUND_SESSION_ID"


def bodies(shown: tuple[JsMessage, ...]) -> list[str]:
    return [message.body for message in shown]


async def together(ada: JsClient, bob: JsClient) -> str:
    """An encrypted room with both."""
    room = await ada.room(bob.user_id)
    await bob.join(room)
    await ada.joined_by(room, bob.user_id)
    return room


async def test_two_talk_in_both_directions_and_see_edits_and_redactions(synapse: Synapse) -> None:
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await together(ada, bob)
        first = await ada.say(room, "Hello.")
        await bob.until(room, lambda shown: bodies(shown) == ["Hello."])
        answer = await bob.say(room, "Hel")
        await bob.edit(room, answer, "Hello y")
        await bob.edit(room, answer, "Hello yourself.")
        shown = await ada.until(room, lambda shown: bodies(shown)[-1] == "Hello yourself.")
        assert [message.sender for message in shown] == [ada.user_id, bob.user_id]
        assert all(message.encrypted and message.readable for message in shown)
        assert shown[1].texts == ("Hel", "Hello y", "Hello yourself.")
        assert shown[1].edit is not None
        assert shown[1].edit.encrypted
        assert {(message.shield, message.shield_reason) for message in shown} == {("none", None)}
        await ada.redact(room, first)
        shown = await bob.until(room, lambda shown: shown[0].redacted)
        assert bodies(shown) == ["", "Hello yourself."]
        for event in await bob.events(room):
            assert "Hello" not in str(event.wire_content)
        assert ada.faults == []
        assert bob.faults == []


async def test_what_was_said_in_plain_text_is_told_from_what_was_encrypted(
    synapse: Synapse,
) -> None:
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await ada.room(bob.user_id, encrypted=False)
        await bob.join(room)
        await ada.say(room, "In the open.")
        await ada.encrypt(room)
        await ada.say(room, "Between us.")
        shown = await bob.until(room, lambda shown: len(shown) == 2 and shown[1].readable)
        assert [(message.body, message.encrypted) for message in shown] == [
            ("In the open.", False),
            ("Between us.", True),
        ]


async def test_who_joins_late_reads_only_what_is_new(synapse: Synapse) -> None:
    async with (
        js_client(synapse, "ada") as ada,
        js_client(synapse, "bob") as bob,
        js_client(synapse, "cyd") as cyd,
    ):
        room = await ada.room(bob.user_id, history="joined")
        await bob.join(room)
        await ada.joined_by(room, bob.user_id)
        await ada.say(room, "Before.")
        await bob.until(room, lambda shown: bodies(shown) == ["Before."])
        await ada.invite(room, cyd.user_id)
        await cyd.join(room)
        await bob.joined_by(room, cyd.user_id)
        await bob.say(room, "After.")
        shown = await cyd.until(room, lambda shown: bodies(shown)[-1:] == ["After."])
        assert bodies(shown) == ["After."]
        assert await cyd.undecrypted(room) == ()


async def test_where_history_is_shared_an_invitation_brings_the_old_keys(synapse: Synapse) -> None:
    """MSC4268: who invites hands them on, so without this a late joiner would be no late joiner."""
    async with (
        js_client(synapse, "ada") as ada,
        js_client(synapse, "bob") as bob,
        js_client(synapse, "cyd") as cyd,
    ):
        room = await together(ada, bob)
        await ada.say(room, "Before.")
        await bob.until(room, lambda shown: bodies(shown) == ["Before."])
        await ada.invite(room, cyd.user_id)
        await cyd.join(room)
        shown = await cyd.until(room, lambda shown: bodies(shown) == ["Before."])
        assert shown[0].shield_reason == "authenticity_not_guaranteed"


async def test_a_new_session_follows_when_one_is_discarded_or_spent(synapse: Synapse) -> None:
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await ada.room(bob.user_id, rotation_messages=2)
        await bob.join(room)
        await ada.joined_by(room, bob.user_id)
        for text in ("one", "two", "three"):
            await ada.say(room, text)
        await ada.discard_session(room)
        await ada.say(room, "four")
        shown = await bob.until(
            room, lambda shown: len(shown) == 4 and all(message.readable for message in shown)
        )
        one, two, three, four = (message.session_id for message in shown)
        assert one == two
        assert len({two, three, four}) == 3


async def test_two_verify_each_other_with_equal_emoji(synapse: Synapse) -> None:
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await together(ada, bob)
        assert not (await ada.identity(bob.user_id)).verified
        hers = await ada.verify(bob.user_id, room_id=room)
        his = await bob.asked()
        assert his.state.other_user == ada.user_id
        await his.accept()
        await hers.start()
        emoji = await hers.emoji()
        assert len(emoji) == 7
        assert emoji == await his.emoji()
        await hers.confirm()
        await his.confirm()
        assert (await hers.over()).phase == "done"
        assert (await his.over()).phase == "done"
        # What a bot must take, in an encrypted room too: the SDK sends all of this as plain text.
        steps = [e for e in await bob.events(room) if "m.key.verification." in str(e.wire_content)]
        assert steps[0].content["msgtype"] == "m.key.verification.request"
        assert not any(step.encrypted for step in steps)
        assert (await ada.until_identity(bob.user_id, lambda one: one.verified)).has_keys
        await bob.until_identity(ada.user_id, lambda one: one.verified)
        device = (await ada.devices(bob.user_id))[bob.device_id]
        assert device.verified
        assert device.ed25519 == bob.login.ed25519


async def test_emoji_that_differ_end_a_verification_by_to_device_messages(
    synapse: Synapse,
) -> None:
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        await together(ada, bob)
        await ada.until_devices(bob.user_id, lambda devices: bob.device_id in devices)
        hers = await ada.verify(bob.user_id, device_id=bob.device_id)
        his = await bob.asked()
        await his.accept()
        await his.start()
        await hers.emoji()
        await his.emoji()
        await hers.mismatch()
        over = await his.over()
        assert (over.phase, over.cancel_code) == ("cancelled", "m.mismatched_sas")
        assert (await hers.over()).phase == "cancelled"
        assert not (await bob.identity(ada.user_id)).verified


async def test_a_second_device_reads_old_history_with_the_recovery_key(synapse: Synapse) -> None:
    async with (
        js_client(synapse, "ada", cross_signed=False) as ada,
        js_client(synapse, "bob") as bob,
    ):
        key = await ada.set_up_recovery()
        room = await together(ada, bob)
        await bob.say(room, "Long ago.")
        await ada.until(room, lambda shown: bodies(shown) == ["Long ago."])
        await ada.backed_up()
        async with another_device(ada) as second:
            shown = await second.until(room, lambda shown: len(shown) == 1)
            assert shown[0].failure is not None
            assert shown[0].failure.startswith("HISTORICAL_MESSAGE")
            with pytest.raises(JsError, match="parity"):
                await second.recover(key[:-4] + "abcd")
            restored = await second.recover(key)
            assert restored.imported >= 1
            shown = await second.until(room, lambda shown: shown[0].readable)
            assert bodies(shown) == ["Long ago."]
            # The key is genuine as far as the backup is; who sent it the backup can't prove.
            assert shown[0].shield_reason == "authenticity_not_guaranteed"
            trust = await second.own_trust()
            assert trust.cross_signing_ready
            assert trust.backup_trusted
            devices = await bob.until_devices(
                ada.user_id,
                lambda devices: (
                    second.device_id in devices and devices[second.device_id].signed_by_owner
                ),
            )
            assert set(devices) == {ada.device_id, second.device_id}


async def test_who_trusts_only_signed_devices_keeps_keys_from_the_others(synapse: Synapse) -> None:
    async with (
        js_client(synapse, "ada") as ada,
        js_client(synapse, "bob") as bob,
        another_device(bob) as unsigned,
    ):
        await ada.only_signed_devices()
        room = await together(ada, bob)
        await ada.until_devices(bob.user_id, lambda devices: unsigned.device_id in devices)
        await ada.say(room, "For signed devices.")
        await bob.until(room, lambda shown: bodies(shown) == ["For signed devices."])
        shown = await unsigned.until(
            room, lambda shown: bool(shown) and shown[0].failure not in (None, NO_KEY)
        )
        assert shown[0].failure == "MEGOLM_KEY_WITHHELD_FOR_UNVERIFIED_DEVICE"
        assert bodies(shown) == [""]
        await unsigned.say(room, "From the other one.")
        shown = await ada.until(room, lambda shown: len(shown) == 2)
        assert shown[1].failure == "UNSIGNED_SENDER_DEVICE"
        shown = await bob.until(room, lambda shown: len(shown) == 2 and shown[1].readable)
        assert shown[1].body == "From the other one."


async def test_a_file_comes_through_and_a_changed_one_is_refused(synapse: Synapse) -> None:
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await together(ada, bob)
        data = bytes(range(256)) * 40
        await ada.send_file(room, "data.bin", data)
        shown = await bob.until(room, lambda shown: bodies(shown) == ["data.bin"])
        content = shown[0].content
        assert await bob.download(content) == data
        broken = content | {"file": content["file"] | {"hashes": {"sha256": "A" * 43}}}
        with pytest.raises(JsError):
            await bob.download(broken)


async def test_several_at_once_need_no_turns(synapse: Synapse) -> None:
    """Commands of one client run side by side."""
    async with js_client(synapse, "ada") as ada, js_client(synapse, "bob") as bob:
        room = await together(ada, bob)
        await asyncio.gather(*(ada.say(room, f"{number}") for number in range(10)))
        shown = await bob.until(
            room, lambda shown: len(shown) == 10 and all(message.readable for message in shown)
        )
        assert set(bodies(shown)) == {str(number) for number in range(10)}
