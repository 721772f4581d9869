"""The client against a homeserver that misbehaves on purpose: one attempt, one clear error."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from antiphon.adapter.matrix.transport import http
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.errors import (
    HomeserverUnreachableError,
    LoginError,
    MatrixApiError,
    RateLimitedError,
    SettingsError,
    TokenRevokedError,
)
from antiphon.settings import Secret
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.homeserver import FakeHomeserver

MESSAGE = {"msgtype": "m.text", "body": "hi"}


class Bot:
    def __init__(self, server: FakeHomeserver, client: MatrixClient, user_id: str, room: str):
        self.server, self.client, self.user_id, self.room = server, client, user_id, room

    async def send(self, txn_id: str = "t1") -> str:
        return await self.client.send(self.room, "m.room.message", txn_id, MESSAGE)


@pytest.fixture
async def bot(homeserver: FakeHomeserver) -> AsyncIterator[Bot]:
    user_id = homeserver.account("bot")
    room = homeserver.room(user_id)
    async with MatrixClient(homeserver.url, access_token=homeserver.token(user_id)) as client:
        yield Bot(homeserver, client, user_id, room)


async def test_a_lost_answer_is_unreachable_and_repeating_it_gives_the_same_event(bot: Bot) -> None:
    bot.server.fail("send", faults.lost_response())
    with pytest.raises(HomeserverUnreachableError, match="send an event"):
        await bot.send()
    event_id = await bot.send()
    assert [m["event_id"] for m in bot.server.messages(bot.room)] == [event_id]


@pytest.mark.parametrize(
    "fault",
    [
        faults.lost_request(),
        faults.html(502),
        faults.html(200),
        faults.html(404),
        faults.truncated(),
        faults.error(500, "M_UNKNOWN"),
        faults.answer(b"[]"),
        faults.answer(b'{"event_id": 3}'),
        faults.answer(b"", status=204),
        faults.answer(b"", status=302),
    ],
)
async def test_no_usable_answer_is_unreachable(bot: Bot, fault: faults.Fault) -> None:
    bot.server.fail("send", fault)
    with pytest.raises(HomeserverUnreachableError) as raised:
        await bot.send()
    assert raised.value.retryable
    assert len(bot.server.asked("send")) == 1


async def test_a_limit_says_how_long_to_wait(bot: Bot) -> None:
    bot.server.fail("send", faults.limited(4500))
    with pytest.raises(RateLimitedError) as raised:
        await bot.send()
    assert raised.value.retry_after_ms == 4500
    assert bot.server.messages(bot.room) == []


async def test_a_refusal_has_status_and_errcode(bot: Bot) -> None:
    stranger = bot.server.account("ada")
    elsewhere = bot.server.room(stranger)
    with pytest.raises(MatrixApiError) as raised:
        await bot.client.send(elsewhere, "m.room.message", "t", MESSAGE)
    assert (raised.value.status, raised.value.errcode) == (403, "M_FORBIDDEN")


async def test_a_revoked_token_says_so(bot: Bot) -> None:
    bot.server.revoke(bot.user_id)
    with pytest.raises(TokenRevokedError):
        await bot.client.whoami()


async def test_an_answer_that_never_comes_is_unreachable_in_time(
    bot: Bot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.adapter.matrix.transport.client.SYNC_MARGIN_S", 0.1)
    bot.server.fail("sync", faults.held(asyncio.Event()))
    with pytest.raises(HomeserverUnreachableError, match="did not answer"):
        await bot.client.sync("s0", filter="{}", timeout_ms=50)


async def test_cancelling_a_call_cancels_it(bot: Bot) -> None:
    bot.server.fail("send", faults.held(asyncio.Event()))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await bot.send()


async def test_a_server_that_is_not_there_is_named() -> None:
    async with FakeHomeserver() as server:
        url = server.url
    async with MatrixClient(url) as client:
        with pytest.raises(HomeserverUnreachableError, match=f"{url} can't be reached"):
            await client.versions()


async def test_https_on_a_plain_port_says_so(homeserver: FakeHomeserver) -> None:
    async with MatrixClient(homeserver.url.replace("http://", "https://")) as client:
        with pytest.raises(HomeserverUnreachableError, match="TLS"):
            await client.versions()


def test_a_malformed_address_is_a_settings_error_at_once() -> None:
    with pytest.raises(SettingsError):
        MatrixClient("localhost:8008")


async def test_ids_are_quoted_whole(bot: Bot) -> None:
    assert await bot.client.state_event(bot.room, "m/odd?type#", "a/b c") is None
    await bot.client.send_state(bot.room, "m/odd?type#", {"n": 1}, "a/b c")
    assert await bot.client.state_event(bot.room, "m/odd?type#", "a/b c") == {"n": 1}
    event_id = await bot.client.send(bot.room, "m.room.message", "t/1?#%2F é", MESSAGE)
    found = await bot.client.event(bot.room, event_id)
    assert found is not None
    assert found.transaction_id == "t/1?#%2F é"


async def test_a_malformed_event_in_sync_is_reported_and_skipped(bot: Bot) -> None:
    bot.server.raw_event(bot.room, {"event_id": "$bad", "type": 3})
    bot.server.raw_event(bot.room, "\ud800")
    bot.server.say(bot.room, bot.user_id, "fine")
    response = await bot.client.sync(None, filter="{}", timeout_ms=0)
    assert response.joined[bot.room].timeline[-1].content["body"] == "fine"
    assert {p.event_id for p in response.problems} == {"$bad", None}


async def test_a_page_skips_malformed_events_too(bot: Bot) -> None:
    bot.server.raw_event(bot.room, {"event_id": "$bad"})
    page = await bot.client.messages(bot.room, from_token=None)
    assert [p.event_id for p in page.problems] == ["$bad"]
    assert page.events


async def test_relations_are_found(bot: Bot) -> None:
    root = bot.server.say(bot.room, bot.user_id, "one")
    edits = [bot.server.edit(bot.room, bot.user_id, root, text) for text in ("two", "three")]
    page = await bot.client.relations(bot.room, root, "m.replace")
    assert [e.event_id for e in page.events] == edits[::-1]


async def test_login_keeps_the_device_and_uses_the_token(homeserver: FakeHomeserver) -> None:
    user_id = homeserver.account("bot", "right")
    async with MatrixClient(homeserver.url) as client:
        login = await client.login_password(
            "bot", Secret("right"), device_id="KEPT", device_name="Antiphon"
        )
        assert (login.user_id, login.device_id) == (user_id, "KEPT")
        who = await client.whoami()
    assert (who.user_id, who.device_id) == (user_id, "KEPT")


async def test_a_wrong_password_is_a_login_error(homeserver: FakeHomeserver) -> None:
    homeserver.account("bot", "right")
    async with MatrixClient(homeserver.url) as client:
        with pytest.raises(LoginError, match="password"):
            await client.login_password("bot", Secret("wrong"), device_id=None, device_name="A")


async def test_a_server_that_takes_no_passwords_points_to_the_token(
    homeserver: FakeHomeserver,
) -> None:
    homeserver.fail("login", faults.error(400, "M_UNKNOWN"))
    async with MatrixClient(homeserver.url) as client:
        with pytest.raises(LoginError, match="access_token"):
            await client.login_password("bot", Secret("pw"), device_id=None, device_name="A")


async def test_being_limited_at_login_is_no_login_error(homeserver: FakeHomeserver) -> None:
    homeserver.fail("login", faults.limited(100))
    async with MatrixClient(homeserver.url) as client:
        with pytest.raises(RateLimitedError):
            await client.login_password("bot", Secret("pw"), device_id=None, device_name="A")


async def test_secrets_are_in_no_error_and_no_repr(homeserver: FakeHomeserver) -> None:
    """Even when a homeserver quotes the token back."""
    secret = Secret("syt_very_secret")
    async with MatrixClient(homeserver.url, access_token=secret) as client:
        homeserver.fail(
            "whoami",
            faults.answer(
                b'{"errcode": "M_FORBIDDEN", "error": "no: syt_very_secret"}', status=403
            ),
        )
        for _ in range(2):
            with pytest.raises((MatrixApiError, TokenRevokedError)) as raised:
                await client.whoami()
            assert "syt_very_secret" not in f"{raised.value!r} {raised.value.message}"
        homeserver.fail("whoami", faults.lost_request())
        with pytest.raises(HomeserverUnreachableError) as lost:
            await client.whoami()
        assert lost.value.__suppress_context__
        assert "syt_very_secret" not in repr(client) + repr(client.__dict__)


async def test_a_redirect_is_not_followed_with_the_token(homeserver: FakeHomeserver) -> None:
    async with FakeHomeserver() as other:
        target = f"{other.url}/_matrix/client/v3/account/whoami"
        homeserver.fail("whoami", faults.Fault(status=307, headers={"Location": target}))
        async with MatrixClient(homeserver.url, access_token=Secret("x")) as client:
            with pytest.raises(HomeserverUnreachableError, match="redirects"):
                await client.whoami()
        assert other.requests == []


async def test_a_server_name_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def exchange(
        self: http.Http, what: str, method: str, url: str, *rest: object, **more: object
    ) -> tuple[int, dict[str, str], bytes]:
        asked.append(url)
        if url.endswith("/.well-known/matrix/client"):
            return 200, {}, b'{"m.homeserver": {"base_url": "https://matrix.example.org"}}'
        return 200, {}, b'{"versions": ["v1.12"]}'

    monkeypatch.setattr(http.Http, "_exchange", exchange)
    async with MatrixClient("example.org") as client:
        assert await client.versions() == ("v1.12",)
        await client.versions()
    assert asked == [
        "https://example.org/.well-known/matrix/client",
        "https://matrix.example.org/_matrix/client/versions",
        "https://matrix.example.org/_matrix/client/versions",
    ]
