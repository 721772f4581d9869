"""The proxies of the campaign, between real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from antiphon.adapter.matrix.transport.client import MatrixClient
from antiphon.errors import HomeserverUnreachableError, MatrixApiError, RateLimitedError
from antiphon.testing.fault_proxy import FaultProxy, Rule, doubled, kind_of
from antiphon.testing.fault_proxy_tcp import TcpProxy
from antiphon.testing.homeserver import FakeHomeserver
from antiphon.testing.homeserver_faults import Fault, error, html, limited

FILTER = "{}"


class Setup:
    """A user on the fake homeserver whose requests go through a proxy."""

    def __init__(self, server: FakeHomeserver, proxy: FaultProxy, client: MatrixClient, room: str):
        self.server = server
        self.proxy = proxy
        self.client = client
        self.room = room

    async def say(self, txn: str) -> str:
        content = {"msgtype": "m.text", "body": "hi"}
        return await self.client.send(self.room, "m.room.message", txn, content)

    async def count(self) -> int:
        page = await self.client.messages(self.room, from_token=None)
        return sum(event.type == "m.room.message" for event in page.events)


@pytest.fixture
async def setup(homeserver: FakeHomeserver) -> AsyncIterator[Setup]:
    user = homeserver.account("ada")
    room = homeserver.room(user)
    async with (
        FaultProxy(homeserver.url, seed=1) as proxy,
        MatrixClient(proxy.url, access_token=homeserver.token(user)) as client,
    ):
        yield Setup(homeserver, proxy, client, room)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("PUT", "/_matrix/client/v3/rooms/!a%3Ax/send/m.room.message/t1", "send"),
        ("PUT", "/_matrix/client/v3/rooms/!a%3Ax/redact/%24e/t1", "redact"),
        ("GET", "/_matrix/client/v3/sync", "sync"),
        ("GET", "/_matrix/client/v3/rooms/!a/messages", "messages"),
        ("POST", "/_matrix/client/v3/join/!a", "join"),
        ("GET", "/_matrix/client/v3/joined_rooms", "joined_rooms"),
        ("GET", "/_matrix/client/versions", "other"),
    ],
)
def test_requests_are_told_apart(method: str, path: str, kind: str) -> None:
    assert kind_of(method, path) == kind


async def test_without_rules_everything_passes_unchanged(setup: Setup) -> None:
    assert (await setup.client.whoami()).user_id == "@ada:fake.localhost"
    event_id = await setup.say("t1")
    first = await setup.client.sync(None, filter=FILTER, timeout_ms=0)
    assert event_id in {event.event_id for event in first.joined[setup.room].timeline}
    assert setup.proxy.requests == {"whoami": 1, "send": 1, "sync": 1}
    assert not setup.proxy.played


async def test_a_lost_response_leaves_the_event_and_repeating_gives_the_same(setup: Setup) -> None:
    setup.proxy.rules = [Rule(("send",), Fault(drop=True), times=1)]
    with pytest.raises(HomeserverUnreachableError):
        await setup.say("t1")
    assert await setup.count() == 1
    await setup.say("t1")
    assert await setup.count() == 1
    assert setup.proxy.played == {"send:lost_response": 1}


async def test_a_lost_request_never_comes_to_the_server(setup: Setup) -> None:
    setup.proxy.rules = [Rule(("send",), Fault(taken=False, drop=True), times=1)]
    with pytest.raises(HomeserverUnreachableError):
        await setup.say("t1")
    assert await setup.count() == 0


async def test_a_late_send_lands_after_its_sender_gave_up(setup: Setup) -> None:
    setup.proxy.rules = [Rule(("send",), Fault(late=True, drop=True, delay_s=0.2), times=1)]
    with pytest.raises(HomeserverUnreachableError):
        await setup.say("t1")
    assert await setup.count() == 0
    await setup.server.until(lambda: len(setup.server.messages(setup.room)) == 1)


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        (Fault(truncate=True), HomeserverUnreachableError),
        (html(502), HomeserverUnreachableError),
        (html(200), HomeserverUnreachableError),
        (error(500, "M_UNKNOWN"), HomeserverUnreachableError),
        (limited(300), RateLimitedError),
        (error(403, "M_FORBIDDEN"), MatrixApiError),
    ],
)
async def test_answers_are_cut_off_and_forged(
    setup: Setup, fault: Fault, raised: type[Exception]
) -> None:
    setup.proxy.rules = [Rule(("send",), fault, times=1)]
    with pytest.raises(raised):
        await setup.say("t1")
    await setup.say("t1")
    assert await setup.count() == 1


async def test_a_stale_sync_is_the_response_before_once_more(setup: Setup) -> None:
    first = await setup.client.sync(None, filter=FILTER, timeout_ms=0)
    setup.proxy.rules = [Rule(("sync",), stale=True, times=1)]
    await setup.say("t1")
    again = await setup.client.sync(first.next_batch, filter=FILTER, timeout_ms=0)
    assert again.next_batch == first.next_batch
    news = await setup.client.sync(first.next_batch, filter=FILTER, timeout_ms=0)
    assert len(news.joined[setup.room].timeline) == 1


async def test_a_doubled_sync_tells_every_event_twice(setup: Setup) -> None:
    first = await setup.client.sync(None, filter=FILTER, timeout_ms=0)
    event_id = await setup.say("t1")
    setup.proxy.rules = [Rule(("sync",), double=True)]
    news = await setup.client.sync(first.next_batch, filter=FILTER, timeout_ms=0)
    assert [e.event_id for e in news.joined[setup.room].timeline] == [event_id] * 2


async def test_first_syncs_get_by_a_cache_when_they_shall(setup: Setup) -> None:
    setup.proxy.uncached = True
    first = await setup.client.sync(None, filter=FILTER, timeout_ms=0)
    await setup.client.sync(None, filter=FILTER, timeout_ms=0)
    await setup.client.sync(first.next_batch, filter=FILTER, timeout_ms=0)
    asked = [request.query["timeout"] for request in setup.server.asked("sync")]
    assert len(set(asked[:2])) == 2
    assert asked[2] == "0"


async def test_the_same_seed_meets_the_same_faults(homeserver: FakeHomeserver) -> None:
    user = homeserver.account("ada")
    hits: list[list[bool]] = []
    for seed in (1, 1, 2):
        rules = [Rule(("whoami",), Fault(drop=True), chance=0.5)]
        async with (
            FaultProxy(homeserver.url, seed=seed, rules=rules) as proxy,
            MatrixClient(proxy.url, access_token=homeserver.token(user)) as client,
        ):
            hits.append([await lost(client) for _ in range(20)])
    assert hits[0] == hits[1] != hits[2]


async def lost(client: MatrixClient) -> bool:
    try:
        await client.whoami()
    except HomeserverUnreachableError:
        return True
    return False


class Echo:
    """A server that sends back what it gets."""

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1024):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()


async def test_a_connection_flows_stalls_and_is_reset() -> None:
    async with Echo() as port, TcpProxy(port) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        proxy.stall()
        writer.write(b"two")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(3), 0.1)
        proxy.flow()
        assert await reader.readexactly(3) == b"two"
        proxy.cut()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
    assert (proxy.connections, proxy.cuts > 0) == (1, True)


async def test_a_connection_is_cut_after_so_many_bytes() -> None:
    async with Echo() as port, TcpProxy(port) as proxy:
        proxy.cut_after = 5
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"0123456789")
        got = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(64):
                got += data
        writer.close()
    assert len(got) <= 5


async def test_an_agent_that_is_away_is_a_reset_too() -> None:
    async with TcpProxy(9) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


def test_a_body_that_is_no_sync_is_left_as_it_is() -> None:
    assert doubled(b"no json") == b"no json"
    assert doubled(b"[]") == b"[]"
