"""The requests about keys and files against a homeserver that misbehaves on purpose: what was not
asked for or is malformed is left out, no answer is read without end, no password is told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.adapter.matrix.transport import http, keys, media
from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.adapter.matrix.transport.keys import KeyApi
from antiphon.adapter.matrix.transport.refusals import UserAuthNeededError, refusal
from antiphon.adapter.matrix.transport.values import PasswordAuth, UserAuth
from antiphon.errors import (
    HomeserverError,
    HomeserverUnreachableError,
    MatrixApiError,
    RateLimitedError,
    TokenRevokedError,
)
from antiphon.settings import Secret
from antiphon.testing import homeserver_faults as faults
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import Op

BOT, ADA, EVE = "@bot:fake.localhost", "@ada:fake.localhost", "@eve:fake.localhost"


@pytest.fixture
async def bot(homeserver: FakeHomeserver) -> AsyncIterator[MatrixClient]:
    homeserver.account("bot")
    async with MatrixClient(homeserver.url, access_token=homeserver.token(BOT)) as client:
        yield client


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """A web server that answers every GET so; its address."""
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answers(server: FakeHomeserver, op: Op, body: object) -> None:
    """The next request of this kind is answered with just this."""
    server.fail(op, faults.answer(json.dumps(body).encode()))


async def test_of_a_query_only_what_was_asked_for_and_is_whole_is_kept(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    body = {
        "device_keys": {ADA: {"A": {"user_id": ADA}, "B": "keys", "C": None}, EVE: {"E": {}}},
        "master_keys": {ADA: ["key"], EVE: {}},
        "self_signing_keys": "none",
        "failures": {"x.org": {"status": 503}, "y.org": 503},
        "more": {},
    }
    answers(homeserver, "keys_query", body)
    assert await bot.keys.query_keys([ADA], 1_000) == {
        "device_keys": {ADA: {"A": {"user_id": ADA}}},
        "master_keys": {},
        "self_signing_keys": {},
        "user_signing_keys": {},
        "failures": {"x.org": {"status": 503}},
    }


async def test_of_a_claim_only_what_was_asked_for_and_is_whole_is_kept(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    key = {"signed_curve25519:AAAA": {"key": "k"}}
    answers(
        homeserver,
        "keys_claim",
        {"one_time_keys": {ADA: {"A": key, "B": {"x": 1}, "Z": key}, EVE: {"E": key}}},
    )
    claimed = await bot.keys.claim_keys({ADA: {"A": "a", "B": "a", "C": "a"}}, 1_000)
    assert claimed == {"one_time_keys": {ADA: {"A": key}}, "failures": {}}


async def test_counts_that_are_no_numbers_are_left_out(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    counts = {"a": 1, "b": "2", "c": -1, "d": True, "e": None}
    answers(homeserver, "keys_upload", {"one_time_key_counts": counts})
    assert await bot.keys.upload_keys({}) == {"a": 1}
    answers(homeserver, "keys_upload", {"one_time_key_counts": [1]})
    with pytest.raises(HomeserverUnreachableError, match="one_time_key_counts"):
        await bot.keys.upload_keys({})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "A", ADA, EVE]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["device_keys", "one_time_keys", "master_keys", "failures", "rooms", "sessions",
                 "one_time_key_counts", "devices", "device_id", "changed", "left", "version",
                 "algorithm", "auth_data", "count", "etag", ADA, "A"]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=24,
)  # fmt: skip


class Canned(http.Http):
    """Answers each request with the same body."""

    def __init__(self, body: bytes):
        super().__init__("http://x", None)
        self.body = body

    async def ask_raw(self, *_: Any, **__: Any) -> bytes:
        return self.body


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["device_keys", "one_time_keys", "rooms", "count", "etag",
    "version", "failures", "devices", "changed", "auth_data", "algorithm"]), JSON))  # fmt: skip
async def test_any_answer_is_read_or_refused(body: dict[str, Any]) -> None:
    client = MatrixClient("http://x")
    client._http = Canned(json.dumps(body).encode())
    for request in (
        client.keys.upload_keys({}),
        client.keys.query_keys([ADA], 1),
        client.keys.claim_keys({ADA: {"A": "a"}}, 1),
        client.keys.keys_changes("a", "b"),
        client.keys.upload_signatures({ADA: {}}),
        client.devices(),
        client.key_backup.version(),
        client.key_backup.put("1", {}),
        client.key_backup.all("1"),
        client.key_backup.room("1", "!r"),
        client.media.upload(b""),
    ):
        with suppress(HomeserverUnreachableError):
            await request


# Who asks


def test_a_401_with_flows_says_what_is_wanted() -> None:
    body = {
        "flows": [{"stages": ["m.login.password"]}, {"stages": ["m.x", "m.y"]}, 3, {"stages": 4}],
        "session": "s",
        "completed": ["m.x", 5],
        "params": {"m.oauth": {"url": "https://auth.example.org/reset"}, "m.x": 1},
    }
    error = refusal("do it", 401, {}, json.dumps(body).encode(), authenticated=True)
    assert isinstance(error, UserAuthNeededError)
    assert not error.retryable
    assert error.auth == UserAuth(
        session="s",
        flows=(("m.login.password",), ("m.x", "m.y"), ()),
        completed=("m.x",),
        url="https://auth.example.org/reset",
    )
    assert error.auth.takes_password
    odd: tuple[dict[str, Any], ...] = (
        {"flows": []},
        {"flows": [], "params": [], "session": 3, "completed": {}},
    )
    for strange in odd:
        error = refusal("do it", 401, {}, json.dumps(strange).encode(), authenticated=True)
        assert isinstance(error, UserAuthNeededError)
        assert error.auth == UserAuth(None, ())
        assert not error.auth.takes_password


def test_a_401_without_flows_is_what_it_was() -> None:
    body = b'{"errcode": "M_UNKNOWN_TOKEN", "error": "gone"}'
    assert isinstance(refusal("do it", 401, {}, body, authenticated=True), TokenRevokedError)
    page = refusal("do it", 401, {}, b"<html>", authenticated=True)
    assert isinstance(page, HomeserverUnreachableError)


def test_a_password_that_is_one_stage_of_more_is_not_enough() -> None:
    more = UserAuth("s", (("m.login.password", "m.login.email.identity"),))
    assert not more.takes_password
    done = UserAuth("s", more.flows, completed=("m.login.email.identity",))
    assert done.takes_password


async def test_no_error_holds_the_password(homeserver: FakeHomeserver, bot: MatrixClient) -> None:
    auth = PasswordAuth("s", BOT, Secret("hunter-2-secret"))
    homeserver.fail("signing_keys", faults.error(400, "M_X", error="auth was hunter-2-secret"))
    with pytest.raises(MatrixApiError) as raised:
        await bot.keys.upload_signing_keys({}, auth)
    assert "hunter-2-secret" not in repr((raised.value, raised.value.message, auth))
    assert "***" in raised.value.message


# One attempt, bounded


@pytest.mark.parametrize(
    ("op", "request_"),
    [
        ("keys_upload", lambda c: c.keys.upload_keys({})),
        ("keys_query", lambda c: c.keys.query_keys([BOT], 1_000)),
        ("keys_claim", lambda c: c.keys.claim_keys({}, 1_000)),
        ("keys_changes", lambda c: c.keys.keys_changes("s1", "s1")),
        ("send_to_device", lambda c: c.keys.send_to_device("m.x", "t", {})),
        ("signing_keys", lambda c: c.keys.upload_signing_keys({})),
        ("signatures", lambda c: c.keys.upload_signatures({})),
        ("devices", lambda c: c.devices()),
        ("account_data", lambda c: c.account_data(BOT, "m.x")),
        ("set_account_data", lambda c: c.set_account_data(BOT, "m.x", {})),
        ("backup_version", lambda c: c.key_backup.version()),
        ("create_backup", lambda c: c.key_backup.create_version("a", {})),
        ("update_backup", lambda c: c.key_backup.update_version("1", "a", {})),
        ("delete_backup", lambda c: c.key_backup.delete_version("1")),
        ("put_backup_keys", lambda c: c.key_backup.put("1", {})),
        ("backup_keys", lambda c: c.key_backup.all("1")),
        ("media_upload", lambda c: c.media.upload(b"x")),
        ("media_download", lambda c: c.media.download("mxc://fake.localhost/file1", 10)),
    ],
)
async def test_each_request_is_one_attempt_with_one_clear_error(
    homeserver: FakeHomeserver, bot: MatrixClient, op: Op, request_: Any
) -> None:
    bad: list[tuple[faults.Fault, type[HomeserverError]]] = [
        (faults.lost_response(), HomeserverUnreachableError),
        (faults.html(502), HomeserverUnreachableError),
        (faults.limited(700), RateLimitedError),
        (faults.error(400, "M_BAD_JSON"), MatrixApiError),
        (faults.error(401, "M_UNKNOWN_TOKEN"), TokenRevokedError),
    ]
    for number, (fault, error) in enumerate(bad, 1):
        homeserver.fail(op, fault)
        with pytest.raises(error):
            await request_(bot)
        assert len(homeserver.asked(op)) == number


async def test_an_answer_is_read_no_further_than_its_limit(
    homeserver: FakeHomeserver, bot: MatrixClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "MOST_BYTES", 1_000)
    answers(homeserver, "keys_query", {"device_keys": {}, "pad": "x" * 2_000})
    with pytest.raises(MatrixApiError) as raised:
        await bot.keys.query_keys([BOT], 1_000)
    assert raised.value.errcode == "M_TOO_LARGE"
    assert not raised.value.retryable
    assert (await bot.keys.query_keys([BOT], 1_000))["device_keys"] == {BOT: {}}


async def test_an_answer_without_a_length_or_an_end_is_given_up() -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 10_000)

    async with serving(endless) as url, MatrixClient(url) as client:
        with pytest.raises(MatrixApiError) as raised:
            await client.media.download("mxc://a/b", 100_000)
    assert raised.value.errcode == "M_TOO_LARGE"


async def test_a_refusal_is_understood_below_the_limit_of_the_answer(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    with pytest.raises(MatrixApiError) as raised:
        await bot.media.download("mxc://fake.localhost/none", 1)
    assert (raised.value.status, raised.value.errcode) == (404, "M_NOT_FOUND")


# Files


@pytest.mark.parametrize(
    "address",
    ["", "mxc://", "mxc://a", "mxc://a/", "mxc://a/b/c", "mxc:///b", "mxc://../b", "mxc://a/..",
     "mxc://a/%2e%2e", "mxc://a/b?c", "mxc://a/b#c", "https://a/b", "mxc://a b/c", "mxc://a/b\n",
     "MXC://a/b", "mxc://a@b/c"],
)  # fmt: skip
async def test_what_is_no_address_is_not_asked_for(bot: MatrixClient, address: str) -> None:
    assert not media.is_mxc(address)
    with pytest.raises(MatrixApiError) as raised:
        await bot.media.download(address, 10)
    assert raised.value.errcode == "M_INVALID_PARAM"


@pytest.mark.parametrize(
    "address", ["mxc://example.org/aB-_9", "mxc://example.org:8448/a", "mxc://[::1]:80/a"]
)
def test_addresses_of_every_kind_of_server_are_taken(address: str) -> None:
    assert media.is_mxc(address)
    assert not media.is_mxc(None)


async def test_a_media_type_that_is_none_is_not_sent(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    for mime in ("image/png", "image/png\r\nX-Evil: 1", "png", ""):
        await bot.media.upload(b"x", mime)
    octets = "application/octet-stream"
    assert [f.mime for f in homeserver.files.values()] == ["image/png", octets, octets, octets]


async def test_a_redirect_is_followed_without_the_token(
    homeserver: FakeHomeserver, bot: MatrixClient
) -> None:
    seen: list[str | None] = []

    async def stored(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=b"the file")

    async with serving(stored) as url:
        where = {"Location": f"{url}/store?signature=a%2Fb"}
        moved = faults.Fault(taken=False, status=307, headers=where)
        homeserver.fail("media_download", moved)
        assert await bot.media.download("mxc://fake.localhost/f", 100) == b"the file"
        homeserver.fail("media_download", moved)
        with pytest.raises(MatrixApiError) as raised:
            await bot.media.download("mxc://fake.localhost/f", 7)
        assert raised.value.errcode == "M_TOO_LARGE"
    assert seen == [None, None]


@pytest.mark.parametrize("target", ["", "ftp://x/y", "file:///etc/passwd", "http://[", "//["])
async def test_a_redirect_to_nowhere_is_not_followed(
    homeserver: FakeHomeserver, bot: MatrixClient, target: str
) -> None:
    moved = faults.Fault(taken=False, status=308, headers={"Location": target})
    homeserver.fail("media_download", moved)
    with pytest.raises(HomeserverUnreachableError):
        await bot.media.download("mxc://fake.localhost/f", 100)
    assert len(homeserver.asked("media_download")) == 1


async def test_redirects_in_a_ring_end(homeserver: FakeHomeserver, bot: MatrixClient) -> None:
    where = f"{homeserver.url}/_matrix/client/v1/media/download/fake.localhost/f"
    moved = faults.Fault(taken=False, status=302, headers={"Location": where})
    homeserver.fail("media_download", moved, times=20)
    with pytest.raises(HomeserverUnreachableError):
        await bot.media.download("mxc://fake.localhost/f", 100)
    assert len(homeserver.asked("media_download")) == http.MAX_REDIRECTS


def test_https_never_becomes_http() -> None:
    there = {"Location": "http://store.example.org/x"}
    assert http._redirect("https://hs.example.org/y", 307, there) is None
    assert http._redirect("http://hs.example.org/y", 307, there) == "http://store.example.org/x"
    relative = {"Location": "../x"}
    assert http._redirect("https://hs.example.org/a/b/c", 307, relative) == (
        "https://hs.example.org/a/x"
    )
    assert http._redirect("https://hs.example.org/y", 200, there) is None


def test_the_apis_use_the_token_of_their_client() -> None:
    client = MatrixClient("http://x")
    api: KeyApi = client.keys
    client.use_token(Secret("later"))
    assert api._http.token == Secret("later")
