"""Cross-signing keys and signatures, on Synapse and on the fake homeserver alike."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.adapter.matrix.transport.values import PasswordAuth
from antiphon.errors import MatrixApiError
from antiphon.settings import Secret
from antiphon.testing.homeserver_world import (
    DeviceKeys,
    SigningKeys,
    World,
    caught_up,
    refused,
    sync,
    told,
)

# Cross-signing


async def test_signing_keys_are_set_freely_once_and_replaced_with_the_password(
    world: World,
) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    first, second = SigningKeys(bot), SigningKeys(bot)
    upload = bot.client.keys.upload_signing_keys
    assert await upload(first.body) is None
    assert await upload(first.body) is None
    own = await bot.client.keys.query_keys([bot.user_id], 1_000)
    for usage in ("master", "self_signing", "user_signing"):
        assert own[f"{usage}_keys"] == {bot.user_id: first.body[f"{usage}_key"]}
    others = await ada.client.keys.query_keys([bot.user_id], 1_000)
    assert others["master_keys"] == own["master_keys"]
    assert others["self_signing_keys"] == own["self_signing_keys"]
    assert others["user_signing_keys"] == {}

    wanted = await upload(second.body)
    assert wanted is not None
    assert wanted.session
    assert (wanted.takes_password, wanted.refused, wanted.url) == (True, False, None)
    wrong = await upload(second.body, PasswordAuth(wanted.session, bot.user_id, Secret("wrong")))
    assert wrong is not None
    assert (wrong.refused, wrong.session, wrong.takes_password) == (True, wanted.session, True)
    auth = PasswordAuth(wanted.session, bot.user_id, bot.password)
    assert await upload(second.body, auth) is None
    own = await bot.client.keys.query_keys([bot.user_id], 1_000)
    assert own["master_keys"] == {bot.user_id: second.body["master_key"]}


async def test_signing_keys_must_be_whole_and_signed(world: World) -> None:
    bot = await world.user("bot")
    upload = bot.client.keys.upload_signing_keys
    identity, foreign = SigningKeys(bot), SigningKeys(bot)
    with pytest.raises(MatrixApiError) as error:
        await upload({"self_signing_key": identity.body["self_signing_key"]})
    assert refused(error.value) == (400, "M_MISSING_PARAM")
    with pytest.raises(MatrixApiError) as error:
        await upload(identity.body | {"self_signing_key": foreign.body["self_signing_key"]})
    assert refused(error.value) == (400, "M_INVALID_SIGNATURE")
    with pytest.raises(MatrixApiError) as error:
        await upload({"master_key": identity.body["self_signing_key"]})
    assert refused(error.value) == (400, "M_INVALID_PARAM")
    assert (await bot.client.keys.query_keys([bot.user_id], 1_000))["master_keys"] == {}


async def test_signatures_are_merged_into_what_others_are_given(world: World) -> None:
    """Those of devices by the self-signing key; what devices signed of the master key is given to
    their own user alone."""
    ada, bot = await world.user("ada"), await world.user("bot")
    await world.together(ada, bot)
    machine, identity = DeviceKeys(bot), SigningKeys(bot)
    await bot.client.keys.upload_keys({"device_keys": machine.device_keys})
    await bot.client.keys.upload_signing_keys(identity.body)
    since = await caught_up(ada)
    device = identity.sign(machine.device_keys, "self_signing")
    master = machine.sign(identity.body["master_key"])
    body = {bot.user_id: {bot.device_id: device, identity.public("master"): master}}
    assert await bot.client.keys.upload_signatures(body) == {}
    assert await bot.client.keys.upload_signatures(body) == {}
    await told(ada, since, bot.user_id)
    answer = await ada.client.keys.query_keys([bot.user_id], 1_000)
    shown = answer["device_keys"][bot.user_id][bot.device_id]
    assert shown["signatures"] == device["signatures"]
    assert answer["master_keys"] == {bot.user_id: identity.body["master_key"]}
    answer = await bot.client.keys.query_keys([bot.user_id], 1_000)
    assert answer["master_keys"] == {bot.user_id: master}


async def test_what_somebody_signed_of_others_only_they_see(world: World) -> None:
    ada, bot = await world.user("ada"), await world.user("bot")
    await world.together(ada, bot)
    identities = {user.user_id: SigningKeys(user) for user in (ada, bot)}
    for user in (ada, bot):
        await user.client.keys.upload_signing_keys(identities[user.user_id].body)
    target = identities[bot.user_id]
    mine = identities[ada.user_id].sign(target.body["master_key"], "user_signing")
    ada_at, bot_at = await caught_up(ada), await caught_up(bot)
    body = {bot.user_id: {target.public("master"): mine}}
    assert await ada.client.keys.upload_signatures(body) == {}
    await told(ada, ada_at, bot.user_id)
    assert (await sync(bot, bot_at)).device_lists_changed == ()
    for user, expected in ((ada, mine), (bot, target.body["master_key"])):
        answer = await user.client.keys.query_keys([bot.user_id], 1_000)
        assert answer["master_keys"] == {bot.user_id: expected}


async def test_signatures_that_do_not_hold_are_named_one_by_one(world: World) -> None:
    bot = await world.user("bot")
    machine, identity, foreign = DeviceKeys(bot), SigningKeys(bot), SigningKeys(bot)
    body = {bot.user_id: {bot.device_id: identity.sign(machine.device_keys, "self_signing")}}

    async def why(thing: dict[str, Any], device_id: str = bot.device_id) -> tuple[int, str]:
        failures = await bot.client.keys.upload_signatures({bot.user_id: {device_id: thing}})
        assert list(failures) == [bot.user_id]
        assert list(failures[bot.user_id]) == [device_id]
        failure = failures[bot.user_id][device_id]
        assert set(failure) == {"status", "errcode", "message"}
        return failure["status"], failure["errcode"]

    good = body[bot.user_id][bot.device_id]
    assert await why(good) == (404, "M_NOT_FOUND")
    await bot.client.keys.upload_signing_keys(identity.body)
    assert await why(good) == (404, "M_NOT_FOUND")
    await bot.client.keys.upload_keys({"device_keys": machine.device_keys})
    assert await why(good, "NOBODY") == (404, "M_NOT_FOUND")
    assert await why(foreign.sign(machine.device_keys, "self_signing")) == (
        400,
        "M_INVALID_SIGNATURE",
    )
    key_id = f"ed25519:{identity.public('self_signing')}"
    forged = {**good, "signatures": {bot.user_id: {key_id: "A" * 86}}}
    assert await why(forged) == (400, "M_INVALID_SIGNATURE")
    altered = identity.sign(machine.device_keys | {"algorithms": []}, "self_signing")
    assert await why(altered) == (400, "M_UNKNOWN")
    assert await bot.client.keys.upload_signatures(body) == {}
